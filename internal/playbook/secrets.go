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

// drainOutput keeps what an app has printed before its sandbox goes.
func (e *Engine) drainOutput(ctx context.Context, sandboxID string) error {
	if e.cfg.Output.Drain == nil {
		return nil
	}
	return e.cfg.Output.Drain(ctx, sandboxID)
}

// Secrets lists the values of a deployment that belong in no log: its variables and
// the passwords of its databases.
func (e *Engine) Secrets(ctx context.Context, projectID, _ string) ([]string, error) {
	variables, err := e.variables(ctx, projectID)
	if err != nil {
		return nil, err
	}
	databases, err := e.store.ProjectDatabases(ctx, projectID)
	if err != nil {
		return nil, err
	}
	var secrets []string
	for _, value := range variables {
		secrets = append(secrets, value)
	}
	for _, d := range databases {
		if d.Sealed == nil {
			continue
		}
		var c coderunner.Connection
		if c, err = e.openConnection(d); err != nil {
			return nil, err
		}
		secrets = append(secrets, c.Password)
	}
	return secrets, nil
}
