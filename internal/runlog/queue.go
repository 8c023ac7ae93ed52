package runlog

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
)

const (
	batchTime = 40 * time.Millisecond // between writes, unless somebody waits for one
	longWait  = 2 * time.Second       // between tries while the database is away
)

var errClosed = errors.New("the log is closed")

// queue stores what is added to it in batches, in order, one after the other. The
// first entry after a silence goes at once; a flood waits to become batches. While
// the database is away it tries again. Who adds has to wait while limit bytes are
// waiting. Its methods are safe for concurrent use.
type queue[E any] struct {
	limit int
	most  int // entries in one batch
	size  func(E) int
	// try stores a batch whose first entry is the queue's at'th, counted from 0. When it
	// is unsure whether an earlier try of the same batch was stored, it looks first.
	try    func(ctx context.Context, at int64, batch []E, unsure bool) error
	onLost func(error) // called once when nothing can be stored any more, may be nil

	mu      sync.Mutex
	changed *sync.Cond // anything below changed
	waiting []E
	bytes   int
	stored  int64 // entries
	hurry   int   // how many wait in flush
	closing bool
	err     error // why nothing more can be stored
	done    chan struct{}
	stop    context.CancelFunc
}

// start makes the queue work; close ends it, whatever becomes of ctx.
func (q *queue[E]) start(ctx context.Context) {
	q.changed = sync.NewCond(&q.mu)
	q.done = make(chan struct{})
	ctx, q.stop = context.WithCancel(context.WithoutCancel(ctx))
	go q.work(ctx)
}

// add queues an entry, waiting while the queue is full.
func (q *queue[E]) add(e E) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.bytes > q.limit && q.err == nil && !q.closing {
		q.changed.Wait()
	}
	if q.err != nil {
		return q.err
	}
	if q.closing {
		return errClosed
	}
	q.waiting = append(q.waiting, e)
	q.bytes += q.size(e)
	q.changed.Broadcast()
	return nil
}

// flush returns when everything added before it is stored.
func (q *queue[E]) flush(ctx context.Context) error {
	stop := context.AfterFunc(ctx, q.wake)
	defer stop()
	q.mu.Lock()
	defer q.mu.Unlock()
	until := q.stored + int64(len(q.waiting))
	q.hurry++
	q.changed.Broadcast()
	defer func() { q.hurry-- }()
	for q.stored < until && q.err == nil && ctx.Err() == nil {
		q.changed.Wait()
	}
	if q.stored >= until {
		return nil
	}
	return errors.Join(q.err, ctx.Err())
}

// close stores what is left and ends the queue.
func (q *queue[E]) close(ctx context.Context) error {
	err := q.flush(ctx)
	q.mu.Lock()
	q.closing = true
	q.changed.Broadcast()
	q.mu.Unlock()
	q.stop()
	<-q.done
	return err
}

// count is how many entries are stored.
func (q *queue[E]) count() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.stored
}

func (q *queue[E]) wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.changed.Broadcast()
}

// work stores batches until the queue is closed or cannot go on.
func (q *queue[E]) work(ctx context.Context) {
	defer close(q.done)
	defer context.AfterFunc(ctx, q.wake)()
	var last time.Time
	for {
		q.mu.Lock()
		for len(q.waiting) == 0 && !q.closing && ctx.Err() == nil {
			q.changed.Wait()
		}
		if wait := batchTime - time.Since(last); wait > 0 && len(q.waiting) < q.most && q.hurry == 0 && !q.closing {
			timer := time.AfterFunc(wait, q.wake)
			for time.Since(last) < batchTime && len(q.waiting) < q.most && q.hurry == 0 && !q.closing && ctx.Err() == nil {
				q.changed.Wait()
			}
			timer.Stop()
		}
		batch := q.waiting[:min(len(q.waiting), q.most)]
		at := q.stored
		q.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		err := q.store(ctx, at, batch)
		last = time.Now()
		q.mu.Lock()
		if err == nil {
			for _, e := range batch {
				q.bytes -= q.size(e)
			}
			q.waiting = append([]E(nil), q.waiting[len(batch):]...)
			q.stored += int64(len(batch))
		} else {
			q.err = err
		}
		q.changed.Broadcast()
		q.mu.Unlock()
		if err != nil {
			if ctx.Err() == nil && q.onLost != nil {
				q.onLost(err)
			}
			return
		}
	}
}

// store stores one batch, trying again while the database is away.
func (q *queue[E]) store(ctx context.Context, at int64, batch []E) error {
	unsure := false // whether a try that got no answer has stored it
	for wait := 100 * time.Millisecond; ; wait = min(wait*2, longWait) {
		err := q.try(ctx, at, batch, unsure)
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
