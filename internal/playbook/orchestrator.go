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
}

// Deploy records a deployment, its run and its steps, and rings the queue, in
// one transaction. Conflict while another run of the project is open.
func (e *Engine) Deploy(ctx context.Context, userID string, req DeployRequest) (coderunner.Deployment, coderunner.Run, error) {
	var deployment coderunner.Deployment
	var run coderunner.Run
	project, err := e.store.Project(ctx, userID, req.ProjectID)
	if err != nil {
		return deployment, run, err
	}
	if project.DestroyedAt != nil {
		return deployment, run, coderunner.Errorf(coderunner.Conflict, "This project was destroyed. Drop the folder again to make a new one.")
	}
	bundle, err := e.store.Bundle(ctx, userID, req.BundleID)
	if err != nil {
		return deployment, run, err
	}
	if bundle.ProjectID != project.ID {
		return deployment, run, coderunner.Errorf(coderunner.NotFound, "There is no such bundle.")
	}
	if err := e.checkPlan(req); err != nil {
		return deployment, run, err
	}
	if err := e.refuseWhenFull(); err != nil {
		return deployment, run, err
	}
	err = e.store.InTx(ctx, func(s *store.Store) error {
		if err := s.SetProjectPlan(ctx, project.ID, req.Plan); err != nil {
			return err
		}
		if deployment, err = s.CreateDeployment(ctx, project.ID, bundle.ID, req.Plan); err != nil {
			return err
		}
		for _, name := range req.Databases {
			if _, err := s.EnsureDatabase(ctx, newDatabase(project.ID, name)); err != nil {
				return err
			}
		}
		databases, err := s.ProjectDatabases(ctx, project.ID)
		if err != nil {
			return err
		}
		if run, err = s.CreateRun(ctx, project.ID, deployment.ID, DeployPlaybook, deploySteps(req.Plan, databases, e.title)); err != nil {
			return err
		}
		if err := s.Audit(ctx, store.AuditEvent{UserID: userID, ProjectID: project.ID, Action: "deployment.create", Detail: map[string]string{"deployment": deployment.ID}}); err != nil {
			return err
		}
		return e.ring(ctx, s, run.ID)
	})
	return deployment, run, err
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
		return coderunner.FieldError("appliance", "There is no runtime appliance %q in the catalogue.", req.Plan.Runtime.Appliance)
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
		if run, err = s.CreateRun(ctx, project.ID, "", DestroyPlaybook, destroySteps()); err != nil {
			return err
		}
		if err := s.Audit(ctx, store.AuditEvent{UserID: userID, ProjectID: project.ID, Action: "project.destroy", Detail: map[string]string{"name": project.Name}}); err != nil {
			return err
		}
		return e.ring(ctx, s, run.ID)
	})
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
	if after.State == coderunner.RunCancelled && after.DeploymentID != "" {
		return s.SetDeploymentStatus(ctx, after.DeploymentID, coderunner.Stopped)
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

// minFree is the disk space below which nothing new is begun.
const minFree = 512 << 20

// refuseWhenFull keeps a deploy from failing halfway, with the databases of others beside it.
func (e *Engine) refuseWhenFull() error {
	if e.cfg.FreeBytes == nil {
		return nil
	}
	free, err := e.cfg.FreeBytes()
	if err != nil {
		return err
	}
	if free < minFree {
		return coderunner.Errorf(coderunner.Unavailable, "The server's disk is almost full: %d MiB are free and a deploy needs at least %d MiB. Destroy what is not needed, or ask whoever runs this server to make room.", free>>20, minFree>>20)
	}
	return nil
}
