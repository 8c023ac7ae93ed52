package playbook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

const (
	probeTime     = 15 * time.Second // how long the URL may take to answer through the edge
	drainTime     = 30 * time.Second // how long requests of the previous version may take to end
	undoGrace     = time.Second      // the same for an app that nobody has used yet
	stopGrace     = 10 * time.Second // between SIGTERM and SIGKILL
	databaseGrace = 30 * time.Second // the same for a database, which writes down what it holds
)

// previousRoute is what the URL pointed at before, for undoing.
type previousRoute struct {
	Known    bool              `json:"known"`
	Released bool              `json:"released"` // the new version serves; there is no way back any more
	Route    *coderunner.Route `json:"route,omitempty"`
}

// moveRoute points the project's host at the new sandbox and requests it through the edge.
func moveRoute(ctx context.Context, st *step) error {
	host, url := st.e.cfg.PublicURL(st.project.Slug)
	before, err := st.previousRoute(ctx)
	if err != nil || before.Released {
		return err
	}
	address, err := st.e.provider.Address(ctx, st.appSandbox(), st.deployment.Plan.Port)
	if err != nil {
		return err
	}
	answers := make(chan error, 1)
	go func() { answers <- st.stillAnswers(ctx, host, address.Proxy) }()
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
	if err := <-answers; err != nil {
		return err
	}
	route := coderunner.Route{Host: host, ProjectID: st.project.ID, DeploymentID: st.deployment.ID, SandboxID: st.appSandbox(), Target: address.Proxy}
	if err := st.guarded(ctx, func(s *store.Store) error { return s.MoveRoute(ctx, route, url) }); err != nil {
		return err
	}
	if err := st.e.edge.Refresh(ctx); err != nil {
		return err
	}
	if err := st.probe(ctx, host, url); err != nil {
		if ctx.Err() != nil {
			return err // the run's end undoes it, or the next owner goes on with it
		}
		return errors.Join(err, restoreRoute(ctx, st)) // the version before serves until the next try
	}
	return st.serves(before)
}

// stillAnswers asks the app once more on its own port: nobody is sent to one that
// has ended since it was healthy.
func (st *step) stillAnswers(ctx context.Context, host, address string) error {
	check := healthCheck{client: probeClient(address), url: "http://" + host + st.healthPath()}
	status, err := check.try(ctx)
	if err == nil && status < 500 {
		return nil
	}
	if err := st.stillRuns(ctx); err != nil {
		return err
	}
	return coderunner.Wrap(err, coderunner.Unavailable, "The app does not answer on its port any more.")
}

// serves writes down that the new version serves, and with which variables and databases. A cancel
// that was accepted before wins, whether or not we have heard of it; one after comes too late.
func (st *step) serves(before previousRoute) error {
	ctx := st.owned
	variables, err := st.appliedVariables(ctx)
	if err != nil {
		return err
	}
	sealed, err := st.e.sealVariables(st.project.ID, deploymentVariables(st.deployment.ID), variables)
	if err != nil {
		return err
	}
	databases, err := st.given(ctx)
	if err != nil {
		return err
	}
	before.Released = true
	return st.guarded(ctx, func(s *store.Store) error {
		cancelled, err := s.LeaseHolds(ctx, st.lease)
		if err != nil {
			return err
		}
		if cancelled {
			st.stop(errCancelled)
			return errCancelled
		}
		if err := s.SetAppliedDatabases(ctx, st.deployment.ID, provisioned(databases)); err != nil {
			return err
		}
		if err := s.Release(ctx, st.deployment, st.appSandbox(), sealed); err != nil {
			return err
		}
		return st.save(ctx, s, before)
	})
}

// released reports whether the run's version serves already: from then on it
// succeeds, whatever comes. Of an unknown playbook that cannot be said.
func (x *execution) released(ctx context.Context) (bool, error) {
	if !x.known() {
		return false, nil
	}
	before, err := x.previousRoute(ctx)
	return before.Released, err
}

// previousRoute reads what the route step left from its row: of a transaction whose
// end nobody was told, only the row knows.
func (x *execution) previousRoute(ctx context.Context) (before previousRoute, err error) {
	if !x.has("route") {
		return before, nil
	}
	rows, err := x.e.store.Steps(ctx, x.run.ID)
	for _, row := range rows {
		if row.Name == "route" && len(row.Output) > 0 {
			err = json.Unmarshal(row.Output, &before)
		}
	}
	return before, err
}

// probe requests the URL as the world would, until the new sandbox answers.
func (st *step) probe(ctx context.Context, host, url string) error {
	deadline := time.Now().Add(probeTime)
	for {
		sandboxName, status, err := st.e.edge.Probe(ctx, host, st.healthPath())
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
		if err := st.stillRuns(ctx); err != nil {
			return err
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
	before, err := st.previousRoute(ctx)
	if err != nil || !before.Known || before.Released {
		return err
	}
	routes, err := st.e.store.ProjectRoutes(ctx, st.project.ID)
	if err != nil {
		return err
	}
	moved := slices.ContainsFunc(routes, func(r coderunner.Route) bool { return r.SandboxID == st.appSandbox() })
	host, url := st.e.cfg.PublicURL(st.project.Slug)
	err = st.guarded(ctx, func(s *store.Store) error {
		if before.Route == nil {
			return s.DeleteProjectRoutes(ctx, st.project.ID)
		}
		return s.MoveRoute(ctx, *before.Route, url)
	})
	if err != nil {
		return err
	}
	if err := st.e.edge.Refresh(ctx); err != nil || !moved {
		return err
	}
	if before.Route == nil {
		st.say("%s is offline again.", host)
	} else {
		st.say("%s is again what it was before.", host)
	}
	return nil
}

// drainPrevious removes the project's other app sandboxes once their requests have
// ended. The new version serves already, so nothing here fails the run: what
// cannot be removed now is left to the reconciler.
func drainPrevious(ctx context.Context, st *step) error {
	st.doLater()
	records, err := st.e.store.ProjectSandboxes(ctx, st.project.ID)
	if err != nil {
		return err
	}
	removed := 0
	for _, r := range records {
		if r.Purpose == coderunner.ForBuild && r.RunID == st.run.ID { // what an owner that was cut off left
			st.later(func(ctx context.Context) error { return st.remove(ctx, r.ID) })
			continue
		}
		if r.Purpose != coderunner.ForApp || r.ID == st.appSandbox() {
			continue
		}
		if err := st.retire(ctx, r.ID); err != nil {
			if ctx.Err() != nil || errors.Is(err, store.ErrLeaseLost) {
				return err
			}
			st.e.log.Warn("removing a sandbox that is not wanted any more", "sandbox", r.ID, "err", err)
			st.say("The previous sandbox could not be removed now; it will be as soon as that is possible.")
			continue
		}
		removed++
	}
	if removed > 0 {
		st.say("Removed %s of the previous version.", countNoun(removed, "sandbox"))
	}
	return nil
}

// retire waits until nobody uses a sandbox any more, for drainTime at most and
// not once the run is cancelled, and removes it.
func (st *step) retire(ctx context.Context, name string) error {
	if err := st.guarded(ctx, func(s *store.Store) error { return s.AbandonSandbox(ctx, name) }); err != nil {
		return err
	}
	drain, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	defer context.AfterFunc(st.work, cancel)()
	if err := st.e.edge.Drain(drain, name); err != nil && ctx.Err() == nil {
		st.say("Some requests to the previous version were still open; they are ended now.")
	}
	return st.removeApp(ctx, name, stopGrace)
}

// removeApp ends an app, keeps what it has printed, and removes its sandbox.
func (x *execution) removeApp(ctx context.Context, name string, grace time.Duration) error {
	if err := x.e.provider.Stop(ctx, name, appProcess, grace); err != nil && coderunner.KindOf(err) != coderunner.NotFound {
		return err
	}
	if err := x.e.drainOutput(ctx, name); err != nil {
		return err
	}
	return x.remove(ctx, name)
}
