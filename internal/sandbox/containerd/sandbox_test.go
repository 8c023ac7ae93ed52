package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/sandbox/containerd/inside"
)

// patience bounds whatever a test waits for; only a failure takes so long.
const patience = 30 * time.Second

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// ready makes sure that the template is there.
func ready(t *testing.T, p *Provider, template sandbox.Template) sandbox.TemplateRef {
	t.Helper()
	if err := p.BuildTemplate(t.Context(), template, t.Output()); err != nil {
		t.Fatal(err)
	}
	return template.TemplateRef
}

// makeBox makes a sandbox that ends with the test.
func makeBox(t *testing.T, p *Provider, spec sandbox.Spec) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := p.Destroy(ctx, spec.Name); err != nil {
			t.Errorf("destroying %s: %v", spec.Name, err)
		}
	})
	if _, err := p.Create(within(t), spec); err != nil {
		t.Fatal(err)
	}
}

// sh runs a script that must succeed and returns what it printed.
func sh(t *testing.T, p *Provider, name, script string, args ...string) string {
	t.Helper()
	var out, problems strings.Builder
	exit, err := p.Exec(within(t), name, sandbox.Command{Argv: append([]string{"/bin/sh", "-c", script, "sh"}, args...), Stdout: &out, Stderr: &problems})
	if err != nil || exit != (sandbox.Exit{}) {
		t.Fatalf("%q in %s: %+v, %v: %s%s", script, name, exit, err, &out, &problems)
	}
	return out.String()
}

func script(text string) sandbox.Command {
	return sandbox.Command{Argv: []string{"/bin/sh", "-c", text}}
}

// printed waits until the process has printed text.
func printed(t *testing.T, p *Provider, name, process, text string) {
	t.Helper()
	var all strings.Builder
	ctx, enough := context.WithCancel(within(t))
	defer enough()
	err := p.Output(ctx, name, process, 0, true, func(c sandbox.OutputChunk) error {
		all.Write(c.Data)
		if strings.Contains(all.String(), text) {
			enough()
		}
		return nil
	})
	if !strings.Contains(all.String(), text) {
		t.Fatalf("%s printed %q and not %q: %v", process, &all, text, err)
	}
}

// until asks again and again whether something is so.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, tick := within(t), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// TestInstancesAreApart: two instances of one engine know nothing of each other.
func TestInstancesAreApart(t *testing.T) {
	t.Parallel()
	ours, theirs := newConfig(t), newConfig(t)
	theirs.Instance = ours.Instance + "-a"
	p, other := open(t, ours), open(t, theirs)
	ref := ready(t, p, templateOf(t, "postgres-15"))
	spec := sandbox.Spec{Name: "a-b", Template: ref, Network: "net", Volumes: []sandbox.Mount{{Volume: "data", Path: "/data"}}}
	t.Cleanup(func() {
		for _, err := range []error{p.RemoveVolume(context.Background(), "data"), p.RemoveNetwork(context.Background(), "net")} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	makeBox(t, p, spec)
	for _, name := range []string{"b", "a-b"} {
		if _, err := other.Get(within(t), name); coderunner.KindOf(err) != coderunner.NotFound {
			t.Errorf("another instance gets %s: %v", name, err)
		}
		if err := other.Destroy(within(t), name); err != nil {
			t.Error(err)
		}
	}
	if infos, err := other.List(within(t), nil); err != nil || len(infos) != 0 {
		t.Errorf("another instance lists %+v, %v", infos, err)
	}
	if names, err := other.ListNetworks(within(t)); err != nil || len(names) != 0 {
		t.Errorf("another instance has the networks %q, %v", names, err)
	}
	for _, err := range []error{other.RemoveVolume(within(t), "data"), other.RemoveNetwork(within(t), "net")} {
		if err != nil {
			t.Error(err)
		}
	}
	if got := sh(t, p, "a-b", `echo well > /data/file && cat /data/file`); got != "well\n" {
		t.Errorf("the sandbox says %q", got)
	}
}

// TestStoppedSandbox ends a sandbox's first process from within, as its user may.
func TestStoppedSandbox(t *testing.T) {
	t.Parallel()
	p := open(t, newConfig(t))
	spec := sandbox.Spec{Name: "box", Template: ready(t, p, templateOf(t, "postgres-15"))}
	makeBox(t, p, spec)
	if err := p.Start(within(t), "box", "app", script(`echo up; exec sleep 1000`)); err != nil {
		t.Fatal(err)
	}
	printed(t, p, "box", "app", "up\n")
	sh(t, p, "box", `echo kept > file`)
	_, _ = p.Exec(within(t), "box", script(`kill -9 -1`))
	until(t, "the sandbox has stopped", func() bool {
		info, err := p.Get(within(t), "box")
		return err == nil && info.State == sandbox.StateStopped
	})
	for what, call := range map[string]func() error{
		"Exec":  func() error { _, err := p.Exec(within(t), "box", script("true")); return err },
		"Start": func() error { return p.Start(within(t), "box", "new", script("true")) },
	} {
		if err := call(); coderunner.KindOf(err) != coderunner.NotFound {
			t.Errorf("%s in a sandbox that does not run: %v", what, err)
		}
	}
	if status, err := p.Wait(within(t), "box", "app"); err != nil || status.Running || status.Exit.Signal != 9 {
		t.Errorf("its process is %+v, %v", status, err)
	}
	if err := p.Stop(within(t), "box", "app", time.Second); err != nil {
		t.Errorf("stopping a process that ended with its sandbox: %v", err)
	}
	if info, err := p.Create(within(t), spec); err != nil || info.State != sandbox.StateRunning {
		t.Errorf("Create of a stopped sandbox = %+v, %v", info, err)
	}
	if got := sh(t, p, "box", `cat file`); got != "kept\n" {
		t.Errorf("its file has %q", got)
	}
	if err := p.Start(within(t), "box", "app", script(`echo again; exec sleep 1000`)); err != nil {
		t.Fatal(err)
	}
	printed(t, p, "box", "app", "again\n")
}

// TestHalfDestroyed: what a destruction that was cut off left is not found, and
// its name makes a new sandbox.
func TestHalfDestroyed(t *testing.T) {
	t.Parallel()
	p := open(t, newConfig(t))
	spec := sandbox.Spec{Name: "box", Template: ready(t, p, templateOf(t, "postgres-15"))}
	makeBox(t, p, spec)
	sh(t, p, "box", `echo old > file`)
	if err := p.condemn(within(t), "box"); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Exec(within(t), "box", script("true")); coderunner.KindOf(err) != coderunner.NotFound {
		t.Errorf("Exec in what is being destroyed: %v", err)
	}
	if _, err := p.Create(within(t), spec); err != nil {
		t.Fatal(err)
	}
	if got := sh(t, p, "box", `cat file 2>/dev/null || echo new`); got != "new\n" {
		t.Errorf("the new sandbox has the old one's file: %q", got)
	}
}

// TestRawOutputIsOursAlone: what a process has printed may hold secrets. Nobody else
// on the machine reads it, and it goes with its sandbox.
func TestRawOutputIsOursAlone(t *testing.T) {
	t.Parallel()
	p := open(t, newConfig(t))
	makeBox(t, p, sandbox.Spec{Name: "box", Template: ready(t, p, templateOf(t, "postgres-15"))})
	if err := p.Start(within(t), "box", "app", script(`echo a secret; exec sleep 1000`)); err != nil {
		t.Fatal(err)
	}
	printed(t, p, "box", "app", "a secret\n")
	dir := p.outputDir("box", "app")
	starts, err := inside.OutputStarts(dir)
	if err != nil || len(starts) != 1 {
		t.Fatalf("the output is in %v, %v", starts, err)
	}
	for path, want := range map[string]os.FileMode{dir: os.ModeDir | 0o700, inside.OutputFile(dir, starts[0]): 0o600} {
		info, err := os.Stat(path)
		if err != nil || info.Mode() != want || int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() {
			t.Errorf("%s is %+v, %v, want %s and ours", path, info, err, want)
		}
	}
	if err := p.Destroy(within(t), "box"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(p.sandboxDir("box")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after the end of its sandbox the output is still there: %v", err)
	}
}

// TestOneKeeper: a process that is started again before anybody saw its end has
// one keeper of its output, not two that write over each other.
func TestOneKeeper(t *testing.T) {
	t.Parallel()
	p := open(t, newConfig(t))
	makeBox(t, p, sandbox.Spec{Name: "box", Template: ready(t, p, templateOf(t, "postgres-15"))})
	again := script(`echo x >> started; echo up; test "$(wc -l < started)" -lt 3 || exec sleep 1000`)
	until(t, "it was started three times", func() bool {
		if err := p.Start(within(t), "box", "app", again); err != nil {
			t.Fatal(err)
		}
		return sh(t, p, "box", `cat started 2>/dev/null || true`) == "x\nx\nx\n"
	})
	printed(t, p, "box", "app", "up\nup\nup\n")
	if keepers := keepersOf(t, p, "box", "app"); len(keepers) != 1 {
		t.Errorf("the keepers of one process are %v", keepers)
	}
}

// TestKeeperDies: a process that nobody keeps any more does not go on unseen.
func TestKeeperDies(t *testing.T) {
	t.Parallel()
	p := open(t, newConfig(t))
	makeBox(t, p, sandbox.Spec{Name: "box", Template: ready(t, p, templateOf(t, "postgres-15"))})
	if err := p.Start(within(t), "box", "app", script(`trap "" PIPE; echo up; exec sleep 1000`)); err != nil {
		t.Fatal(err)
	}
	printed(t, p, "box", "app", "up\n")
	running, err := p.Process(within(t), "box", "app")
	if err != nil || !running.Running {
		t.Fatalf("the process is %+v, %v", running, err)
	}
	for _, pid := range keepersOf(t, p, "box", "app") {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	status, err := p.Wait(within(t), "box", "app")
	if err != nil || status.Running || status.Exit.Signal != 9 {
		t.Errorf("after its keeper died the process is %+v, %v", status, err)
	}
	if err := unix.Kill(running.PID, 0); !errors.Is(err, unix.ESRCH) && !isZombie(running.PID) {
		t.Errorf("the process goes on: %v", err)
	}
	if err := p.Start(within(t), "box", "app", script(`echo again; exec sleep 1000`)); err != nil {
		t.Errorf("starting it again: %v", err)
	}
	printed(t, p, "box", "app", "up\nagain\n")
}

func isZombie(pid int) bool {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return strings.Contains(string(status), "\nState:\tZ")
}

// keepersOf are the processes that hold a process's lifeline.
func keepersOf(t *testing.T, p *Provider, name, process string) (pids []int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if target, _ := os.Readlink(file); target == p.lifelinePath(name, process) {
			pid, err := strconv.Atoi(strings.Split(file, "/")[2])
			if err != nil {
				t.Fatal(err)
			}
			if pid != os.Getpid() { // a reader of ours that waits for the end holds the pipe as well
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
