package sandboxtest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

var processTests = map[string]func(*testing.T, *suite){
	"StartTwice":       testStartTwice,
	"StartAgain":       testStartAgain,
	"StartCommand":     testStartCommand,
	"StartFails":       testStartFails,
	"Wait":             testWait,
	"WaitEnds":         testWaitEnds,
	"EndTakesTheTree":  testEndTakesTheTree,
	"StopWithGrace":    testStopWithGrace,
	"StopAfterGrace":   testStopAfterGrace,
	"StopKillsTheTree": testStopKillsTheTree,
}

func (b box) start(t *testing.T, process string, cmd sandbox.Command) {
	t.Helper()
	if err := b.provider.Start(within(t), b.name, process, cmd); err != nil {
		t.Fatalf("starting %s: %v", process, err)
	}
}

func (b box) waitFor(t *testing.T, process string) sandbox.ProcessStatus {
	t.Helper()
	status, err := b.provider.Wait(within(t), b.name, process)
	if err != nil {
		t.Fatalf("waiting for %s: %v", process, err)
	}
	return status
}

func (b box) status(t *testing.T, process string) sandbox.ProcessStatus {
	t.Helper()
	status, err := b.provider.Process(within(t), b.name, process)
	if err != nil {
		t.Fatalf("observing %s: %v", process, err)
	}
	return status
}

func testStartTwice(t *testing.T, s *suite) {
	b := s.box(t)
	cmd := shell(`echo x >> started; echo up; exec sleep 1000`)
	b.start(t, "app", cmd)
	b.follow(t, "app").wait(t, "up\n")
	first := b.status(t, "app")
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			if err := b.provider.Start(within(t), b.name, "app", cmd); err != nil {
				t.Errorf("starting what runs: %v", err)
			}
		})
	}
	group.Wait()
	second := b.status(t, "app")
	if !first.Running || !second.Running || second.PID != first.PID || !second.StartedAt.Equal(first.StartedAt) {
		t.Errorf("the process was %+v and is %+v", first, second)
	}
	b.start(t, "worker", shell(`echo up; exec sleep 1000`)) // another name is another process
	b.follow(t, "worker").wait(t, "up\n")
	if got := b.sh(t, `wc -l < started`); got != "1\n" {
		t.Errorf("the process was started %s times", strings.TrimSpace(got))
	}
}

func testStartAgain(t *testing.T, s *suite) {
	b := s.box(t)
	b.start(t, "app", shell(`echo one; exit 1`))
	if got := b.waitFor(t, "app").Exit.Code; got != 1 {
		t.Errorf("the first exit code is %d", got)
	}
	_, next := b.output(t, "app", 0)
	b.start(t, "app", shell(`echo two; exit 2`))
	if got := b.waitFor(t, "app").Exit.Code; got != 2 {
		t.Errorf("the second exit code is %d", got)
	}
	if got, _ := b.output(t, "app", next); got != "two\n" {
		t.Errorf("from where the first ended there is %q", got)
	}
	if got, _ := b.output(t, "app", 0); got != "one\ntwo\n" {
		t.Errorf("in all there is %q", got)
	}
}

func testStartCommand(t *testing.T, s *suite) {
	b := s.make(t, sandbox.Spec{Env: map[string]string{"A": "a"}})
	cmd := shell(`echo "$A$B $(pwd) $(id -u) $(grep CapEff /proc/self/status | tr -d 0 | wc -c)"; cat`)
	cmd.Env, cmd.Dir, cmd.Stdin = map[string]string{"B": "b"}, "/tmp", strings.NewReader("input\n")
	b.start(t, "app", cmd)
	if got := b.waitFor(t, "app"); got.Running || got.Exit != (sandbox.Exit{}) {
		t.Errorf("the process is %+v", got)
	}
	if got, _ := b.output(t, "app", 0); got != "ab /tmp "+decimal(s.template.User.UID)+" 9\ninput\n" {
		t.Errorf("the process says %q", got)
	}
	cmd = sandbox.Command{Argv: []string{"wc", "-c"}, User: "root", Stdin: strings.NewReader(strings.Repeat("x", 64<<10))}
	b.start(t, "count", cmd)
	b.waitFor(t, "count")
	if got, _ := b.output(t, "count", 0); got != "65536\n" {
		t.Errorf("of 64 KiB of input there are %s", got)
	}
}

func testStartFails(t *testing.T, s *suite) {
	b := s.box(t)
	b.start(t, "app", sandbox.Command{Argv: []string{"no-such-program"}})
	if got := b.waitFor(t, "app"); got.Exit.Code != 127 {
		t.Errorf("a program that does not exist ends with %+v", got)
	}
	if got, _ := b.output(t, "app", 0); !strings.Contains(got, "no-such-program") {
		t.Errorf("its output does not say why: %q", got)
	}
	err := b.provider.Start(within(t), b.name, "lost", sandbox.Command{Argv: []string{"true"}, Dir: "/no/such/directory"})
	wantKind(t, err, coderunner.Invalid, "starting in a directory that does not exist")
}

func testWait(t *testing.T, s *suite) {
	b := s.box(t)
	before := time.Now().Add(-time.Second)
	b.start(t, "app", shell(`mkfifo go; echo up; cat go; exit 7`))
	b.follow(t, "app").wait(t, "up\n")
	if got := b.status(t, "app"); !got.Running || !got.EndedAt.IsZero() || got.StartedAt.Before(before) {
		t.Errorf("while it runs, the process is %+v", got)
	}
	waited := make(chan sandbox.ProcessStatus)
	for range 2 {
		go func() { waited <- b.waitFor(t, "app") }()
	}
	b.sh(t, `echo > go`)
	for range 2 {
		got := receive(t, waited, "the process's end")
		if got.Running || got.Exit != (sandbox.Exit{Code: 7}) || got.EndedAt.Before(got.StartedAt) || got.EndedAt.After(time.Now()) {
			t.Errorf("Wait = %+v", got)
		}
	}
	if got := b.status(t, "app"); got != b.waitFor(t, "app") || got.Exit.Code != 7 {
		t.Errorf("afterwards Process = %+v", got)
	}
	b.start(t, "killed", shell(`kill -9 $$`))
	if got := b.waitFor(t, "killed"); got.Exit != (sandbox.Exit{Code: 137, Signal: 9}) {
		t.Errorf("a killed process ends with %+v", got)
	}
}

func testWaitEnds(t *testing.T, s *suite) {
	b := s.box(t)
	b.start(t, "app", shell(`echo up; exec sleep 1000`))
	ctx, cancel := context.WithCancel(within(t))
	ended := make(chan error, 1)
	go func() { _, err := b.provider.Wait(ctx, b.name, "app"); ended <- err }()
	cancel()
	if err := receive(t, ended, "the end of Wait"); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait with a context that ended: %v", err)
	}
	if !b.status(t, "app").Running {
		t.Error("the process ended with whoever waited for it")
	}
}

func testEndTakesTheTree(t *testing.T, s *suite) {
	b, mark := s.box(t), marker()
	b.start(t, "app", shell(`setsid sleep "$1" & (sleep "$1" &) & echo last; exit 0`, mark))
	if got := b.waitFor(t, "app"); got.Exit != (sandbox.Exit{}) {
		t.Errorf("the process ends with %+v", got)
	}
	b.wantDead(t, mark)
	if got, _ := b.output(t, "app", 0); got != "last\n" {
		t.Errorf("the output is %q", got)
	}
}

func testStopWithGrace(t *testing.T, s *suite) {
	b := s.box(t)
	b.start(t, "app", sandbox.Command{Argv: []string{"perl", "-e", `$| = 1; $SIG{TERM} = sub { print "bye\n"; exit 3 }; print "up\n"; sleep`}})
	b.follow(t, "app").wait(t, "up\n")
	for range 2 {
		if err := b.provider.Stop(within(t), b.name, "app", patience); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.status(t, "app"); got.Running || got.Exit != (sandbox.Exit{Code: 3}) {
		t.Errorf("after Stop the process is %+v", got)
	}
	if got, _ := b.output(t, "app", 0); got != "up\nbye\n" {
		t.Errorf("its output is %q", got)
	}
}

func testStopAfterGrace(t *testing.T, s *suite) {
	b, mark := s.box(t), marker()
	for process, grace := range map[string]time.Duration{"app": 300 * time.Millisecond, "other": 0} {
		b.start(t, process, shell(`trap "" TERM; echo up; while :; do sleep "$1"; done`, mark))
		b.follow(t, process).wait(t, "up\n")
		before := time.Now()
		if err := b.provider.Stop(within(t), b.name, process, grace); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(before); took < grace {
			t.Errorf("the process was killed after %s, its grace is %s", took, grace)
		}
		if got := b.status(t, process); got.Running || got.Exit.Signal != 9 {
			t.Errorf("after Stop the process is %+v", got)
		}
		b.wantDead(t, mark)
	}
}

func testStopKillsTheTree(t *testing.T, s *suite) {
	b, mark := s.box(t), marker()
	b.start(t, "app", shell(strings.Replace(stubborn, `trap '' TERM HUP INT`, `trap 'exit 0' TERM`, 1)+` & wait`, mark))
	b.follow(t, "app").wait(t, "ready\n")
	bystander := marker()
	b.start(t, "other", shell(`echo up; exec sleep "$1"`, bystander))
	b.follow(t, "other").wait(t, "up\n")
	if err := b.provider.Stop(within(t), b.name, "app", patience); err != nil {
		t.Fatal(err)
	}
	b.wantDead(t, mark)
	if !b.status(t, "other").Running || b.must(t, marked(bystander)) == "" {
		t.Error("another process was stopped as well")
	}
}
