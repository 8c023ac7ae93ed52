package load

import (
	"context"
	"sync"
	"testing"
)

// TestVersionsComeAndGo: under constant load, with an open WebSocket and an answer
// that takes longer than the change, an app is redeployed, rolled back and
// restarted. No request fails or waits; a WebSocket ends with the version that it
// was opened to, once that has been given its time, and the next is there at once.
func TestVersionsComeAndGo(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.deploy()
	first := s.version("two")
	ctx, end := context.WithCancel(t.Context())
	defer end()
	apps, words := NewRecorder(delay), NewRecorder(delay)
	var clients sync.WaitGroup
	clients.Go(func() { s.target.Requests(ctx, rate, apps) })
	clients.Go(func() { s.target.Sockets(ctx, words) })
	for _, change := range []struct {
		name string
		do   func()
	}{
		{"redeploy", func() { s.version("three") }},
		{"rollback", func() {
			started, err := s.client.Rollback(ctx, first.ID)
			s.ends(started.Run, err)
		}},
		{"restart", func() {
			run, err := s.client.Restart(ctx, s.project.ID)
			s.ends(run, err)
		}},
	} {
		slowly := NewRecorder(delay)
		var slowOne sync.WaitGroup
		slowOne.Go(func() { s.target.Slow(slow, slowly) })
		await(t, "the slow request", func() bool {
			for _, open := range s.edge().Open {
				if open >= 2 { // the other is the WebSocket
					return true
				}
			}
			return false
		})
		change.do()
		slowOne.Wait()
		s.report(change.name+", app", apps)
		s.report(change.name+", WebSocket", words)
		s.report(change.name+", slow answer", slowly)
	}
	end()
	clients.Wait()
}
