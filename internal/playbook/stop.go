package playbook

import (
	"context"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

// StopPlaybook takes the current deployment off the machine. Its release, its
// variables and its databases' data stay.
const StopPlaybook = "stop"

func stopSteps(databases bool) []coderunner.Step {
	var list steps
	list.add("unroute", "Take the app offline")
	list.add("stop", "Stop the app", "unroute")
	if databases {
		list.add("stop_databases", "Stop the databases", "stop")
	}
	return list
}

func stopPlaybook() playbook {
	return playbook{
		steps: map[string]action{
			"unroute":        {do: takeOffline, undo: bringBack},
			"stop":           {do: stopApp, final: true},
			"stop_databases": {do: stopDatabases, always: true},
		},
		succeed: nothing,
		fail:    keepsStatus,
	}
}

// stoppedRoute is what was taken offline, for undoing.
type stoppedRoute struct {
	Route *coderunner.Route `json:"route,omitempty"`
}

// takeOffline lets the edge say that the app is stopped.
func takeOffline(ctx context.Context, st *step) error {
	var before stoppedRoute
	if err := st.output(st.Name, &before); err != nil {
		return err
	}
	routes, err := st.e.store.ProjectRoutes(ctx, st.project.ID)
	if err != nil {
		return err
	}
	if before.Route == nil && len(routes) > 0 && !routes[0].Stopped {
		before.Route = &routes[0]
	}
	err = st.guarded(ctx, func(s *store.Store) error {
		if err := s.StopProjectRoutes(ctx, st.project.ID); err != nil {
			return err
		}
		return st.save(ctx, s, before)
	})
	if err != nil {
		return err
	}
	host, _ := st.e.cfg.PublicURL(st.project.Slug)
	st.say("%s says that the app is stopped.", host)
	return st.e.edge.Refresh(ctx)
}

// bringBack undoes takeOffline, unless the app was stopped already.
func bringBack(ctx context.Context, st *step) error {
	var before stoppedRoute
	if err := st.output(st.Name, &before); err != nil || before.Route == nil {
		return err
	}
	current, err := st.e.store.DeploymentByID(ctx, st.deployment.ID)
	if err != nil || current.Status == coderunner.Stopped {
		return err
	}
	host, url := st.e.cfg.PublicURL(st.project.Slug)
	if err := st.guarded(ctx, func(s *store.Store) error { return s.MoveRoute(ctx, *before.Route, url) }); err != nil {
		return err
	}
	if err := st.e.edge.Refresh(ctx); err != nil {
		return err
	}
	st.say("%s leads to the app again.", host)
	return nil
}

// stopApp ends the app's sandboxes, their open requests first.
func stopApp(ctx context.Context, st *step) error {
	if err := st.guarded(ctx, func(s *store.Store) error { return writeStopped(ctx, s, st.deployment) }); err != nil {
		return err
	}
	records, err := st.e.store.ProjectSandboxes(ctx, st.project.ID)
	if err != nil {
		return err
	}
	for _, r := range records {
		if r.Purpose != coderunner.ForApp {
			continue
		}
		if err := st.retire(ctx, r.ID); err != nil {
			return err
		}
	}
	st.say("The app is stopped. Its code, variables and databases are kept.")
	return nil
}

// writeStopped says that a deployment is off: none of the project's app sandboxes is wanted.
func writeStopped(ctx context.Context, s *store.Store, d coderunner.Deployment) error {
	if err := s.AbandonApps(ctx, d.ProjectID); err != nil {
		return err
	}
	if err := s.SetDeploymentSandbox(ctx, d.ID, ""); err != nil {
		return err
	}
	return s.SetDeploymentStatus(ctx, d.ID, coderunner.Stopped)
}

// stopDatabases ends the project's database servers. Their data stays on its volumes.
func stopDatabases(ctx context.Context, st *step) error {
	databases, err := st.e.store.ProjectDatabases(ctx, st.project.ID)
	if err != nil {
		return err
	}
	for _, d := range databases {
		if err := st.stopDatabase(ctx, d.Database); err != nil {
			return err
		}
	}
	return nil
}

func (st *step) stopDatabase(ctx context.Context, d coderunner.Database) error {
	if err := st.guarded(ctx, func(s *store.Store) error { return s.SetDatabaseStopped(ctx, d.ID, true) }); err != nil {
		return err
	}
	name := databaseSandbox(d.ID)
	if err := st.e.provider.Stop(ctx, name, databaseProcess, databaseGrace); err != nil && coderunner.KindOf(err) != coderunner.NotFound {
		return err
	}
	if err := st.remove(ctx, name); err != nil {
		return err
	}
	st.say("%s is stopped; its data stays on the volume %s.", st.e.title(d.Appliance), d.Volume)
	return nil
}
