package containerd

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/sandbox/containerd/inside"
	"github.com/coderunner/coderunner/internal/sandbox/sandboxtest"
)

// fromStandbys makes every new sandbox from a standby.
type fromStandbys struct {
	*Provider
	t *testing.T
}

// allow lets the provider have as many standbys as are prepared.
func allow(p *Provider) {
	p.standbys.mu.Lock()
	defer p.standbys.mu.Unlock()
	p.standbys.keep, p.standbys.quiet = 1000, 24*time.Hour
}

// prepare makes a standby.
func prepare(t *testing.T, p *Provider) {
	t.Helper()
	if _, err := p.addStandby(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (f fromStandbys) Create(ctx context.Context, spec sandbox.Spec) (sandbox.Info, error) {
	if _, err := f.addStandby(ctx); err != nil { // each brings its own: others make sandboxes at the same time
		return sandbox.Info{}, err
	}
	_, missing := f.find(f.t.Context(), spec.Name)
	info, err := f.Provider.Create(ctx, spec)
	if err == nil && missing != nil && !isStandby(f.id(spec.Name)) {
		f.t.Errorf("the sandbox %s was not made from a standby", spec.Name)
	}
	return info, err
}

// TestStandbyConformance: a sandbox made from a standby is one like any other.
func TestStandbyConformance(t *testing.T) {
	t.Parallel()
	cfg := newConfig(t)
	t.Run("suite", func(t *testing.T) {
		sandboxtest.Run(t, func(t *testing.T) sandbox.Provider {
			p, err := Open(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			allow(p)
			return fromStandbys{p, t}
		}, templateOf(t, "nodejs-18"), templateOf(t, "postgres-15"))
	})
	p := open(t, cfg)
	if err := p.dropStandbys(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantNothingLeft(t, p)
}

// seen is what a process of a sandbox finds.
var seen = map[string]string{
	"mounts":        `cut -d ' ' -f 4- /proc/self/mountinfo | sed 's/master:[0-9]* //'`,
	"root":          `ls -la / | grep -v -e ' \.\.$' -e ' proc$' -e ' run$'; ls -la /run /app`,
	"identity":      `id; hostname; env; pwd; ulimit -a; umask`,
	"status":        `grep -E 'Cap|NoNewPrivs|Seccomp' /proc/self/status`,
	"hidden":        `ls -la /proc/timer_list /sys/firmware /proc/sys/kernel/hostname; cat /proc/keys; echo x > /proc/sys/kernel/hostname`,
	"names":         `cat /etc/hosts /etc/resolv.conf; echo x >> /etc/hosts; echo x >> /etc/resolv.conf`,
	"devices":       `ls -la /dev /dev/pts /dev/shm`,
	"volume":        `stat -c '%U %a' /data; echo kept > /data/file; cat /data/file`,
	"other devices": `mknod /tmp/sda b 8 0; mount -t tmpfs none /tmp; ls /mnt`,
	"network":       `cat /proc/net/route | wc -l; cat /proc/sys/net/ipv4/ip_forward`,
}

// TestStandbyLooksAlike: nothing in a sandbox tells whether it was made from a standby.
func TestStandbyLooksAlike(t *testing.T) {
	t.Parallel()
	p := open(t, newConfig(t))
	ref := ready(t, p, templateOf(t, "nodejs-18"))
	looks := map[bool]map[string]string{}
	for _, standby := range []bool{false, true} {
		if standby {
			allow(p)
			prepare(t, p)
		}
		name := map[bool]string{false: "box-a", true: "box-b"}[standby]
		makeBox(t, p, sandbox.Spec{Name: name, Template: ref, Hostname: "host", Env: map[string]string{"GIVEN": "yes"}, Limits: sandbox.Limits{MemoryBytes: 200 << 20, PIDs: 77, CPUs: 0.5},
			Volumes: []sandbox.Mount{{Volume: name, Path: "/data"}}})
		if isStandby(p.id(name)) != standby {
			t.Fatalf("%s is %s at the engine", name, p.id(name))
		}
		t.Cleanup(func() {
			if err := p.Destroy(context.Background(), name); err != nil {
				t.Error(err)
			}
			if err := p.RemoveVolume(context.Background(), name); err != nil {
				t.Error(err)
			}
		})
		looks[standby] = map[string]string{"limits": limitsFound(p, p.id(name))}
		for _, user := range []string{"", "root"} {
			for _, what := range sortedKeys(seen) {
				script := seen[what]
				var out strings.Builder
				if _, err := p.Exec(within(t), name, sandbox.Command{Argv: []string{"/bin/sh", "-c", "exec 2>&1; " + script}, User: user, Stdout: &out}); err != nil {
					t.Fatal(err)
				}
				text := strings.ReplaceAll(strings.ReplaceAll(out.String(), p.id(name), "ID"), name, "NAME")
				text = regexp.MustCompile(`10\.213\.\d+\.\d+|(upper|work)dir=\S+?/\d+/|\w{3} +\d+ \d\d:\d\d`).ReplaceAllString(text, "…")
				lines := strings.Split(text, "\n")
				slices.Sort(lines) // what comes from two streams has no order
				looks[standby][what+" as "+user] = strings.Join(lines, "\n")
			}
		}
	}
	for what, plain := range looks[false] {
		if got := looks[true][what]; got != plain {
			t.Errorf("%s from a standby:\n%s\nelse:\n%s", what, got, plain)
		}
	}
}

// limitsFound are the values of the files that limit a sandbox.
func limitsFound(p *Provider, id string) string {
	var found []string
	for _, f := range [][2]string{{"pids", "pids.max"}, {"memory", "memory.limit_in_bytes"}, {"memory", "memory.memsw.limit_in_bytes"}, {"cpu", "cpu.cfs_quota_us"}, {"cpu", "cpu.cfs_period_us"},
		{"", "memory.max"}, {"", "memory.swap.max"}, {"", "cpu.max"}} {
		text, err := os.ReadFile(p.cgroups.File(f[0], inside.SandboxGroup(id), f[1]))
		if err == nil {
			found = append(found, f[1]+" "+strings.TrimSpace(string(text)))
		}
	}
	return strings.Join(found, "\n")
}

// TestStandbySnapshot: when a snapshot is taken, nothing has the root mounted any more.
func TestStandbySnapshot(t *testing.T) {
	t.Parallel()
	p := open(t, newConfig(t))
	ref := ready(t, p, templateOf(t, "postgres-15"))
	allow(p)
	for _, name := range []string{"one", "two", "three"} {
		prepare(t, p)
		makeBox(t, p, sandbox.Spec{Name: name, Template: ref})
		if !isStandby(p.id(name)) {
			t.Fatalf("%s is %s at the engine", name, p.id(name))
		}
		if err := p.Start(within(t), name, "sleeper", sandbox.Command{Argv: []string{"/bin/sleep", "1000"}}); err != nil {
			t.Fatal(err)
		}
		sh(t, p, name, "echo kept > /tmp/file")
		mounts, err := p.roots().Mounts(p.ctx(t.Context()), p.id(name))
		if err != nil {
			t.Fatal(err)
		}
		container, err := p.find(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if !p.unmountRoot(t.Context(), container) {
			t.Fatal("the root could not be unmounted without the engine")
		}
		// With an index the kernel refuses what is a part of another mount (overlayfs.rst, "Sharing and copying layers").
		options := strings.ReplaceAll(strings.Join(mounts[0].Options, ","), "index=off", "index=on")
		if !strings.Contains(options, "index=on") {
			options += ",index=on"
		}
		at := t.TempDir()
		if err := unix.Mount("overlay", at, "overlay", 0, options); err != nil {
			t.Fatalf("the root is still mounted: %v", err)
		}
		if text, err := os.ReadFile(filepath.Join(at, "tmp/file")); string(text) != "kept\n" {
			t.Errorf("the root has %q, %v", text, err)
		}
		if err := unix.Unmount(at, 0); err != nil {
			t.Fatal(err)
		}
	}
}

// TestStandbyReboot: a sandbox made from a standby boots as any other when its
// processes have gone.
func TestStandbyReboot(t *testing.T) {
	t.Parallel()
	cfg := newConfig(t)
	p := open(t, cfg)
	ref := ready(t, p, templateOf(t, "postgres-15"))
	allow(p)
	prepare(t, p)
	spec := sandbox.Spec{Name: "box", Template: ref, Env: map[string]string{"GIVEN": "yes"}}
	makeBox(t, p, spec)
	sh(t, p, "box", "echo kept > /tmp/file")
	address, err := p.Address(t.Context(), "box", 1)
	if err != nil {
		t.Fatal(err)
	}
	container, err := p.find(t.Context(), "box")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.endTask(t.Context(), container); err != nil {
		t.Fatal(err)
	}
	other := open(t, cfg) // one that has not made it
	if info, err := other.Get(t.Context(), "box"); err != nil || info.State != sandbox.StateStopped {
		t.Fatalf("with its processes gone it is %+v, %v", info, err)
	}
	if _, err := other.Create(within(t), spec); err != nil {
		t.Fatal(err)
	}
	if got := sh(t, other, "box", `cat /tmp/file; echo $GIVEN`); got != "kept\nyes\n" {
		t.Errorf("it has %q", got)
	}
	if again, err := other.Address(t.Context(), "box", 1); err != nil || again != address {
		t.Errorf("its address is %v, %v, was %v", again, err, address)
	}
	if got := sh(t, p, "box", `hostname`); got != "box\n" {
		t.Errorf("for the one who made it, it is %q", got)
	}
}

// TestStandbyGone: a standby that has ended meanwhile is no hindrance.
func TestStandbyGone(t *testing.T) {
	t.Parallel()
	cfg := newConfig(t)
	p := open(t, cfg)
	ref := ready(t, p, templateOf(t, "postgres-15"))
	allow(p)
	prepare(t, p)
	if err := unix.Kill(int(p.standbys.ready[0].pid), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	makeBox(t, p, sandbox.Spec{Name: "box", Template: ref})
	if got := sh(t, p, "box", "hostname"); got != "box\n" || isStandby(p.id("box")) {
		t.Errorf("the sandbox %s is %q", p.id("box"), got)
	}
	if err := p.Destroy(t.Context(), "box"); err != nil {
		t.Fatal(err)
	}
	if left, err := p.client.Containers(p.ctx(t.Context()), `labels."`+labelStandby+`"==`+cfg.Instance); err != nil || len(left) > 0 {
		t.Errorf("there is still the standby %v, %v", left, err)
	}
}

// TestKeepStandbys: as many are kept as were asked for, those taken are replaced, and they end with who kept them,
// or, if that was killed, with the next.
func TestKeepStandbys(t *testing.T) {
	t.Parallel()
	cfg := newConfig(t)
	p := open(t, cfg)
	ref := ready(t, p, templateOf(t, "postgres-15"))
	count := func(p *Provider) int {
		p.standbys.mu.Lock()
		defer p.standbys.mu.Unlock()
		return len(p.standbys.ready)
	}
	p.KeepStandbys(2)
	until(t, "two standbys are ready", func() bool { return count(p) == 2 })
	makeBox(t, p, sandbox.Spec{Name: "box", Template: ref})
	if !isStandby(p.id("box")) {
		t.Error("the sandbox was not made from a standby")
	}
	if infos, err := p.List(t.Context(), nil); err != nil || len(infos) != 1 {
		t.Errorf("the sandboxes are %+v, %v", infos, err)
	}
	until(t, "the one that was taken is replaced", func() bool { return count(p) == 2 })
	next := open(t, cfg) // as if p had been killed
	next.KeepStandbys(1)
	until(t, "the next one's is ready", func() bool { return count(next) == 1 })
	found, err := p.client.Containers(p.ctx(t.Context()), `labels."`+labelStandby+`"==`+cfg.Instance)
	if err != nil || len(found) != 1 {
		t.Errorf("there are %d standbys, %v", len(found), err)
	}
	if got := sh(t, next, "box", "hostname"); got != "box\n" {
		t.Errorf("the sandbox is %q for the next", got)
	}
	for _, p := range []*Provider{next, p} {
		if err := p.closeStandbys(); err != nil {
			t.Error(err)
		}
	}
	if err := p.Destroy(t.Context(), "box"); err != nil {
		t.Fatal(err)
	}
	wantNothingLeft(t, p)
}
