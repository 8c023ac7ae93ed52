package playbook

import (
	"context"
	"fmt"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

const (
	probeTime = 15 * time.Second // how long the URL may take to answer through the edge
	drainTime = 30 * time.Second // how long requests of the previous version may take to end
	stopGrace = 10 * time.Second // between SIGTERM and SIGKILL
)

// previousRoute is what the URL pointed at before, for undoing.
type previousRoute struct {
	Known bool              `json:"known"`
	Route *coderunner.Route `json:"route,omitempty"`
}

// moveRoute points the project's host at the new sandbox and requests it through the edge.
func moveRoute(ctx context.Context, st *step) error {
	host, url := st.e.cfg.PublicURL(st.project.Slug)
	var before previousRoute
	if err := st.output(st.Name, &before); err != nil {
		return err
	}
	if !before.Known {
		routes, err := st.e.store.ProjectRoutes(ctx, st.project.ID)
		if err != nil {
			return err
		}
		before.Known = true
		if len(routes) > 0 {
			before.Route = &routes[0]
		}
		if err := st.leave(ctx, before); err != nil {
			return err
		}
	}
	address, err := st.e.provider.Address(ctx, st.appSandbox(), st.deployment.Plan.Port)
	if err != nil {
		return err
	}
	route := coderunner.Route{Host: host, ProjectID: st.project.ID, DeploymentID: st.deployment.ID, SandboxID: st.appSandbox(), Target: address.Proxy}
	if err := st.guarded(ctx, func(s *store.Store) error { return s.MoveRoute(ctx, route, url) }); err != nil {
		return err
	}
	if err := st.e.edge.Refresh(ctx); err != nil {
		return err
	}
	return st.probe(ctx, host, url)
}

// probe requests the URL as the world would, until the new sandbox answers.
func (st *step) probe(ctx context.Context, host, url string) error {
	path := st.deployment.Plan.HealthPath.Value
	if path == "" {
		path = "/"
	}
	deadline := time.Now().Add(probeTime)
	for {
		sandboxName, status, err := st.e.edge.Probe(ctx, host, path)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && sandboxName == st.appSandbox() && status < 500:
			st.say("%s answers %d from the new sandbox.", url, status)
			return nil
		case err == nil && sandboxName != st.appSandbox():
			err = fmt.Errorf("%s is answered by sandbox %q, not by the new one", url, sandboxName)
		case err == nil:
			err = fmt.Errorf("%s answers %d", url, status)
		}
		if time.Now().After(deadline) {
			return coderunner.Wrap(err, coderunner.Unavailable, "The app answers on its own port but not through %s.", url)
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// restoreRoute points the host back at the version that served before.
func restoreRoute(ctx context.Context, st *step) error {
	var before previousRoute
	if err := st.output(st.Name, &before); err != nil {
		return err
	}
	if !before.Known {
		return nil
	}
	_, url := st.e.cfg.PublicURL(st.project.Slug)
	err := st.guarded(ctx, func(s *store.Store) error {
		if before.Route == nil {
			return s.DeleteProjectRoutes(ctx, st.project.ID)
		}
		return s.MoveRoute(ctx, *before.Route, url)
	})
	if err != nil {
		return err
	}
	return st.e.edge.Refresh(ctx)
}

// drainPrevious removes the sandboxes of the project's earlier deployments once
// their requests have ended. The new version serves already: what cannot be
// removed now is left to the reconciler.
func drainPrevious(ctx context.Context, st *step) error {
	records, err := st.e.store.ProjectSandboxes(ctx, st.project.ID)
	if err != nil {
		return err
	}
	removed := 0
	for _, r := range records {
		if r.DeploymentID == "" || r.DeploymentID == st.deployment.ID {
			continue
		}
		drain, cancel := context.WithTimeout(ctx, drainTime)
		if err := st.e.edge.Drain(drain, r.ID); err != nil && ctx.Err() == nil {
			st.say("Some requests to the previous version were still open after %s; they are ended now.", drainTime)
		}
		cancel()
		if err := st.e.provider.Stop(ctx, r.ID, appProcess, stopGrace); err != nil && coderunner.KindOf(err) != coderunner.NotFound {
			return err
		}
		if err := st.e.drainOutput(ctx, r.ID); err != nil {
			return err
		}
		if err := st.remove(ctx, r.ID); err != nil {
			return err
		}
		removed++
	}
	if removed > 0 {
		st.say("Removed %s of the previous version.", countNoun(removed, "sandbox"))
	}
	return nil
}
