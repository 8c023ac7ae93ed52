package runlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/secret"
	"github.com/coderunner/coderunner/internal/store"
)

const (
	settleTime = 500 * time.Millisecond // of silence, before it is said what was dropped
	flushTime  = 2 * time.Second        // for the last lines, before the end of an app is told
	retryTime  = time.Second            // after a failure
)

var (
	errNotOurs  = errors.New("another node collects this sandbox's output")
	errDropped  = errors.New("what the app printed was dropped")
	errStopping = coderunner.Errorf(coderunner.Unavailable, "The server is stopping; what the app printed is collected when it is back.")
)

// tap follows the output of one sandbox's app.
type tap struct {
	*Collector
	id     string
	cancel context.CancelFunc // ends it; nil if it never began
	ended  chan struct{}      // closed at its end
	once   sync.Once
	news   chan struct{} // it is worth looking again

	mu     sync.Mutex
	drains []chan error       // who waits until all is stored
	round  context.CancelFunc // ends the present reading, nil without

	// The reading, while there is one.
	reading sync.Mutex
	redact  *Redactor
	in      *intake
	queue   *queue[entry]
	cursor  store.RuntimeCursor
	number  int       // the deployment's
	pending time.Time // the start of a process that has not been told yet
	told    time.Time // the start of the process whose end was told to Ended
	settle  *time.Timer
}

func newTap(c *Collector, id string) *tap {
	return &tap{Collector: c, id: id, ended: make(chan struct{}), news: make(chan struct{}, 1)}
}

// end makes the tap end, if it does not already.
func (t *tap) end() {
	if t.cancel != nil {
		t.cancel()
		return
	}
	t.once.Do(func() { close(t.ended) })
}

// poke makes the tap look at the process again; interrupting, also while it reads.
func (t *tap) poke(interrupting bool) {
	select {
	case t.news <- struct{}{}:
	default:
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if interrupting && t.round != nil {
		t.round()
	}
}

// wanted reports whether somebody waits for all of the output.
func (t *tap) wanted() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.drains) > 0
}

func (t *tap) drain(ctx context.Context) error {
	done := make(chan error, 1)
	t.mu.Lock()
	t.drains = append(t.drains, done)
	t.mu.Unlock()
	t.poke(true)
	select {
	case err := <-done:
		return err
	case <-t.ended:
		return errStopping
	case <-ctx.Done():
		return ctx.Err()
	}
}

// drained answers those who asked before n drains were pending.
func (t *tap) drained(n int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, done := range t.drains[:n] {
		done <- err
	}
	t.drains = t.drains[n:]
}

func (t *tap) pendingDrains() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.drains)
}

// run follows until ctx ends, beginning again after failures.
func (t *tap) run(ctx context.Context) {
	defer t.once.Do(func() { close(t.ended) })
	said := "" // the last failure, which is logged once
	for {
		err := t.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		var again <-chan time.Time
		switch kind := coderunner.KindOf(err); {
		case errors.Is(err, errNotOurs) || errors.Is(err, store.ErrLeaseLost): // who drains takes it away
		case kind == coderunner.NotFound:
			t.drained(t.pendingDrains(), nil)
		case errors.Is(err, errDropped):
			t.drained(t.pendingDrains(), nil)
			again = time.After(retryTime)
		case errors.Is(err, secret.ErrCannotOpen): // it is dropped once somebody drains
			again = time.After(retryTime)
		case kind == coderunner.Unavailable:
			t.drained(t.pendingDrains(), err)
			again = time.After(retryTime)
		default:
			if said != err.Error() {
				said = err.Error()
				t.log.Warn("the output of an app cannot be collected; trying again", "sandbox", t.id, "err", err)
			}
			t.drained(t.pendingDrains(), nil)
			again = time.After(retryTime)
		}
		if t.wanted() {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-again:
		case <-t.news:
		}
	}
}

// follow claims the sandbox's output and reads it, for as many processes as there
// are, until something fails.
func (t *tap) follow(ctx context.Context) error {
	status, err := t.provider.Process(ctx, t.id, AppProcess)
	if err != nil {
		return err
	}
	if err := t.claim(ctx); err != nil {
		return err
	}
	ctx, lost := context.WithCancelCause(ctx)
	defer lost(nil)
	if err := t.open(ctx, status, lost); err != nil {
		return err
	}
	defer t.close(ctx)
	for {
		asked := t.pendingDrains()
		status, err := t.read(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		t.drained(asked, nil)
		if status.Running {
			continue
		}
		if t.cfg.Ended != nil && !t.told.Equal(status.StartedAt) {
			t.told = status.StartedAt
			t.cfg.Ended(t.id)
		}
		for !t.wanted() {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-t.news:
			}
			now, err := t.provider.Process(ctx, t.id, AppProcess)
			if err != nil {
				return err
			}
			if now.Running || !now.StartedAt.Equal(status.StartedAt) {
				break
			}
		}
	}
}

// claim takes the right to read. A node that has to drain takes it away from others.
func (t *tap) claim(ctx context.Context) error {
	force := t.wanted()
	cursor, ours, err := t.store.ClaimRuntimeCursor(ctx, t.id, t.cfg.Owner, force)
	switch {
	case err != nil:
		return err
	case !ours && force:
		return coderunner.Errorf(coderunner.NotFound, "There is no sandbox %q.", t.id)
	case !ours:
		return errNotOurs
	}
	deployment, err := t.store.DeploymentByID(ctx, cursor.DeploymentID)
	t.cursor, t.number = cursor, deployment.Number
	return err
}

// open makes what turns output into lines and stores them. lost is called when they
// cannot be stored any more.
func (t *tap) open(ctx context.Context, status sandbox.ProcessStatus, lost context.CancelCauseFunc) error {
	var from progress
	if err := json.Unmarshal(t.cursor.State, &from); err != nil {
		return fmt.Errorf("how far the output was read: %w", err)
	}
	t.redact = NewRedactor()
	if err := t.hide(ctx); errors.Is(err, secret.ErrCannotOpen) && t.wanted() {
		return t.drop(ctx, from, status)
	} else if err != nil {
		return err
	}
	t.reading.Lock()
	defer t.reading.Unlock()
	t.queue = &queue[entry]{limit: tapBytes, most: tapLines, size: func(e entry) int { return len(e.line.Text) + 400 }, try: t.save, onLost: func(err error) { lost(err) }}
	t.queue.start(ctx)
	t.in = newIntake(from, t.cfg.Throttle, t.redact, t.queue.add)
	t.settle = time.AfterFunc(time.Hour, t.settled)
	return nil
}

// hide keeps the deployment's secrets, as they are now, out of the log. Those that it
// had before stay hidden.
func (t *tap) hide(ctx context.Context) error {
	secrets, err := t.cfg.Secrets(ctx, t.cursor.ProjectID, t.cursor.DeploymentID)
	t.redact.Add(secrets...)
	return err
}

// drop says, once for each process, that what it printed is not stored: nobody knows
// what is to be hidden in it, and the sandbox cannot wait for that to change. It
// answers errDropped.
func (t *tap) drop(ctx context.Context, from progress, status sandbox.ProcessStatus) error {
	if from.Lost.Equal(status.StartedAt) {
		return errDropped
	}
	from.Lost = status.StartedAt
	line := coderunner.RuntimeLine{At: time.Now(), Stream: coderunner.System,
		Text: "What the app printed last is not kept: a secret of the project cannot be decrypted, so it could not be hidden here."}
	if err := t.save(ctx, 0, []entry{{line, from}}, false); err != nil {
		return err
	}
	return errDropped
}

// close stores what is left, if it can be done at once. What cannot is read again.
func (t *tap) close(ctx context.Context) {
	t.settle.Stop()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
	defer cancel()
	_ = t.queue.close(last)
}

// read reads until the process has ended, or somebody wants to know how far it is,
// and stores all that is there by then.
func (t *tap) read(ctx context.Context) (sandbox.ProcessStatus, error) {
	status, err := t.provider.Process(ctx, t.id, AppProcess)
	if err != nil {
		return status, err
	}
	if t.begun(status) {
		if err := t.hide(ctx); err != nil {
			return status, err
		}
	}
	round, stop := context.WithCancel(ctx)
	defer stop()
	t.mu.Lock()
	t.round = stop
	interrupted := len(t.drains) > 0
	t.mu.Unlock()
	err = nil
	if !interrupted {
		err = t.provider.Output(round, t.id, AppProcess, t.offset(), true, t.take)
	}
	t.mu.Lock()
	t.round = nil
	t.mu.Unlock()
	if interrupted || round.Err() != nil && ctx.Err() == nil {
		err = t.provider.Output(ctx, t.id, AppProcess, t.offset(), false, t.take)
	}
	if err != nil {
		return status, err
	}
	if status, err = t.provider.Process(ctx, t.id, AppProcess); err != nil {
		return status, err
	}
	if !status.Running {
		// It may have printed its last words after the reading.
		if err := t.provider.Output(ctx, t.id, AppProcess, t.offset(), false, t.take); err != nil {
			return status, err
		}
		if err := t.finished(status); err != nil {
			return status, err
		}
	}
	return status, t.queue.flush(ctx)
}

func (t *tap) offset() int64 {
	t.reading.Lock()
	defer t.reading.Unlock()
	return t.in.next
}

// save stores a batch, unless an earlier try has.
func (t *tap) save(ctx context.Context, _ int64, batch []entry, unsure bool) error {
	select {
	case t.writes <- struct{}{}:
		defer func() { <-t.writes }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if unsure {
		now, err := t.store.RuntimeCursor(ctx, t.id)
		if err != nil {
			return err
		}
		if now.Epoch == t.cursor.Epoch && now.Version == t.cursor.Version+1 {
			t.cursor.Version++
			return nil
		}
	}
	state, err := json.Marshal(batch[len(batch)-1].after)
	if err != nil {
		return err
	}
	lines := make([]coderunner.RuntimeLine, 0, len(batch))
	for _, e := range batch {
		if e.line.Stream != "" {
			lines = append(lines, e.line)
		}
	}
	if err := t.store.AppendRuntimeLog(ctx, t.cursor, state, lines); err != nil {
		return err
	}
	t.cursor.Version++
	return nil
}
