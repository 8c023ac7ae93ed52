package playbook

import (
	"context"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// Output is what the engine needs of whoever collects what apps print. Both may be nil.
type Output struct {
	Follow func(sandboxID string)                            // the app in the sandbox was started just now
	Drain  func(ctx context.Context, sandboxID string) error // returns when all that it has printed is stored
}

// followOutput has what an app prints collected from now on.
func (e *Engine) followOutput(sandboxID string) {
	if e.cfg.Output.Follow != nil {
		e.cfg.Output.Follow(sandboxID)
	}
}

// drainOutput keeps what an app has printed before its sandbox goes.
func (e *Engine) drainOutput(ctx context.Context, sandboxID string) error {
	if e.cfg.Output.Drain == nil {
		return nil
	}
	return e.cfg.Output.Drain(ctx, sandboxID)
}

// Secrets lists the values of a deployment that belong in no log: the variables that
// it last ran with and those that it may be given next, the passwords of its
// databases and of its administrator, and what the sources of packages want.
func (e *Engine) Secrets(ctx context.Context, projectID, deploymentID string) ([]string, error) {
	saved, err := e.variables(ctx, projectID)
	if err != nil {
		return nil, err
	}
	applied, err := e.DeploymentVariables(ctx, projectID, deploymentID)
	if err != nil {
		return nil, err
	}
	databases, err := e.store.AllDatabases(ctx, projectID) // it may still have those of one that was detached
	if err != nil {
		return nil, err
	}
	secrets := append(append(saved.Secrets(), applied.Secrets()...), e.cfg.Sources.Secrets()...)
	for _, d := range databases {
		if d.Sealed == nil {
			continue
		}
		c, err := e.openConnection(d)
		if err != nil {
			return nil, err
		}
		secrets = append(secrets, c.Password)
	}
	_, own, err := e.backend(ctx, projectID)
	if coderunner.KindOf(err) == coderunner.NotFound { // not on Manifest
		return secrets, nil
	}
	if err != nil {
		return nil, err
	}
	return append(secrets, own.TokenKey, own.AdminPassword), nil
}
