package playbook

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/store"
)

// versioned answers its version, what is in its environment and how often it was
// asked since it started; /write leaves a file, /slow takes its time.
func versioned(version string) string {
	return fmt.Sprintf(`
const http = require("node:http"), fs = require("node:fs");
let asked = 0;
http.createServer((req, res) => {
  if (req.url === "/write") { fs.writeFileSync("left.txt", "x"); return res.end("written"); }
  if (req.url === "/left") return res.end(String(fs.existsSync("left.txt")));
  if (req.url === "/slow") return setTimeout(() => res.end("slow %[1]s"), 3000);
  if (req.url === "/die") { res.end("bye"); return setImmediate(() => process.exit(3)); }
  res.end(JSON.stringify({ version: "%[1]s", greeting: process.env.GREETING || "", database: Boolean(process.env.DATABASE_URL), asked: ++asked }));
}).listen(process.env.PORT);
`, version)
}

type versionAnswer struct {
	Version, Greeting string
	Database          bool
	Asked             int
}

func (p *platform) version(t *testing.T, slug string) versionAnswer {
	t.Helper()
	status, body := p.get(t, slug, "/")
	var a versionAnswer
	if err := json.Unmarshal([]byte(body), &a); err != nil || status != 200 {
		t.Fatalf("%s answers %d %q", slug, status, body)
	}
	return a
}

// next uploads other code to the sample's project.
func (p *platform) next(t *testing.T, s sample, code string) sample {
	t.Helper()
	b, err := p.newBundle(t.Context(), s.project.ID, map[string]string{"index.js": code}, s.plan)
	if err != nil {
		t.Fatal(err)
	}
	s.bundle = b
	return s
}

func (p *platform) setVariable(t *testing.T, s sample, key, value string) {
	t.Helper()
	sealed, err := p.engine.keys.Seal(s.project.ID, "variable/"+key, []byte(value))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.store.SetVariable(t.Context(), s.project.ID, store.SealedVariable{Key: key, Sealed: sealed}); err != nil {
		t.Fatal(err)
	}
}

// succeeded waits for a run and wants it to have gone well.
func (p *platform) succeeded(t *testing.T, run coderunner.Run, err error) coderunner.Run {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if run = p.ended(t, run.ID); run.State != coderunner.RunSucceeded {
		t.Fatalf("the %s ended %s: %+v\n%s", run.Playbook, run.State, run.Failure, p.logText(t, run.ID))
	}
	return run
}

func (p *platform) current(t *testing.T, s sample) coderunner.Deployment {
	t.Helper()
	d, err := p.store.CurrentDeployment(t.Context(), s.user.ID, s.project.ID)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// sandboxes wants exactly these to exist, at the provider and in our rows.
func (p *platform) sandboxes(t *testing.T, s sample, want int) {
	t.Helper()
	infos, err := p.provider.List(t.Context(), ProjectLabels(s.project.ID))
	if err != nil {
		t.Fatal(err)
	}
	records, err := p.store.ProjectSandboxes(t.Context(), s.project.ID)
	if err != nil {
		t.Fatal(err)
	}
	if len(infos) != want || len(records) != want {
		t.Errorf("there are %d sandboxes and %d records, want %d:\n%+v\n%+v", len(infos), len(records), want, infos, records)
	}
}

// TestALife takes an app through everything that can be done with it.
func TestALife(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	s := p.upload(t, "life", versioned("one"))
	s.plan.Build.Value = "" // the release is the dependencies and the code
	s.plan.Start.Value = "node index.js"
	p.setVariable(t, s, "GREETING", "first")
	first := p.succeeds(t, s, "postgres-15")
	if first.Playbook != DeployPlaybook {
		t.Errorf("the first deploy is a %s", first.Playbook)
	}
	if a := p.version(t, "life"); a.Version != "one" || a.Greeting != "first" || !a.Database {
		t.Fatalf("the first version answers %+v", a)
	}

	// A restart applies saved variables, installs nothing, and leaves written files behind.
	p.get(t, "life", "/write")
	p.setVariable(t, s, "GREETING", "second")
	run, err := p.engine.RestartApp(t.Context(), s.user.ID, s.project.ID)
	run = p.succeeded(t, run, err)
	if a := p.version(t, "life"); a.Version != "one" || a.Greeting != "second" {
		t.Errorf("after the restart it answers %+v", a)
	}
	if _, left := p.get(t, "life", "/left"); left != "false" {
		t.Error("the file that the app wrote is still there")
	}
	if text := p.logText(t, run.ID); strings.Contains(text, "installing") {
		t.Errorf("the restart installed something:\n%s", text)
	}
	p.sandboxes(t, s, 2)
	applied, err := p.engine.DeploymentVariables(t.Context(), s.project.ID, first.DeploymentID)
	if built, given := applied.Environment(coderunner.BuildScope)["GREETING"], applied.Environment(coderunner.RunScope)["GREETING"]; err != nil || built != "first" || given != "second" {
		t.Errorf("after the restart the build is said to have had %q and the app to have %q (%v)", built, given, err)
	}
	if d := p.current(t, s); d.ID != first.DeploymentID || d.AppSandboxID != appSandbox(run.ID) || d.Status != coderunner.Running {
		t.Errorf("the current deployment is %+v", d)
	}

	// The second version takes over.
	p.setVariable(t, s, "GREETING", "third")
	next := p.next(t, s, versioned("two"))
	second := p.succeeds(t, next)
	if second.Playbook != RedeployPlaybook {
		t.Errorf("the second deploy is a %s", second.Playbook)
	}
	if a := p.version(t, "life"); a.Version != "two" || a.Greeting != "third" {
		t.Errorf("the second version answers %+v", a)
	}

	// A rollback brings code and variables back, as a third deployment.
	third, run, err := p.engine.Rollback(t.Context(), s.user.ID, first.DeploymentID)
	p.succeeded(t, run, err)
	if a := p.version(t, "life"); a.Version != "one" || a.Greeting != "second" || !a.Database {
		t.Errorf("after the rollback it answers %+v", a)
	}
	if d := p.current(t, s); d.ID != third.ID || d.Number != 3 || d.Origin != coderunner.FromRollback || d.FromID != first.DeploymentID {
		t.Errorf("the current deployment is %+v", d)
	}
	if _, _, err := p.engine.Rollback(t.Context(), s.user.ID, third.ID); coderunner.KindOf(err) != coderunner.Conflict {
		t.Errorf("rolling back to what serves answers %v", err)
	}

	// Stopped: its database goes on until it is asked for as well. And back.
	run, err = p.engine.StopApp(t.Context(), s.user.ID, s.project.ID, false)
	p.succeeded(t, run, err)
	p.sandboxes(t, s, 1)
	if databases, err := p.store.ProjectDatabases(t.Context(), s.project.ID); err != nil || len(databases) != 1 || databases[0].StoppedAt != nil {
		t.Errorf("with the app stopped the databases are %+v, %v", databases, err)
	} else if status, err := p.provider.Process(t.Context(), databases[0].SandboxID, databaseProcess); err != nil || !status.Running {
		t.Errorf("with the app stopped the database is %+v, %v", status, err)
	}
	run, err = p.engine.StopApp(t.Context(), s.user.ID, s.project.ID, true)
	p.succeeded(t, run, err)
	p.sandboxes(t, s, 0)
	if d := p.current(t, s); d.Status != coderunner.Stopped || d.PublicURL != "" {
		t.Errorf("the stopped deployment is %+v", d)
	}
	if status, body := p.get(t, "life", "/"); status != http.StatusServiceUnavailable || !strings.Contains(body, "stopped") {
		t.Errorf("a stopped app's address answers %d %q", status, body)
	}
	if _, err := p.engine.StopApp(t.Context(), s.user.ID, s.project.ID, true); coderunner.KindOf(err) != coderunner.Conflict {
		t.Errorf("stopping twice answers %v", err)
	}
	if _, err := p.engine.RestartApp(t.Context(), s.user.ID, s.project.ID); coderunner.KindOf(err) != coderunner.Conflict {
		t.Errorf("restarting a stopped app answers %v", err)
	}
	run, err = p.engine.StartApp(t.Context(), s.user.ID, s.project.ID)
	p.succeeded(t, run, err)
	if a := p.version(t, "life"); a.Version != "one" || a.Greeting != "third" || !a.Database {
		t.Errorf("after the start it answers %+v, with the variables as they are saved now", a)
	}
	p.sandboxes(t, s, 2)
	if _, err := p.engine.StartApp(t.Context(), s.user.ID, s.project.ID); coderunner.KindOf(err) != coderunner.Conflict {
		t.Errorf("starting what runs answers %v", err)
	}

	// The same code once more; the dependencies are kept.
	_, run, err = p.engine.Redeploy(t.Context(), s.user.ID, s.project.ID)
	run = p.succeeded(t, run, err)
	if text := p.logText(t, run.ID); !strings.Contains(text, "nothing to install") && !strings.Contains(text, "installing") {
		t.Errorf("the redeploy says neither:\n%s", text)
	}

	destroy, err := p.engine.Destroy(t.Context(), s.user.ID, s.project.ID, "life")
	p.succeeded(t, destroy, err)
	p.nothingLeft(t)
	if snapshots, err := p.provider.ListSnapshots(t.Context(), nil); err != nil || len(snapshots) > 0 {
		t.Errorf("snapshots are left: %+v (%v)", snapshots, err)
	}
}

// TestRedeployDropsNothing changes versions under load, with a request that takes
// longer than the change.
func TestRedeployDropsNothing(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	s := p.upload(t, "load", versioned("one"))
	s.plan.Install.Value, s.plan.Build.Value, s.plan.Start.Value = "", "", "node index.js"
	p.succeeds(t, s)
	stop, bad := make(chan struct{}), atomic.Int64{}
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					if status, _ := p.get(t, "load", "/"); status != 200 {
						bad.Add(1)
					}
				}
			}
		})
	}
	slow := make(chan string, 1)
	load.Go(func() {
		_, body := p.get(t, "load", "/slow")
		slow <- body
	})
	run := p.succeeds(t, p.next(t, s, versioned("two")))
	close(stop)
	load.Wait()
	if n := bad.Load(); n > 0 {
		t.Errorf("%d requests failed while the version was changed", n)
	}
	if body := <-slow; body != "slow one" {
		t.Errorf("the request that was open meanwhile got %q", body)
	}
	if a := p.version(t, "load"); a.Version != "two" {
		t.Errorf("the app answers %+v after %s", a, run.ID)
	}
}

// TestFailedRedeployLeavesTheOldVersion serving, and says so.
func TestFailedRedeployLeavesTheOldVersion(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	s := p.upload(t, "failing", versioned("one"))
	s.plan.Install.Value, s.plan.Build.Value, s.plan.Start.Value = "", "", "node index.js"
	p.succeeds(t, s)
	_, run := p.deploy(t, p.next(t, s, `process.exit(9)`))
	if run = p.ended(t, run.ID); run.State != coderunner.RunFailed {
		t.Fatalf("the run ended %s", run.State)
	}
	if a := p.version(t, "failing"); a.Version != "one" {
		t.Errorf("the app answers %+v", a)
	}
	if text := p.logText(t, run.ID); !strings.Contains(text, "Version 1 is still serving.") {
		t.Errorf("the log does not say what serves:\n%s", text)
	}
	if d := p.current(t, s); d.Number != 1 || d.Status != coderunner.Running {
		t.Errorf("the current deployment is %+v", d)
	}
	p.sandboxes(t, s, 1)
}

// TestCancelledPlaybooksChangeNothing: whatever was begun, the version before serves.
func TestCancelledPlaybooksChangeNothing(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	s := p.upload(t, "keeps", versioned("one"))
	s.plan.Install.Value, s.plan.Build.Value, s.plan.Start.Value = "", "", "node index.js"
	first := p.succeeds(t, s)
	for name, c := range map[string]struct {
		begin func() (coderunner.Run, error)
		in    string
	}{
		"redeploy": {func() (coderunner.Run, error) {
			_, run := p.deploy(t, p.next(t, s, `setInterval(() => {}, 1000)`))
			return run, nil
		}, "health"},
		"build": {func() (coderunner.Run, error) {
			slow := s
			slow.plan.Build.Value = "sleep 1000"
			_, run := p.deploy(t, slow)
			return run, nil
		}, "build"},
	} {
		run, err := c.begin()
		if err != nil {
			t.Fatal(err)
		}
		p.reached(t, run.ID, c.in, coderunner.StepRunning)
		asked := time.Now()
		if _, err := p.engine.Cancel(t.Context(), s.user.ID, run.ID); err != nil {
			t.Fatal(err)
		}
		if run = p.ended(t, run.ID); run.State != coderunner.RunCancelled {
			t.Errorf("%s: the run ended %s\n%s", name, run.State, p.logText(t, run.ID))
		}
		if took := run.FinishedAt.Sub(asked); took > 5*time.Second {
			t.Errorf("%s: cancelling took %s", name, took)
		}
		if a := p.version(t, "keeps"); a.Version != "one" {
			t.Errorf("%s: the app answers %+v", name, a)
		}
		if text := p.logText(t, run.ID); !strings.Contains(text, "Version 1 is still serving.") {
			t.Errorf("%s: the log does not say what serves:\n%s", name, text)
		}
		p.sandboxes(t, s, 1)
	}
	if d := p.current(t, s); d.ID != first.DeploymentID {
		t.Errorf("the current deployment is %+v", d)
	}
}

// TestCancelWhileDraining: the new version serves already, so the run ends well, at once.
func TestCancelWhileDraining(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	s := p.upload(t, "draining", versioned("one"))
	s.plan.Install.Value, s.plan.Build.Value, s.plan.Start.Value = "", "", "node index.js"
	p.succeeds(t, s)
	// A request without an end keeps the old version busy.
	body, end := io.Pipe()
	defer end.Close()
	hold, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+p.edge.Address()+"/slow", body)
	if err != nil {
		t.Fatal(err)
	}
	hold.Host = "draining.apps.test"
	done := make(chan struct{})
	go func() {
		defer close(done)
		if res, err := http.DefaultClient.Do(hold); err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
	}()
	_, run := p.deploy(t, p.next(t, s, versioned("two")))
	p.reached(t, run.ID, "drain", coderunner.StepRunning)
	asked := time.Now()
	if _, err := p.engine.Cancel(t.Context(), s.user.ID, run.ID); err != nil && coderunner.KindOf(err) != coderunner.Conflict {
		t.Fatal(err)
	}
	if run = p.ended(t, run.ID); run.State != coderunner.RunSucceeded || run.FinishedAt.Sub(asked) > 15*time.Second {
		t.Errorf("the run ended %s after %s\n%s", run.State, run.FinishedAt.Sub(asked), p.logText(t, run.ID))
	}
	if a := p.version(t, "draining"); a.Version != "two" {
		t.Errorf("the app answers %+v", a)
	}
	end.Close()
	<-done
	p.sandboxes(t, s, 1)
}

// TestOnlySoManyReleasesAreKept and what is not kept cannot be rolled back to.
func TestOnlySoManyReleasesAreKept(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	p.engine.cfg.KeepReleases = 2 // after each run as well
	s := p.upload(t, "kept", versioned("one"))
	s.plan.Install.Value, s.plan.Build.Value, s.plan.Start.Value = "", "echo built > built.txt", "node index.js"
	first := p.succeeds(t, s)
	p.succeeds(t, s)
	p.succeeds(t, s)
	if err := p.engine.tidyProject(t.Context(), s.project.ID, 2); err != nil {
		t.Fatal(err)
	}
	kept, err := p.store.KeptReleases(t.Context(), s.project.ID)
	if err != nil || len(kept) != 2 || kept[0].Number != 3 {
		t.Errorf("%d releases are kept (%v)", len(kept), err)
	}
	for _, d := range append(kept, coderunner.Deployment{ID: first.DeploymentID}) {
		sealed, err := p.store.DeploymentVariables(t.Context(), d.ID)
		if gone := d.ID == first.DeploymentID; err != nil || (sealed == nil) != gone {
			t.Errorf("of the deployment %d the variables are %q (%v), gone should be %v", d.Number, sealed, err, gone)
		}
	}
	snapshots, err := p.provider.ListSnapshots(t.Context(), ProjectLabels(s.project.ID))
	if err != nil || len(snapshots) != 2 || slices.ContainsFunc(snapshots, func(x sandbox.Snapshot) bool { return x.Name == "release-"+first.DeploymentID }) {
		t.Errorf("the snapshots are %+v (%v)", snapshots, err)
	}
	if _, _, err := p.engine.Rollback(t.Context(), s.user.ID, first.DeploymentID); coderunner.KindOf(err) != coderunner.Conflict {
		t.Errorf("rolling back to a release that is gone answers %v", err)
	}
}
