package edge

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// Broken is a route that cannot be used, and why.
type Broken struct{ Host, Reason string }

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
	for _, b := range e.Replace(routes) {
		e.log.Warn("a route is skipped", "host", b.Host, "reason", b.Reason)
	}
	return nil
}

// Replace puts the routes in place of the old ones, all at once. Those that cannot
// be used are left out and answered; the others hold. Requests under way go on
// where they are.
func (e *Edge) Replace(routes []coderunner.Route) []Broken {
	retired, broken := e.swap(routes)
	for _, t := range retired {
		e.forget(t)
	}
	return broken
}

// swap puts the routes into the table, and answers the targets that have none any more.
func (e *Edge) swap(routes []coderunner.Route) (retired []*target, broken []Broken) {
	e.mu.Lock()
	defer e.mu.Unlock()
	table := make(map[string]entry, len(routes))
	routed := make(map[*target]bool, len(routes))
	for _, r := range routes {
		host := hostname(r.Host)
		_, twice := table[host]
		if reason := e.unusable(r, host, twice); reason != "" {
			broken = append(broken, Broken{r.Host, reason})
			continue
		}
		if r.Stopped {
			table[host] = entry{}
			continue
		}
		key := targetKey{r.SandboxID, r.Target}
		t := e.targets[key]
		if t == nil {
			t = e.newTarget(key)
			e.targets[key] = t
		}
		t.setRetired(false)
		table[host], routed[t] = entry{t}, true
	}
	// The order matters: who finds a target retired looks into the table again, and must find the new one.
	e.table.Store(&table)
	for _, t := range e.targets {
		if !routed[t] {
			t.setRetired(true)
			retired = append(retired, t)
		}
	}
	return retired, broken
}

// unusable says what is wrong with a route, "" for nothing.
func (e *Edge) unusable(r coderunner.Route, host string, twice bool) string {
	switch {
	case strings.Contains(r.Host, ":") || !isDomain(host):
		return "the host is not a domain name"
	case host == e.appsDomain || host == e.dashboardHost:
		return "the host is CodeRunner's own"
	case twice:
		return "another route has the same host"
	case r.Stopped:
		return ""
	case r.SandboxID == "":
		return "it names no sandbox"
	case !isAddress(r.Target):
		return "the target is not host:port"
	}
	return ""
}

// isDomain reports whether a lower-case name is one that browsers can ask for: labels of letters,
// digits, hyphens and underscores. Addresses are not: they may be the dashboard's.
func isDomain(name string) bool {
	if len(name) > 253 || net.ParseIP(name) != nil {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

func isAddress(target string) bool {
	host, port, err := net.SplitHostPort(target)
	if err != nil || host == "" {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
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

// Open counts the requests under way by sandbox.
func (e *Edge) Open() map[string]int {
	e.mu.Lock()
	defer e.mu.Unlock()
	open := map[string]int{}
	for key, t := range e.targets {
		t.mu.Lock()
		if t.count > 0 {
			open[key.sandbox] += t.count
		}
		t.mu.Unlock()
	}
	return open
}

// Close takes all routes away and ends the requests that are under way.
func (e *Edge) Close() {
	e.swap(nil)
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range e.targets {
		e.remove(t)
	}
}
