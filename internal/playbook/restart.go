package playbook

import (
	"context"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

// The playbooks that run the current deployment again. Both make a new sandbox
// from its release, with the variables as they are now; a restart does so beside
// the one that serves.
const (
	RestartPlaybook = "restart"
	StartPlaybook   = "start"
)

func restartPlaybook() playbook {
	return playbook{secrets: true, steps: serveActions(), succeed: nothing, fail: keepsStatus}
}

// keepsStatus: a version that could not be started anew is what it was before.
func keepsStatus(context.Context, *execution, *store.Store, coderunner.RunState, *coderunner.Failure) error {
	return nil
}
