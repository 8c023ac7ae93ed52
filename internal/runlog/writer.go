// Package runlog is the log of runs: lines written in order, redacted and in
// batches; read from a cursor, live, by any number of readers.
package runlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

const (
	batchLines = 500                   // at most, in one write
	batchTime  = 40 * time.Millisecond // between writes, unless somebody waits for one
	queueBytes = 4 << 20               // of lines not yet stored, before writers have to wait
	longWait   = 2 * time.Second       // between tries while the database is away
)

// Writer appends to one run's log for the owner of its lease. Its methods are
// safe for concurrent use.
type Writer struct {
	store  *store.Store
	lease  store.Lease
	redact *Redactor
	onLost func(error)

	mu      sync.Mutex
	changed *sync.Cond // queue, stored, err or closing changed
	queue   []coderunner.LogLine
	bytes   int
	next    int64 // the number of queue[0]
	hurry   int   // how many wait in Flush
	closing bool
	err     error // why nothing more can be stored
	done    chan struct{}
	stop    context.CancelFunc
}

// NewWriter continues the log after its last line. onLost is called once when
// lines cannot be stored any more: the lease is another process's, or the
// database refuses.
func NewWriter(ctx context.Context, st *store.Store, lease store.Lease, redact *Redactor, onLost func(error)) (*Writer, error) {
	last, err := st.LastLogSeq(ctx, lease.RunID)
	if err != nil {
		return nil, err
	}
	w := &Writer{store: st, lease: lease, redact: redact, onLost: onLost, next: last + 1, done: make(chan struct{})}
	w.changed = sync.NewCond(&w.mu)
	ctx, w.stop = context.WithCancel(context.WithoutCancel(ctx))
	go w.work(ctx)
	return w, nil
}

// Stream returns a writer for the output of a step. Closing it stores a last
// line that has no newline.
func (w *Writer) Stream(step string, kind coderunner.Stream) io.WriteCloser {
	return &stream{writer: w, step: step, stream: kind}
}

// Say adds a line of CodeRunner's own. Newlines in what is formatted make more lines.
func (w *Writer) Say(step, format string, args ...any) {
	s := &stream{writer: w, step: step, stream: coderunner.System}
	_, _ = fmt.Fprintf(s, format, args...)
	_ = s.Close()
}

// Flush returns when all lines written before it are stored.
func (w *Writer) Flush(ctx context.Context) error {
	stop := context.AfterFunc(ctx, w.wake)
	defer stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	until := w.next + int64(len(w.queue))
	w.hurry++
	w.changed.Broadcast()
	defer func() { w.hurry-- }()
	for w.next < until && w.err == nil && ctx.Err() == nil {
		w.changed.Wait()
	}
	if w.next >= until {
		return nil
	}
	return errors.Join(w.err, ctx.Err())
}

// Close stores what is left and ends the writer. Streams must be closed before.
func (w *Writer) Close(ctx context.Context) error {
	err := w.Flush(ctx)
	w.mu.Lock()
	w.closing = true
	w.changed.Broadcast()
	w.mu.Unlock()
	w.stop()
	<-w.done
	return err
}

func (w *Writer) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changed.Broadcast()
}

// add queues a line, waiting while the queue is full.
func (w *Writer) add(line coderunner.LogLine) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.bytes > queueBytes && w.err == nil && !w.closing {
		w.changed.Wait()
	}
	if w.err != nil {
		return w.err
	}
	if w.closing {
		return errors.New("the run's log is closed")
	}
	w.queue = append(w.queue, line)
	w.bytes += len(line.Text) + 64
	w.changed.Broadcast()
	return nil
}

// work stores batches until the writer is closed or cannot go on.
func (w *Writer) work(ctx context.Context) {
	defer close(w.done)
	defer context.AfterFunc(ctx, w.wake)()
	var last time.Time
	for {
		w.mu.Lock()
		for len(w.queue) == 0 && !w.closing && ctx.Err() == nil {
			w.changed.Wait()
		}
		// The first line after a silence goes at once; a flood waits to become batches.
		if wait := batchTime - time.Since(last); wait > 0 && len(w.queue) < batchLines && w.hurry == 0 && !w.closing {
			timer := time.AfterFunc(wait, w.wake)
			for time.Since(last) < batchTime && len(w.queue) < batchLines && w.hurry == 0 && !w.closing && ctx.Err() == nil {
				w.changed.Wait()
			}
			timer.Stop()
		}
		batch := w.queue[:min(len(w.queue), batchLines)]
		first := w.next
		w.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		err := w.append(ctx, first, batch)
		last = time.Now()
		w.mu.Lock()
		if err == nil {
			for _, l := range batch {
				w.bytes -= len(l.Text) + 64
			}
			w.queue = append([]coderunner.LogLine(nil), w.queue[len(batch):]...)
			w.next += int64(len(batch))
		} else {
			w.err = err
		}
		w.changed.Broadcast()
		w.mu.Unlock()
		if err != nil {
			if ctx.Err() == nil && w.onLost != nil {
				w.onLost(err)
			}
			return
		}
	}
}

// append stores one batch, trying again while the database is away.
func (w *Writer) append(ctx context.Context, first int64, batch []coderunner.LogLine) error {
	unsure := false // whether a try that got no answer has stored it
	for wait := 100 * time.Millisecond; ; wait = min(wait*2, longWait) {
		err := w.try(ctx, first, batch, unsure)
		if coderunner.KindOf(err) != coderunner.Unavailable {
			return err
		}
		unsure = true
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// try stores one batch, unless it is unsure and finds the batch stored.
func (w *Writer) try(ctx context.Context, first int64, batch []coderunner.LogLine, unsure bool) error {
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
