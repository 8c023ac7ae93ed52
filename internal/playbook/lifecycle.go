package playbook

import (
	"context"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

// Redeploy installs and builds the code of the project's newest deployment once
// more, with the variables as they are now. Conflict when there is none.
func (e *Engine) Redeploy(ctx context.Context, userID, projectID string) (d coderunner.Deployment, run coderunner.Run, err error) {
	project, err := e.liveProject(ctx, userID, projectID)
	if err != nil {
		return d, run, err
	}
	from, err := e.toRepeat(ctx, project)
	if err != nil {
		return d, run, err
	}
	if from.BundleID == "" {
		return d, run, coderunner.Errorf(coderunner.Conflict, "The code of deployment %d is not kept any more. Drop the folder again.", from.Number)
	}
	if err := e.checkPlan(DeployRequest{Plan: from.Plan}); err != nil {
		return d, run, err
	}
	return e.deploy(ctx, project, store.NewDeployment{ProjectID: project.ID, BundleID: from.BundleID, Plan: from.Plan, Origin: coderunner.FromRedeploy, FromID: from.ID}, nil, "")
}

// toRepeat is the deployment whose code a redeploy uses: the current one, or the
// newest where none ever served.
func (e *Engine) toRepeat(ctx context.Context, project coderunner.Project) (coderunner.Deployment, error) {
	d, err := e.store.CurrentDeployment(ctx, project.UserID, project.ID)
	if coderunner.KindOf(err) != coderunner.NotFound {
		return d, err
	}
	newest, err := e.store.ProjectDeployments(ctx, project.UserID, project.ID, 1, 0)
	if err != nil {
		return d, err
	}
	if len(newest) == 0 {
		return d, notDeployed()
	}
	return newest[0], nil
}

func notDeployed() error {
	return coderunner.Errorf(coderunner.Conflict, "Nothing has been deployed yet. Drop a folder first.")
}

// Rollback runs the release of an earlier deployment as a new one: its code, its
// plan and its variables. Databases stay as they are. Conflict when the release is
// not kept any more or serves already.
func (e *Engine) Rollback(ctx context.Context, userID, deploymentID string) (d coderunner.Deployment, run coderunner.Run, err error) {
	to, err := e.store.Deployment(ctx, userID, deploymentID)
	if err != nil {
		return d, run, err
	}
	project, err := e.liveProject(ctx, userID, to.ProjectID)
	if err != nil {
		return d, run, err
	}
	if to.ReleasedAt == nil || to.Release == nil {
		return d, run, notKept(to)
	}
	current, err := e.store.CurrentDeployment(ctx, userID, project.ID)
	if err != nil {
		return d, run, err
	}
	if current.ID == to.ID {
		return d, run, coderunner.Errorf(coderunner.Conflict, "Deployment %d is the current one already. Restart it instead.", to.Number)
	}
	return e.deploy(ctx, project, store.NewDeployment{ProjectID: project.ID, BundleID: to.BundleID, Plan: to.Plan, Origin: coderunner.FromRollback, FromID: to.ID, Release: to.Release}, nil, "")
}

func notKept(d coderunner.Deployment) error {
	return coderunner.Errorf(coderunner.Conflict, "What was built for deployment %d is not kept. Choose another one, or deploy that code again.", d.Number)
}

// RestartApp runs the current deployment in a new sandbox, with the variables as they
// are now, and removes the one before once the new one answers. Conflict while it is stopped.
func (e *Engine) RestartApp(ctx context.Context, userID, projectID string) (coderunner.Run, error) {
	return e.again(ctx, userID, projectID, RestartPlaybook, func(d coderunner.Deployment) error {
		if d.Status == coderunner.Stopped {
			return coderunner.Errorf(coderunner.Conflict, "The app is stopped. Start it instead.")
		}
		return nil
	})
}

// StartApp brings a stopped deployment back. Conflict when it runs.
func (e *Engine) StartApp(ctx context.Context, userID, projectID string) (coderunner.Run, error) {
	return e.again(ctx, userID, projectID, StartPlaybook, func(d coderunner.Deployment) error {
		if d.Status == coderunner.Running {
			return coderunner.Errorf(coderunner.Conflict, "The app is running. Restart it instead.")
		}
		return nil
	})
}

// again begins a playbook that runs the current deployment's release.
func (e *Engine) again(ctx context.Context, userID, projectID, book string, check func(coderunner.Deployment) error) (coderunner.Run, error) {
	return e.current(ctx, userID, projectID, func(s *store.Store, project coderunner.Project, d coderunner.Deployment) (n store.NewRun, err error) {
		if err := check(d); err != nil {
			return n, err
		}
		databases, err := s.ProjectDatabases(ctx, project.ID)
		return store.NewRun{Playbook: book, Steps: releaseSteps(d.Plan, databases, e.title)}, err
	})
}

// StopApp takes the current deployment off the machine, and with databases their
// servers as well; their data stays. Conflict when it is stopped.
func (e *Engine) StopApp(ctx context.Context, userID, projectID string, databases bool) (coderunner.Run, error) {
	return e.current(ctx, userID, projectID, func(s *store.Store, project coderunner.Project, d coderunner.Deployment) (n store.NewRun, err error) {
		owned, err := s.ProjectDatabases(ctx, project.ID)
		if err != nil {
			return n, err
		}
		serving := false
		for _, database := range owned {
			serving = serving || database.StoppedAt == nil
		}
		databases = databases && serving
		if d.Status == coderunner.Stopped && !databases {
			return n, coderunner.Errorf(coderunner.Conflict, "The app is stopped already.")
		}
		return store.NewRun{Playbook: StopPlaybook, Options: coderunner.RunOptions{Databases: databases}, Steps: stopSteps(databases)}, nil
	})
}

// current begins a run about the project's current deployment. It is looked at when
// the request is made; a run that is at work may change it until this one's turn.
func (e *Engine) current(ctx context.Context, userID, projectID string, prepare func(*store.Store, coderunner.Project, coderunner.Deployment) (store.NewRun, error)) (run coderunner.Run, err error) {
	project, err := e.liveProject(ctx, userID, projectID)
	if err != nil {
		return run, err
	}
	err = e.store.InTx(ctx, func(s *store.Store) error {
		d, err := s.CurrentDeployment(ctx, userID, project.ID)
		if coderunner.KindOf(err) == coderunner.NotFound {
			return notDeployed()
		}
		if err != nil {
			return err
		}
		n, err := prepare(s, project, d)
		if err != nil {
			return err
		}
		n.ProjectID, n.DeploymentID = project.ID, d.ID
		run, err = e.begin(ctx, s, project, "project."+n.Playbook, n)
		return err
	})
	if err == nil {
		e.take(run.ID)
	}
	return run, err
}
