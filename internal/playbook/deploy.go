package playbook

import (
	"context"
	"fmt"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

// DeployPlaybook brings one bundle of a project online.
const DeployPlaybook = "deploy"

// deploySteps is the list of a deploy. The database and the app's sandbox are
// made at the same time; the build waits for both, because it may want the database.
func deploySteps(plan coderunner.Plan, databases []store.SealedDatabase, title func(appliance string) string) []coderunner.Step {
	var steps []coderunner.Step
	add := func(name, title string, after ...string) {
		steps = append(steps, coderunner.Step{Name: name, Title: title, After: after})
	}
	ready := []string{"upload"}
	if len(databases) > 0 {
		names := make([]string, len(databases))
		for i, d := range databases {
			names[i] = title(d.Appliance)
		}
		add("database", "Provision "+strings.Join(names, ", "))
	}
	add("sandbox", "Create the sandbox")
	add("upload", "Copy the code", "sandbox")
	if plan.Install.Value != "" {
		add("install", "Install dependencies", "upload")
		ready = []string{"install"}
	}
	if len(databases) > 0 {
		ready = append(ready, "database")
	}
	if plan.Build.Value != "" {
		add("build", "Build", ready...)
		ready = []string{"build"}
	}
	add("start", "Start the app", ready...)
	add("health", "Wait until it answers", "start")
	add("route", "Point the URL at it", "health")
	add("drain", "Remove the previous version", "route")
	return steps
}

func deployPlaybook() playbook {
	return playbook{
		secrets: true,
		steps: map[string]action{
			"database": {do: provisionDatabases},
			"sandbox":  {do: createAppSandbox, undo: removeAppSandbox},
			"upload":   {do: uploadBundle},
			"install":  {do: install},
			"build":    {do: build},
			"start":    {do: startApp},
			"health":   {do: awaitHealth},
			"route":    {do: moveRoute, undo: restoreRoute},
			"drain":    {do: drainPrevious, final: true},
		},
		succeed: deploymentRuns,
		fail:    deploymentFails,
	}
}

// deploymentRuns makes the deployment the one that runs, and the former one stopped.
func deploymentRuns(ctx context.Context, x *execution, s *store.Store) error {
	siblings, err := s.ProjectDeployments(ctx, x.project.UserID, x.project.ID, 100, 0)
	if err != nil {
		return err
	}
	for _, d := range siblings {
		if d.ID != x.deployment.ID && d.Status == coderunner.Running {
			if err := s.SetDeploymentStatus(ctx, d.ID, coderunner.Stopped); err != nil {
				return err
			}
		}
	}
	return s.SetDeploymentStatus(ctx, x.deployment.ID, coderunner.Running)
}

func deploymentFails(ctx context.Context, x *execution, s *store.Store, state coderunner.RunState, f *coderunner.Failure) error {
	status := coderunner.Failed
	if state == coderunner.RunCancelled {
		status = coderunner.Stopped
	} else if err := s.SetDeploymentFailure(ctx, x.deployment.ID, f); err != nil {
		return err
	}
	if err := s.SetDeploymentSandbox(ctx, x.deployment.ID, ""); err != nil {
		return err
	}
	return s.SetDeploymentStatus(ctx, x.deployment.ID, status)
}

// become moves the deployment's status forward; a step done twice does not move it back.
func (st *step) become(ctx context.Context, status coderunner.DeploymentStatus) error {
	return st.guarded(ctx, func(s *store.Store) error {
		d, err := s.DeploymentByID(ctx, st.deployment.ID)
		if err != nil {
			return err
		}
		if d.Status == status || !d.Status.CanBecome(status) {
			return nil
		}
		return s.SetDeploymentStatus(ctx, d.ID, status)
	})
}

// Names of what a run makes derive from what it is for, so that doing it twice makes one thing.

func appSandbox(deploymentID string) string    { return "app-" + deploymentID }
func databaseSandbox(databaseID string) string { return "db-" + databaseID }
func projectNetwork(projectID string) string   { return "net-" + projectID }

// Labels of sandboxes and volumes.
const (
	labelProject    = "project"
	labelDeployment = "deployment"
	labelDatabase   = "database"
)

// appProcess is the name of the app's long-lived process in its sandbox.
const appProcess = "app"

// appDir is where the code lies in the sandbox.
func appDir(plan coderunner.Plan) string {
	if plan.Root == "." || plan.Root == "" {
		return "/app"
	}
	return "/app/" + plan.Root
}

func (st *step) appSandbox() string { return appSandbox(st.deployment.ID) }

func countNoun(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
