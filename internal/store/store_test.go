package store_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
	"github.com/coderunner/coderunner/internal/testdb"
)

// world is a database with one user who has one project with one bundle.
type world struct {
	*store.Store
	user    coderunner.User
	project coderunner.Project
	bundle  coderunner.Bundle
}

func newWorld(t *testing.T) world {
	t.Helper()
	w := world{Store: store.New(testdb.NewPool(t))}
	w.user = must(w.CreateUser(t.Context(), "ada@example.com", "hash"))(t)
	w.project = must(w.CreateProject(t.Context(), w.user.ID, "Guest book", "guest-book"))(t)
	w.bundle = must(w.CreateBundle(t.Context(), coderunner.Bundle{ProjectID: w.project.ID, SHA256: strings.Repeat("a", 64), Filename: "app.zip", Files: 3}))(t)
	return w
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func wantKind(t *testing.T, what string, err error, kind coderunner.Kind) {
	t.Helper()
	if coderunner.KindOf(err) != kind {
		t.Errorf("%s: error %v has kind %q, want %q", what, err, coderunner.KindOf(err), kind)
	}
}

func (w world) deploy(t *testing.T) (coderunner.Deployment, coderunner.Run) {
	t.Helper()
	d := must(w.CreateDeployment(t.Context(), store.NewDeployment{ProjectID: w.project.ID, BundleID: w.bundle.ID, Plan: coderunner.Plan{Runtime: coderunner.Runtime{Name: "nodejs"}}}))(t)
	r, _ := w.begin(t, store.NewRun{ProjectID: w.project.ID, DeploymentID: d.ID, Playbook: "deploy", Steps: []coderunner.Step{{Name: "one", Title: "One"}, {Name: "two", Title: "Two", After: []string{"one"}}}})
	return d, r
}

// begin creates a run, and answers as well the one that it replaced.
func (w world) begin(t *testing.T, n store.NewRun) (run coderunner.Run, replaced *coderunner.Run) {
	t.Helper()
	run, replaced, err := w.CreateRun(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return run, replaced
}

func TestEmailIsUniqueInAnyCase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.CreateUser(t.Context(), "ADA@Example.COM", "hash")
	wantKind(t, "signing up twice", err, coderunner.Conflict)
	found := must(w.UserByEmail(t.Context(), "aDa@example.com"))(t)
	if found.ID != w.user.ID {
		t.Errorf("looked up user %s, want %s", found.ID, w.user.ID)
	}
}

func TestOthersThingsAreNotFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d, r := w.deploy(t)
	mallory := must(w.CreateUser(t.Context(), "mallory@example.com", "hash"))(t)
	ctx := t.Context()
	for what, err := range map[string]error{
		"project":       second(w.Project(ctx, mallory.ID, w.project.ID)),
		"bundle":        second(w.Bundle(ctx, mallory.ID, w.bundle.ID)),
		"latest bundle": second(w.LatestBundle(ctx, mallory.ID, w.project.ID)),
		"deployment":    second(w.Deployment(ctx, mallory.ID, d.ID)),
		"run":           second(w.Run(ctx, mallory.ID, r.ID)),
		"no UUID":       second(w.Project(ctx, w.user.ID, "' OR 1=1 --")),
		"unknown":       second(w.Project(ctx, w.user.ID, "00000000-0000-0000-0000-000000000000")),
	} {
		wantKind(t, what, err, coderunner.NotFound)
	}
	if runs := must(w.ProjectRuns(ctx, mallory.ID, w.project.ID, 10, 0))(t); len(runs) != 0 {
		t.Errorf("another user lists %d runs", len(runs))
	}
	if list := must(w.ProjectDeployments(ctx, mallory.ID, w.project.ID, 10, 0))(t); len(list) != 0 {
		t.Errorf("another user lists %d deployments", len(list))
	}
}

func second[T any](_ T, err error) error { return err }

func TestOneRunAtWorkAndOneThatWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	_, first := w.deploy(t)
	if _, claimed, err := w.ClaimRun(ctx, first.ID, "me", time.Minute); err != nil || !claimed {
		t.Fatalf("the first run: claimed %v (%v)", claimed, err)
	}
	second, replaced := w.begin(t, store.NewRun{ProjectID: w.project.ID, Playbook: "restart", Steps: []coderunner.Step{{Name: "one", Title: "One"}}})
	if replaced != nil {
		t.Errorf("a run at work was replaced: %+v", replaced)
	}
	if _, claimed, err := w.ClaimRun(ctx, second.ID, "me", time.Minute); err != nil || claimed {
		t.Fatalf("a run was claimed before the one at work has ended (%v)", err)
	}
	if ids := must(w.ClaimableRuns(ctx))(t); len(ids) != 0 {
		t.Errorf("claimable are %v", ids)
	}
	third, replaced := w.begin(t, store.NewRun{ProjectID: w.project.ID, Playbook: "destroy"})
	if replaced == nil || replaced.ID != second.ID {
		t.Fatalf("the third run replaced %+v, want the second", replaced)
	}
	second = must(w.RunByID(ctx, second.ID))(t)
	if second.State != coderunner.RunCancelled || second.ReplacedBy != third.ID || second.FinishedAt == nil {
		t.Errorf("the second run is %+v", second)
	}
	if steps := must(w.Steps(ctx, second.ID))(t); steps[0].State != coderunner.StepSkipped {
		t.Errorf("its step is %s", steps[0].State)
	}
	if before := must(w.RunsReplacedBy(ctx, third.ID))(t); len(before) != 1 || before[0].ID != second.ID {
		t.Errorf("the third replaced %+v", before)
	}
	if _, err := w.RequestCancel(ctx, first.ID); err != nil {
		t.Fatal(err)
	}
	if _, claimed, err := w.ClaimRun(ctx, third.ID, "me", time.Minute); err != nil || claimed {
		t.Fatalf("a run was claimed before the cancelled one has ended (%v)", err)
	}
	if err := w.FinishRun(ctx, store.Lease{RunID: first.ID, Owner: "me", Epoch: 1}, coderunner.RunCancelled, nil); err != nil {
		t.Fatal(err)
	}
	if _, claimed, err := w.ClaimRun(ctx, third.ID, "me", time.Minute); err != nil || !claimed {
		t.Fatalf("the waiting run cannot be claimed after the one before it has ended (%v)", err)
	}
}

// TestClaimedWhileItIsReplaced: a run that is claimed in the very moment in which
// another would take its place goes on, and the other waits.
func TestClaimedWhileItIsReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	_, first := w.deploy(t)
	type made struct {
		run      coderunner.Run
		replaced *coderunner.Run
		err      error
	}
	second := make(chan made, 1)
	err := w.InTx(ctx, func(s *store.Store) error {
		if _, claimed, err := s.ClaimRun(ctx, first.ID, "me", time.Minute); err != nil || !claimed {
			t.Fatalf("the first run: claimed %v (%v)", claimed, err)
		}
		go func() {
			run, replaced, err := w.CreateRun(ctx, store.NewRun{ProjectID: w.project.ID, Playbook: "restart"})
			second <- made{run, replaced, err}
		}()
		for tick := time.Tick(time.Millisecond); ; {
			var waits int
			err := w.Pool().QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'").Scan(&waits)
			if err != nil || waits > 0 {
				return err
			}
			select {
			case <-tick:
			case m := <-second:
				t.Fatalf("the second run did not wait for the claim: %+v", m)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	got := <-second
	if got.err != nil || got.replaced != nil || got.run.State != coderunner.RunQueued {
		t.Errorf("the second run is %+v, it replaced %+v (%v)", got.run, got.replaced, got.err)
	}
	if first = must(w.RunByID(ctx, first.ID))(t); first.State != coderunner.RunRunning {
		t.Errorf("the first run is %s", first.State)
	}
	for _, s := range must(w.Steps(ctx, first.ID))(t) {
		if s.State != coderunner.StepPending {
			t.Errorf("the first run's step %s is %s", s.Name, s.State)
		}
	}
}

// TestDecided: no step begins after a cancel was accepted, but those that are done
// always, and the first failure stays the run's.
func TestDecided(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, r := w.deploy(t)
	ctx := t.Context()
	first, claimed, err := w.ClaimRun(ctx, r.ID, "me", time.Minute)
	if err != nil || !claimed {
		t.Fatal(claimed, err)
	}
	l := store.Lease{RunID: r.ID, Owner: "me", Epoch: first.Epoch}
	if begun, err := w.StartStep(ctx, l, "one", false); err != nil || !begun {
		t.Fatalf("a step begins: %v, %v", begun, err)
	}
	for _, title := range []string{"The first.", "The second."} {
		if err := w.FailStep(ctx, l, "one", coderunner.StepFailed, &coderunner.Failure{ID: "x", Title: title}); err != nil {
			t.Fatal(err)
		}
	}
	if now := must(w.RunByID(ctx, r.ID))(t); now.State != coderunner.RunRunning || now.Failure == nil || now.Failure.Title != "The first." {
		t.Errorf("after its step has failed the run is %s, %+v", now.State, now.Failure)
	}
	if _, err := w.RequestCancel(ctx, r.ID); err != nil {
		t.Fatal(err)
	}
	if begun, err := w.StartStep(ctx, l, "two", false); err != nil || begun {
		t.Errorf("a step after the cancel begins: %v, %v", begun, err)
	}
	if begun, err := w.StartStep(ctx, l, "two", true); err != nil || !begun {
		t.Errorf("one that is done always begins: %v, %v", begun, err)
	}
}

func TestLease(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, r := w.deploy(t)
	ctx := t.Context()
	first, claimed, err := w.ClaimRun(ctx, r.ID, "first", time.Minute)
	if err != nil || !claimed || first.State != coderunner.RunRunning {
		t.Fatalf("claiming a queued run: %v %v %s", claimed, err, first.State)
	}
	if _, claimed, _ := w.ClaimRun(ctx, r.ID, "second", time.Minute); claimed {
		t.Fatal("a run was claimed while its lease holds")
	}
	old := store.Lease{RunID: r.ID, Owner: "first", Epoch: first.Epoch}
	if err := w.ReleaseRun(ctx, old); err != nil {
		t.Fatal(err)
	}
	if ids := must(w.ClaimableRuns(ctx))(t); len(ids) != 1 || ids[0] != r.ID {
		t.Fatalf("claimable runs are %v", ids)
	}
	second, claimed, err := w.ClaimRun(ctx, r.ID, "second", time.Minute)
	if err != nil || !claimed || second.Epoch != first.Epoch+1 {
		t.Fatalf("taking over: claimed %v, epoch %d after %d, %v", claimed, second.Epoch, first.Epoch, err)
	}
	// The first owner wakes up: nothing it writes is accepted.
	_, renew := w.RenewRun(ctx, old, time.Minute)
	_, begin := w.StartStep(ctx, old, "one", false)
	for what, err := range map[string]error{
		"renew":      renew,
		"start step": begin,
		"end step":   w.FinishStep(ctx, old, "one", coderunner.StepDone, nil, ""),
		"output":     w.SaveStepOutput(ctx, old, "one", []byte(`{}`)),
		"log":        w.AppendLog(ctx, old, 1, []coderunner.LogLine{{At: time.Now(), Text: "ghost"}}),
		"finish":     w.FinishRun(ctx, old, coderunner.RunSucceeded, nil),
		"guarded":    w.Guarded(ctx, old, func(*store.Store) error { return nil }),
	} {
		if !errors.Is(err, store.ErrLeaseLost) {
			t.Errorf("%s with a lost lease: %v, want ErrLeaseLost", what, err)
		}
	}
	if lines := must(w.LogAfter(ctx, r.ID, 0, 10))(t); len(lines) != 0 {
		t.Errorf("a lost lease wrote %v", lines)
	}
	now := store.Lease{RunID: r.ID, Owner: "second", Epoch: second.Epoch}
	if err := w.FinishRun(ctx, now, coderunner.RunFailed, &coderunner.Failure{ID: "x", Title: "It failed."}); err != nil {
		t.Fatal(err)
	}
	ended := must(w.Run(ctx, w.user.ID, r.ID))(t)
	if ended.State != coderunner.RunFailed || ended.Failure == nil || ended.Failure.Title != "It failed." || ended.FinishedAt == nil {
		t.Errorf("the run ended as %+v", ended)
	}
	for _, s := range must(w.Steps(ctx, r.ID))(t) {
		if s.State != coderunner.StepSkipped {
			t.Errorf("step %s of an ended run is %s", s.Name, s.State)
		}
	}
}

func TestCancelOfAQueuedRunEndsIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, r := w.deploy(t)
	after := must(w.RequestCancel(t.Context(), r.ID))(t)
	if after.State != coderunner.RunCancelled {
		t.Errorf("a queued run became %s", after.State)
	}
	_, err := w.RequestCancel(t.Context(), r.ID)
	wantKind(t, "cancelling twice", err, coderunner.Conflict)
}

func TestLogPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, r := w.deploy(t)
	ctx := t.Context()
	claimed, _, err := w.ClaimRun(ctx, r.ID, "me", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	lease := store.Lease{RunID: r.ID, Owner: "me", Epoch: claimed.Epoch}
	lines := make([]coderunner.LogLine, 25)
	for i := range lines {
		lines[i] = coderunner.LogLine{At: time.Now(), Stream: coderunner.Stdout, Step: "one", Text: strings.Repeat("x", i)}
	}
	if err := w.AppendLog(ctx, lease, 1, lines[:20]); err != nil {
		t.Fatal(err)
	}
	if err := w.AppendLog(ctx, lease, 21, lines[20:]); err != nil {
		t.Fatal(err)
	}
	if err := w.AppendLog(ctx, lease, 21, lines[20:]); err == nil {
		t.Error("the same lines were appended twice")
	}
	after := must(w.LogAfter(ctx, r.ID, 10, 5))(t)
	before := must(w.LogBefore(ctx, r.ID, 11, 5))(t)
	if len(after) != 5 || after[0].Seq != 11 || after[4].Seq != 15 || after[0].Text != lines[10].Text {
		t.Errorf("after 10 come %+v", after)
	}
	if len(before) != 5 || before[0].Seq != 6 || before[4].Seq != 10 {
		t.Errorf("before 11 come %+v", before)
	}
	if last := must(w.LastLogSeq(ctx, r.ID))(t); last != 25 {
		t.Errorf("the last line is %d, want 25", last)
	}
}

func TestDeploymentStatusFollowsTheStateMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d, _ := w.deploy(t)
	ctx := t.Context()
	err := w.SetDeploymentStatus(ctx, d.ID, coderunner.Running)
	wantKind(t, "PENDING to RUNNING", err, coderunner.Conflict)
	for _, s := range []coderunner.DeploymentStatus{coderunner.Provisioning, coderunner.Building, coderunner.Running, coderunner.Stopped} {
		if err := w.SetDeploymentStatus(ctx, d.ID, s); err != nil {
			t.Fatal(err)
		}
	}
	before := d.UpdatedAt
	if after := must(w.DeploymentByID(ctx, d.ID))(t); !after.UpdatedAt.After(before) || after.Status != coderunner.Stopped {
		t.Errorf("after the changes: %+v", after)
	}
}

func TestRouteMoves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	first, _ := w.deploy(t)
	second := must(w.CreateDeployment(ctx, store.NewDeployment{ProjectID: w.project.ID, BundleID: w.bundle.ID}))(t)
	if first.Number != 1 || second.Number != 2 {
		t.Errorf("numbers are %d and %d", first.Number, second.Number)
	}
	for _, d := range []coderunner.Deployment{first, second} {
		if err := w.MoveRoute(ctx, coderunner.Route{Host: "guest-book.localhost", ProjectID: w.project.ID, DeploymentID: d.ID, SandboxID: "app-" + d.ID, Target: "10.0.0.2:3000"}, "http://guest-book.localhost"); err != nil {
			t.Fatal(err)
		}
	}
	routes := must(w.Routes(ctx))(t)
	if len(routes) != 1 || routes[0].DeploymentID != second.ID {
		t.Errorf("routes are %+v", routes)
	}
	if d := must(w.DeploymentByID(ctx, first.ID))(t); d.PublicURL != "" {
		t.Errorf("the former deployment still has the URL %s", d.PublicURL)
	}
	other := must(w.CreateProject(ctx, w.user.ID, "Other", "other"))(t)
	bundle := must(w.CreateBundle(ctx, coderunner.Bundle{ProjectID: other.ID, SHA256: strings.Repeat("b", 64)}))(t)
	d := must(w.CreateDeployment(ctx, store.NewDeployment{ProjectID: other.ID, BundleID: bundle.ID}))(t)
	err := w.MoveRoute(ctx, coderunner.Route{Host: "guest-book.localhost", ProjectID: other.ID, DeploymentID: d.ID, SandboxID: "x", Target: "y"}, "http://x")
	wantKind(t, "taking another project's host", err, coderunner.Conflict)
}

func TestRouteOfAStoppedApp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	d, _ := w.deploy(t)
	route := coderunner.Route{Host: "guest-book.localhost", ProjectID: w.project.ID, DeploymentID: d.ID, SandboxID: "app", Target: "10.0.0.2:3000"}
	state := func(what string, want bool) {
		t.Helper()
		routes := must(w.ProjectRoutes(ctx, w.project.ID))(t)
		if len(routes) != 1 || routes[0].Stopped != want || routes[0].Target != route.Target {
			t.Errorf("%s: %+v", what, routes)
		}
	}
	must(0, w.MoveRoute(ctx, route, "http://guest-book.localhost"))(t)
	state("a new route", false)
	must(0, w.StopProjectRoutes(ctx, w.project.ID))(t)
	state("after the stop", true)
	stopped := must(w.ProjectRoutes(ctx, w.project.ID))(t)[0]
	must(0, w.MoveRoute(ctx, route, "http://guest-book.localhost"))(t)
	state("after the start", false)
	must(0, w.MoveRoute(ctx, stopped, "http://guest-book.localhost"))(t)
	state("put back as it was", true)
}

func TestEndedProjectKeepsItsSlugAndFreesItsName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	d, r := w.deploy(t)
	if err := w.SetVariable(ctx, w.project.ID, store.SealedVariable{Key: "A", Sealed: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	must(w.RequestCancel(ctx, r.ID))(t)
	if hashes := must(w.DeleteProjectBundles(ctx, w.project.ID))(t); len(hashes) != 1 {
		t.Errorf("deleted bundles %v", hashes)
	}
	if err := w.EndProject(ctx, w.project.ID); err != nil {
		t.Fatal(err)
	}
	if d := must(w.DeploymentByID(ctx, d.ID))(t); d.Status != coderunner.Destroyed {
		t.Errorf("its deployment is %s", d.Status)
	}
	if v := must(w.Variables(ctx, w.project.ID))(t); len(v) != 0 {
		t.Errorf("its variables are still there: %v", v)
	}
	if taken := must(w.SlugTaken(ctx, "guest-book"))(t); !taken {
		t.Error("the slug of a destroyed project is free again")
	}
	if taken := must(w.ProjectNameTaken(ctx, w.user.ID, "guest BOOK"))(t); taken {
		t.Error("the name of a destroyed project is still taken")
	}
	if list, total, err := w.ProjectSummaries(ctx, w.user.ID, "", 10, 0); err != nil || total != 0 || len(list) != 0 {
		t.Errorf("a destroyed project is listed: %v %d %v", list, total, err)
	}
}

func TestRollbackLeavesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	boom := errors.New("boom")
	err := w.InTx(t.Context(), func(s *store.Store) error {
		if _, err := s.CreateProject(t.Context(), w.user.ID, "Second", "second"); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatalf("InTx answers %v", err)
	}
	if taken := must(w.SlugTaken(t.Context(), "second"))(t); taken {
		t.Error("a rolled back project exists")
	}
}

func TestCutConnectionIsUnavailable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	err := w.InTx(ctx, func(s *store.Store) error {
		if _, err := w.Pool().Exec(ctx, "SELECT pg_terminate_backend($1)", s.Tx().Conn().PgConn().PID()); err != nil {
			return err
		}
		_, err := s.ProjectByID(ctx, w.project.ID)
		return err
	})
	wantKind(t, "a query on a connection that was cut", err, coderunner.Unavailable)
	if _, err := w.ProjectByID(ctx, w.project.ID); err != nil {
		t.Errorf("the next query does not recover: %v", err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if err := second(w.ProjectByID(cancelled, w.project.ID)); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled query answers %v", err)
	}
}
