package playbook

import "time"

// mending is what the reconciler remembers of the sandboxes that it mends.
type mending struct {
	well   map[string]time.Time // since when one that was started again has been seen running
	failed map[string]failed
}

// failed is how often in a row a sandbox could not be mended, for reasons of ours, and
// when it is tried again. There is no limit of tries, and nobody's program is to blame.
type failed struct {
	tries int
	again time.Time
}

func newMending() *mending {
	return &mending{well: map[string]time.Time{}, failed: map[string]failed{}}
}

// ended keeps how a try ended, and answers how long to wait before the next, 0 for
// no time in particular.
func (m *mending) ended(id string, err error) time.Duration {
	if err == nil {
		delete(m.failed, id)
		return 0
	}
	wait := backoff(m.failed[id].tries)
	m.failed[id] = failed{tries: m.failed[id].tries + 1, again: time.Now().Add(wait)}
	return wait
}

// waits answers for how long a sandbox is left alone after a try that failed.
func (m *mending) waits(id string) time.Duration { return max(0, time.Until(m.failed[id].again)) }
