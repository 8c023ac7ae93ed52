package api

import (
	"sync"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// maxDownloads is how many logs one user may fetch at once.
const maxDownloads = 64

// downloads counts the logs that each user is fetching. One that was cut off would be
// taken for the whole, so that none makes room for another.
type downloads struct {
	mu   sync.Mutex
	open map[string]int
}

// enter answers a function that ends the download, or Throttled.
func (d *downloads) enter(userID string) (leave func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open[userID] >= maxDownloads {
		return nil, coderunner.Errorf(coderunner.Throttled, "You are fetching %d logs, which is the limit. End some, then try again.", maxDownloads)
	}
	d.open[userID]++
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.open[userID]--; d.open[userID] == 0 {
			delete(d.open, userID)
		}
	}, nil
}
