package playbook

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
	"github.com/coderunner/coderunner/internal/testdb"
)

// startPlatform is a platform whose engine works, until the test has ended.
func startPlatform(t *testing.T) *platform {
	t.Helper()
	return startPlatformIn(t, t.TempDir(), testdb.New(t))
}

// startPlatformIn sets the engine before it starts.
func startPlatformIn(t *testing.T, dir, dsn string, set ...func(*platform)) *platform {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p, err := openPlatform(ctx, dir, dsn, "test-"+strings.ToLower(rand.Text()[:10]))
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range set {
		change(p)
	}
	if err := p.engine.Start(ctx); err != nil {
		t.Fatal(err)
	}
	p.stop = func() {
		cancel()
		p.engine.Wait()
	}
	t.Cleanup(func() {
		p.stop()
		p.wipe(t)
		p.store.Close()
		p.provider.Close()
	})
	return p
}

// upload is newSample that fails the test.
func (p *platform) upload(t *testing.T, name, code string) sample {
	t.Helper()
	s, err := p.newSample(t.Context(), name, map[string]string{"index.js": code})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (p *platform) deploy(t *testing.T, s sample, databases ...string) (coderunner.Deployment, coderunner.Run) {
	t.Helper()
	d, run, err := p.engine.Deploy(t.Context(), s.user.ID, DeployRequest{ProjectID: s.project.ID, BundleID: s.bundle.ID, Plan: s.plan, Databases: databases})
	if err != nil {
		t.Fatal(err)
	}
	return d, run
}

// succeeds deploys and wants it to run.
func (p *platform) succeeds(t *testing.T, s sample, databases ...string) coderunner.Run {
	t.Helper()
	_, run := p.deploy(t, s, databases...)
	if run = p.ended(t, run.ID); run.State != coderunner.RunSucceeded {
		t.Fatalf("the deploy ended %s: %+v\n%s", run.State, run.Failure, p.logText(t, run.ID))
	}
	return run
}

func TestDeployAndDestroy(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	s := p.upload(t, "whole", answer)
	sealed, err := p.engine.keys.Seal(s.project.ID, "variable/GREETING", []byte("a secret greeting"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.store.SetVariable(t.Context(), s.project.ID, store.SealedVariable{Key: "GREETING", Sealed: sealed, Secret: true}); err != nil {
		t.Fatal(err)
	}
	s.plan.Build.Value = `echo "built with $GREETING" > built.txt; cat built.txt`
	run := p.succeeds(t, s, "postgres-15")

	status, body := p.get(t, "whole", "/env")
	var env map[string]string
	if err := json.Unmarshal([]byte(body), &env); err != nil || status != 200 {
		t.Fatalf("the app answers %d %q", status, body)
	}
	if !strings.HasPrefix(env["DATABASE_URL"], "postgres://app:") || env["PGPASSWORD"] == "" || env["PORT"] != "3000" || env["NODE_ENV"] != "production" || env["GREETING"] != "a secret greeting" {
		t.Errorf("the app's environment is %v", env)
	}
	if steps, err := p.store.Steps(t.Context(), run.ID); err != nil || steps[len(steps)-1].Title != "Clean up" {
		t.Errorf("the last step of a first deploy is %+v, %v", steps[len(steps)-1], err)
	}
	p.databaseRuns(t, s)
	text := p.logText(t, run.ID)
	for _, want := range []string{"installing", "listening on 3000", "installed", "answers 200"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, env["PGPASSWORD"]) || strings.Contains(text, "a secret greeting") {
		t.Errorf("the log has the database's password:\n%s", text)
	}

	if _, err := p.engine.Destroy(t.Context(), s.user.ID, s.project.ID, "something else"); coderunner.KindOf(err) != coderunner.Invalid {
		t.Errorf("a destroy without the right name answers %v", err)
	}
	destroy, err := p.engine.Destroy(t.Context(), s.user.ID, s.project.ID, "whole")
	if err != nil {
		t.Fatal(err)
	}
	if destroy = p.ended(t, destroy.ID); destroy.State != coderunner.RunSucceeded {
		t.Fatalf("the destroy ended %s: %+v\n%s", destroy.State, destroy.Failure, p.logText(t, destroy.ID))
	}
	p.nothingLeft(t)
	if status, _ := p.get(t, "whole", "/"); status != http.StatusNotFound {
		t.Errorf("a destroyed project's URL answers %d", status)
	}
	if _, err := p.bundles.Open(s.bundle.SHA256); err == nil {
		t.Error("the uploaded code is still there")
	}
	if _, _, err := p.engine.Deploy(t.Context(), s.user.ID, DeployRequest{ProjectID: s.project.ID, BundleID: s.bundle.ID, Plan: s.plan}); coderunner.KindOf(err) != coderunner.Conflict {
		t.Errorf("deploying a destroyed project answers %v", err)
	}
}

// databaseRuns wants the project's database to be seen running: its server says so.
func (p *platform) databaseRuns(t *testing.T, s sample) {
	t.Helper()
	deadline := time.Now().Add(recovery)
	for {
		list, err := p.engine.Databases(t.Context(), s.user.ID, s.project.ID)
		if err != nil {
			t.Fatal(err)
		}
		if list[0].State(time.Now()) == coderunner.DatabaseRunning {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the database is %s: %+v", list[0].State(time.Now()), list[0].Sandbox)
		}
		time.Sleep(50 * time.Millisecond) // nothing tells of an observation
	}
}

func (p *platform) nothingLeft(t *testing.T) {
	t.Helper()
	infos, err := p.provider.List(t.Context(), nil)
	if err != nil || len(infos) > 0 {
		t.Errorf("sandboxes are left: %+v (%v)", infos, err)
	}
	volumes, err := p.provider.ListVolumes(t.Context(), nil)
	if err != nil || len(volumes) > 0 {
		t.Errorf("volumes are left: %+v (%v)", volumes, err)
	}
	networks, err := p.provider.ListNetworks(t.Context())
	if err != nil || len(networks) > 0 {
		t.Errorf("networks are left: %+v (%v)", networks, err)
	}
}

// TestFailures deploys what cannot run: each names what is wrong, removes what
// it made, and leaves the version before it serving.
func TestFailures(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	s := p.upload(t, "failures", answer)
	p.succeeds(t, s)
	listen := func(what string) string {
		return `require("node:http").createServer((q, r) => r.end("x")).listen(` + what + `)`
	}
	for name, c := range map[string]struct {
		change func(*coderunner.Plan)
		code   string
		title  string // part of what the failure says
		exit   int
	}{
		"install":  {change: func(p *coderunner.Plan) { p.Install.Value = "echo broken lockfile >&2; exit 3" }, title: "3", exit: 3},
		"exits":    {code: `console.log("about to end"); process.exit(7)`, title: "7", exit: 7},
		"loopback": {code: listen(`3000, "127.0.0.1"`), title: "127.0.0.1"},
		"port":     {code: listen("4555"), title: "4555"},
		"silent":   {code: `setInterval(() => {}, 1000)`, title: "3000"},
		"errors":   {code: `require("node:http").createServer((q, r) => { r.statusCode = 503; r.end() }).listen(3000)`, title: "503"},
	} {
		broken := s
		if c.code != "" {
			other, err := p.newSample(t.Context(), "code-"+name, map[string]string{"index.js": c.code})
			if err != nil {
				t.Fatal(err)
			}
			broken = other
		}
		if c.change != nil {
			c.change(&broken.plan)
		}
		_, run := p.deploy(t, broken)
		run = p.ended(t, run.ID)
		if run.State != coderunner.RunFailed || run.Failure == nil {
			t.Errorf("%s: the run ended %s\n%s", name, run.State, p.logText(t, run.ID))
			continue
		}
		f := run.Failure
		if !strings.Contains(f.Title+f.Detail, c.title) || f.Next == "" || f.Blame != coderunner.Theirs {
			t.Errorf("%s: the failure is %+v\n%s", name, f, p.logText(t, run.ID))
		}
		if c.exit != 0 && (f.ExitCode == nil || *f.ExitCode != c.exit || len(f.Lines) == 0) {
			t.Errorf("%s: the failure has not the exit code %d and the last lines: %+v", name, c.exit, f)
		}
		d, err := p.store.DeploymentByID(t.Context(), run.DeploymentID)
		if err != nil || d.Status != coderunner.Failed || d.AppSandboxID != "" {
			t.Errorf("%s: the deployment is %+v (%v)", name, d, err)
		}
		if status, body := p.get(t, "failures", "/"); status != 200 || body != "hello from nobody" {
			t.Errorf("%s: the version before answers %d %q", name, status, body)
		}
	}
	infos, err := p.provider.List(t.Context(), nil)
	if err != nil || len(infos) != 1 {
		t.Errorf("failed deploys left sandboxes: %+v (%v)", infos, err)
	}
}

func TestCancelKillsTheWork(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	s := p.upload(t, "cancelled", answer)
	s.plan.Install.Value = "setsid sleep 1000 & echo begun; sleep 1000"
	_, run := p.deploy(t, s)
	p.reached(t, run.ID, "install", coderunner.StepRunning)
	begin := time.Now()
	if _, err := p.engine.Cancel(t.Context(), s.user.ID, run.ID); err != nil {
		t.Fatal(err)
	}
	if run = p.ended(t, run.ID); run.State != coderunner.RunCancelled {
		t.Fatalf("the run ended %s\n%s", run.State, p.logText(t, run.ID))
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("cancelling took %s", took)
	}
	if infos, err := p.provider.List(t.Context(), nil); err != nil || len(infos) != 0 {
		t.Errorf("a cancelled deploy left %+v (%v)", infos, err)
	}
	d, err := p.store.DeploymentByID(t.Context(), run.DeploymentID)
	if err != nil || d.Status != coderunner.Stopped {
		t.Errorf("the deployment is %s (%v)", d.Status, err)
	}
	if _, err := p.engine.Cancel(t.Context(), s.user.ID, run.ID); coderunner.KindOf(err) != coderunner.Conflict {
		t.Errorf("cancelling twice answers %v", err)
	}
	s.plan.Install.Value = ""
	s.plan.Build.Value = ""
	s.plan.Start.Value = "node index.js"
	p.succeeds(t, s)
}

// A run that hangs ends by itself, and is undone like any other.
func TestRunThatTakesTooLongIsEnded(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	p.engine.cfg.RunFor = 3 * time.Second
	s := p.upload(t, "long", answer)
	s.plan.Install.Value = "echo installing; sleep 1000"
	d, run := p.deploy(t, s)
	if run = p.ended(t, run.ID); run.State != coderunner.RunFailed || run.Failure == nil || run.Failure.ID != "run.too_long" {
		t.Errorf("the run ended %s: %+v", run.State, run.Failure)
	}
	if d, err := p.store.DeploymentByID(t.Context(), d.ID); err != nil || d.Status != coderunner.Failed {
		t.Errorf("its deployment is %s, %v", d.Status, err)
	}
	if infos, err := p.provider.List(t.Context(), nil); err != nil || len(infos) != 0 {
		t.Errorf("there are %+v, %v", infos, err)
	}
	p.engine.cfg.RunFor = time.Hour
	s.plan.Install.Value = ""
	s.plan.Build.Value, s.plan.Start.Value = "", "node index.js"
	p.succeeds(t, s) // nothing holds the next one up
}

// TestSecondDeployDropsNoRequest swaps versions under requests.
func TestSecondDeployDropsNoRequest(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	s := p.upload(t, "swap", answer)
	first := p.succeeds(t, s)
	stop, bad := make(chan struct{}), atomic.Int64{}
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if status, _ := p.get(t, "swap", "/"); status != 200 {
					bad.Add(1)
				}
			}
		})
	}
	second := p.succeeds(t, s)
	close(stop)
	load.Wait()
	if n := bad.Load(); n > 0 {
		t.Errorf("%d requests failed while the version was changed", n)
	}
	infos, err := p.provider.List(t.Context(), nil)
	if err != nil || len(infos) != 1 || infos[0].Name != appSandbox(second.ID) {
		t.Errorf("after the second deploy there are %+v (%v)", infos, err)
	}
	d, err := p.store.DeploymentByID(t.Context(), first.DeploymentID)
	if err != nil || d.Status != coderunner.Stopped || d.PublicURL != "" {
		t.Errorf("the first deployment is %s at %q (%v)", d.Status, d.PublicURL, err)
	}
}

// TestCrashedAppComesBack kills the app's process behind everybody's back.
func TestCrashedAppComesBack(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	s := p.upload(t, "crash", strings.Replace(answer, `if (req.url === "/env")`, `if (req.url === "/die") process.exit(1); if (req.url === "/env")`, 1))
	p.succeeds(t, s, "postgres-15")
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.edge.Address()+"/die", nil)
	req.Host = "crash.apps.test"
	if res, err := http.DefaultClient.Do(req); err == nil {
		res.Body.Close()
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		if status, _ := p.get(t, "crash", "/"); status == 200 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the app did not come back")
		}
	}
}

func TestCountNoun(t *testing.T) {
	for want, got := range map[string]string{"1 sandbox": countNoun(1, "sandbox"), "2 sandboxes": countNoun(2, "sandbox"), "0 runs": countNoun(0, "run")} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
