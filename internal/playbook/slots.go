package playbook

import (
	"context"
	"slices"
	"sync"
)

// slots bound how many installs and builds this node does at once. Those that
// wait get their turn in the order in which they came.
type slots struct {
	mu      sync.Mutex
	free    int
	waiting []*ticket
}

// ticket is a place in the queue.
type ticket struct {
	turn  chan struct{} // closed when it is the ticket's turn
	moved chan struct{} // has one element when the number of those ahead has changed
}

func newSlots(n int) *slots { return &slots{free: n} }

// acquire waits for a slot and answers how to give it back. While it waits, each
// change of the number of those ahead is told, beginning with the first.
func (s *slots) acquire(ctx context.Context, ahead func(int) error) (release func(), err error) {
	t := &ticket{turn: make(chan struct{}), moved: make(chan struct{}, 1)}
	s.mu.Lock()
	if s.free > 0 && len(s.waiting) == 0 {
		s.free--
		s.mu.Unlock()
		return s.give(), nil
	}
	s.waiting = append(s.waiting, t)
	t.moved <- struct{}{}
	s.mu.Unlock()
	for told := -1; ; {
		select {
		case <-t.turn:
			return s.give(), nil
		case <-t.moved:
			if n := s.ahead(t); n >= 0 && n != told {
				told, err = n, ahead(n)
			}
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			s.leave(t)
			return nil, err
		}
	}
}

// ahead is how many wait before t, -1 if t waits no more.
func (s *slots) ahead(t *ticket) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Index(s.waiting, t)
}

// give answers a function that gives one slot back, once.
func (s *slots) give() func() {
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.free++
		s.next()
	})
}

// leave takes t out of the queue, or gives back the slot that it was just given.
func (s *slots) leave(t *ticket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.waiting, t); i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
		s.tell()
		return
	}
	s.free++
	s.next()
}

// next lets those in whose turn it is. The caller has the lock.
func (s *slots) next() {
	for s.free > 0 && len(s.waiting) > 0 {
		close(s.waiting[0].turn)
		s.waiting = s.waiting[1:]
		s.free--
	}
	s.tell()
}

func (s *slots) tell() {
	for _, t := range s.waiting {
		select {
		case t.moved <- struct{}{}:
		default:
		}
	}
}
