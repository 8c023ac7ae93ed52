package sandboxtest

import (
	"testing"

	"github.com/coderunner/coderunner/internal/sandbox"
)

var diskTests = map[string]func(*testing.T, *suite){
	"DiskHog":        testDiskHog,
	"DiskHogProcess": testDiskHogProcess,
	"DiskUnlinked":   testDiskUnlinked,
	"DiskVolume":     testDiskVolume,
}

// diskLimit is that of the hogs' sandboxes.
const diskLimit = 64 << 20

// diskHog writes three times as much, and then more, until something ends it: what others
// remove from this machine meanwhile hides it for a while only.
const diskHog = `head -c 200M /dev/urandom >> big; while :; do head -c 8M /dev/urandom >> big; sleep 0.1; done`

// overDisk is the end of what ran in a sandbox that has written too much.
var overDisk = sandbox.Exit{Code: 137, Signal: 9, OverDisk: true}

func testDiskHog(t *testing.T, s *suite) {
	spec := sandbox.Spec{Name: unique("box"), Template: s.template.TemplateRef, Limits: sandbox.Limits{DiskBytes: diskLimit}}
	b := s.make(t, spec)
	// Those beside it: one without a limit that has written more, one with a limit that has written less.
	free := s.box(t)
	modest := s.make(t, sandbox.Spec{Limits: sandbox.Limits{DiskBytes: diskLimit}})
	free.sh(t, `head -c 100M /dev/urandom > big`)
	modest.sh(t, `head -c 20M /dev/urandom > small; rm small; head -c 20M /dev/urandom > small`)
	latches := map[*box]latch{&free: newLatch(), &modest: newLatch()}
	ends := map[*box]<-chan outcome{}
	for other, input := range latches {
		cmd, up := shell(`echo up; read -r _; echo well`), await("up\n")
		cmd.Stdin, cmd.Stdout = input, up
		ends[other] = other.begin(within(t), cmd)
		up.wait(t)
	}
	b.start(t, "app", shell(`echo up; exec sleep 1000`))
	b.follow(t, "app").wait(t, "up\n")

	if r := b.run(t, shell(diskHog)); r.exit != overDisk {
		t.Errorf("who writes too much ends with %+v: %s", r.exit, r.stderr)
	}
	// All that ran in the sandbox has ended with it, and says why.
	if got := b.waitFor(t, "app"); got.Exit != overDisk {
		t.Errorf("a process of the same sandbox ended with %+v", got)
	}
	// The kernel has ended them before anybody can say so of the sandbox.
	for ctx := within(t); ; {
		info, err := s.provider.Get(ctx, b.name)
		if err == nil && info.State == sandbox.StateStopped {
			break
		}
		if err != nil {
			t.Fatalf("the sandbox is %+v, %v", info, err)
		}
	}
	for other, input := range latches {
		input.release()
		if got := receive(t, ends[other], "the end of the one beside it"); got.err != nil || got.exit != (sandbox.Exit{}) {
			t.Errorf("a command in a sandbox beside it ended with %+v, %v", got.exit, got.err)
		}
	}

	// It is made anew, and what its processes printed is there still.
	if info, err := s.provider.Create(within(t), spec); err != nil || info.State != sandbox.StateRunning {
		t.Fatalf("it is made again as %+v, %v", info, err)
	}
	if got := b.sh(t, `test -e big || echo gone`); got != "gone\n" {
		t.Errorf("what it had written is there: %q", got)
	}
	_, next := b.output(t, "app", 0)
	b.start(t, "app", shell(`echo again; exit 3`))
	if got := b.waitFor(t, "app"); got.Exit != (sandbox.Exit{Code: 3}) {
		t.Errorf("a process of the new one ended with %+v", got)
	}
	if got, _ := b.output(t, "app", next); got != "again\n" {
		t.Errorf("from where the first ended it has printed %q", got)
	}
}

func testDiskHogProcess(t *testing.T, s *suite) {
	b := s.make(t, sandbox.Spec{Limits: sandbox.Limits{DiskBytes: diskLimit}})
	b.start(t, "app", shell(diskHog))
	if got := b.waitFor(t, "app"); got.Running || got.Exit != overDisk {
		t.Errorf("a process that writes too much ends with %+v", got)
	}
}

// testDiskUnlinked: what has no name takes disk as well.
func testDiskUnlinked(t *testing.T, s *suite) {
	b := s.make(t, sandbox.Spec{Limits: sandbox.Limits{DiskBytes: diskLimit}})
	if r := b.run(t, shell(`exec 3> big; rm big; head -c 200M /dev/urandom >&3; while :; do head -c 8M /dev/urandom >&3; sleep 0.1; done`)); r.exit != overDisk {
		t.Errorf("who writes too much to a file without a name ends with %+v: %s", r.exit, r.stderr)
	}
}

// testDiskVolume: what a volume has beyond its room counts as well; one without a room may have what it likes.
func testDiskVolume(t *testing.T, s *suite) {
	hog := func(room int64) sandbox.Spec {
		return sandbox.Spec{Limits: sandbox.Limits{DiskBytes: diskLimit}, Volumes: []sandbox.Mount{{Volume: s.volume(t), Path: "/hoard", Room: room}}}
	}
	free, bounded := s.make(t, hog(0)), s.make(t, hog(32<<20))
	free.sh(t, `head -c 200M /dev/urandom > /hoard/big`)
	bounded.sh(t, `head -c 80M /dev/urandom > /hoard/big`)
	if r := bounded.run(t, shell(`cd /hoard && `+diskHog)); r.exit != overDisk {
		t.Errorf("who writes too much to a volume ends with %+v: %s", r.exit, r.stderr)
	}
	if got := free.sh(t, `echo well`); got != "well\n" {
		t.Errorf("the one whose volume is not bounded answers %q", got)
	}
}
