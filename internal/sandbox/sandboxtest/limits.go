package sandboxtest

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

var limitTests = map[string]func(*testing.T, *suite){
	"MemoryHog": testMemoryHog,
	"ForkBomb":  testForkBomb,
	"Stats":     testStats,
}

// hog takes memory until something ends it.
const hog = `perl -e 'my @a; push @a, "x" x 1048576 while 1'`

func testMemoryHog(t *testing.T, s *suite) {
	network := s.network(t)
	b := s.make(t, sandbox.Spec{Network: network, Limits: sandbox.Limits{MemoryBytes: 96 << 20}})
	neighbour := s.make(t, sandbox.Spec{Network: network})
	b.serve(t, "web", "0.0.0.0,3000")
	other := await("up\n")
	cmd := shell(`echo up; read -r _; echo well`)
	input := newLatch()
	cmd.Stdin, cmd.Stdout = input, other
	done := neighbour.begin(within(t), cmd)
	other.wait(t)

	r := b.run(t, shell(`exec `+hog))
	if r.exit != (sandbox.Exit{Code: 137, Signal: 9, OOMKilled: true}) {
		t.Errorf("a memory hog ends with %+v", r.exit)
	}
	if r := b.run(t, shell(hog+` || echo the child is dead`)); !r.exit.OOMKilled || r.stdout != "the child is dead\n" {
		t.Errorf("a command whose child was killed ends with %+v and %q", r.exit, r.stdout)
	}
	if r := b.run(t, shell(`echo alive`)); r.exit != (sandbox.Exit{}) || r.stdout != "alive\n" {
		t.Errorf("afterwards a command ends with %+v and %q", r.exit, r.stdout)
	}
	if _, err := answer(b.address(t, 3000).Proxy); err != nil {
		t.Errorf("the sandbox's server went with the hog: %v", err)
	}
	stats, err := b.provider.Stats(within(t), b.name)
	if err != nil || stats.OOMKills < 2 || stats.MemoryLimitBytes != 96<<20 {
		t.Errorf("Stats = %+v, %v", stats, err)
	}
	input.release()
	if got := receive(t, done, "the neighbour's end"); got.err != nil || got.exit != (sandbox.Exit{}) {
		t.Errorf("the neighbour's command ended with %+v, %v", got.exit, got.err)
	}
	if err := b.provider.Start(within(t), b.name, "hog", shell(`exec `+hog)); err != nil {
		t.Fatal(err)
	}
	status, err := b.provider.Wait(within(t), b.name, "hog")
	if err != nil || status.Running || !status.Exit.OOMKilled || status.Exit.Signal != 9 {
		t.Errorf("a long-lived hog ends with %+v, %v", status, err)
	}
}

// latch is an input that ends when it is released.
type latch struct{ open chan struct{} }

func newLatch() latch                      { return latch{make(chan struct{})} }
func (l latch) release()                   { close(l.open) }
func (l latch) Read(p []byte) (int, error) { <-l.open; return copy(p, "go\n"), io.EOF }

func testForkBomb(t *testing.T, s *suite) {
	const limit = 40
	b := s.make(t, sandbox.Spec{Limits: sandbox.Limits{PIDs: limit}})
	neighbour := s.box(t)
	full, mark := await("full\n"), marker()
	// Each child multiplies as well; whoever cannot says so and tries again.
	cmd := sandbox.Command{Argv: []string{"perl", "-e", `$| = 1; while (1) { next if defined fork; syswrite STDOUT, "full\n"; select undef, undef, undef, 0.02 }`, mark}, Stdout: full}
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	done := b.begin(ctx, cmd)
	full.wait(t)
	if stats, err := b.provider.Stats(within(t), b.name); err != nil || stats.PIDs > limit || stats.PIDs < limit/2 {
		t.Errorf("with a fork bomb Stats = %+v, %v", stats, err)
	}
	if got := neighbour.sh(t, `echo alive`); got != "alive\n" {
		t.Errorf("the neighbour says %q", got)
	}
	// There is no room for another command, and that is said.
	if _, err := b.provider.Exec(within(t), b.name, shell(`true`)); err != nil {
		wantKind(t, err, coderunner.Unavailable, "a command in a full sandbox")
	}
	began := time.Now()
	cancel()
	if got := receive(t, done, "the bomb's end"); !errors.Is(got.err, context.Canceled) {
		t.Errorf("the bomb ended with %+v, %v", got.exit, got.err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the bomb's end took %s", took)
	}
	b.wantDead(t, mark)
}

func testStats(t *testing.T, s *suite) {
	b := s.make(t, sandbox.Spec{Limits: sandbox.Limits{MemoryBytes: 256 << 20, PIDs: 100, CPUs: 0.5}})
	ready := await("ready\n")
	cmd := sandbox.Command{Argv: []string{"perl", "-e", `my $a = "x" x (64 << 20); 1 while (times)[0] < 0.3; fork for 1 .. 2; syswrite STDOUT, "ready\n"; sleep`}, Stdout: ready}
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	before := time.Now()
	done := b.begin(ctx, cmd)
	ready.wait(t)
	got, err := b.provider.Stats(within(t), b.name)
	if err != nil {
		t.Fatal(err)
	}
	if got.MemoryBytes < 64<<20 || got.MemoryBytes > 256<<20 || got.MemoryLimitBytes != 256<<20 {
		t.Errorf("memory is %d of %d", got.MemoryBytes, got.MemoryLimitBytes)
	}
	if got.CPUTime < 300*time.Millisecond || got.CPUTime > time.Since(before)*4 {
		t.Errorf("CPU time is %s", got.CPUTime)
	}
	if took := time.Since(before); took < 500*time.Millisecond {
		t.Errorf("0.3 s of CPU time took %s with half a core", took)
	}
	if got.PIDs < 3 || got.PIDs > 20 || got.OOMKills != 0 {
		t.Errorf("Stats = %+v", got)
	}
	if got.ObservedAt.Before(before) || got.ObservedAt.After(time.Now()) {
		t.Errorf("it was observed at %s", got.ObservedAt)
	}
	cancel()
	receive(t, done, "the command's end")
	after, err := b.provider.Stats(within(t), b.name)
	if err != nil || after.CPUTime < got.CPUTime || after.MemoryBytes >= got.MemoryBytes {
		t.Errorf("after the end Stats = %+v, %v; before %+v", after, err, got)
	}
	// A sandbox that names no limits has some.
	plain := s.box(t)
	if got, err := plain.provider.Stats(within(t), plain.name); err != nil || got.MemoryLimitBytes < 64<<20 || got.MemoryLimitBytes > 1<<40 {
		t.Errorf("without limits Stats = %+v, %v", got, err)
	}
}
