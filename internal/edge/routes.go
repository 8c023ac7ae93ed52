package edge

import (
	"context"
	"fmt"
	"net"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// Refresh reads the routes and puts them in place of the old ones, all at once.
// When they cannot be read, the old ones stay. Requests under way go on where they are.
func (e *Edge) Refresh(ctx context.Context) error {
	select {
	case e.refreshing <- struct{}{}:
		defer func() { <-e.refreshing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	routes, err := e.routes(ctx)
	if err != nil {
		return fmt.Errorf("reading the routes: %w", err)
	}
	for _, t := range e.swap(routes) {
		e.forget(t)
	}
	return nil
}

// swap puts the routes into the table, and answers the targets that have none any more.
func (e *Edge) swap(routes []coderunner.Route) (retired []*target) {
	e.mu.Lock()
	defer e.mu.Unlock()
	table := make(map[string]*target, len(routes))
	routed := make(map[*target]bool, len(routes))
	for _, r := range routes {
		if _, _, err := net.SplitHostPort(r.Target); err != nil || r.SandboxID == "" {
			e.log.Warn("a route has no usable target", "host", r.Host, "target", r.Target, "sandbox", r.SandboxID)
			continue
		}
		key := targetKey{r.SandboxID, r.Target}
		t := e.targets[key]
		if t == nil {
			t = e.newTarget(key)
			e.targets[key] = t
		}
		t.setRetired(false)
		table[hostname(r.Host)], routed[t] = t, true
	}
	// The order matters: who finds a target retired looks into the table again, and must find the new one.
	e.table.Store(&table)
	for _, t := range e.targets {
		if !routed[t] {
			t.setRetired(true)
			retired = append(retired, t)
		}
	}
	return retired
}

// Drain waits until the requests that a sandbox was given have ended. When ctx
// ends before that, it cuts them off, WebSockets and event streams included, and
// answers ctx's error. The sandbox must have no route any more (else Conflict).
func (e *Edge) Drain(ctx context.Context, sandbox string) error {
	leaving, routed := e.targetsOf(sandbox)
	if routed {
		return coderunner.Errorf(coderunner.Conflict, "The sandbox %s still has a route. Move the route before draining it.", sandbox)
	}
	var failure error
	for _, t := range leaving {
		if err := t.wait(ctx); err != nil {
			failure = fmt.Errorf("requests to the sandbox %s were cut off: %w", sandbox, err)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range leaving {
		t.mu.Lock()
		if t.retired { // else its route came back meanwhile
			e.remove(t)
		}
		t.mu.Unlock()
	}
	return failure
}

// targetsOf finds what there is of a sandbox, and whether requests still go to it.
func (e *Edge) targetsOf(sandbox string) (targets []*target, routed bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for key, t := range e.targets {
		if key.sandbox != sandbox {
			continue
		}
		targets = append(targets, t)
		t.mu.Lock()
		routed = routed || !t.retired
		t.mu.Unlock()
	}
	return targets, routed
}
