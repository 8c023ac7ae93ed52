package playbook

import (
	"context"
	"slices"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

// The playbooks that change which databases a project's app is given. With the app
// started again it has the variables, or has them no more, at the end of the run; else
// from its next start on. No data is lost by either.
const (
	AttachPlaybook = "attach" // a new database, or one that was detached, with its data
	DetachPlaybook = "detach" // its server is stopped; its volume stays
)

// attachSteps is the list for databases of a project, the attached one among them, and
// the plan of the app that is started again, nil for none.
func attachSteps(databases []store.SealedDatabase, app *coderunner.Plan, title func(appliance string) string) []coderunner.Step {
	if app != nil {
		return releaseSteps(*app, databases, title)
	}
	var list steps
	list.addDatabases(databases, title)
	return list
}

func attachPlaybook() playbook {
	return playbook{secrets: true, steps: serveActions(), succeed: nothing, fail: keepsStatus}
}

func detachSteps(title string, app *coderunner.Plan) []coderunner.Step {
	var list steps
	list.add("detach_database", "Detach "+title)
	last := "detach_database"
	if app != nil {
		list.add("sandbox", "Create the sandbox", last)
		list.serve(false, false, onManifest(*app))
		last = "drain"
	}
	list.add("stop_database", "Stop "+title, last)
	return list
}

func detachPlaybook() playbook {
	actions := serveActions()
	delete(actions, "database")
	actions["detach_database"] = action{do: detachDatabase, undo: attachAgain}
	actions["stop_database"] = action{do: stopDetached, always: true}
	return playbook{secrets: true, steps: actions, succeed: leaveDetached, fail: keepsStatus}
}

// detachment is what the step has done, for undoing.
type detachment struct {
	Done bool `json:"done"`
}

// detachDatabase takes the variables away from whatever is started from now on. One that
// another run has detached since is not this one's to attach again.
func detachDatabase(ctx context.Context, st *step) error {
	d, err := st.subject(ctx)
	if err != nil {
		return err
	}
	var before detachment
	if err := st.output(st.Name, &before); err != nil {
		return err
	}
	if d.DetachedAt != nil && !before.Done {
		return alreadyDetached(st.e.title(d.Appliance))
	}
	err = st.guarded(ctx, func(s *store.Store) error {
		if err := s.SetDatabaseDetached(ctx, d.ID, true); err != nil {
			return err
		}
		return st.save(ctx, s, detachment{Done: true})
	})
	if err != nil {
		return err
	}
	st.say("%s is detached. Its data stays on the volume %s.", st.e.title(d.Appliance), d.Volume)
	return nil
}

// attachAgain undoes detachDatabase.
func attachAgain(ctx context.Context, st *step) error {
	var before detachment
	if err := st.output(st.Name, &before); err != nil || !before.Done {
		return err
	}
	d, err := st.subject(ctx)
	if err != nil || d.DetachedAt == nil {
		return err
	}
	if err := st.guarded(ctx, func(s *store.Store) error { return s.SetDatabaseDetached(ctx, d.ID, false) }); err != nil {
		return err
	}
	st.say("%s is attached again.", st.e.title(d.Appliance))
	return nil
}

func alreadyDetached(title string) error {
	return coderunner.Errorf(coderunner.Conflict, "%s is detached already.", title)
}

func stopDetached(ctx context.Context, st *step) error {
	d, err := st.subject(ctx)
	if err != nil {
		return err
	}
	return st.stopDatabase(ctx, d.Database)
}

// leaveDetached leaves to the reconciler what of a detached server could not be stopped.
func leaveDetached(ctx context.Context, x *execution, s *store.Store) error {
	return leaveDatabase(ctx, s, x.run.Options.Detach)
}

// subject is the database that the run detaches or deletes.
func (x *execution) subject(ctx context.Context) (store.SealedDatabase, error) {
	all, err := x.e.store.AllDatabases(ctx, x.project.ID)
	for _, d := range all {
		if d.ID == x.run.Options.Detach {
			return d, nil
		}
	}
	if err == nil {
		err = deletedMeanwhile()
	}
	return store.SealedDatabase{}, err
}

func deletedMeanwhile() error {
	return coderunner.Errorf(coderunner.Conflict, "The database was deleted since this was asked for.")
}

// tellDetached says which databases a version that is rolled back to had, and is not given any more.
func (st *step) tellDetached(ctx context.Context) error {
	if st.run.Playbook != RollbackPlaybook {
		return nil
	}
	gone, err := st.e.DetachedSince(ctx, st.project.ID, st.deployment.FromID)
	for _, d := range gone {
		st.say("This version ran with %s, which is detached: it is started without %s. Attach it to give it back.", st.e.title(d.Appliance), d.Protocol().URLKey())
	}
	return err
}

// DetachedSince lists the databases of a project that a deployment's app had when it was
// last started, and that are detached now.
func (e *Engine) DetachedSince(ctx context.Context, projectID, deploymentID string) (list []coderunner.Database, err error) {
	d, err := e.store.DeploymentByID(ctx, deploymentID)
	if err != nil {
		return nil, err
	}
	all, err := e.store.AllDatabases(ctx, projectID)
	for _, database := range all {
		if database.DetachedAt != nil && slices.Contains(d.AppliedDatabases, database.ID) {
			list = append(list, database.Database)
		}
	}
	return list, err
}

// AttachDatabase gives the project's app the database of an appliance: a new one, or
// the one that was detached, with its data. With restart the app that runs is started
// again beside itself; else it has the variables from its next start on. Conflict when
// it is attached.
func (e *Engine) AttachDatabase(ctx context.Context, userID, projectID, name string, restart bool) (coderunner.Run, error) {
	return e.aboutDatabase(ctx, userID, projectID, restart, func(s *store.Store, project coderunner.Project, app *coderunner.Plan) (n store.NewRun, err error) {
		if d, err := e.catalogue.Get(name); err != nil || d.Kind != coderunner.DatabaseAppliance {
			return n, coderunner.FieldError("appliance", "There is no database appliance %q in the catalogue.", name)
		}
		if e.cfg.Room != nil {
			if err := e.cfg.Room(); err != nil {
				return n, err
			}
		}
		fresh, now := newDatabase(project.ID, name), time.Now()
		fresh.DetachedAt = &now // until the run attaches it
		d, err := s.EnsureDatabase(ctx, fresh)
		if err != nil {
			return n, err
		}
		if d.DetachedAt == nil && d.Sealed != nil {
			return n, coderunner.Errorf(coderunner.Conflict, "%s is attached to this project already.", e.title(name))
		}
		attached, err := s.ProjectDatabases(ctx, project.ID)
		if err != nil {
			return n, err
		}
		databases := []store.SealedDatabase{d}
		for _, other := range attached {
			if other.ID != d.ID {
				databases = append(databases, other)
			}
		}
		if err := oneOfEach(databases); err != nil {
			return n, err
		}
		if app == nil {
			databases = databases[:1]
		}
		return store.NewRun{Playbook: AttachPlaybook, Options: coderunner.RunOptions{Attach: []string{d.ID}}, Steps: attachSteps(databases, app, e.title)}, nil
	})
}

// DetachDatabase takes the database of an appliance away from the project's app and
// stops its server. Its data stays. With restart the app that runs is started again
// without it first, and if that fails it stays attached; else the app goes on with
// variables that lead nowhere, until its next start. Conflict when it is detached.
func (e *Engine) DetachDatabase(ctx context.Context, userID, projectID, name string, restart bool) (coderunner.Run, error) {
	return e.aboutDatabase(ctx, userID, projectID, restart, func(s *store.Store, project coderunner.Project, app *coderunner.Plan) (n store.NewRun, err error) {
		d, err := ownDatabase(ctx, s, project.ID, name)
		if err != nil {
			return n, err
		}
		if d.DetachedAt != nil {
			return n, alreadyDetached(e.title(name))
		}
		return store.NewRun{Playbook: DetachPlaybook, Options: coderunner.RunOptions{Detach: d.ID}, Steps: detachSteps(e.title(name), app)}, nil
	})
}

// ownDatabase is the project's database of an appliance, NotFound without one.
func ownDatabase(ctx context.Context, s *store.Store, projectID, name string) (store.SealedDatabase, error) {
	all, err := s.AllDatabases(ctx, projectID)
	for _, d := range all {
		if d.Appliance == name {
			return d, nil
		}
	}
	if err == nil {
		err = coderunner.Errorf(coderunner.NotFound, "This project has no database %q.", name)
	}
	return store.SealedDatabase{}, err
}

// aboutDatabase begins a run about one database of a project, deployed or not. There is
// only an app to be started again where one should run.
func (e *Engine) aboutDatabase(ctx context.Context, userID, projectID string, restart bool, prepare func(s *store.Store, project coderunner.Project, app *coderunner.Plan) (store.NewRun, error)) (run coderunner.Run, err error) {
	project, err := e.liveProject(ctx, userID, projectID)
	if err != nil {
		return run, err
	}
	err = e.store.InTx(ctx, func(s *store.Store) error {
		if err := s.LockProject(ctx, project.ID); err != nil {
			return err
		}
		current, err := s.CurrentDeployment(ctx, userID, project.ID)
		if err != nil && coderunner.KindOf(err) != coderunner.NotFound {
			return err
		}
		var app *coderunner.Plan
		if restart && err == nil && current.Status != coderunner.Stopped {
			app = &current.Plan
		}
		n, err := prepare(s, project, app)
		if err != nil {
			return err
		}
		n.ProjectID = project.ID
		if n.Playbook != DeleteDatabasePlaybook {
			n.DeploymentID = current.ID
		}
		run, err = e.begin(ctx, s, project, "project."+n.Playbook, n)
		return err
	})
	if err == nil {
		e.take(run.ID)
	}
	return run, err
}
