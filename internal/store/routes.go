package store

import (
	"context"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store/sqlc"
)

// MoveRoute points a host at a sandbox, live or stopped as the route says, and gives a
// live one's deployment, and no other of the project, the public URL. Conflict when
// the host is another project's.
func (s *Store) MoveRoute(ctx context.Context, r coderunner.Route, url string) error {
	return s.InTx(ctx, func(s *Store) error {
		n, err := s.q.UpsertRoute(ctx, sqlc.UpsertRouteParams{Host: r.Host, ProjectID: r.ProjectID, DeploymentID: r.DeploymentID, SandboxID: r.SandboxID, Target: r.Target, State: routeState(r.Stopped)})
		if err != nil {
			return translate(err, "route")
		}
		if n == 0 {
			return coderunner.Errorf(coderunner.Conflict, "The host %s belongs to another project.", r.Host)
		}
		if err := s.q.MoveProjectURL(ctx, r.ProjectID, r.DeploymentID); err != nil {
			return translate(err, "deployment")
		}
		live := &url
		if r.Stopped {
			live = nil
		}
		if err := s.q.SetDeploymentURL(ctx, live, r.DeploymentID); err != nil {
			return translate(err, "deployment")
		}
		return s.notifyRoutes(ctx)
	})
}

// RetargetRoute says where a sandbox is reached now. A host that leads to another
// sandbox by then stays as it is.
func (s *Store) RetargetRoute(ctx context.Context, host, sandbox, target string) error {
	return s.InTx(ctx, func(s *Store) error {
		if err := s.q.RetargetRoute(ctx, target, host, sandbox); err != nil {
			return translate(err, "route")
		}
		return s.notifyRoutes(ctx)
	})
}

// RoutesChannel is notified after every change of the routes.
const RoutesChannel = "routes"

func (s *Store) notifyRoutes(ctx context.Context) error {
	return translate(s.q.NotifyRoutes(ctx), "route")
}

// Routes lists all routes.
func (s *Store) Routes(ctx context.Context) ([]coderunner.Route, error) {
	rows, err := s.q.Routes(ctx)
	return each(rows, route), translate(err, "route")
}

// ProjectRoutes lists a project's routes.
func (s *Store) ProjectRoutes(ctx context.Context, projectID string) ([]coderunner.Route, error) {
	rows, err := s.q.ProjectRoutes(ctx, projectID)
	return each(rows, route), translate(err, "route")
}

// StopProjectRoutes makes the edge tell a project's visitors that the app is
// stopped. MoveRoute makes a route live again.
func (s *Store) StopProjectRoutes(ctx context.Context, projectID string) error {
	return s.InTx(ctx, func(s *Store) error {
		if err := s.q.StopProjectRoutes(ctx, projectID); err != nil {
			return translate(err, "route")
		}
		if err := s.q.ClearProjectURL(ctx, projectID); err != nil {
			return translate(err, "deployment")
		}
		return s.notifyRoutes(ctx)
	})
}

// DeleteProjectRoutes takes a project off the edge.
func (s *Store) DeleteProjectRoutes(ctx context.Context, projectID string) error {
	return s.InTx(ctx, func(s *Store) error {
		if err := s.q.DeleteProjectRoutes(ctx, projectID); err != nil {
			return translate(err, "route")
		}
		if err := s.q.ClearProjectURL(ctx, projectID); err != nil {
			return translate(err, "deployment")
		}
		return s.notifyRoutes(ctx)
	})
}

func route(r sqlc.Route) coderunner.Route {
	return coderunner.Route{Host: r.Host, ProjectID: r.ProjectID, DeploymentID: r.DeploymentID, SandboxID: r.SandboxID, Target: r.Target, Stopped: r.State == routeState(true), UpdatedAt: r.UpdatedAt}
}

// routeState is a route's state in its table.
func routeState(stopped bool) string {
	if stopped {
		return "stopped"
	}
	return "live"
}
