package web

import (
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// A run that is read as queued and begins before its neighbours are read waits for
// nobody, itself least of all.
func TestARunDoesNotWaitForItself(t *testing.T) {
	t.Parallel()
	queued := coderunner.Run{ID: "a", State: coderunner.RunQueued}
	begun := coderunner.Run{ID: "a", State: coderunner.RunRunning}
	other := coderunner.Run{ID: "b", State: coderunner.RunRunning}
	if at := ahead(queued, []coderunner.Run{begun}); at != nil {
		t.Errorf("it waits for %+v", at)
	}
	if at := ahead(queued, []coderunner.Run{other, queued}); at == nil || at.ID != "b" {
		t.Errorf("it waits for %+v, want b", at)
	}
}
