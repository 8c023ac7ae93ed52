package playbook

import (
	"context"
	"maps"
	"sync"
	"time"
)

// mendAtOnce is how many sandboxes are mended at once: after a reboot of the machine
// all of them have to be.
const mendAtOnce = 8

// mending is what the reconciler does beside looking, for each sandbox at most one
// thing at a time, and what it remembers of them.
type mending struct {
	well map[string]time.Time // since when one that was started again has been seen running; only who looks has it

	mu     sync.Mutex
	busy   map[string]bool
	failed map[string]failed
	asked  map[string]asked
}

// failed is how often in a row a sandbox could not be mended, for reasons of ours, and
// when it is tried again. There is no limit of tries, and nobody's program is to blame.
type failed struct {
	tries int
	again time.Time
}

func newMending() *mending {
	return &mending{well: map[string]time.Time{}, busy: map[string]bool{}, failed: map[string]failed{}, asked: map[string]asked{}}
}

// beside begins to mend a sandbox, unless that is being done or too many are. When it
// has ended the provider is looked at again; Wait waits for it.
func (e *Engine) beside(ctx context.Context, m *mending, id string, mend func() error) {
	if !m.begin(id) {
		return
	}
	e.busy.Add(1)
	go func() {
		defer e.busy.Done()
		err := mend()
		if err != nil && ctx.Err() == nil {
			e.log.Warn("mending a sandbox", "sandbox", id, "err", err)
		}
		m.end(id, err)
		e.Nudge()
	}()
}

func (m *mending) begin(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.busy[id] || len(m.busy) >= mendAtOnce {
		return false
	}
	m.busy[id] = true
	return true
}

func (m *mending) end(id string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.busy, id)
	if err == nil {
		delete(m.failed, id)
		return
	}
	tries := m.failed[id].tries
	m.failed[id] = failed{tries: tries + 1, again: time.Now().Add(backoff(tries))}
}

// atWork are those that are being mended just now.
func (m *mending) atWork() map[string]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.busy)
}

// trouble is how the last tries at a sandbox failed, zero if they did not.
func (m *mending) trouble(id string) failed {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.failed[id]
}

// recovered forgets the failed tries at one that runs.
func (m *mending) recovered(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.failed, id)
}

// forget forgets the failed tries at those that are there no more, and their answers.
func (m *mending) forget(gone func(id string) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.failed, func(id string, _ failed) bool { return gone(id) })
	maps.DeleteFunc(m.asked, func(id string, a asked) bool { return !a.under && gone(id) })
}
