package playbook

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// slots bound how many installs and builds this node does at once. Users who wait
// get their turns one after the other, however many each of them asks for: a user's
// next ticket is for the round after that of the one before, and nobody begins in a round that
// is over (start-time fair queueing, Goyal, Vin and Cheng, 1996). Within a round, who came first is first.
type slots struct {
	mu      sync.Mutex
	free    int
	waiting []*ticket      // in the order in which they get their turn
	round   int            // of the newest turn
	last    map[string]int // the round of each user's newest ticket, if it is not over
}

// ticket is a place in the queue.
type ticket struct {
	user  string
	round int
	turn  chan struct{} // closed when it is the ticket's turn
	moved chan struct{} // has one element when the number of those ahead has changed
}

func newSlots(n int) *slots { return &slots{free: n, last: map[string]int{}} }

// acquire waits for a slot for the user and answers how to give it back. While it waits, each
// change of the number of those ahead is told, beginning with the first.
func (s *slots) acquire(ctx context.Context, user string, ahead func(int) error) (release func(), err error) {
	s.mu.Lock()
	t := &ticket{user: user, round: s.round, turn: make(chan struct{}), moved: make(chan struct{}, 1)}
	if last, has := s.last[user]; has {
		t.round = max(t.round, last+1)
	}
	s.last[user] = t.round
	if s.free > 0 && len(s.waiting) == 0 {
		s.begin(t)
		s.mu.Unlock()
		return s.give(), nil
	}
	place, _ := slices.BinarySearchFunc(s.waiting, t.round+1, func(w *ticket, round int) int { return w.round - round })
	s.waiting = slices.Insert(s.waiting, place, t)
	s.tell()
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
		s.last[t.user] = s.round // what was not used is no debt
		for _, w := range s.waiting {
			if w.user == t.user {
				s.last[t.user] = w.round // the newest is the last of them
			}
		}
		s.tell()
		return
	}
	s.free++
	s.next()
}

// next lets those in whose turn it is. The caller has the lock.
func (s *slots) next() {
	for s.free > 0 && len(s.waiting) > 0 {
		t := s.waiting[0]
		s.waiting = s.waiting[1:]
		s.begin(t)
		close(t.turn)
	}
	s.tell()
}

// begin is a ticket's turn. The caller has the lock.
func (s *slots) begin(t *ticket) {
	s.free--
	s.round = t.round
	maps.DeleteFunc(s.last, func(_ string, round int) bool { return round < s.round })
}

func (s *slots) tell() {
	for _, t := range s.waiting {
		select {
		case t.moved <- struct{}{}:
		default:
		}
	}
}
