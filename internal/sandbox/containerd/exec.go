package containerd

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	client "github.com/containerd/containerd/v2/client"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// Exec implements sandbox.Provider. What the command leaves running is killed when it ends.
func (p *Provider) Exec(ctx context.Context, name string, cmd sandbox.Command) (sandbox.Exit, error) {
	container, init, err := p.inside(ctx, name)
	if err != nil {
		return sandbox.Exit{}, err
	}
	if err := checkCommand(cmd); err != nil {
		return sandbox.Exit{}, err
	}
	group := "x-" + strings.ToLower(rand.Text())
	if cmd.ID != "" {
		group = "i-" + cmd.ID
		if err := p.clear(ctx, name, container.ID(), group); err != nil {
			return sandbox.Exit{}, err
		}
	}
	timed, cancel := ctx, context.CancelFunc(func() {})
	if cmd.Timeout > 0 {
		timed, cancel = context.WithTimeout(ctx, cmd.Timeout)
	}
	defer cancel()
	kills := p.cgroups.oomKills(sandboxGroup(container.ID()))
	entry, err := p.entry(timed, container, init, group, cmd)
	var begun *launched
	if err == nil {
		begun, err = p.launch(timed, name, entry, cmd)
	}
	if err != nil {
		err = p.afterExec(ctx, timed, name, err, cmd)
		return sandbox.Exit{TimedOut: err == nil}, err
	}
	exit, err := begun.await(timed)
	exit.OOMKilled = p.cgroups.oomKills(sandboxGroup(container.ID())) > kills
	if err != nil {
		err = p.afterExec(ctx, timed, name, err, cmd)
		exit.TimedOut = err == nil
	} else if exit.Signal == int(unix.SIGKILL) {
		// It may have been killed with its sandbox.
		if _, missing := p.load(context.WithoutCancel(ctx), name); coderunner.KindOf(missing) == coderunner.NotFound {
			err = missing
		}
	}
	return exit, err
}

// afterExec tells the caller's end from the command's own timeout (which is no
// error) and from the end of the sandbox.
func (p *Provider) afterExec(ctx, timed context.Context, name string, err error, cmd sandbox.Command) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case timed.Err() != nil && cmd.Timeout > 0:
		return nil
	}
	return p.afterLaunch(ctx, name, err, cmd, "running a command")
}

// afterLaunch tells why a process could not begin or be seen to its end.
func (p *Provider) afterLaunch(ctx context.Context, name string, err error, cmd sandbox.Command, doing string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if _, missing := p.load(context.WithoutCancel(ctx), name); coderunner.KindOf(missing) == coderunner.NotFound {
		return missing
	}
	if info, known := p.Get(context.WithoutCancel(ctx), name); known == nil && info.State == sandbox.StateStopped {
		return stopped(name)
	}
	var path *os.PathError
	switch {
	case errors.As(err, &path) && path.Op == "chdir":
		return coderunner.Wrap(err, coderunner.Invalid, "The directory %q cannot be entered in the sandbox. Check that it exists.", cmd.Dir)
	case errors.Is(err, unix.EAGAIN) || p.cgroups.full(sandboxGroup(p.containerID(name))):
		return coderunner.Wrap(err, coderunner.Unavailable, "The sandbox %s is full: it runs as many processes as it may. Stop some, then try again.", name)
	}
	return p.translate(err, doing+" in the sandbox "+name)
}

// launched is a command that has begun, as a child of this program.
type launched struct {
	exits  <-chan sandbox.Exit
	tree   tree
	gate   *gate
	fed    chan struct{} // closed when its input has been written, or nobody reads it any more
	unread error         // why its input could not be read to the end; valid once fed is closed
}

// entry prepares a process that is to begin in a sandbox.
func (p *Provider) entry(ctx context.Context, container client.Container, init int, group string, cmd sandbox.Command) (entry, error) {
	meta, err := container.Info(p.ctx(ctx), client.WithoutRefreshedMetadata)
	if err != nil {
		return entry{}, err
	}
	var spec specs.Spec
	if err := json.Unmarshal(meta.Spec.GetValue(), &spec); err != nil {
		return entry{}, fmt.Errorf("read the specification of %s: %w", container.ID(), err)
	}
	process, err := processSpec(spec.Process, cmd, meta.Labels)
	if err != nil {
		return entry{}, err
	}
	filters, err := p.filtersLike(spec, container.ID(), init)
	if err != nil {
		return entry{}, err
	}
	return entry{ID: container.ID(), Init: init, Group: group, Process: process, Filters: filters}, nil
}

// filtersLike are the system call filters of a sandbox's first process, or those of
// another one that has the same.
func (p *Provider) filtersLike(spec specs.Spec, id string, init int) ([][]unix.SockFilter, error) {
	text, err := json.Marshal(spec.Linux.Seccomp)
	if err != nil {
		return nil, err
	}
	if known, is := p.filters.Load(string(text)); is {
		return known.([][]unix.SockFilter), nil
	}
	p.locks.lock(initLock(id))()
	filters, err := filtersOf(init)
	if err == nil {
		p.filters.Store(string(text), filters)
	}
	return filters, err
}

// launch begins a command in a control group of its own.
func (p *Provider) launch(ctx context.Context, name string, e entry, cmd sandbox.Command) (*launched, error) {
	gate, err := makeGate(p.gatePath(name, e.Group), cmd.Stdout, cmd.Stderr)
	if err != nil {
		return nil, err
	}
	e.Process.Args = gate.arguments(execScript, e.Process, cmd.Argv)
	nothing, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		gate.close()
		return nil, err
	}
	defer nothing.Close()
	pid, err := e.enter(p.cgroups, [3]*os.File{nothing, nothing, nothing})
	if err != nil {
		gate.close()
		return nil, errors.Join(err, p.cgroups.tree(e.ID, e.Group).kill(context.WithoutCancel(ctx)))
	}
	exits := make(chan sandbox.Exit, 1)
	go func() { exits <- reap(pid) }()
	begun := &launched{exits: exits, tree: p.cgroups.tree(e.ID, e.Group), gate: gate, fed: make(chan struct{})}
	go func() {
		defer close(begun.fed)
		begun.unread = gate.open(cmd.Stdin)
	}()
	return begun, nil
}

// reap waits for the end of a child.
func reap(pid int) sandbox.Exit {
	var status unix.WaitStatus
	for {
		if _, err := unix.Wait4(pid, &status, 0, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if status.Signaled() {
		return sandbox.Exit{Code: 128 + int(status.Signal()), Signal: int(status.Signal())}
	}
	return exitOf(uint32(status.ExitStatus()))
}

// inputTime is how long the reader of a command's input may hold up its end.
// Whoever reads from a connection may never come back; what is readable takes no time.
const inputTime = time.Second

// await waits for the end of a command and of all that it started.
func (l *launched) await(ctx context.Context) (exit sandbox.Exit, err error) {
	var stopped error
	select {
	case exit = <-l.exits:
	case <-ctx.Done():
		stopped = ctx.Err()
	}
	limit, end := context.WithTimeout(context.WithoutCancel(ctx), 2*killTime)
	defer end()
	killed := l.tree.kill(limit)
	if stopped != nil && killed == nil {
		exit = <-l.exits
	}
	l.gate.abandon()
	var unread error
	select {
	case <-l.fed:
		unread = l.unread
	case <-time.After(inputTime):
	}
	l.gate.close() // returns when all output has been delivered
	return exit, errors.Join(stopped, killed, unread)
}

func exitOf(code uint32) sandbox.Exit {
	exit := sandbox.Exit{Code: int(code & 0xff)}
	if code > 128 && code <= 128+64 {
		exit.Signal = int(code - 128)
	}
	return exit
}

// checkCommand refuses what can never be run.
func checkCommand(cmd sandbox.Command) error {
	if len(cmd.Argv) == 0 || cmd.Argv[0] == "" {
		return coderunner.Errorf(coderunner.Invalid, "The command is empty.")
	}
	for _, arg := range append(slices.Clone(cmd.Argv), cmd.Dir) {
		if !isText(arg) {
			return coderunner.Errorf(coderunner.Invalid, "The command has bytes in %q that are no text.", arg)
		}
	}
	if cmd.ID != "" {
		if err := checkName("command", cmd.ID); err != nil {
			return err
		}
	}
	return checkEnv(cmd.Env)
}

// processSpec is the sandbox's own process with what the command changes.
func processSpec(base *specs.Process, cmd sandbox.Command, labels map[string]string) (*specs.Process, error) {
	process := *base
	env := map[string]string{}
	for _, pair := range base.Env {
		key, value, _ := strings.Cut(pair, "=")
		env[key] = value
	}
	switch cmd.User {
	case "", env["USER"]:
	case "root":
		process.User = specs.User{}
		process.Capabilities = &specs.LinuxCapabilities{Bounding: rootCapabilities, Effective: rootCapabilities, Permitted: rootCapabilities}
		env["USER"], env["HOME"] = "root", "/root"
	default:
		return nil, coderunner.Errorf(coderunner.Invalid, "The template %s has no user %q.", labels[labelTemplateName], cmd.User)
	}
	maps.Copy(env, cmd.Env)
	process.Env = pairs(env)
	if cmd.Dir != "" {
		process.Cwd = cmd.Dir
	}
	process.Terminal = false
	return &process, nil
}

// ReadFile implements sandbox.Provider.
func (p *Provider) ReadFile(ctx context.Context, name, path string, limit int64) (io.ReadCloser, error) {
	if limit < 0 {
		return nil, coderunner.Errorf(coderunner.Invalid, "%d is no limit of a file's size.", limit)
	}
	var content, complaint bytes.Buffer
	const absent = 66 // EX_NOINPUT
	exit, err := p.Exec(ctx, name, sandbox.Command{
		Argv: []string{"/bin/sh", "-c", `test -f "$1" || exit 66; exec head --bytes="$2" -- "$1"`, "read", path, strconv.FormatInt(limit, 10)},
		Dir:  "/", Stdout: &content, Stderr: &complaint,
	})
	switch {
	case err != nil:
		return nil, err
	case exit.Code == absent:
		return nil, coderunner.Errorf(coderunner.NotFound, "The sandbox has no regular file %q.", path)
	case exit.Code != 0:
		return nil, coderunner.Errorf(coderunner.Invalid, "The file %q cannot be read: %s", path, strings.TrimSpace(complaint.String()))
	}
	return io.NopCloser(&content), nil
}
