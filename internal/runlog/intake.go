package runlog

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/docker/go-units"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// Throttle bounds what is stored of one sandbox's output; zero values mean the
// defaults. What comes faster is counted and dropped, and a line says so. Time is
// that of the output: what was printed slowly while nobody read it is not dropped.
type Throttle struct {
	LinesPerSecond int // 2,000
	BurstLines     int // ten times as many
	BytesPerSecond int // 2 MiB
	BurstBytes     int // 16 MiB
}

func (t Throttle) orDefaults() Throttle {
	set := func(v *int, to int) {
		if *v == 0 {
			*v = to
		}
	}
	set(&t.LinesPerSecond, 2000)
	set(&t.BurstLines, 10*t.LinesPerSecond)
	set(&t.BytesPerSecond, 2<<20)
	set(&t.BurstBytes, 16<<20)
	return t
}

// progress is how far the output of a sandbox was read. It is stored together with
// the lines up to there, so that reading on from it loses nothing and doubles nothing.
type progress struct {
	Offset  int64     `json:"offset"` // to read on from; what was taken of it already is in Out and Err
	Out     position  `json:"out"`
	Err     position  `json:"err"`
	Budget  budget    `json:"budget"`
	Dropped dropped   `json:"dropped"`          // and not told yet
	Started time.Time `json:"started,omitzero"` // the start of the process that was told last
	Ended   time.Time `json:"ended,omitzero"`   // the start of the process whose end was told last
	Lost    time.Time `json:"lost,omitzero"`    // the start of the process whose output was last told to be dropped
}

// position is where the present line of one stream begins.
type position struct {
	From   int64 `json:"from"`             // offset to read its chunk from
	Chunk  int64 `json:"chunk"`            // the chunk's Next
	Skip   int   `json:"skip"`             // bytes of the chunk before the line
	Pieces int   `json:"pieces,omitempty"` // of the line, which is long, that were taken
	Rest   bool  `json:"rest,omitempty"`   // the rest of the line is not wanted
}

// budget is what may still be stored. Once it is used up, it stays closed until there
// is some of it again, so that lines and gaps do not take turns.
type budget struct {
	Lines  float64   `json:"lines"`
	Bytes  float64   `json:"bytes"`
	At     time.Time `json:"at,omitzero"`
	Closed bool      `json:"closed,omitempty"`
	Wide   bool      `json:"wide,omitempty"` // it was closed for its bytes, not its lines
}

type dropped struct {
	Lines int64     `json:"lines,omitempty"`
	Bytes int64     `json:"bytes,omitempty"`
	At    time.Time `json:"at,omitzero"`
}

// entry is a line with the progress that follows from it. It may be the progress
// alone.
type entry struct {
	line  coderunner.RuntimeLine // Stream is "" without a line
	after progress
}

// intake makes lines of a sandbox's output. It is not safe for concurrent use.
type intake struct {
	throttle Throttle
	emit     func(entry) error
	state    progress
	next     int64 // offset to read on from, in this process
	from     int64 // of the chunk under way
	out, err lane
}

// lane is one of the two streams.
type lane struct {
	kind   coderunner.Stream
	pos    *position
	cut    *stream
	at     time.Time
	open   bool // a part of a line is held
	ending bool // the line's newline is being written
	replay int  // pieces of the present line that were taken before
}

func newIntake(from progress, throttle Throttle, redact *Redactor, emit func(entry) error) *intake {
	in := &intake{throttle: throttle.orDefaults(), emit: emit, state: from, next: from.Offset, from: from.Offset}
	for l, kind := range map[*lane]coderunner.Stream{&in.out: coderunner.Stdout, &in.err: coderunner.Stderr} {
		l.kind, l.pos = kind, &in.state.Out
		if kind == coderunner.Stderr {
			l.pos = &in.state.Err
		}
		l.replay = l.pos.Pieces
		l.cut = &stream{redact: redact, emitted: func(text string) error { return in.line(l, text) }}
	}
	return in
}

// take takes one chunk. Those that it took in an earlier life it passes over.
func (in *intake) take(c sandbox.OutputChunk) error {
	l := &in.out
	if c.Stream == "stderr" {
		l = &in.err
	}
	missing := c.From - in.next
	in.from, in.next = c.From, c.Next
	if missing > 0 {
		if err := in.gap(l, missing, c.At); err != nil {
			return err
		}
	}
	data, used := c.Data, 0
	switch {
	case c.Next < l.pos.Chunk:
		return nil
	case c.Next == l.pos.Chunk:
		used = min(l.pos.Skip, len(data))
		data = data[used:]
	case !l.open:
		*l.pos = position{From: c.From, Chunk: c.Next, Rest: l.pos.Rest}
		l.replay = 0
	}
	l.at = c.At
	in.state.Budget.refill(in.throttle, c.At)
	for len(data) > 0 {
		body, end := data, bytes.IndexByte(data, '\n')
		if end >= 0 {
			body = data[:end]
		}
		if err := in.write(l, body, position{From: c.From, Chunk: c.Next, Skip: used}); err != nil {
			return err
		}
		used += len(body)
		data = data[len(body):]
		if end < 0 {
			return nil
		}
		used++
		data = data[1:]
		if err := in.newline(l, position{From: c.From, Chunk: c.Next, Skip: used}); err != nil {
			return err
		}
	}
	return nil
}

// write takes a part of a line, which begins at a place of the output.
func (in *intake) write(l *lane, body []byte, here position) error {
	b := &in.state.Budget
	if !l.pos.Rest && (l.open || len(body) > 0) {
		if allowed, again := b.allow(in.throttle, !l.open); !allowed {
			// The part that is held goes as well: it may end in half a secret.
			l.cut.reset()
			l.open = false
			here.Rest = true
			*l.pos = here
			in.state.Dropped.Lines++
		} else if again {
			if err := in.settle(); err != nil {
				return err
			}
		}
	}
	if l.pos.Rest {
		here.Skip += len(body)
		here.Rest = true
		*l.pos = here
		if in.state.Dropped.Lines > 0 {
			in.state.Dropped.Bytes += int64(len(body))
			in.state.Dropped.At = l.at
		}
		return nil
	}
	if len(body) == 0 {
		return nil
	}
	if l.replay == 0 { // else it was taken off before
		b.Bytes -= float64(len(body))
	}
	l.open = true
	_, err := l.cut.Write(body)
	return err
}

// newline ends a line; the next one begins at after.
func (in *intake) newline(l *lane, after position) error {
	rest, begun := l.pos.Rest, l.open
	*l.pos = after
	l.open, l.replay = false, 0
	if rest {
		return nil
	}
	if !begun { // an empty line
		allowed, again := in.state.Budget.allow(in.throttle, true)
		if !allowed {
			in.state.Dropped.Lines++
			in.state.Dropped.At = l.at
			return nil
		}
		if again {
			if err := in.settle(); err != nil {
				return err
			}
		}
	}
	l.ending = true
	defer func() { l.ending = false }()
	_, err := l.cut.Write([]byte{'\n'})
	return err
}

// line passes on a line, or a piece of one that is long.
func (in *intake) line(l *lane, text string) error {
	if !l.ending {
		l.pos.Pieces++
		if l.replay > 0 {
			l.replay--
			return nil
		}
	}
	return in.pass(l.kind, l.at, text)
}

func (in *intake) pass(kind coderunner.Stream, at time.Time, text string) error {
	return in.emit(entry{coderunner.RuntimeLine{At: at, Stream: kind, Text: text}, in.progress()})
}

// say adds a line of CodeRunner's own.
func (in *intake) say(at time.Time, format string, args ...any) error {
	return in.pass(coderunner.System, at, fmt.Sprintf(format, args...))
}

// progress is what to store after what was passed on so far.
func (in *intake) progress() progress {
	p := in.state
	p.Offset = in.from
	for _, l := range []*lane{&in.out, &in.err} {
		if l.open || l.pos.Pieces > 0 {
			p.Offset = min(p.Offset, l.pos.From)
		}
	}
	return p
}

// settle says what was dropped, if something was.
func (in *intake) settle() error {
	d := in.state.Dropped
	if d.Lines == 0 {
		return nil
	}
	in.state.Dropped = dropped{}
	speed := thousands(int64(in.throttle.LinesPerSecond)) + " lines"
	if in.state.Budget.Wide {
		speed = megabytes(int64(in.throttle.BytesPerSecond))
	}
	return in.say(d.At, "%s (%s) %s dropped here: the app printed faster than %s a second.", countLines(d.Lines), megabytes(d.Bytes), wasOrWere(d.Lines), speed)
}

// gap says that output is missing before a chunk of a stream. What was held of a line
// before it goes, and so does the end of the line that the chunk begins with: both
// may have half a secret.
func (in *intake) gap(l *lane, missing int64, at time.Time) error {
	for _, other := range []*lane{&in.out, &in.err} {
		broken := other.open || other.pos.Pieces > 0 || other == l
		other.cut.reset()
		other.open, other.replay = false, 0
		*other.pos = position{From: other.pos.From, Chunk: other.pos.Chunk, Skip: other.pos.Skip, Rest: broken}
	}
	if err := in.settle(); err != nil {
		return err
	}
	return in.say(at, "About %s of output are missing here: the app printed more than is kept until it is read.", megabytes(missing))
}

// finish passes on what is held, when the process has ended.
func (in *intake) finish() error {
	if err := in.settle(); err != nil {
		return err
	}
	in.from = in.next
	for _, l := range []*lane{&in.out, &in.err} {
		held := l.open
		*l.pos = position{From: in.next, Chunk: in.next, Skip: recordsEnd}
		l.open, l.replay = false, 0
		if !held {
			continue
		}
		l.ending = true
		_, err := l.cut.Write([]byte{'\n'})
		l.ending = false
		if err != nil {
			return err
		}
	}
	return nil
}

// recordsEnd is beyond the end of any chunk.
const recordsEnd = 1 << 30

// refill adds what the time since the last call allows.
func (b *budget) refill(t Throttle, now time.Time) {
	if b.At.IsZero() {
		b.Lines, b.Bytes, b.At = float64(t.BurstLines), float64(t.BurstBytes), now
		return
	}
	if since := now.Sub(b.At).Seconds(); since > 0 {
		b.Lines = min(float64(t.BurstLines), b.Lines+since*float64(t.LinesPerSecond))
		b.Bytes = min(float64(t.BurstBytes), b.Bytes+since*float64(t.BytesPerSecond))
		b.At = now
	}
}

// allow takes a line off the budget. One that has begun is only refused when there
// are no bytes left. again is true for the first line after some that were refused.
func (b *budget) allow(t Throttle, line bool) (allowed, again bool) {
	if !line && b.Bytes > 0 {
		return true, false
	}
	if b.Closed {
		if b.Lines < min(float64(t.LinesPerSecond)/2, float64(t.BurstLines)) || b.Bytes < min(float64(t.BytesPerSecond)/2, float64(t.BurstBytes)) {
			return false, false
		}
		b.Closed, again = false, true
	}
	if b.Lines < 1 || b.Bytes <= 0 {
		b.Closed, b.Wide = true, b.Bytes <= 0
		return false, false
	}
	b.Lines--
	return true, again
}

func countLines(n int64) string {
	if n == 1 {
		return "1 line"
	}
	return thousands(n) + " lines"
}

func wasOrWere(n int64) string {
	if n == 1 {
		return "was"
	}
	return "were"
}

// thousands groups n's digits.
func thousands(n int64) string {
	digits := fmt.Sprint(n)
	var out strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			out.WriteByte(',')
		}
		out.WriteRune(d)
	}
	return out.String()
}

func megabytes(n int64) string {
	return units.CustomSize("%.3g %s", float64(n), 1000, []string{"bytes", "kB", "MB", "GB", "TB"})
}
