package playbook

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/runlog"
	"github.com/coderunner/coderunner/internal/store"
	"github.com/coderunner/coderunner/internal/testdb"
)

// calm is one engine over a cloud in which nothing breaks but what the test breaks:
// around each call that changes the cloud, and as the URL is requested ("probe"), it
// is asked, until it answers nil for good.
type calm struct {
	*platform
	*property
	engine *Engine
	on     atomic.Pointer[func(ctx context.Context, call string) error]
}

func newCalm(t *testing.T, change func(ctx context.Context, c *calm, e *Engine)) *calm {
	t.Helper()
	c := &calm{property: prepareProperty(t, 1)}
	c.calm = true
	c.change = func(ctx context.Context, e *Engine) {
		e.provider.(*fake).fault = c.asked
		probe := e.edge.Probe
		e.edge.Probe = func(ctx context.Context, host, path string) (string, int, error) {
			if err := c.asked(ctx, "probe"); err != nil {
				return "", 0, err
			}
			return probe(ctx, host, path)
		}
		if change != nil {
			change(ctx, c, e)
		}
	}
	c.start(1)
	c.engine = c.engines[0].engine
	c.platform = &platform{store: c.property.store, bundles: c.property.bundles, hub: c.engine.hub, engine: c.engine}
	return c
}

func (c *calm) asked(ctx context.Context, call string) error {
	if on := c.on.Load(); on != nil {
		if err := (*on)(ctx, call); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// breaks asks on from now.
func (c *calm) breaks(on func(ctx context.Context, call string) error) { c.on.Store(&on) }

// begin deploys a sample.
func (c *calm) begin(t *testing.T, s sample, databases ...string) coderunner.Run {
	t.Helper()
	_, run, err := c.engine.Deploy(t.Context(), s.user.ID, DeployRequest{ProjectID: s.project.ID, BundleID: s.bundle.ID, Plan: s.plan, Databases: databases})
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// serves deploys a sample, which must succeed.
func (c *calm) serves(t *testing.T, s sample, databases ...string) {
	t.Helper()
	run := c.begin(t, s, databases...)
	if run = c.ended(t, run.ID); run.State != coderunner.RunSucceeded {
		t.Fatalf("the deploy ended %s, %s\n%s", run.State, told(run.Failure), c.logText(t, run.ID))
	}
}

// cancelledAt deploys a sample, cancels that once the cloud is asked for a call, and
// answers the log, each line behind its step.
func (c *calm) cancelledAt(t *testing.T, s sample, call string, databases ...string) (lines []string) {
	t.Helper()
	reached := make(chan struct{}, 1)
	c.breaks(func(ctx context.Context, asked string) error {
		if strings.HasPrefix(asked, call) {
			select {
			case reached <- struct{}{}:
			default:
			}
			<-ctx.Done()
		}
		return nil
	})
	run := c.begin(t, s, databases...)
	select {
	case <-reached:
	case <-time.After(time.Minute):
		t.Fatalf("%q is not asked for\n%s", call, c.logText(t, run.ID))
	}
	if _, err := c.engine.Cancel(t.Context(), s.user.ID, run.ID); err != nil {
		t.Fatal(err)
	}
	if run = c.ended(t, run.ID); run.State != coderunner.RunCancelled {
		t.Fatalf("the deploy ended %s, %s", run.State, told(run.Failure))
	}
	c.on.Store(nil)
	log, err := c.platform.store.LogAfter(t.Context(), run.ID, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range log {
		lines = append(lines, l.Step+": "+l.Text)
	}
	return lines
}

// A cancelled run says what it undid and what of it stays, and nothing else.
func TestCancelSaysWhatStays(t *testing.T) {
	t.Parallel()
	c := newCalm(t, nil)
	const undoing, undone = ": Cancelled. Undoing what was begun.", ": Cancelled. What was begun was undone."
	const dependencies, database = ": The installed dependencies are kept for another try.", ": PostgreSQL 15 stays, with its data; the next deploy uses it."
	ends := func(what string, lines []string, want ...string) {
		t.Helper()
		i := slices.Index(lines, undoing)
		if i < 0 || !slices.Equal(lines[i+1:], want) {
			t.Errorf("%s, the log ends\n%s\nwant\n%s", what, strings.Join(lines[max(i, 0):], "\n"), strings.Join(want, "\n"))
		}
	}
	s := c.samples[0]
	ends("cancelled while it installs", c.cancelledAt(t, s, "exec in install-"), "install: Removed the sandbox of the install.", undone)
	ends("cancelled while it builds", c.cancelledAt(t, s, "exec in build-"), "build: Removed the sandbox of the build.", undone, dependencies)
	s = c.samples[1]
	ends("cancelled with a new database", c.cancelledAt(t, s, "probe", "postgres-15"),
		"route: p1.apps.test is offline again.", "sandbox: Removed the sandbox again.", undone, dependencies, database)
	c.serves(t, s)
	ends("cancelled over a version that serves", c.cancelledAt(t, s, "probe"),
		"route: p1.apps.test is again what it was before.", "sandbox: Removed the sandbox again.", undone, dependencies, ": Version 2 is still serving.")
}

// A run that another version of the program began ends failed, and leaves its
// deployment as it is where what the run is for is not known.
func TestUnknownRunsEnd(t *testing.T) {
	t.Parallel()
	c := newCalm(t, func(_ context.Context, _ *calm, e *Engine) {
		e.cfg.Sweep = time.Hour // nobody looks at a run before it is rung for
	})
	s := c.samples[0]
	for _, tt := range []struct {
		book, step, failure, title string
		status                     coderunner.DeploymentStatus
	}{
		{"teleport", "sandbox", "run.unknown_playbook", `This version of CodeRunner does not know the playbook "teleport".`, coderunner.Building},
		{"teleport", "", "run.unknown_playbook", `This version of CodeRunner does not know the playbook "teleport".`, coderunner.Building},
		{DeployPlaybook, "beam", "run.unknown_step", `This version of CodeRunner does not know the step "beam".`, coderunner.Failed},
	} {
		d, err := c.platform.store.CreateDeployment(t.Context(), store.NewDeployment{ProjectID: s.project.ID, Plan: s.plan})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.platform.store.SetDeploymentStatus(t.Context(), d.ID, coderunner.Building); err != nil {
			t.Fatal(err)
		}
		var list steps
		if tt.step != "" {
			list.add(tt.step, "Something")
		}
		var run coderunner.Run
		err = c.platform.store.InTx(t.Context(), func(st *store.Store) (err error) {
			run, err = c.engine.begin(t.Context(), st, s.project, "test", store.NewRun{ProjectID: s.project.ID, DeploymentID: d.ID, Playbook: tt.book, Steps: list})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		run = c.ended(t, run.ID)
		if run.State != coderunner.RunFailed || run.Failure == nil || run.Failure.ID != tt.failure || run.Failure.Title != tt.title {
			t.Errorf("%s with the step %q ended %s, %s", tt.book, tt.step, run.State, told(run.Failure))
		}
		if text := c.logText(t, run.ID); !strings.Contains(text, "Failed: "+tt.title) {
			t.Errorf("its log is\n%s", text)
		}
		if d, err = c.platform.store.DeploymentByID(t.Context(), d.ID); err != nil || d.Status != tt.status {
			t.Errorf("its deployment is %s (%v), want %s", d.Status, err, tt.status)
		}
	}
	c.serves(t, s)
}

// A project whose secrets do not open is stopped and destroyed all the same. What its
// app printed is dropped, and that is said once: nobody knows what to hide in it.
func TestUnreadableSecretsDoNotHoldAProject(t *testing.T) {
	t.Parallel()
	c := newCalm(t, func(ctx context.Context, c *calm, e *Engine) {
		c.cloud.prints = "a line with a secret\n"
		// Nobody follows the apps: what they printed is read when it is drained.
		collector := runlog.NewCollector(runlog.CollectorConfig{Owner: "calm", Poll: time.Hour, Secrets: e.Secrets}, e.store, e.provider, e.log)
		e.cfg.Output.Drain = collector.Drain
		go collector.Run(ctx)
	})
	st := c.platform.store
	for i, breaks := range []func(s sample) error{
		func(s sample) error {
			return st.SetVariable(t.Context(), s.project.ID, store.SealedVariable{Key: "TOKEN", Sealed: []byte("not of our key"), Secret: true})
		},
		func(s sample) error {
			databases, err := st.ProjectDatabases(t.Context(), s.project.ID)
			if err != nil {
				return err
			}
			return st.SetDatabaseConnection(t.Context(), databases[0].ID, databases[0].SandboxID, []byte("not of our key"))
		},
	} {
		s := c.samples[i]
		c.serves(t, s, "postgres-15")
		if err := breaks(s); err != nil {
			t.Fatal(err)
		}
		var once atomic.Bool // so that it is drained twice
		c.breaks(func(_ context.Context, call string) error {
			if strings.HasPrefix(call, "destroy app-") && once.CompareAndSwap(false, true) {
				return coderunner.Errorf(coderunner.Unavailable, "The cloud does not answer.")
			}
			return nil
		})
		stop, err := c.engine.StopApp(t.Context(), s.user.ID, s.project.ID, true)
		if err != nil {
			t.Fatal(err)
		}
		if stop = c.ended(t, stop.ID); stop.State != coderunner.RunSucceeded || !once.Load() {
			t.Errorf("the stop ended %s, %s\n%s", stop.State, told(stop.Failure), c.logText(t, stop.ID))
		}
		lines, err := st.RuntimeLogAfter(t.Context(), s.project.ID, coderunner.RuntimeFilter{}, 0, 100)
		if err != nil || len(lines) != 1 || lines[0].Stream != coderunner.System || !strings.Contains(lines[0].Text, "is not kept: a secret of the project cannot be decrypted") {
			t.Errorf("of what the app printed is kept %+v (%v)", lines, err)
		}
	}
	s := c.samples[2]
	c.serves(t, s, "postgres-15")
	if err := st.SetVariable(t.Context(), s.project.ID, store.SealedVariable{Key: "TOKEN", Sealed: []byte("not of our key"), Secret: true}); err != nil {
		t.Fatal(err)
	}
	for _, s := range c.samples {
		destroy, err := c.engine.Destroy(t.Context(), s.user.ID, s.project.ID, s.project.Name)
		if err != nil {
			t.Fatal(err)
		}
		if destroy = c.ended(t, destroy.ID); destroy.State != coderunner.RunSucceeded {
			t.Errorf("the destroy ended %s, %s\n%s", destroy.State, told(destroy.Failure), c.logText(t, destroy.ID))
		}
	}
	if left := c.cloud.names(); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}

// A destroy that fails leaves what is true: an app whose sandbox has gone is stopped,
// and can be started or destroyed.
func TestDestroyThatFailsLeavesAStoppedApp(t *testing.T) {
	t.Parallel()
	c := newCalm(t, func(_ context.Context, _ *calm, e *Engine) { e.cfg.RetryFor = time.Millisecond })
	s := c.samples[0]
	c.serves(t, s, "postgres-15")
	destroy := func() coderunner.Run {
		t.Helper()
		run, err := c.engine.Destroy(t.Context(), s.user.ID, s.project.ID, s.project.Name)
		if err != nil {
			t.Fatal(err)
		}
		return c.ended(t, run.ID)
	}
	for _, call := range []string{"destroy app-", "remove volume "} { // before and after the app has gone
		c.breaks(func(_ context.Context, asked string) error {
			if strings.HasPrefix(asked, call) {
				return coderunner.Errorf(coderunner.Conflict, "The cloud does not want to.")
			}
			return nil
		})
		if run := destroy(); run.State != coderunner.RunFailed || strings.Contains(c.logText(t, run.ID), "still serving") {
			t.Fatalf("with its %q broken the destroy ended %s\n%s", call, run.State, c.logText(t, run.ID))
		}
		d, err := c.platform.store.CurrentDeployment(t.Context(), s.user.ID, s.project.ID)
		if err != nil || d.Status != coderunner.Stopped || d.AppSandboxID != "" || d.PublicURL != "" {
			t.Fatalf("with its %q broken the destroy left deployment %d %s, in %q at %q (%v)", call, d.Number, d.Status, d.AppSandboxID, d.PublicURL, err)
		}
		c.on.Store(nil)
		if call == "remove volume " {
			break // what it was built from has gone as well
		}
		start, err := c.engine.StartApp(t.Context(), s.user.ID, s.project.ID)
		if err != nil {
			t.Fatal(err)
		}
		if start = c.ended(t, start.ID); start.State != coderunner.RunSucceeded {
			t.Fatalf("the start ended %s, %s\n%s", start.State, told(start.Failure), c.logText(t, start.ID))
		}
	}
	if run := destroy(); run.State != coderunner.RunSucceeded {
		t.Errorf("in the end the destroy ended %s, %s\n%s", run.State, told(run.Failure), c.logText(t, run.ID))
	}
}

// What was encrypted and is there no more is not taken for nothing: a run that would
// need it ends before it makes anything, and what serves goes on.
func TestLostSecretsStopTheRun(t *testing.T) {
	t.Parallel()
	c := newCalm(t, nil)
	s := c.samples[0]
	c.serves(t, s, "postgres-15")
	first, err := c.platform.store.CurrentDeployment(t.Context(), s.user.ID, s.project.ID)
	if err != nil {
		t.Fatal(err)
	}
	c.serves(t, s)
	again := func(book string) func() (coderunner.Run, error) {
		return func() (run coderunner.Run, err error) {
			switch book {
			case RestartPlaybook:
				run, err = c.engine.RestartApp(t.Context(), s.user.ID, s.project.ID)
			case RollbackPlaybook:
				_, run, err = c.engine.Rollback(t.Context(), s.user.ID, first.ID)
			default:
				_, run, err = c.engine.Redeploy(t.Context(), s.user.ID, s.project.ID)
			}
			return run, err
		}
	}
	for _, tt := range []struct {
		what, table, column string
		books               []string
	}{
		{"variables of deployments", "deployments", "variables", []string{RestartPlaybook, RollbackPlaybook}},
		{"connections of databases", "databases", "connection", []string{RestartPlaybook, RollbackPlaybook, RedeployPlaybook}},
	} {
		pool := c.platform.store.Pool()
		for _, query := range []string{"CREATE TABLE kept AS SELECT id, " + tt.column + " AS value FROM " + tt.table, "UPDATE " + tt.table + " SET " + tt.column + " = NULL"} {
			if _, err := pool.Exec(t.Context(), query); err != nil {
				t.Fatal(err)
			}
		}
		for _, book := range tt.books {
			var touched atomic.Pointer[string]
			c.breaks(func(_ context.Context, call string) error {
				touched.Store(&call)
				return nil
			})
			run, err := again(book)()
			if err != nil {
				t.Fatal(err)
			}
			run = c.ended(t, run.ID)
			c.on.Store(nil)
			if run.State != coderunner.RunFailed || run.Failure == nil || run.Failure.ID != "platform.decrypt" || !strings.Contains(run.Failure.Title, "not complete") {
				t.Errorf("without the %s a %s ended %s, %s", tt.what, book, run.State, told(run.Failure))
			}
			if call := touched.Load(); call != nil {
				t.Errorf("without the %s a %s came to %q", tt.what, book, *call)
			}
		}
		for _, query := range []string{"UPDATE " + tt.table + " t SET " + tt.column + " = k.value FROM kept k WHERE k.id = t.id", "DROP TABLE kept"} {
			if _, err := pool.Exec(t.Context(), query); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.serves(t, s)
}

// A run that is resumed goes on with the variables that it began with, or not at all.
func TestResumedRunNeedsItsVariables(t *testing.T) {
	t.Parallel()
	c := newCalm(t, nil)
	s := c.samples[1]
	reached := make(chan struct{}, 1)
	c.breaks(func(ctx context.Context, asked string) error {
		if strings.HasPrefix(asked, "start in app-") {
			select {
			case reached <- struct{}{}:
			default:
			}
			<-ctx.Done()
		}
		return ctx.Err()
	})
	run := c.begin(t, s)
	<-reached
	if _, err := c.platform.store.Pool().Exec(t.Context(), "UPDATE runs SET variables = NULL, epoch = epoch + 1, lease_expires_at = now() WHERE id = $1", run.ID); err != nil {
		t.Fatal(err)
	}
	if run = c.ended(t, run.ID); run.State != coderunner.RunFailed || run.Failure == nil || run.Failure.ID != "platform.decrypt" {
		t.Errorf("the run ended %s, %s", run.State, told(run.Failure))
	}
}

// A rollback that is asked for in the moment in which its release goes is refused, not begun.
func TestReleasesGoWhileNobodyCanAskForThem(t *testing.T) {
	t.Parallel()
	c := newCalm(t, func(_ context.Context, _ *calm, e *Engine) { e.cfg.Tidy = time.Hour })
	s := c.samples[0]
	c.serves(t, s)
	first, err := c.platform.store.CurrentDeployment(t.Context(), s.user.ID, s.project.ID)
	if err != nil {
		t.Fatal(err)
	}
	s.plan.Build.Value += " " // another release
	c.serves(t, s)
	asked := 0
	c.breaks(func(ctx context.Context, call string) error {
		if !strings.HasPrefix(call, "remove snapshot") {
			return nil
		}
		asked++
		soon, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
		if _, _, err := c.engine.Rollback(soon, s.user.ID, first.ID); err == nil {
			t.Errorf("a rollback begins while its release is removed (%s)", call)
		}
		return nil
	})
	if err := c.engine.tidyProject(t.Context(), s.project.ID, 1); err != nil {
		t.Fatal(err)
	}
	if asked == 0 {
		t.Error("nothing was removed")
	}
	if _, _, err := c.engine.Rollback(t.Context(), s.user.ID, first.ID); coderunner.KindOf(err) != coderunner.Conflict {
		t.Errorf("afterwards a rollback answers %v", err)
	}
}

// TestCancelWinsBeforeTheRelease: one that was accepted before the new version serves ends the run as cancelled,
// also where its owner has not been told of it.
func TestCancelWinsBeforeTheRelease(t *testing.T) {
	t.Parallel()
	var stop trap
	p := startPlatformIn(t, t.TempDir(), testdb.New(t), func(p *platform) { p.engine.breakpoint = stop.breakpoint })
	s := p.upload(t, "late", answer)
	reached, release := stop.set("route", false)
	_, run := p.deploy(t, s)
	<-reached
	_, err := p.store.Pool().Exec(t.Context(), "UPDATE runs SET state = 'CANCELLING', cancel_requested_at = now() WHERE id = $1", run.ID)
	release()
	if run = p.ended(t, run.ID); err != nil || run.State != coderunner.RunCancelled {
		t.Errorf("the run ended %s (%v)\n%s", run.State, err, p.logText(t, run.ID))
	}
	if status, _ := p.get(t, "late", "/"); status != 404 {
		t.Errorf("the cancelled version answers %d", status)
	}
}
