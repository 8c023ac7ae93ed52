package playbook

import (
	"context"
	"errors"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

// DeployRequest is what a user confirmed on the plan page.
type DeployRequest struct {
	ProjectID string
	BundleID  string
	Plan      coderunner.Plan
	Databases []string // appliance names, e.g. "postgres-15"
	After     string   // the deployment that has to be the project's newest still, "" for any
	// AcceptDrops: the owner knows of the columns that Drops lists.
	AcceptDrops bool
}

// ErrSuperseded refuses a request whose After is not the project's newest deployment any more.
var ErrSuperseded = coderunner.Errorf(coderunner.Conflict, "Something newer was begun since that deploy failed; nothing more was started.")

// Deploy records a deployment, its run and its steps, and rings the queue, in
// one transaction. While another run of the project is at work it waits, in the
// place of one that waited before.
func (e *Engine) Deploy(ctx context.Context, userID string, req DeployRequest) (coderunner.Deployment, coderunner.Run, error) {
	var deployment coderunner.Deployment
	var run coderunner.Run
	project, err := e.liveProject(ctx, userID, req.ProjectID)
	if err != nil {
		return deployment, run, err
	}
	bundle, err := e.store.Bundle(ctx, userID, req.BundleID)
	if coderunner.KindOf(err) == coderunner.NotFound { // a destroy that began just now takes it away
		if _, gone := e.liveProject(ctx, userID, req.ProjectID); gone != nil {
			err = gone
		}
	}
	if err != nil {
		return deployment, run, err
	}
	if bundle.ProjectID != project.ID {
		return deployment, run, coderunner.Errorf(coderunner.NotFound, "There is no such bundle.")
	}
	if err := e.checkPlan(req); err != nil {
		return deployment, run, err
	}
	if err := e.checkDrops(ctx, userID, req); err != nil {
		return deployment, run, err
	}
	return e.deploy(ctx, project, store.NewDeployment{ProjectID: project.ID, BundleID: bundle.ID, Plan: req.Plan, Origin: coderunner.FromUpload}, req.Databases, req.After)
}

// deploy begins to bring a new deployment online. While the disk is short, nothing
// that installs or builds is begun; a rollback writes next to nothing.
func (e *Engine) deploy(ctx context.Context, project coderunner.Project, n store.NewDeployment, newDatabases []string, after string) (deployment coderunner.Deployment, run coderunner.Run, err error) {
	if e.cfg.Room != nil && n.Origin != coderunner.FromRollback {
		if err := e.cfg.Room(); err != nil {
			return deployment, run, err
		}
	}
	_, err = e.store.CurrentDeployment(ctx, project.UserID, project.ID)
	if err != nil && coderunner.KindOf(err) != coderunner.NotFound {
		return deployment, run, err
	}
	book := RedeployPlaybook
	switch {
	case n.Origin == coderunner.FromRollback:
		book = RollbackPlaybook
	case err != nil:
		book = DeployPlaybook
	}
	err = e.store.InTx(ctx, func(s *store.Store) error {
		if err := s.LockProject(ctx, project.ID); err != nil { // from here on, what is kept stays kept
			return err
		}
		if err := isNewest(ctx, s, project, after); err != nil {
			return err
		}
		if n.Origin == coderunner.FromRollback {
			if to, err := s.DeploymentByID(ctx, n.FromID); err != nil {
				return err
			} else if to.Release == nil {
				return notKept(to)
			}
		} else if err := s.SetProjectPlan(ctx, project.ID, n.Plan); err != nil {
			return err
		}
		if deployment, err = s.CreateDeployment(ctx, n); err != nil {
			return err
		}
		if err := e.ensureBackend(ctx, s, project, n.Plan); err != nil {
			return err
		}
		databases, attach, err := wantedDatabases(ctx, s, project.ID, newDatabases)
		if err != nil {
			return err
		}
		if err := oneOfEach(databases); err != nil {
			return err
		}
		list := deploySteps(n.Plan, databases, e.title)
		if n.Origin == coderunner.FromRollback {
			list = releaseSteps(n.Plan, databases, e.title)
		}
		if book == DeployPlaybook { // there is no version before this one
			list[len(list)-1].Title = "Clean up"
		}
		run, err = e.begin(ctx, s, project, "deployment.create", store.NewRun{ProjectID: project.ID, DeploymentID: deployment.ID, Playbook: book, Options: coderunner.RunOptions{Attach: attach}, Steps: list})
		return err
	})
	if err == nil {
		e.take(run.ID)
	}
	return deployment, run, err
}

// wantedDatabases are those that a deploy provisions, the named ones made if absent, and
// which of them are detached until it does.
func wantedDatabases(ctx context.Context, s *store.Store, projectID string, named []string) (databases []store.SealedDatabase, attach []string, err error) {
	for _, name := range named {
		d, err := s.EnsureDatabase(ctx, newDatabase(projectID, name))
		if err != nil {
			return nil, nil, err
		}
		if d.DetachedAt != nil {
			databases, attach = append(databases, d), append(attach, d.ID)
		}
	}
	attached, err := s.ProjectDatabases(ctx, projectID)
	return append(attached, databases...), attach, err
}

// isNewest refuses what was asked about a deployment that others have followed.
func isNewest(ctx context.Context, s *store.Store, project coderunner.Project, deploymentID string) error {
	if deploymentID == "" {
		return nil
	}
	newest, err := s.ProjectDeployments(ctx, project.UserID, project.ID, 1, 0)
	if err != nil || len(newest) == 1 && newest[0].ID == deploymentID {
		return err
	}
	return ErrSuperseded
}

// begin creates a run and rings for it, in s's transaction. A run that waited is
// replaced by it, except a destroy: after that nothing else is begun.
func (e *Engine) begin(ctx context.Context, s *store.Store, project coderunner.Project, action string, n store.NewRun) (coderunner.Run, error) {
	run, replaced, err := s.CreateRun(ctx, n)
	if err != nil {
		return run, err
	}
	open, err := s.OpenRuns(ctx, project.ID)
	if err != nil {
		return run, err
	}
	for _, r := range open {
		if r.ID != run.ID && r.Playbook == DestroyPlaybook {
			return run, beingDestroyed(project)
		}
	}
	if replaced != nil {
		if replaced.Playbook == DestroyPlaybook && run.Playbook != DestroyPlaybook {
			return run, beingDestroyed(project)
		}
		if err := leaveWaiting(ctx, s, *replaced); err != nil {
			return run, err
		}
	}
	detail := map[string]string{"run": run.ID, "playbook": run.Playbook}
	if run.DeploymentID != "" {
		detail["deployment"] = run.DeploymentID
	}
	if err := s.Audit(ctx, store.AuditEvent{UserID: project.UserID, ProjectID: project.ID, Action: action, Detail: detail}); err != nil {
		return run, err
	}
	return run, e.ring(ctx, s, run.ID)
}

func beingDestroyed(project coderunner.Project) error {
	return coderunner.Errorf(coderunner.Conflict, "The project %s is being destroyed. Nothing else can be done with it any more.", project.Name)
}

// leaveWaiting writes down what it means for a deployment that its run never began.
func leaveWaiting(ctx context.Context, s *store.Store, run coderunner.Run) error {
	if run.DeploymentID == "" {
		return nil
	}
	d, err := s.DeploymentByID(ctx, run.DeploymentID)
	if err != nil || d.ReleasedAt != nil {
		return err
	}
	if err := s.SetRelease(ctx, d.ID, nil); err != nil {
		return err
	}
	return s.SetDeploymentStatus(ctx, d.ID, coderunner.Stopped)
}

// liveProject is a user's project that has not been destroyed and is not about to be.
func (e *Engine) liveProject(ctx context.Context, userID, id string) (coderunner.Project, error) {
	project, err := e.store.Project(ctx, userID, id)
	if err != nil {
		return project, err
	}
	if project.DestroyedAt != nil {
		return project, coderunner.Errorf(coderunner.Conflict, "This project was destroyed. Drop the folder again to make a new one.")
	}
	open, err := e.store.OpenRuns(ctx, id)
	for _, r := range open {
		if r.Playbook == DestroyPlaybook {
			err = beingDestroyed(project)
		}
	}
	return project, err
}

// oneOfEach says whether each of the databases has variables of its own.
func oneOfEach(databases []store.SealedDatabase) error {
	has := map[coderunner.Protocol]string{}
	for _, d := range databases {
		if former, twice := has[d.Protocol()]; twice {
			return coderunner.FieldError("databases", "A project has one database of a kind: both %s and %s speak %s. Leave one out.", former, d.Appliance, d.Protocol().Title())
		}
		has[d.Protocol()] = d.Appliance
	}
	return nil
}

// title is how people call an appliance.
func (e *Engine) title(name string) string {
	if d, err := e.catalogue.Get(name); err == nil {
		return d.Title
	}
	return name
}

func (e *Engine) checkPlan(req DeployRequest) error {
	if err := req.Plan.Check(); err != nil {
		return err
	}
	if d, err := e.catalogue.Get(req.Plan.Runtime.Appliance); err != nil || d.Kind != coderunner.RuntimeAppliance {
		return req.Plan.Runtime.NotOffered()
	}
	if _, err := e.serving(req.Plan); err != nil {
		return coderunner.FieldError("static_dir", "There is no appliance in the catalogue that serves files.")
	}
	for _, name := range req.Databases {
		if d, err := e.catalogue.Get(name); err != nil || d.Kind != coderunner.DatabaseAppliance {
			return coderunner.FieldError("databases", "There is no database appliance %q in the catalogue.", name)
		}
	}
	return nil
}

// Destroy starts the end of a project. confirm must be the project's name. An
// open run is cancelled first. A destroy already under way is answered as it is.
func (e *Engine) Destroy(ctx context.Context, userID, projectID, confirm string) (coderunner.Run, error) {
	var run coderunner.Run
	project, err := e.store.Project(ctx, userID, projectID)
	if err != nil {
		return run, err
	}
	if project.DestroyedAt != nil {
		return run, coderunner.Errorf(coderunner.Conflict, "The project %s is already destroyed.", project.Name)
	}
	if confirm != project.Name {
		return run, coderunner.FieldError("confirm", "That is not the project's name. Type %q to destroy it.", project.Name)
	}
	err = e.store.InTx(ctx, func(s *store.Store) error {
		open, err := s.OpenRuns(ctx, project.ID)
		if err != nil {
			return err
		}
		for _, r := range open {
			if r.Playbook == DestroyPlaybook {
				run = r
				return nil
			}
			if err := e.cancel(ctx, s, r); err != nil {
				return err
			}
		}
		run, err = e.begin(ctx, s, project, "project.destroy", store.NewRun{ProjectID: project.ID, Playbook: DestroyPlaybook, Steps: destroySteps()})
		return err
	})
	if err == nil {
		e.take(run.ID)
	}
	return run, err
}

// Cancel asks a run to stop: Conflict when it has ended, or when it is a
// destroy, which cannot give back what is gone.
func (e *Engine) Cancel(ctx context.Context, userID, runID string) (coderunner.Run, error) {
	run, err := e.store.Run(ctx, userID, runID)
	if err != nil {
		return run, err
	}
	if run.Playbook == DestroyPlaybook {
		return run, coderunner.Errorf(coderunner.Conflict, "A destroy cannot be cancelled: what it has removed cannot be brought back.")
	}
	err = e.store.InTx(ctx, func(s *store.Store) error {
		if err := e.cancel(ctx, s, run); err != nil {
			return err
		}
		return s.Audit(ctx, store.AuditEvent{UserID: userID, ProjectID: run.ProjectID, Action: "run.cancel", Detail: map[string]string{"run": run.ID}})
	})
	if err != nil {
		return run, err
	}
	return e.store.RunByID(ctx, runID)
}

// cancel asks one run to end. A run that never began leaves a deployment that
// never will; an already ended one is no error here.
func (e *Engine) cancel(ctx context.Context, s *store.Store, run coderunner.Run) error {
	after, err := s.RequestCancel(ctx, run.ID)
	if err != nil {
		return err
	}
	if after.State == coderunner.RunCancelled {
		return leaveWaiting(ctx, s, after)
	}
	return nil
}

// ring puts the run on the queue, in s's transaction.
func (e *Engine) ring(ctx context.Context, s *store.Store, runID string) error {
	queue := e.queue.Load()
	if queue == nil {
		return errors.New("the playbook engine has not been started")
	}
	if _, err := queue.InsertTx(ctx, s.Tx(), runJob{RunID: runID}, nil); err != nil {
		return coderunner.Wrap(err, coderunner.Unavailable, "The queue of the platform's database does not answer. Nothing was started; try again in a moment.")
	}
	return nil
}

// ringWaiting puts the project's next run on the queue, and answers which, "" if none waits.
func (e *Engine) ringWaiting(ctx context.Context, s *store.Store, projectID string) (runID string, err error) {
	open, err := s.OpenRuns(ctx, projectID)
	if err != nil {
		return "", err
	}
	for _, r := range open {
		if r.State == coderunner.RunQueued {
			return r.ID, e.ring(ctx, s, r.ID)
		}
	}
	return "", nil
}
