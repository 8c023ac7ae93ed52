package playbook

import (
	"context"
	"fmt"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

// The playbooks that bring a version online.
const (
	DeployPlaybook   = "deploy"   // an upload, the project's first version
	RedeployPlaybook = "redeploy" // an upload or the same one once more, over a version that serves
	RollbackPlaybook = "rollback" // the release of an earlier deployment, as a new one
)

// steps builds the list of a playbook.
type steps []coderunner.Step

func (s *steps) add(name, title string, after ...string) {
	*s = append(*s, coderunner.Step{Name: name, Title: title, After: after})
}

// deploySteps is the list of a deploy. The database and the dependencies are made
// at the same time; the build waits for both, because it may want the database.
func deploySteps(plan coderunner.Plan, databases []store.SealedDatabase, title func(appliance string) string) []coderunner.Step {
	var list steps
	var ready, made []string
	if len(databases) > 0 {
		list.addDatabases(databases, title)
		ready = append(ready, "database")
	}
	if plan.Install.Value != "" && (!plan.Static() || plan.Build.Value != "") { // files that are served as they were uploaded need nothing
		list.add("install", "Install dependencies")
		ready, made = append(ready, "install"), []string{"install"}
	}
	if plan.Build.Value != "" {
		list.add("build", "Build", ready...)
		made = []string{"build"}
	}
	list.add("sandbox", "Create the sandbox", made...)
	list.serve(len(databases) > 0, plan.Processes[coderunner.ReleaseProcess] != "", onManifest(plan))
	return list
}

// releaseSteps is the list of playbooks that run a release that is there already.
func releaseSteps(plan coderunner.Plan, databases []store.SealedDatabase, title func(appliance string) string) []coderunner.Step {
	var list steps
	if len(databases) > 0 {
		list.addDatabases(databases, title)
	}
	list.add("sandbox", "Create the sandbox")
	list.serve(len(databases) > 0, false, onManifest(plan))
	return list
}

func (s *steps) addDatabases(databases []store.SealedDatabase, title func(appliance string) string) {
	names := make([]string, len(databases))
	for i, d := range databases {
		names[i] = title(d.Appliance)
	}
	s.add("database", "Provision "+strings.Join(names, ", "))
}

// serve adds what comes once the sandbox is there.
func (s *steps) serve(database, release, admin bool) {
	ready := []string{"sandbox"}
	if database {
		ready = append(ready, "database")
	}
	if release {
		s.add("release", "Run the release command", ready...)
		ready = []string{"release"}
	}
	s.add("start", "Start the app", ready...)
	s.add("health", "Wait until it answers", "start")
	healthy := "health"
	if admin {
		healthy = "admin"
		s.add(healthy, "Make sure of its administrator", "health")
	}
	s.add("route", "Point the URL at it", healthy)
	s.add("drain", "Remove the previous version", "route")
}

// serveActions are the steps that serve adds, and those before.
func serveActions() map[string]action {
	return map[string]action{
		"database": {do: provisionDatabases, undo: stopStartedDatabases, handOver: abandonStartedDatabases},
		"sandbox":  {do: createAppSandbox, undo: removeAppSandbox, handOver: abandonAppSandbox},
		"start":    {do: startApp},
		"health":   {do: awaitHealth},
		"admin":    {do: ensureAdmin},
		"route":    {do: moveRoute, undo: restoreRoute},
		"drain":    {do: drainPrevious, always: true},
	}
}

func deployPlaybook() playbook {
	actions := serveActions()
	actions["install"] = action{do: install, undo: removeBuilders, handOver: leaveBuilders}
	actions["build"] = action{do: build, undo: removeBuilders, handOver: leaveBuilders}
	actions["release"] = action{do: runReleaseCommand}
	return playbook{secrets: true, steps: actions, succeed: nothing, fail: deploymentFails}
}

func rollbackPlaybook() playbook {
	return playbook{secrets: true, steps: serveActions(), succeed: nothing, fail: deploymentFails}
}

// nothing: the step that made the version serve wrote that down already.
func nothing(context.Context, *execution, *store.Store) error { return nil }

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
	if err := s.SetRelease(ctx, x.deployment.ID, nil); err != nil {
		return err
	}
	return s.SetDeploymentStatus(ctx, x.deployment.ID, status)
}

// become moves the deployment's status forward; a step done twice does not move it back.
func (st *step) become(ctx context.Context, status coderunner.DeploymentStatus) error {
	if st.deployment.ID == "" || st.deployment.ReleasedAt != nil { // there is none, or it has served and is started again
		return nil
	}
	return st.e.store.GuardedSoon(ctx, st.lease, func(s *store.Store) error { return s.AdvanceDeployment(ctx, st.deployment.ID, status) })
}

// Names of what a run makes derive from what it is for, so that doing it twice makes one thing.

func appSandbox(runID string) string           { return "app-" + runID }
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

// appSandbox is the sandbox that the run makes.
func (x *execution) appSandbox() string { return appSandbox(x.run.ID) }

func countNoun(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if strings.HasSuffix(noun, "x") {
		noun += "e"
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
