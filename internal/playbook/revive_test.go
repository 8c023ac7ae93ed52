package playbook

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/coderunner/coderunner/appliances"
	"github.com/coderunner/coderunner/internal/appliance"
	"github.com/coderunner/coderunner/internal/bundle"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/secret"
	"github.com/coderunner/coderunner/internal/store"
	"github.com/coderunner/coderunner/internal/testdb"
)

// ward is an engine that has not been started, over a cloud without machines. Its
// reconciler looks when it is told to.
type ward struct {
	t       *testing.T
	store   *store.Store
	cloud   *cloud
	engine  *Engine
	mending *mending
	trouble func(ctx context.Context, call string) error // what the cloud makes of a call; nil for none
}

func newWard(t *testing.T) *ward {
	t.Helper()
	w := &ward{t: t, cloud: newCloud("127.0.0.1:1"), mending: newMending()}
	var err error
	if w.store, err = store.Open(t.Context(), testdb.New(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.store.Close)
	bundles, err := bundle.Open(t.TempDir(), bundle.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	catalogue, err := appliance.Load(appliances.FS)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := secret.Open(t.TempDir() + "/keyring")
	if err != nil {
		t.Fatal(err)
	}
	provider := &fake{cloud: w.cloud, exit: func() int { return 0 }, fault: func(ctx context.Context, call string) error {
		if w.trouble == nil {
			return ctx.Err()
		}
		return w.trouble(ctx, call)
	}}
	w.engine = New(Config{PublicURL: func(slug string) (string, string) { return slug + ".apps.test", "http://" + slug + ".apps.test" }},
		w.store, provider, catalogue, bundles, keys, nil, nil, Edge{Refresh: func(context.Context) error { return nil }}, slog.New(slog.DiscardHandler))
	return w
}

// app adds a project whose app should run and does not.
func (w *ward) app(name string) (d coderunner.Deployment) {
	w.t.Helper()
	maker := &platform{store: w.store, bundles: w.engine.bundles}
	s, err := maker.newSample(w.t.Context(), name, map[string]string{"index.js": "x"})
	if err != nil {
		w.t.Fatal(err)
	}
	err = w.store.InTx(w.t.Context(), func(tx *store.Store) error {
		if d, err = tx.CreateDeployment(w.t.Context(), store.NewDeployment{ProjectID: s.project.ID, BundleID: s.bundle.ID, Plan: s.plan}); err != nil {
			return err
		}
		d.AppSandboxID = "app-" + name
		record := coderunner.SandboxRecord{ID: d.AppSandboxID, Provider: "fake", ProjectID: s.project.ID, Purpose: coderunner.ForApp, DeploymentID: d.ID, Appliance: s.plan.Runtime.Appliance}
		if err := tx.ExpectSandbox(w.t.Context(), record); err != nil {
			return err
		}
		if err := tx.SetDeploymentSandbox(w.t.Context(), d.ID, d.AppSandboxID); err != nil {
			return err
		}
		if err := tx.SetDeploymentStatus(w.t.Context(), d.ID, coderunner.Provisioning); err != nil {
			return err
		}
		return tx.SetDeploymentStatus(w.t.Context(), d.ID, coderunner.Running)
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.seals(d)
	return d
}

// seals keeps that an app last ran without any variable.
func (w *ward) seals(d coderunner.Deployment) {
	w.t.Helper()
	sealed, err := w.engine.sealVariables(d.ProjectID, deploymentVariables(d.ID), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.exec("UPDATE deployments SET variables = $1 WHERE id = $2", sealed, d.ID)
}

// look has the reconciler look once, and waits until all is mended that it began to.
func (w *ward) look() {
	w.t.Helper()
	if _, err := w.engine.reconcileOnce(w.t.Context(), w.mending); err != nil {
		w.t.Fatal(err)
	}
	w.engine.Wait()
}

// nudged takes back a nudge, if there is one.
func (w *ward) nudged() {
	select {
	case <-w.engine.nudged:
	default:
	}
}

// later lets all waits pass.
func (w *ward) later() {
	w.t.Helper()
	w.exec("UPDATE sandboxes SET restart_at = now() - interval '1 second' WHERE restart_at IS NOT NULL")
	w.mending.mu.Lock()
	defer w.mending.mu.Unlock()
	for id, f := range w.mending.failed {
		w.mending.failed[id] = failed{tries: f.tries}
	}
}

func (w *ward) exec(query string, args ...any) {
	w.t.Helper()
	if _, err := w.store.Pool().Exec(w.t.Context(), query, args...); err != nil {
		w.t.Fatal(err)
	}
}

// ends ends an app by itself.
func (w *ward) ends(sandboxID string) {
	w.cloud.mu.Lock()
	defer w.cloud.mu.Unlock()
	w.cloud.sandboxes[sandboxID].processes[appProcess].end(11)
}

// fills ends an app with its sandbox, for what it has written.
func (w *ward) fills(sandboxID string) {
	w.cloud.mu.Lock()
	defer w.cloud.mu.Unlock()
	w.cloud.sandboxes[sandboxID].stop(9)
	w.cloud.sandboxes[sandboxID].processes[appProcess].status.Exit.OverDisk = true
}

// is reads an app again, and how often it was started again.
func (w *ward) is(d coderunner.Deployment) (now coderunner.Deployment, restarts int) {
	w.t.Helper()
	now, err := w.store.DeploymentByID(w.t.Context(), d.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	records, err := w.store.ProjectSandboxes(w.t.Context(), d.ProjectID)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range records {
		if r.ID == now.AppSandboxID {
			restarts = r.Restarts
		}
	}
	return now, restarts
}

// TestErrorsOfOursDoNotCrashAnApp however many there are: only its own ends do.
func TestErrorsOfOursDoNotCrashAnApp(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	d := w.app("patient")
	w.look()
	if _, restarts := w.is(d); restarts != 1 || !w.cloud.runs(d.AppSandboxID) {
		t.Fatalf("at first it was started %d times", restarts)
	}
	w.ends(d.AppSandboxID)
	failing := func(start string) func(context.Context, string) error {
		return func(_ context.Context, call string) error {
			if strings.HasPrefix(call, start) {
				return coderunner.Errorf(coderunner.Unavailable, "The disk is full.")
			}
			return nil
		}
	}
	for name, begin := range map[string]func(){
		"variables that are gone":     func() { w.exec("UPDATE deployments SET variables = NULL") },
		"a secret that does not open": func() { w.exec("UPDATE deployments SET variables = 'sealed by nobody'") },
		"a sandbox that is not made":  func() { w.trouble = failing("create") },
		"an app that is not started":  func() { w.trouble = failing("start") },
	} {
		begin()
		for range maxRevivals + 2 {
			w.later()
			w.look()
		}
		if now, restarts := w.is(d); now.Status != coderunner.Running || now.Observed != coderunner.SeenEnded || restarts != 1 {
			t.Errorf("after %s it is %s, seen %s, started %d times: %+v", name, now.Status, now.Observed, restarts, now.Failure)
		}
		if wait := time.Until(w.mending.trouble(d.AppSandboxID).again); wait <= 50*time.Second || wait > time.Minute {
			t.Errorf("after %s the next try is in %s", name, wait)
		}
		w.seals(d)
		w.trouble = nil
	}
	for starts := 2; starts <= maxRevivals; starts++ {
		w.later()
		w.look()
		if now, restarts := w.is(d); now.Status != coderunner.Running || restarts != starts || !w.cloud.runs(d.AppSandboxID) {
			t.Fatalf("after the start %d it is %s, started %d times: %+v", starts, now.Status, restarts, now.Failure)
		}
		w.ends(d.AppSandboxID)
	}
	w.later()
	w.look()
	if now, _ := w.is(d); now.Status != coderunner.Failed || now.Failure == nil || now.Failure.ID != coderunner.Crashed {
		t.Errorf("after its last end it is %s: %+v", now.Status, now.Failure)
	}
}

// TestAppOverItsDisk is started again as after any end of its own, and its pages say why
// it ended. Once it is given up, what it has written goes.
func TestAppOverItsDisk(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	w.engine.cfg.AppLimits.DiskBytes = 8 << 30
	drained := 0
	w.engine.cfg.Output.Drain = func(context.Context, string) error { drained++; return nil }
	d := w.app("hoarder")
	w.look()
	for ends := 1; ends < maxRevivals; ends++ {
		w.fills(d.AppSandboxID)
		w.later()
		w.look()
		if now, restarts := w.is(d); now.Status != coderunner.Running || restarts != ends+1 || !w.cloud.runs(d.AppSandboxID) || drained != ends {
			t.Fatalf("after its end %d it is %s, started %d times, its output read %d times: %+v", ends, now.Status, restarts, drained, now.Failure)
		}
	}
	records, err := w.store.ProjectSandboxes(t.Context(), d.ProjectID)
	if err != nil || len(records) != 1 || records[0].LastExit == nil || !records[0].LastExit.OverDisk {
		t.Errorf("its sandbox is recorded as %+v, %v", records, err)
	}
	w.fills(d.AppSandboxID)
	w.later()
	w.look()
	now, _ := w.is(d)
	if now.Status != coderunner.Failed || now.Failure == nil || now.Failure.ID != coderunner.Crashed || now.Failure.Blame != coderunner.Theirs ||
		!strings.Contains(now.Failure.Detail, "The app wrote more than 8 GiB to its disk and was ended.") {
		t.Errorf("after its last end it is %s: %+v", now.Status, now.Failure)
	}
	if names := w.cloud.names(); names[d.AppSandboxID] {
		t.Error("what it has written is there still")
	}
}

// TestCleanupLeavesVolumes, whose project is unknown or gone too, however much room is wanted.
func TestCleanupLeavesVolumes(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	d := w.app("keeper")
	const unknown = "00000000-0000-0000-0000-000000000000"
	w.cloud.volumes = map[string]sandbox.Volume{"without": {Name: "without"}, "unknown": {Name: "unknown", Labels: ProjectLabels(unknown)}, "known": {Name: "known", Labels: ProjectLabels(d.ProjectID)}}
	w.cloud.networks = map[string]bool{projectNetwork(unknown): true}
	if _, err := w.engine.provider.Create(t.Context(), sandbox.Spec{Name: "lost", Labels: ProjectLabels(unknown), Volumes: []sandbox.Mount{{Volume: "mounted", Path: "/data", Labels: ProjectLabels(unknown)}}}); err != nil {
		t.Fatal(err)
	}
	w.look()
	w.look()
	if err := errors.Join(w.engine.tidyProject(t.Context(), d.ProjectID, 0), w.engine.tidyAll(t.Context(), 0), w.engine.Squeeze(t.Context())); err != nil {
		t.Fatal(err)
	}
	if w.cloud.names()["lost"] {
		t.Error("the sandbox of nobody is there")
	}
	if len(w.cloud.volumes) != 4 {
		t.Errorf("of four volumes there are %v", w.cloud.volumes)
	}
}

// TestMendingHoldsUpNobody: while one project's database and a removal take their time,
// another project's app is started, seen, and started again.
func TestMendingHoldsUpNobody(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	first, other := w.app("first"), w.app("other")
	w.look()
	database, err := w.store.EnsureDatabase(t.Context(), newDatabase(first.ProjectID, "postgres-15"))
	if err != nil {
		t.Fatal(err)
	}
	slow := databaseSandbox(database.ID)
	record := coderunner.SandboxRecord{ID: slow, Provider: "fake", ProjectID: first.ProjectID, Purpose: coderunner.ForDatabase, DatabaseID: database.ID, Appliance: "postgres-15"}
	if err := w.store.ExpectSandbox(t.Context(), record); err != nil {
		t.Fatal(err)
	}
	if _, err := w.engine.provider.Create(t.Context(), sandbox.Spec{Name: "lost", Labels: ProjectLabels(first.ProjectID)}); err != nil {
		t.Fatal(err)
	}
	begun, release := make(chan string, 10), make(chan struct{})
	w.trouble = func(ctx context.Context, call string) error {
		if call != "create "+slow && call != "destroy lost" {
			return nil
		}
		begun <- call
		select {
		case <-release:
		case <-ctx.Done():
		}
		return ctx.Err()
	}
	ctx := within(t, 20*time.Second)
	for round := 2; round <= 3; round++ {
		w.ends(other.AppSandboxID)
		w.later()
		w.nudged()
		if _, err := w.engine.reconcileOnce(ctx, w.mending); err != nil {
			t.Fatal(err)
		}
		select {
		case <-w.engine.nudged: // the one that can be mended has been
		case <-ctx.Done():
			t.Fatal("the app waits for the others")
		}
		if _, restarts := w.is(other); restarts != round || !w.cloud.runs(other.AppSandboxID) {
			t.Errorf("the other app was started %d times, want %d", restarts, round)
		}
	}
	calls := map[string]int{}
	for range 2 {
		select {
		case call := <-begun:
			calls[call]++
		case <-ctx.Done():
			t.Fatalf("of the slow calls only %v have begun", calls)
		}
	}
	w.trouble = nil
	close(release)
	w.engine.Wait()
	if len(calls) != 2 || len(begun) > 0 {
		t.Errorf("the slow calls were %v and %d more, want one of each kind", calls, len(begun))
	}
	if names := w.cloud.names(); !names[slow] || names["lost"] {
		t.Errorf("in the end the cloud has %v", names)
	}
}

// TestShutdownWaitsForTheMending, which is told to end.
func TestShutdownWaitsForTheMending(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	d := w.app("last")
	begun, ended := make(chan struct{}), false
	w.trouble = func(ctx context.Context, _ string) error {
		close(begun)
		<-ctx.Done()
		ended = true
		return ctx.Err()
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := w.engine.reconcileOnce(ctx, w.mending); err != nil {
		t.Fatal(err)
	}
	<-begun
	cancel()
	w.engine.Wait()
	if !ended || w.cloud.runs(d.AppSandboxID) {
		t.Error("the engine has stopped before its work")
	}
}

func TestBackoffGrowsToAMinute(t *testing.T) {
	t.Parallel()
	for tries, want := range map[int]time.Duration{0: 2 * time.Second, 1: 4 * time.Second, 4: 32 * time.Second, 5: time.Minute, 33: time.Minute, 62: time.Minute, 1 << 20: time.Minute} {
		if got := backoff(tries); got != want {
			t.Errorf("after %d tries the wait is %s, want %s", tries, got, want)
		}
	}
}
