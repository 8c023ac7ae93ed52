package stream

import (
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
)

func TestTheOldestStreamMakesRoom(t *testing.T) {
	t.Parallel()
	var p Places
	type place struct {
		crowded <-chan struct{}
		leave   func()
	}
	enter := func(user string) place {
		crowded, leave := p.Enter(user)
		return place{crowded, leave}
	}
	lost := func(s place) bool {
		select {
		case <-s.crowded:
			return true
		default:
			return false
		}
	}
	var ada []place
	for range coderunner.MaxStreams {
		ada = append(ada, enter("ada"))
	}
	bob := enter("bob")
	ada[1].leave() // one that goes by itself makes room as well
	ada = append(ada, enter("ada"))
	for i, s := range append(ada, bob) {
		if lost(s) {
			t.Fatalf("stream %d lost its place without need", i)
		}
	}
	ada = append(ada, enter("ada"), enter("ada"))
	for i, s := range ada {
		if want := i == 0 || i == 2; lost(s) != want {
			t.Errorf("stream %d: lost its place %v, want %v", i, !want, want)
		}
	}
	if lost(bob) {
		t.Error("another user's stream lost its place")
	}
	for _, s := range append(ada, bob) {
		s.leave() // those that lost their place as well
	}
	if len(p.open) != 0 {
		t.Errorf("after all have left there are %v", p.open)
	}
}
