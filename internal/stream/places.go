package stream

import (
	"slices"
	"sync"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// Places are the open streams of events of each user, pages and programs together. The
// zero value has none.
type Places struct {
	mu   sync.Mutex
	open map[string][]chan struct{} // the oldest first
}

// Enter counts a stream in. If its user has coderunner.MaxStreams of them already, the
// oldest loses its place: its channel is closed, and it should end with Crowded. A page
// that was left open somewhere so never keeps another from being live. leave may be
// called by either.
func (p *Places) Enter(userID string) (crowded <-chan struct{}, leave func()) {
	place := make(chan struct{})
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open == nil {
		p.open = map[string][]chan struct{}{}
	}
	if mine := p.open[userID]; len(mine) >= coderunner.MaxStreams {
		close(mine[0])
		p.open[userID] = slices.Delete(mine, 0, 1)
	}
	p.open[userID] = append(p.open[userID], place)
	return place, func() { p.leave(userID, place) }
}

func (p *Places) leave(userID string, place chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open[userID] = slices.DeleteFunc(p.open[userID], func(other chan struct{}) bool { return other == place })
	if len(p.open[userID]) == 0 {
		delete(p.open, userID)
	}
}
