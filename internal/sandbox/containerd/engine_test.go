package containerd

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// bare is a template of nothing but the base.
var bare = sandbox.Template{
	TemplateRef: sandbox.TemplateRef{Name: "bare", Digest: strings.Repeat("ba5e", 16)}, Suite: "bookworm",
	User: sandbox.User{Name: "app", UID: 1000, GID: 1000, Home: "/home/app"}, WorkDir: "/app",
}

// privateEngine is the configuration of an engine of the test's own, which ends
// with it. Its templates are made from the machine's base.
func privateEngine(t *testing.T) Config {
	cfg := newConfig(t)
	cfg.EngineDir, cfg.CacheDir = t.TempDir(), t.TempDir()
	shared := "/var/cache/coderunner/templates"
	if err := os.MkdirAll(shared, 0o700); err != nil {
		t.Fatal(err)
	}
	base, err := ensureBase(t.Context(), supply{}, shared, bare.Suite, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{base.File, baseKey(bare.Suite) + ".json"} {
		content, err := os.ReadFile(filepath.Join(shared, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(cfg.CacheDir, name), content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		pid := enginePID(cfg)
		if err := StopEngine(context.Background(), cfg); err != nil {
			t.Error(err)
		}
		if pid != 0 && isDaemon(pid, cfg.EngineDir) {
			t.Errorf("the engine %d still runs", pid)
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		if err := os.RemoveAll(runtimeDir(cfg.EngineDir)); err != nil {
			t.Error(err)
		}
	})
	return cfg
}

// enginePID is the private daemon's, 0 if none was started.
func enginePID(cfg Config) int {
	text, _ := os.ReadFile(filepath.Join(runtimeDir(cfg.EngineDir), "containerd.pid"))
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

// killEngine ends the daemon as a crash does, and returns when it is gone.
func killEngine(t *testing.T, cfg Config) {
	t.Helper()
	pid := enginePID(cfg)
	handle, err := unix.PidfdOpen(pid, 0)
	if err != nil || !isDaemon(pid, cfg.EngineDir) {
		t.Fatalf("the engine %d does not run: %v", pid, err)
	}
	defer unix.Close(handle)
	if err := unix.PidfdSendSignal(handle, unix.SIGKILL, nil, 0); err != nil {
		t.Fatal(err)
	}
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(handle), Events: unix.POLLIN}}, int(patience.Milliseconds())); n != 1 {
		t.Fatalf("the engine did not end: %v", err)
	}
}

// TestPrivateEngine goes through the life of an engine. Its parts follow each other.
func TestPrivateEngine(t *testing.T) {
	t.Parallel()
	cfg := privateEngine(t)
	for _, part := range []struct {
		name string
		test func(*testing.T, *Provider)
	}{{"DamagedArchive", testDamagedArchive}, {"Crash", testCrash}, {"CrashDuringExec", testCrashDuringExec}, {"StopEngine", testStopEngine}, {"SnapshotsStay", testSnapshotsStay}, {"UnwantedTemplatesGo", testUnwantedTemplatesGo}} {
		t.Run(part.name, func(t *testing.T) { part.test(t, open(t, cfg)) })
	}
	p, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	wantNothingLeft(t, p)
}

// testDamagedArchive: a kept template that was damaged on the disk is built anew.
func testDamagedArchive(t *testing.T, p *Provider) {
	archive := filepath.Join(p.cfg.CacheDir, templateKey(bare.TemplateRef)+".tar")
	if err := os.WriteFile(archive, []byte("half an archive"), 0o600); err != nil {
		t.Fatal(err)
	}
	build := func() string {
		t.Helper()
		var told strings.Builder
		if err := p.BuildTemplate(t.Context(), bare, &told); err != nil {
			t.Fatalf("%v\n%s", err, &told)
		}
		return told.String()
	}
	if told := build(); !strings.Contains(told, "The kept template bare is damaged and is built anew.") {
		t.Errorf("with a damaged archive the build tells %q", told)
	}
	if told := build(); told != "" {
		t.Errorf("building what is there tells %q", told)
	}
	if err := verifyArchive(t.Context(), archive, bare.TemplateRef); err != nil {
		t.Errorf("the new archive: %v", err)
	}
	// Wherever the damage is, it is noticed.
	f, err := os.OpenFile(archive, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{0, 600, 5 << 20, info.Size() - 6000} {
		before := make([]byte, 1)
		if _, err := f.ReadAt(before, at); err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte{before[0] ^ 1}, at); err != nil {
			t.Fatal(err)
		}
		if err := verifyArchive(t.Context(), archive, bare.TemplateRef); !errors.Is(err, errDamaged) {
			t.Errorf("with one bit changed at %d the archive is taken: %v", at, err)
		}
		if _, err := f.WriteAt(before, at); err != nil {
			t.Fatal(err)
		}
	}
	makeBox(t, p, sandbox.Spec{Name: "box", Template: bare.TemplateRef})
	if got := sh(t, p, "box", `id -un; pwd`); got != "app\n/app\n" {
		t.Errorf("in the template there is %q", got)
	}
}

// testCrash ends the daemon: calls say so, the provider brings it back by
// itself, and whatever ran has gone on.
func testCrash(t *testing.T, p *Provider) {
	makeBox(t, p, sandbox.Spec{Name: "box", Template: bare.TemplateRef})
	if err := p.Start(within(t), "box", "app", script(`mkfifo go; echo up; cat go; echo after; exec sleep 1000`)); err != nil {
		t.Fatal(err)
	}
	printed(t, p, "box", "app", "up\n")
	before, err := p.Process(within(t), "box", "app")
	if err != nil {
		t.Fatal(err)
	}
	was := enginePID(p.cfg)
	killEngine(t, p.cfg)
	if _, err := p.Get(within(t), "box"); coderunner.KindOf(err) != coderunner.Unavailable {
		t.Errorf("Get without an engine: %v", err)
	}
	until(t, "the engine is back", func() bool {
		_, err := p.Get(within(t), "box")
		if err != nil && coderunner.KindOf(err) != coderunner.Unavailable {
			t.Fatalf("while the engine comes back: %v", err)
		}
		return err == nil
	})
	if enginePID(p.cfg) == was {
		t.Error("it is the same engine")
	}
	if after, err := p.Process(within(t), "box", "app"); err != nil || !after.Running || after.PID != before.PID {
		t.Errorf("the process was %+v and is %+v, %v", before, after, err)
	}
	sh(t, p, "box", `echo news > go`)
	printed(t, p, "box", "app", "news\nafter\n")
	if err := p.Stop(within(t), "box", "app", patience); err != nil {
		t.Error(err)
	}
	if status, err := p.Process(within(t), "box", "app"); err != nil || status.Running || status.Exit.Signal != 15 {
		t.Errorf("after Stop the process is %+v, %v", status, err)
	}
	if err := p.Check(within(t)); err != nil {
		t.Errorf("Check: %v", err)
	}
}

// testCrashDuringExec: a command goes on while the engine is away, to its own end.
func testCrashDuringExec(t *testing.T, p *Provider) {
	makeBox(t, p, sandbox.Spec{Name: "box", Template: bare.TemplateRef})
	reading, writing, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reading.Close()
	input, feed := io.Pipe()
	defer feed.Close()
	type end struct {
		exit sandbox.Exit
		err  error
	}
	ended := make(chan end, 1)
	go func() {
		cmd := script(`echo ready; read -r code; sleep 1000.77 & exit "$code"`)
		cmd.Stdin, cmd.Stdout = input, writing
		exit, err := p.Exec(within(t), "box", cmd)
		writing.Close()
		ended <- end{exit, err}
	}()
	if _, err := reading.Read(make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	killEngine(t, p.cfg)
	if _, err := io.WriteString(feed, "7\n"); err != nil {
		t.Fatal(err)
	}
	feed.Close()
	select {
	case e := <-ended:
		if e.err != nil || e.exit.Code != 7 {
			t.Errorf("Exec whose engine died: %+v, %v", e.exit, e.err)
		}
	case <-time.After(patience):
		t.Fatal("Exec whose engine died does not return")
	}
	until(t, "the engine is back", func() bool { _, err := p.Get(within(t), "box"); return err == nil })
	if got := sh(t, p, "box", `cat /proc/[0-9]*/cmdline | tr '\0' ' ' | grep -o 'sleep 1000[.]77' || echo none`); got != "none\n" {
		t.Errorf("what the command started goes on: %q", got)
	}
}

// testStopEngine: sandboxes and volumes stay on the disk, and Create brings
// them back with their addresses.
func testStopEngine(t *testing.T, p *Provider) {
	cfg := p.cfg
	spec := sandbox.Spec{Name: "box", Template: bare.TemplateRef, Network: "net", Volumes: []sandbox.Mount{{Volume: "data", Path: "/data"}}}
	t.Cleanup(func() {
		p, err := Open(context.Background(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		for _, err := range []error{
			p.Destroy(context.Background(), "first"), p.Destroy(context.Background(), "box"),
			p.RemoveVolume(context.Background(), "data"), p.RemoveNetwork(context.Background(), "net"),
		} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	first := sandbox.Spec{Name: "first", Template: bare.TemplateRef, Network: "net"}
	for _, s := range []sandbox.Spec{first, spec} { // the one's address is not the network's first
		if _, err := p.Create(within(t), s); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Destroy(within(t), "first"); err != nil {
		t.Fatal(err)
	}
	address, err := p.Address(within(t), "box", 80)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(within(t), "box", "app", script(`trap 'echo saved > /data/file; exit 0' TERM; echo up; while :; do sleep 1000 & wait; done`)); err != nil {
		t.Fatal(err)
	}
	printed(t, p, "box", "app", "up\n")
	sh(t, p, "box", `echo root > file`)

	if err := p.Close(); err != nil {
		t.Fatal(err)
	}

	// An engine with another instance's sandbox goes on.
	other := cfg
	other.Instance, other.StateDir = cfg.Instance+"-other", t.TempDir()
	second, err := Open(t.Context(), other)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.Create(within(t), sandbox.Spec{Name: "box", Template: bare.TemplateRef}); err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	killEngine(t, cfg) // what runs outlives it, and is ended all the same
	if err := StopEngine(within(t), cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := netlink.LinkByName(p.linkName(bridgePrefix, "net")); !isNoLink(err) {
		t.Errorf("with the engine killed before, the sandboxes go on: %v", err)
	}
	if second, err = Open(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if _, err := netlink.LinkByName(second.linkName(bridgePrefix, soloNetwork("box"))); err != nil {
		t.Errorf("another instance's network: %v", err)
	}
	if got := sh(t, second, "box", `echo well`); got != "well\n" {
		t.Errorf("another instance's sandbox says %q", got)
	}
	for _, err := range []error{second.Destroy(within(t), "box"), second.Close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	pid := enginePID(cfg)
	for range 2 {
		if err := StopEngine(within(t), cfg); err != nil {
			t.Fatal(err)
		}
	}
	if isDaemon(pid, cfg.EngineDir) || answers(cfg.socket()) {
		t.Errorf("the engine still runs: %v, %v", isDaemon(pid, cfg.EngineDir), answers(cfg.socket()))
	}
	if _, err := netlink.LinkByName(p.linkName(bridgePrefix, "net")); !isNoLink(err) {
		t.Errorf("the network is still there: %v", err)
	}
	if left, err := filepath.Glob(netnsPath(cfg.Instance + "*")); err != nil || len(left) > 0 {
		t.Errorf("namespaces are still there: %v, %v", left, err)
	}

	again := open(t, cfg)
	info, err := again.Get(within(t), "box")
	if err != nil || info.State != sandbox.StateStopped {
		t.Errorf("the sandbox is %+v, %v", info, err)
	}
	if names, err := again.ListNetworks(within(t)); err != nil || len(names) != 1 {
		t.Errorf("the networks are %q, %v", names, err)
	}
	if _, err := again.Create(within(t), spec); err != nil {
		t.Fatal(err)
	}
	if now, err := again.Address(within(t), "box", 80); err != nil || now != address {
		t.Errorf("the address was %+v and is %+v, %v", address, now, err)
	}
	if got := sh(t, again, "box", `cat /data/file file`); got != "saved\nroot\n" {
		t.Errorf("its files have %q", got)
	}
	if status, err := again.Process(within(t), "box", "app"); err != nil || status.Running || status.Exit.Code != 0 || status.EndedAt.IsZero() {
		t.Errorf("its process is %+v, %v", status, err)
	}
	if err := again.Start(within(t), "box", "app", script(`echo revived; exec sleep 1000`)); err != nil {
		t.Fatal(err)
	}
	printed(t, again, "box", "app", "up\nrevived\n")
}

// reboot takes away what the kernel keeps of the instance.
func reboot(t *testing.T, p *Provider) {
	t.Helper()
	if err := p.detach(within(t), "box"); err != nil {
		t.Fatal(err)
	}
	bridge, err := netlink.LinkByName(p.linkName(bridgePrefix, "net"))
	if err == nil {
		err = netlink.LinkDel(bridge)
	}
	if err != nil && !errors.Is(err, unix.ENODEV) {
		t.Fatal(err)
	}
}
