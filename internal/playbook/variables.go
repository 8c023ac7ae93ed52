package playbook

import (
	"context"
	"encoding/json"

	"github.com/coderunner/coderunner/internal/coderunner"
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
	var variables coderunner.Variables
	if x.run.Playbook == RollbackPlaybook {
		variables, err = x.e.DeploymentVariables(ctx, x.project.ID, x.deployment.FromID)
	} else {
		variables, err = x.e.variables(ctx, x.project.ID)
	}
	if err != nil {
		return nil, err
	}
	if sealed, err = x.e.sealVariables(x.project.ID, runVariables(x.run.ID), variables); err != nil {
		return nil, err
	}
	return variables, x.guarded(ctx, func(s *store.Store) error { return s.SetRunVariables(ctx, x.run.ID, sealed) })
}

// appliedVariables are those that the run's version has once it serves. What is only
// started again keeps those that it was built with, so that the pages go on saying
// what of the saved ones its build does not know.
func (x *execution) appliedVariables(ctx context.Context) (coderunner.Variables, error) {
	if x.run.Playbook != RestartPlaybook && x.run.Playbook != StartPlaybook {
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
