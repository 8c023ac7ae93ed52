// Package runlog is the log of runs and the runtime log of apps: lines written in
// order, redacted and in batches; read from a cursor, live, by any number of readers.
package runlog

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

const (
	queueBytes = 4 << 20 // of a run's lines not yet stored, before writers have to wait
	batchLines = 500     // of a run, at most, in one write
)

// Writer appends to one run's log for the owner of its lease. Its methods are
// safe for concurrent use.
type Writer struct {
	store  *store.Store
	lease  store.Lease
	redact *Redactor
	first  int64 // the number of the first line that this writer stores
	queue  queue[coderunner.LogLine]
}

// NewWriter continues the log after its last line. onLost is called once when
// lines cannot be stored any more: the lease is another process's, or the
// database refuses.
func NewWriter(ctx context.Context, st *store.Store, lease store.Lease, redact *Redactor, onLost func(error)) (*Writer, error) {
	last, err := st.LastLogSeq(ctx, lease.RunID)
	if err != nil {
		return nil, err
	}
	w := &Writer{store: st, lease: lease, redact: redact, first: last + 1}
	w.queue = queue[coderunner.LogLine]{limit: queueBytes, most: batchLines, size: lineSize, try: w.try, onLost: onLost}
	w.queue.start(ctx)
	return w, nil
}

// lineSize is about what a line takes in memory.
func lineSize(l coderunner.LogLine) int { return len(l.Text) + 64 }

// Stream returns a writer for the output of a step. Closing it stores a last
// line that has no newline.
func (w *Writer) Stream(step string, kind coderunner.Stream) io.WriteCloser {
	return w.stream(step, kind)
}

func (w *Writer) stream(step string, kind coderunner.Stream) *stream {
	return &stream{redact: w.redact, emitted: func(text string) error {
		return w.queue.add(coderunner.LogLine{At: time.Now(), Stream: kind, Step: step, Text: text})
	}}
}

// Say adds a line of CodeRunner's own. Newlines in what is formatted make more lines.
func (w *Writer) Say(step, format string, args ...any) {
	s := w.stream(step, coderunner.System)
	_, _ = fmt.Fprintf(s, format, args...)
	_ = s.Close()
}

// Flush returns when all lines written before it are stored.
func (w *Writer) Flush(ctx context.Context) error { return w.queue.flush(ctx) }

// Close stores what is left and ends the writer. Streams must be closed before.
func (w *Writer) Close(ctx context.Context) error { return w.queue.close(ctx) }

// End adds the log's last lines in s's transaction, under no step: they are there if
// what they tell is. The writer must have been closed.
func (w *Writer) End(ctx context.Context, s *store.Store, lines ...string) error {
	var last []coderunner.LogLine
	for _, line := range lines {
		clean := &stream{redact: w.redact, emitted: func(text string) error {
			last = append(last, coderunner.LogLine{At: time.Now(), Stream: coderunner.System, Text: text})
			return nil
		}}
		_, _ = io.WriteString(clean, line)
		_ = clean.Close()
	}
	return s.AppendLog(ctx, w.lease, w.first+w.queue.count(), last)
}

// try stores one batch, unless it is unsure and finds the batch stored.
func (w *Writer) try(ctx context.Context, at int64, batch []coderunner.LogLine, unsure bool) error {
	first := w.first + at
	if unsure {
		if stored, err := w.stored(ctx, first, batch); stored || err != nil {
			return err
		}
	}
	err := w.store.AppendLog(ctx, w.lease, first, batch)
	if unsure && coderunner.KindOf(err) == coderunner.Conflict { // the server was still at it
		if stored, lookErr := w.stored(ctx, first, batch); stored || lookErr != nil {
			return lookErr
		}
	}
	return err
}

func (w *Writer) stored(ctx context.Context, first int64, batch []coderunner.LogLine) (bool, error) {
	last, err := w.store.LastLogSeq(ctx, w.lease.RunID)
	return err == nil && last >= first+int64(len(batch))-1, err
}
