package runlog

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// printed is the output of a process as a provider keeps it.
type printed struct {
	chunks []sandbox.OutputChunk
	end    int64
	at     time.Time
}

func (p *printed) print(stream, text string) {
	const header = 13
	next := p.end + header + int64(len(text))
	p.chunks = append(p.chunks, sandbox.OutputChunk{Stream: stream, At: p.at, Data: []byte(text), From: p.end, Next: next})
	p.end = next
}

// from reads on from an offset. What is before kept is gone.
func (p *printed) from(t *testing.T, offset, kept int64) (chunks []sandbox.OutputChunk) {
	t.Helper()
	for _, c := range p.chunks {
		if c.From < max(offset, kept) {
			continue
		}
		if len(chunks) == 0 && c.From != offset && c.From != kept {
			t.Fatalf("offset %d is not the beginning of a record", offset)
		}
		chunks = append(chunks, c)
	}
	return chunks
}

// read makes lines of all chunks. Whoever reads dies now and then, and the next one
// reads on from what was stored.
func (p *printed) read(t *testing.T, throttle Throttle, redact *Redactor, dies func() bool) (lines []coderunner.RuntimeLine) {
	t.Helper()
	var state progress
	for {
		var waiting []entry
		in := newIntake(state, throttle, redact, func(e entry) error {
			waiting = append(waiting, e)
			return nil
		})
		store := func(n int) {
			for _, e := range waiting[:n] {
				lines, state = append(lines, e.line), e.after
			}
			waiting = waiting[n:]
		}
		died := false
		for _, c := range p.from(t, state.Offset, 0) {
			if err := in.take(c); err != nil {
				t.Fatal(err)
			}
			if dies() {
				store(rand.IntN(len(waiting) + 1))
				died = true
				break
			}
		}
		if died {
			continue
		}
		if err := in.finish(); err != nil {
			t.Fatal(err)
		}
		store(len(waiting))
		return lines
	}
}

func noDeath() bool { return false }

func runtimeTexts(lines []coderunner.RuntimeLine, streams ...coderunner.Stream) (all []string) {
	for _, l := range lines {
		if len(streams) == 0 || slices.Contains(streams, l.Stream) {
			all = append(all, l.Text)
		}
	}
	return all
}

// Whoever reads is killed at any moment, with any part of the lines stored: each
// line is there once, in order, also long ones and those that chunks part.
func TestIntakeLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	for range 60 {
		redact := NewRedactor("s3cr3t-value")
		var want [2][]string
		p := printed{at: time.Unix(1e9, 0)}
		rest := [2]string{}
		for i := range 40 {
			for s := range 2 {
				line := fmt.Sprintf("%d line %d ", s, i)
				switch rand.IntN(8) {
				case 0:
					line += "s3cr3t-value größe 😀"
				case 1:
					line += strings.Repeat("long", 6000)
				case 2:
					line = ""
				}
				shown := strings.ReplaceAll(line, "s3cr3t-value", Redacted)
				for len(shown) > maxLine {
					want[s] = append(want[s], shown[:maxLine])
					shown = shown[maxLine:]
				}
				want[s] = append(want[s], shown)
				rest[s] += line + "\n"
				for rand.IntN(3) > 0 && rest[s] != "" {
					n := 1 + rand.IntN(min(len(rest[s]), 1+rand.IntN(20_000)))
					p.print([]string{"stdout", "stderr"}[s], rest[s][:n])
					rest[s] = rest[s][n:]
				}
			}
		}
		p.print("stderr", rest[1])
		p.print("stdout", strings.TrimSuffix(rest[0], "\n"))
		if want[0][len(want[0])-1] == "" && rest[0] != "" { // an empty line is none without its newline
			want[0] = want[0][:len(want[0])-1]
		}
		kills := 0
		lines := p.read(t, Throttle{}, redact, func() bool {
			kills++
			return kills < 2000 && rand.IntN(6) == 0
		})
		for s, stream := range []coderunner.Stream{coderunner.Stdout, coderunner.Stderr} {
			got := runtimeTexts(lines, stream)
			if !slices.Equal(got, want[s]) {
				for i := range max(len(got), len(want[s])) {
					if i >= len(got) || i >= len(want[s]) || got[i] != want[s][i] {
						t.Fatalf("%s: of %d lines %d are stored; number %d is %.60q, want %.60q", stream, len(want[s]), len(got), i, at(got, i), at(want[s], i))
					}
				}
			}
		}
	}
}

func at(all []string, i int) string {
	if i < len(all) {
		return all[i]
	}
	return "(none)"
}

func TestFloodIsDroppedAndTold(t *testing.T) {
	t.Parallel()
	limits := Throttle{LinesPerSecond: 100, BurstLines: 500}
	// 100,000 lines a second for three seconds, then silence, then a line.
	flood := func() printed {
		p := printed{at: time.Unix(1e9, 0)}
		for i := range 3000 {
			var text strings.Builder
			for n := range 100 {
				fmt.Fprintf(&text, "line %d\n", i*100+n)
			}
			p.print("stdout", text.String())
			p.at = p.at.Add(time.Millisecond)
		}
		p.at = p.at.Add(10 * time.Second)
		p.print("stdout", "calm again\n")
		return p
	}
	for _, dies := range []func() bool{noDeath, func() bool { return rand.IntN(300) == 0 }} {
		p := flood()
		lines := p.read(t, limits, NewRedactor(), dies)
		stored, droppedLines, gaps := 0, 0, 0
		next := 0
		for _, l := range lines {
			if l.Stream == coderunner.System {
				var n int
				if _, err := fmt.Sscanf(strings.ReplaceAll(l.Text, ",", ""), "%d lines", &n); err != nil || !strings.Contains(l.Text, "dropped here: the app printed faster than 100 lines a second.") {
					t.Fatalf("a line says %q", l.Text)
				}
				droppedLines, gaps, next = droppedLines+n, gaps+1, next+n
				continue
			}
			stored++
			if l.Text == "calm again" {
				continue
			}
			if l.Text != fmt.Sprint("line ", next) { // those before it were told of in its place
				t.Fatalf("%q comes where line %d should", l.Text, next)
			}
			next++
		}
		if stored+droppedLines != 300_001 || stored < 700 || stored > 900 {
			t.Errorf("%d lines are stored and %d dropped, of 300001", stored, droppedLines)
		}
		if gaps < 1 || gaps > 10 {
			t.Errorf("it is told %d times", gaps)
		}
		if lines[len(lines)-1].Text != "calm again" {
			t.Errorf("the last line is %q", lines[len(lines)-1].Text)
		}
	}
}

// What was printed slowly is stored whole, however late it is read.
func TestBacklogIsNoFlood(t *testing.T) {
	t.Parallel()
	p := printed{at: time.Unix(1e9, 0)}
	for range 5000 {
		p.print("stdout", "a line\n")
		p.at = p.at.Add(20 * time.Millisecond)
	}
	if lines := p.read(t, Throttle{LinesPerSecond: 60, BurstLines: 10}, NewRedactor(), noDeath); len(lines) != 5000 {
		t.Errorf("%d lines are stored", len(lines))
	}
}

func TestLineWithoutEndIsCutOff(t *testing.T) {
	t.Parallel()
	p := printed{at: time.Unix(1e9, 0)}
	for range 200 {
		p.print("stdout", strings.Repeat("x", 64<<10))
	}
	p.print("stdout", "\nshort\n")
	p.at = p.at.Add(time.Minute)
	p.print("stdout", "after\n")
	limits := Throttle{BytesPerSecond: 1 << 20, BurstBytes: 4 << 20}
	kills := 0
	for _, dies := range []func() bool{noDeath, func() bool { kills++; return kills%70 == 0 && kills < 700 }} {
		lines := p.read(t, limits, NewRedactor(), dies)
		bytes := 0
		for _, l := range lines {
			bytes += len(l.Text)
		}
		if bytes < 3<<20 || bytes > 5<<20 {
			t.Errorf("%d bytes are stored", bytes)
		}
		if last := runtimeTexts(lines[len(lines)-2:]); !strings.Contains(last[0], "dropped here: the app printed faster than 1.05 MB a second.") || last[1] != "after" {
			t.Errorf("the last lines are %q", last)
		}
	}
}

// Output that was rotated away before it was read: a line says so, and no half of a
// secret comes after it.
func TestMissingOutputIsTold(t *testing.T) {
	t.Parallel()
	p := printed{at: time.Unix(1e9, 0)}
	p.print("stdout", "first\nhalf s3cr3t")
	lost := p.end
	p.print("stdout", strings.Repeat("gone\n", 1000)+"s3cr3t-")
	kept := p.end
	p.print("stdout", "value of a line\nlast\n")
	var lines []coderunner.RuntimeLine
	in := newIntake(progress{}, Throttle{}, NewRedactor("s3cr3t-value"), func(e entry) error {
		lines = append(lines, e.line)
		return nil
	})
	for _, c := range p.chunks {
		if c.From == lost {
			continue
		}
		if c.From < lost {
			c.Next = lost
		}
		if c.From == kept {
			c.From = kept
		}
		if err := in.take(c); err != nil {
			t.Fatal(err)
		}
	}
	if err := in.finish(); err != nil {
		t.Fatal(err)
	}
	if got := runtimeTexts(lines); len(got) != 3 || got[0] != "first" || !strings.HasPrefix(got[1], "About 5.02 kB of output are missing here") || got[2] != "last" {
		t.Errorf("stored is %q", got)
	}
}
