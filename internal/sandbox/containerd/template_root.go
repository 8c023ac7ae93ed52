package containerd

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coderunner/coderunner/internal/sandbox"
)

//go:embed template_root.sh
var templateRootScript string

// aptConfiguration turns this machine's apt to a root elsewhere. It is read after
// the machine's own settings, so that proxies, credentials, time-outs and checks are
// as configured here; hooks of this machine have no business in the root.
// Without TMPDIR's detour dpkg would look for apt's files in the wrong root.
const aptConfiguration = `
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
#clear DPkg::Options;
Dir "%[1]s";
Dir::State::Status "%[1]s/var/lib/dpkg/status";
Dir::Etc::Trusted "/etc/apt/trusted.gpg";
Dir::Etc::TrustedParts "/etc/apt/trusted.gpg.d/";
Dir::Etc::Netrc "/etc/apt/auth.conf";
Dir::Etc::NetrcParts "/etc/apt/auth.conf.d/";
Dir::Bin::dpkg "env";
DPkg::Options { "--unset=TMPDIR"; "dpkg"; "--force-confold"; "--force-unsafe-io"; };
DPkg::Chroot-Directory "%[1]s";
DPkg::Use-Pty "false";
APT::Sandbox::User "root";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Status-Fd "3";
Acquire::Languages "none";
Acquire::Retries "3";
`

// buildRoot makes the template's root under work (see template_root.sh for its
// parts) and leaves what is added to the base in work/upper.
func buildRoot(ctx context.Context, from supply, work string, t sandbox.Template, say func(string, ...any)) error {
	for _, dir := range []string{"upper", "scratch", "root", "files", "sources", "sources.debian"} {
		if err := os.MkdirAll(filepath.Join(work, dir), 0o755); err != nil {
			return err
		}
	}
	if err := download(ctx, from, work, t, say); err != nil {
		return err
	}
	if t.Files != nil {
		if err := copyFiles(t.Files, filepath.Join(work, "files")); err != nil {
			return err
		}
	}
	if err := writeSources(from, work, t.Suite); err != nil {
		return err
	}
	configuration := fmt.Sprintf(aptConfiguration, filepath.Join(work, "root")) + strings.Join(from.aptOptions(), "\n") + "\n"
	if err := os.WriteFile(filepath.Join(work, "apt.conf"), []byte(configuration), 0o600); err != nil {
		return err
	}
	progress := &aptProgress{say: say, steps: map[string]string{
		"update":  "Asking for Debian's list of packages …",
		"upgrade": "Bringing the base up to date …",
		"install": fmt.Sprintf("Installing %s and what they need …", strings.Join(t.Packages, ", ")),
		"setup":   "Setting up " + t.Name + " …",
	}}
	args := append([]string{
		t.User.Name, strconv.FormatUint(uint64(t.User.UID), 10), strconv.FormatUint(uint64(t.User.GID), 10), t.User.Home, t.WorkDir, t.Setup,
	}, t.Packages...)
	return confined{from: from, dir: work, script: templateRootScript, args: args, line: progress.line, status: progress.status}.run(ctx)
}

// writeSources puts where packages come from under work/sources, and what the
// root will say about it under work/sources.debian.
func writeSources(from supply, work, suite string) error {
	sources, err := from.aptSources(suite)
	if err != nil {
		return err
	}
	for name, text := range sources {
		if err := os.WriteFile(filepath.Join(work, "sources", name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(work, "sources.debian", "debian.sources"), []byte(plainSources(suite)), 0o644)
}

// copyFiles copies files with their modes, whatever the umask is.
func copyFiles(files fs.FS, dir string) error {
	return fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := fs.Stat(files, name)
		if err != nil {
			return err
		}
		target := filepath.Join(dir, filepath.FromSlash(name))
		switch {
		case info.IsDir():
			if err := os.MkdirAll(target, 0o755); err != nil {
				return err
			}
			return os.Chmod(target, 0o755)
		case !info.Mode().IsRegular():
			return fmt.Errorf("%s is neither a file nor a directory", name)
		}
		content, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(target, content, 0o600); err != nil {
			return err
		}
		return os.Chmod(target, info.Mode().Perm())
	})
}

// confined is a shell script of ours in mount and process namespaces of its own.
// When it ends, is cancelled, or this process dies, all of its processes and mounts go.
type confined struct {
	from   supply
	dir    string
	script string
	args   []string
	line   func(string) // gets each line of both outputs
	status func(string) // gets each line of file descriptor 3
}

// keptLines is how much of the output a failure remembers.
const keptLines = 60

// scriptError is a script that ended badly, with the end of what it printed.
type scriptError struct {
	err   error
	lines []string
}

func (e *scriptError) Error() string { return e.err.Error() + ": " + strings.Join(e.lines, "\n") }
func (e *scriptError) Unwrap() error { return e.err }

func (c confined) run(ctx context.Context) error {
	statusRead, statusWrite, err := os.Pipe()
	if err != nil {
		return err
	}
	defer statusRead.Close()
	var kept []string
	output := &lineWriter{line: func(line string) {
		line = c.from.sources.Hide(line)
		if kept = append(kept, line); len(kept) > keptLines {
			kept = slices.Delete(kept, 0, 1)
		}
		c.line(line)
	}}
	cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", c.script, "sh"}, c.args...)...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = c.dir, c.from.environment(os.Environ()), output, output
	cmd.ExtraFiles = []*os.File{statusWrite}
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
	}
	// The death signal is sent when the thread ends that started the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = cmd.Start()
	statusWrite.Close()
	if err != nil {
		return err
	}
	told := make(chan struct{})
	go func() {
		defer close(told)
		_, _ = io.Copy(&lineWriter{line: c.status}, statusRead)
	}()
	err = cmd.Wait()
	<-told
	if ctx.Err() != nil {
		return ctx.Err()
	}
	output.end()
	if err != nil {
		return &scriptError{err, kept}
	}
	return nil
}

// scriptEnvironment leaves of our environment what it takes to reach the
// network. Programs of packages run with it, and ours holds secrets.
func scriptEnvironment(ours []string) []string {
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8",
		"DEBIAN_FRONTEND=noninteractive", "DEBCONF_NONINTERACTIVE_SEEN=true",
	}
	for _, variable := range ours {
		name, _, _ := strings.Cut(variable, "=")
		switch strings.ToLower(name) {
		case "http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir", "apt_config":
			env = append(env, variable)
		}
	}
	return env
}

// lineWriter cuts a stream into lines, also at carriage returns; a very long
// line comes in pieces.
type lineWriter struct {
	line func(string)
	part []byte
}

func (w *lineWriter) Write(data []byte) (int, error) {
	w.part = append(w.part, data...)
	for {
		end := bytes.IndexAny(w.part, "\r\n")
		if end < 0 {
			if len(w.part) > 4096 {
				w.end()
			}
			return len(data), nil
		}
		if end > 0 {
			w.line(string(w.part[:end]))
		}
		w.part = w.part[end+1:]
	}
}

func (w *lineWriter) end() {
	if len(w.part) > 0 {
		w.line(string(w.part))
	}
	w.part = nil
}

// aptProgress condenses what apt tells into a few lines.
type aptProgress struct {
	say   func(string, ...any)
	steps map[string]string // what to say when the script says step:name

	mu    sync.Mutex // the two descriptors are read side by side
	step  string
	stage string
	fifth int
}

func (p *aptProgress) line(line string) {
	step, ok := strings.CutPrefix(line, "step:")
	if !ok || p.steps[step] == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.step, p.stage = step, ""
	p.say("%s", p.steps[step])
}

// status takes a line of apt's status descriptor, "dlstatus:3:41.5:Retrieving …"
// for downloads and "pmstatus:nodejs:12.3:Unpacking …" for installation.
func (p *aptProgress) status(line string) {
	fields := strings.SplitN(line, ":", 4)
	if len(fields) < 4 || fields[0] != "dlstatus" && fields[0] != "pmstatus" {
		return
	}
	percent, err := strconv.ParseFloat(fields[2], 64)
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.step == "update" {
		return
	}
	fifth := int(percent / 20)
	if stage := fields[0]; stage != p.stage {
		p.stage, p.fifth = stage, 0
	}
	if fifth <= p.fifth {
		return
	}
	p.fifth = fifth
	if p.stage == "dlstatus" {
		p.say("Downloaded %d %%", fifth*20)
	} else {
		p.say("Installed %d %%", fifth*20)
	}
}
