package playbook

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/secret"
	"github.com/coderunner/coderunner/internal/store"
)

// Names that bind ciphertext to what it belongs to.

func runVariables(runID string) string { return "run/" + runID + "/variables" }
func deploymentVariables(deploymentID string) string {
	return "deployment/" + deploymentID + "/variables"
}

// workingVariables are those that the run works with. They are read once and
// kept, so that a run that is resumed goes on with those that it began with.
func (x *execution) workingVariables(ctx context.Context) (coderunner.Variables, error) {
	sealed, err := x.e.store.RunVariables(ctx, x.run.ID)
	if err != nil {
		return nil, err
	}
	if sealed != nil {
		return x.e.openVariables(x.project.ID, runVariables(x.run.ID), sealed)
	}
	if slices.ContainsFunc(x.steps, func(st *step) bool { return st.State != coderunner.StepPending }) {
		return nil, lost("What the run's variables were encrypted as")
	}
	var variables coderunner.Variables
	switch {
	case x.run.Playbook == RollbackPlaybook:
		variables, err = x.e.ranWith(ctx, x.project.ID, x.deployment.FromID)
	case x.startsAgain(): // what they have now is read once more in the end
		if _, err = x.e.ranWith(ctx, x.project.ID, x.deployment.ID); err == nil {
			variables, err = x.e.variables(ctx, x.project.ID)
		}
	default:
		variables, err = x.e.variables(ctx, x.project.ID)
	}
	if err != nil {
		return nil, err
	}
	if sealed, err = x.e.sealVariables(x.project.ID, runVariables(x.run.ID), variables); err != nil {
		return nil, err
	}
	// Whatever is written later is lost with it, or neither is.
	return variables, x.e.store.GuardedSoon(ctx, x.lease, func(s *store.Store) error { return s.SetRunVariables(ctx, x.run.ID, sealed) })
}

// startsAgain reports whether the run starts a version that has served once more.
func (x *execution) startsAgain() bool {
	switch x.run.Playbook {
	case RestartPlaybook, StartPlaybook, AttachPlaybook, DetachPlaybook:
		return x.has("sandbox")
	}
	return false
}

// appliedVariables are those that the run's version has once it serves. What is only
// started again keeps those that it was built with, so that the pages go on saying
// what of the saved ones its build does not know.
func (x *execution) appliedVariables(ctx context.Context) (coderunner.Variables, error) {
	if !x.startsAgain() {
		return x.variables, nil
	}
	before, err := x.e.DeploymentVariables(ctx, x.project.ID, x.deployment.ID)
	return before.Restarted(x.variables), err
}

// DeploymentVariables answers the variables that a deployment last ran with,
// values included; none if it never ran.
func (e *Engine) DeploymentVariables(ctx context.Context, projectID, deploymentID string) (coderunner.Variables, error) {
	sealed, err := e.store.DeploymentVariables(ctx, deploymentID)
	if err != nil || sealed == nil {
		return nil, err
	}
	return e.openVariables(projectID, deploymentVariables(deploymentID), sealed)
}

// ranWith is DeploymentVariables of one that has served: it had some, and be it none
// at all. Where nothing is kept, what is kept has been lost.
func (e *Engine) ranWith(ctx context.Context, projectID, deploymentID string) (coderunner.Variables, error) {
	sealed, err := e.store.DeploymentVariables(ctx, deploymentID)
	if err == nil && sealed == nil {
		err = lost("What the deployment's variables were encrypted as")
	}
	if err != nil {
		return nil, err
	}
	return e.openVariables(projectID, deploymentVariables(deploymentID), sealed)
}

// errLost is in the chain of every error that says that a ciphertext which must be
// there is not. To go on without it would run something else than was asked for.
var errLost = errors.New("the encrypted value is gone")

func lost(what string) error {
	return coderunner.Wrap(errors.Join(errLost, secret.ErrCannotOpen), coderunner.Unavailable, "%s is not in the database any more.", what)
}

// checkConnection is lost if a database that was provisioned has no connection any more.
// A new password would be another than its apps have.
func checkConnection(d store.SealedDatabase) error {
	if d.Sealed == nil && d.SandboxID != "" {
		return lost("What the connection of the database " + d.Appliance + " was encrypted as")
	}
	return nil
}

func (e *Engine) sealVariables(projectID, name string, variables coderunner.Variables) ([]byte, error) {
	plain, err := json.Marshal(variables)
	if err != nil {
		return nil, err
	}
	return e.keys.Seal(projectID, name, plain)
}

func (e *Engine) openVariables(projectID, name string, sealed []byte) (coderunner.Variables, error) {
	plain, err := e.keys.Open(projectID, name, sealed)
	if err != nil {
		return nil, err
	}
	var variables coderunner.Variables
	return variables, json.Unmarshal(plain, &variables)
}
