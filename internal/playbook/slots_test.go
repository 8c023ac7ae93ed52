package playbook

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
)

// queued is somebody who wants a slot: what was told, and the slot once it is there.
type queued struct {
	mu      sync.Mutex
	told    []int
	release chan func()
	err     chan error
	changed chan struct{}
}

func (s *slots) queue(ctx context.Context, user string) *queued {
	q := &queued{release: make(chan func(), 1), err: make(chan error, 1), changed: make(chan struct{}, 16)}
	go func() {
		release, err := s.acquire(ctx, user, func(n int) error {
			q.mu.Lock()
			q.told = append(q.told, n)
			q.mu.Unlock()
			q.changed <- struct{}{}
			return nil
		})
		if err != nil {
			q.err <- err
			return
		}
		q.release <- release
	}()
	return q
}

// TestSlotsAreGivenInOrder, and each who waits is told how many are ahead.
func TestSlotsAreGivenInOrder(t *testing.T) {
	t.Parallel()
	s := newSlots(1)
	first, err := s.acquire(t.Context(), "ada", func(int) error { return errors.New("waited for nothing") })
	if err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithCancel(t.Context())
	second := s.queue(t.Context(), "ada")
	<-second.changed
	third := s.queue(ctx, "ada")
	<-third.changed
	fourth := s.queue(t.Context(), "ada")
	<-fourth.changed
	leave()
	if err := <-third.err; !errors.Is(err, context.Canceled) {
		t.Errorf("who left is told %v", err)
	}
	<-fourth.changed
	first()
	first() // once is enough
	release := <-second.release
	<-fourth.changed
	select {
	case <-fourth.release:
		t.Fatal("two have the only slot")
	default:
	}
	release()
	(<-fourth.release)()
	if !slices.Equal(second.told, []int{0}) || !slices.Equal(fourth.told, []int{2, 1, 0}) {
		t.Errorf("the second was told %v, the fourth %v", second.told, fourth.told)
	}
	again, err := s.acquire(t.Context(), "ada", func(int) error { return errors.New("waited for nothing") })
	if err != nil {
		t.Fatal(err)
	}
	again()
}

// TestSlotsAreSharedAmongUsers: whoever asks for many does not hold up those who ask for one,
// and whoever asks again and again does not hold up who has waited.
func TestSlotsAreSharedAmongUsers(t *testing.T) {
	t.Parallel()
	s := newSlots(1)
	release, err := s.acquire(t.Context(), "ada", nil)
	if err != nil {
		t.Fatal(err)
	}
	waiting := map[string][]*queued{}
	ask := func(user string) {
		q := s.queue(t.Context(), user)
		<-q.changed
		waiting[user] = append(waiting[user], q)
	}
	for range 4 {
		ask("ada")
	}
	ask("bob")
	ask("cleo")
	var got []string
	for _, user := range []string{"bob", "cleo", "ada", "bob", "ada", "ada", "ada"} {
		release()
		release = <-waiting[user][0].release
		waiting[user] = waiting[user][1:]
		got = append(got, user)
		if len(got) == 1 {
			ask("bob") // at work, and again
		}
	}
	release()
	if len(s.waiting) > 0 || s.free != 1 {
		t.Errorf("%d still wait, %d places are free", len(s.waiting), s.free)
	}
}

// TestWhoLeavesOwesNothing: turns that were asked for and not taken do not count.
func TestWhoLeavesOwesNothing(t *testing.T) {
	t.Parallel()
	s := newSlots(1)
	release, err := s.acquire(t.Context(), "ada", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithCancel(t.Context())
	var left []*queued
	for range 5 {
		q := s.queue(ctx, "ada")
		<-q.changed
		left = append(left, q)
	}
	leave()
	for _, q := range left {
		<-q.err
	}
	var bobs []*queued
	for range 3 {
		q := s.queue(t.Context(), "bob")
		<-q.changed
		bobs = append(bobs, q)
	}
	ada := s.queue(t.Context(), "ada")
	<-ada.changed
	release()
	(<-bobs[0].release)()
	(<-bobs[1].release)()
	(<-ada.release)()
	(<-bobs[2].release)()
}

// TestWhoLeavesWithASlotGivesItBack: the turn and the end of the wait may come at once.
func TestWhoLeavesWithASlotGivesItBack(t *testing.T) {
	t.Parallel()
	for range 200 {
		s := newSlots(1)
		first, err := s.acquire(t.Context(), "ada", nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, leave := context.WithCancel(t.Context())
		q := s.queue(ctx, "ada")
		<-q.changed
		var both sync.WaitGroup
		both.Go(first)
		both.Go(leave)
		both.Wait()
		select {
		case release := <-q.release:
			release()
		case <-q.err:
		}
		last, err := s.acquire(t.Context(), "ada", func(int) error { return errors.New("the slot is lost") })
		if err != nil {
			t.Fatal(err)
		}
		last()
	}
}
