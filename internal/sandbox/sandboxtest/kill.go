package sandboxtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

var killTests = map[string]func(*testing.T, *suite){
	"CancelKillsTheTree":   testCancelKillsTheTree,
	"Deadline":             testDeadline,
	"Timeout":              testTimeout,
	"RepeatKillsTheFirst":  testRepeatKillsTheFirst,
	"LeftoversDie":         testLeftoversDie,
	"DestroyEndsCalls":     testDestroyEndsCalls,
	"DestroyFromElsewhere": testDestroyFromElsewhere,
}

// stubborn leaves in six ways a child that has its argument on its
// command line, says "ready", and goes on itself. None of them heeds a polite signal.
const stubborn = `
trap '' TERM HUP INT
sleep "$1" &
setsid sleep "$1" &
(setsid sh -c 'setsid sleep "$0" & sleep "$0"' "$1" &) &
env -i /usr/bin/setsid /bin/sleep "$1" </dev/null >/dev/null 2>&1 &
perl -e 'use POSIX; fork and exit; POSIX::setsid(); fork and exit; close $_ for *STDIN, *STDOUT, *STDERR; exec "sleep", @ARGV' "$1"
perl -e '
	for (my $n = 0; $n < 6; ) {
		$n = 0;
		for my $file (glob "/proc/[0-9]*/cmdline") {
			open my $f, "<", $file or next;
			my $line = <$f> // "";
			$n++ if $line =~ m{^(/bin/)?sleep\0} && index($line, $ARGV[0]) > 0;
		}
	}' "$1"
echo ready
sleep "$1"`

// marker is a number of seconds to sleep that no other process has.
func marker() string {
	return "1000." + decimal(uint32(time.Now().UnixNano()))
}

func testCancelKillsTheTree(t *testing.T, s *suite) {
	b := s.box(t)
	bystander := marker()
	other := await("up\n")
	cmd := shell(`echo up; exec sleep "$1"`, bystander)
	cmd.Stdout = other
	ctx, end := context.WithCancel(within(t))
	defer end()
	still := b.begin(ctx, cmd)
	other.wait(t)

	mark, ready := marker(), await("ready\n")
	cmd = shell(stubborn, mark)
	cmd.Stdout = ready
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	done := b.begin(ctx, cmd)
	ready.wait(t)
	began := time.Now()
	cancel()
	got := receive(t, done, "the end of a cancelled command")
	if !errors.Is(got.err, context.Canceled) {
		t.Errorf("Exec = %+v, %v, want the context's error", got.exit, got.err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the end took %s", took)
	}
	b.wantDead(t, mark)
	if b.must(t, marked(bystander)) == "" {
		t.Error("another command of the sandbox was killed as well")
	}
	end()
	receive(t, still, "the end of the other command")
}

func testDeadline(t *testing.T, s *suite) {
	b, mark := s.box(t), marker()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err := b.provider.Exec(ctx, b.name, shell(`sleep "$1" & sleep "$1"`, mark))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Exec past its context's deadline: %v", err)
	}
	b.wantDead(t, mark)
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if _, err := b.provider.Exec(ctx, b.name, shell(`sleep "$1"`, mark)); !errors.Is(err, context.Canceled) {
		t.Errorf("Exec with a context that has ended: %v", err)
	}
	b.wantDead(t, mark)
}

func testTimeout(t *testing.T, s *suite) {
	b, mark := s.box(t), marker()
	cmd := shell(`trap "" TERM; setsid sleep "$1" & echo begun; sleep "$1"`, mark)
	cmd.Timeout = 500 * time.Millisecond
	r := b.run(t, cmd)
	if !r.exit.TimedOut || r.stdout != "begun\n" {
		t.Errorf("a command past its timeout ends with %+v and %q", r.exit, r.stdout)
	}
	b.wantDead(t, mark)
	cmd = shell(`echo quick`)
	cmd.Timeout = patience
	if r := b.run(t, cmd); r.exit != (sandbox.Exit{}) || r.stdout != "quick\n" {
		t.Errorf("a command within its timeout ends with %+v and %q", r.exit, r.stdout)
	}
}

func testRepeatKillsTheFirst(t *testing.T, s *suite) {
	b, mark, ready := s.box(t), marker(), await("ready\n")
	cmd := shell(stubborn, mark)
	cmd.ID, cmd.Stdout = "install", ready
	done := b.begin(within(t), cmd)
	ready.wait(t)
	// The repeat is that of a program that was restarted.
	again := s.open(t)
	defer again.Close()
	repeat := marked(mark)
	repeat.ID = "install"
	if left := (box{b.name, again}).must(t, repeat); left != "" {
		t.Errorf("while the repeat runs there are still:\n%q", left)
	}
	first := receive(t, done, "the end of the first command")
	if first.err != nil || first.exit.Signal != 9 {
		t.Errorf("the first command ended with %+v, %v, want signal 9", first.exit, first.err)
	}
	// Another id is another command.
	cmd = shell(`echo up; exec sleep "$1"`, mark)
	up := await("up\n")
	cmd.ID, cmd.Stdout = "build", up
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	done = b.begin(ctx, cmd)
	up.wait(t)
	repeat = marked(mark)
	repeat.ID = "install"
	if b.must(t, repeat) == "" {
		t.Error("a command was killed by one with another id")
	}
	cancel()
	receive(t, done, "the end of the other command")
}

func testLeftoversDie(t *testing.T, s *suite) {
	b, mark := s.box(t), marker()
	// They hold the output open; Exec must not wait for them.
	b.sh(t, `sleep "$1" & setsid sleep "$1" & (sleep "$1" &) & exit 0`, mark)
	b.wantDead(t, mark)
}

func testDestroyEndsCalls(t *testing.T, s *suite) {
	b, ready := s.box(t), await("ready\n")
	ctx := within(t)
	if err := b.provider.Start(ctx, b.name, "app", shell(`trap "" TERM; echo up; while :; do sleep 1000; done`)); err != nil {
		t.Fatal(err)
	}
	up := b.follow(t, "app")
	up.wait(t, "up\n")
	type call struct {
		what string
		err  error
	}
	calls := make(chan call)
	for what, f := range map[string]func() error{
		"Exec": func() error {
			cmd := shell(`echo ready; sleep 1000`)
			cmd.Stdout = ready
			_, err := b.provider.Exec(ctx, b.name, cmd)
			return err
		},
		"Wait": func() error { _, err := b.provider.Wait(ctx, b.name, "app"); return err },
		"Stop": func() error { return b.provider.Stop(ctx, b.name, "app", time.Hour) },
	} {
		go func() { calls <- call{what, f()} }()
	}
	ready.wait(t)
	if err := b.provider.Destroy(ctx, b.name); err != nil {
		t.Fatalf("Destroy with calls under way: %v", err)
	}
	for range 3 {
		c := receive(t, calls, "the end of a call")
		wantKind(t, c.err, coderunner.NotFound, c.what+" of a sandbox that was destroyed meanwhile")
	}
	wantKind(t, receive(t, up.done, "the end of Output"), coderunner.NotFound, "Output of a sandbox that was destroyed meanwhile")
}

// testDestroyFromElsewhere destroys through another connection: the command's
// caller must not take its end for the command's own.
func testDestroyFromElsewhere(t *testing.T, s *suite) {
	b, ready := s.box(t), await("ready\n")
	cmd := shell(`echo ready; sleep 1000`)
	cmd.Stdout = ready
	done := b.begin(within(t), cmd)
	ready.wait(t)
	other := s.open(t)
	defer other.Close()
	if err := other.Destroy(within(t), b.name); err != nil {
		t.Fatal(err)
	}
	got := receive(t, done, "the end of the command")
	wantKind(t, got.err, coderunner.NotFound, "Exec in a sandbox that another process destroyed")
}
