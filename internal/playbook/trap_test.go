package playbook

import "sync"

// trap stops an engine in a moment of a step, once.
type trap struct {
	mu      sync.Mutex
	step    string
	done    bool
	reached chan struct{} // closed when the engine is there; nil while nothing is set
	release chan struct{} // closed when it may go on
}

// set names the moment: as the step begins, or with done after its work, before that is
// recorded. The engine waits there until release is called.
func (t *trap) set(step string, done bool) (reached <-chan struct{}, release func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.step, t.done, t.reached, t.release = step, done, make(chan struct{}), make(chan struct{})
	wait := t.release
	return t.reached, sync.OnceFunc(func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.release == wait {
			t.reached = nil
		}
		close(wait)
	})
}

// breakpoint is the engine's.
func (t *trap) breakpoint(step string, done bool) {
	t.mu.Lock()
	if t.reached == nil || step != t.step || done != t.done {
		t.mu.Unlock()
		return
	}
	close(t.reached)
	t.reached = nil
	wait := t.release
	t.mu.Unlock()
	<-wait
}
