package sandboxtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/sandbox"
)

var outputTests = map[string]func(*testing.T, *suite){
	"OutputIsKept":    testOutputIsKept,
	"OutputRotates":   testOutputRotates,
	"OutputFollows":   testOutputFollows,
	"OutputEndsEarly": testOutputEndsEarly,
	"OutputOfTheDead": testOutputOfAnEndedProcess,
}

// followed is the output of a process, read in the background until the test ends.
type followed struct {
	mu   sync.Mutex
	text bytes.Buffer
	news chan struct{}
	done chan error
}

func (b box) follow(t *testing.T, process string) *followed {
	f := &followed{news: make(chan struct{}, 1), done: make(chan error, 1)}
	go func() {
		f.done <- b.provider.Output(t.Context(), b.name, process, 0, true, func(c sandbox.OutputChunk) error {
			f.mu.Lock()
			f.text.Write(c.Data)
			f.mu.Unlock()
			select {
			case f.news <- struct{}{}:
			default:
			}
			return nil
		})
	}()
	return f
}

func (f *followed) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.text.String()
}

// wait waits until the process has printed the text.
func (f *followed) wait(t *testing.T, text string) {
	t.Helper()
	for !strings.Contains(f.String(), text) {
		select {
		case <-f.news:
		case err := <-f.done:
			f.done <- err
			if !strings.Contains(f.String(), text) {
				t.Fatalf("the output ended with %q, %v and without %q", f, err, text)
			}
		case <-within(t).Done():
			t.Fatalf("the output is %q, without %q", f, text)
		}
	}
}

// output reads what is kept, and the offset after it.
func (b box) output(t *testing.T, process string, from int64) (string, int64) {
	t.Helper()
	var text strings.Builder
	next := from
	if err := b.provider.Output(within(t), b.name, process, from, false, func(c sandbox.OutputChunk) error {
		text.Write(c.Data)
		next = c.Next
		return nil
	}); err != nil {
		t.Fatalf("the output of %s: %v", process, err)
	}
	return text.String(), next
}

func testOutputIsKept(t *testing.T, s *suite) {
	b := s.box(t)
	before := time.Now().Add(-time.Second)
	b.start(t, "app", sandbox.Command{Argv: []string{"perl", "-e", `$| = 1; for (1 .. 300) { print STDOUT "out $_\n"; print STDERR "err $_\n" } print "the end"; sleep`}})
	b.follow(t, "app").wait(t, "the end") // a second reader changes nothing
	var want [2]strings.Builder
	for i := 1; i <= 300; i++ {
		fmt.Fprintf(&want[0], "out %d\n", i)
		fmt.Fprintf(&want[1], "err %d\n", i)
	}
	want[0].WriteString("the end")
	var got [2]strings.Builder
	var offsets []int64
	at := before
	if err := b.provider.Output(within(t), b.name, "app", 0, false, func(c sandbox.OutputChunk) error {
		switch c.Stream {
		case "stdout":
			got[0].Write(c.Data)
		case "stderr":
			got[1].Write(c.Data)
		default:
			t.Errorf("a chunk is of the stream %q", c.Stream)
		}
		if c.At.Before(at) || c.At.After(time.Now()) {
			t.Errorf("a chunk is of %s after one of %s", c.At, at)
		}
		if len(offsets) > 0 && c.Next <= offsets[len(offsets)-1] {
			t.Errorf("the offset %d follows %d", c.Next, offsets[len(offsets)-1])
		}
		at = c.At
		if len(offsets) > 0 && c.From != offsets[len(offsets)-1] || len(offsets) == 0 && c.From != 0 {
			t.Errorf("the chunk up to %d is from %d on", c.Next, c.From)
		}
		offsets = append(offsets, c.Next)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got[0].String() != want[0].String() || got[1].String() != want[1].String() {
		t.Errorf("stdout is %q\nstderr is %q", &got[0], &got[1])
	}
	// Reading in two parts gives the same.
	all, end := b.output(t, "app", 0)
	for _, middle := range []int64{offsets[0], offsets[len(offsets)/2]} {
		rest, last := b.output(t, "app", middle)
		if !strings.HasSuffix(all, rest) || len(rest) >= len(all) || last != end {
			t.Errorf("from %d there are %d bytes up to %d, of %d up to %d", middle, len(rest), last, len(all), end)
		}
	}
	if rest, last := b.output(t, "app", end); rest != "" || last != end {
		t.Errorf("after the end there is %q", rest)
	}
}

// testOutputRotates prints more than is kept: the process is not held up, the
// newest is there, and the first offset tells how much is not.
func testOutputRotates(t *testing.T, s *suite) {
	b := s.box(t)
	const lines, width = 600_000, 80 // 48 MB
	b.start(t, "app", sandbox.Command{Argv: []string{"perl", "-e", fmt.Sprintf(`printf "%%0%dd\n", $_ for 1 .. %d`, width-1, lines)}})
	if got := b.waitFor(t, "app"); got.Exit != (sandbox.Exit{}) {
		t.Fatalf("the process ended with %+v", got)
	}
	var first, next, size int64
	var kept bytes.Buffer
	if err := b.provider.Output(within(t), b.name, "app", 0, true, func(c sandbox.OutputChunk) error {
		if first == 0 {
			first = c.From
		} else if c.From != next {
			t.Errorf("a chunk is from %d on, the one before it up to %d", c.From, next)
		}
		next, size = c.Next, size+int64(len(c.Data))
		kept.Write(c.Data)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	const printed = int64(lines * width)
	if first <= 1<<20 || next < printed {
		t.Errorf("of %d bytes the offsets are %d to %d", printed, first, next)
	}
	if size < 8<<20 || size >= printed {
		t.Errorf("of %d bytes %d are kept", printed, size)
	}
	all := kept.Bytes()
	all = all[bytes.IndexByte(all, '\n')+1:]
	number := lines - len(all)/width + 1
	for i := 0; i < len(all); i += width {
		if want := fmt.Sprintf("%0*d\n", width-1, number); len(all)-i < width || string(all[i:i+width]) != want {
			t.Fatalf("at byte %d there is not line %d", i, number)
		}
		number++
	}
	if number != lines+1 {
		t.Errorf("the last line is %d", number-1)
	}
}

func testOutputFollows(t *testing.T, s *suite) {
	b := s.box(t)
	b.start(t, "app", shell(`mkfifo go; echo one; cat go > /dev/null; echo two >&2; cat go > /dev/null; printf three`))
	f := b.follow(t, "app")
	f.wait(t, "one\n")
	b.sh(t, `echo > go`)
	f.wait(t, "one\ntwo\n")
	b.sh(t, `echo > go`)
	if err := receive(t, f.done, "the end of Output"); err != nil {
		t.Errorf("Output of a process that ended: %v", err)
	}
	if f.String() != "one\ntwo\nthree" {
		t.Errorf("the output is %q", f)
	}
}

func testOutputEndsEarly(t *testing.T, s *suite) {
	b := s.box(t)
	b.start(t, "app", shell(`echo one; echo two; exec sleep 1000`))
	b.follow(t, "app").wait(t, "two\n")
	enough := errors.New("enough")
	if err := b.provider.Output(within(t), b.name, "app", 0, true, func(sandbox.OutputChunk) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("Output = %v, want yield's error", err)
	}
	ctx, cancel := context.WithCancel(within(t))
	ended := make(chan error, 1)
	begun := make(chan struct{}, 10)
	go func() {
		ended <- b.provider.Output(ctx, b.name, "app", 0, true, func(sandbox.OutputChunk) error { begun <- struct{}{}; return nil })
	}()
	receive(t, begun, "the first chunk")
	cancel()
	if err := receive(t, ended, "the end of Output"); !errors.Is(err, context.Canceled) {
		t.Errorf("Output with a context that ended: %v", err)
	}
	if !b.status(t, "app").Running {
		t.Error("the process ended with its reader")
	}
}

// testOutputOfAnEndedProcess never looks before the end.
func testOutputOfAnEndedProcess(t *testing.T, s *suite) {
	b := s.box(t)
	for range 3 {
		process := unique("app")
		b.start(t, process, sandbox.Command{Argv: []string{"perl", "-e", `print "x" x 200000, "last words"`}})
		f := b.follow(t, process)
		if err := receive(t, f.done, "the end of Output"); err != nil {
			t.Error(err)
		}
		if got := f.String(); len(got) != 200010 || !strings.HasSuffix(got, "last words") {
			t.Errorf("of 200010 bytes there are %d", len(got))
		}
	}
}
