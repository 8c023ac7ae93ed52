package web_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
	"github.com/coderunner/coderunner/internal/web"
	"github.com/coderunner/coderunner/views"
)

const hostile = `<script>alert(1)</script>"'&`

func TestHostileNamesAreShownAsText(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, run, lease := w.deployed(w.ada, hostile)
	up, err := w.projects.Upload(t.Context(), w.ada.user.ID, p.ID, strings.NewReader(string(nodeApp(t))), hostile+".tar", []string{hostile})
	if err != nil {
		t.Fatal(err)
	}
	w.say(lease, 1, hostile, "\x1b[31m"+hostile)
	for _, path := range []string{"/projects", "/projects/" + p.ID, "/projects/" + p.ID + "/settings", "/projects/" + p.ID + "/destroy", "/projects/" + p.ID + "/bundles/" + up.ID, "/runs/" + run.ID, "/runs/" + run.ID + "/log?before=9", "/projects/" + p.ID + "/bundles/" + up.ID + "?root=" + "%3Cscript%3Ealert(1)%3C/script%3E"} {
		a := w.ada.get(path)
		if strings.Contains(a.body, "<script>alert") {
			t.Errorf("%s has the name as markup", path)
		}
		if !strings.Contains(a.page().Text(), "<script>alert(1)</script>") {
			t.Errorf("%s does not show the name", path)
		}
	}
	if a := w.ada.get("/nowhere/" + "%3Cscript%3Ealert(1)"); strings.Contains(a.body, "<script>alert") {
		t.Error("the error page has the path as markup")
	}
}

func TestProjectsPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ada.get("/projects").want(http.StatusOK).wantText("h2", "Drop your project here")
	p, run, lease := w.deployed(w.ada, "shop")
	w.project(w.bob, "not yours")
	a := w.ada.get("/projects").want(http.StatusOK).wantText("#projects", "shop").wantText("#projects", "Deploying")
	if a.page().Find("#projects[hx-get] a[href='/runs/"+run.ID+"']").Length() != 1 || strings.Contains(a.body, "not yours") {
		t.Errorf("the list does not follow the run, or shows others' projects: %s", a.text("#projects"))
	}
	fragment := w.ada.get("/projects", "HX-Request", "true").want(http.StatusOK)
	if strings.Contains(fragment.body, "<html") || fragment.page().Find("#projects").Length() != 1 {
		t.Errorf("htmx gets more than the list: %.200s", fragment.body)
	}
	if err := w.store.SetDeploymentStatus(t.Context(), run.DeploymentID, coderunner.Failed); err != nil {
		t.Fatal(err)
	}
	failure := &coderunner.Failure{ID: "start.exited", Title: "The app ended."}
	if err := w.store.SetDeploymentFailure(t.Context(), run.DeploymentID, failure); err != nil {
		t.Fatal(err)
	}
	w.finish(lease, coderunner.RunFailed, failure)
	a = w.ada.get("/projects").wantText("#projects", "Failed").wantText("#projects", "deployed just now")
	if a.page().Find("#projects[hx-get]").Length() != 0 {
		t.Error("a list in which nothing moves asks for itself")
	}
	w.ada.get("/projects/"+p.ID).want(http.StatusOK).wantText(".rows", "#1").wantText(".rows", "The app ended.")
}

// What a project's state is said to be is that of its app: a newer deploy that came to
// nothing does not hide it, and what was not seen is not claimed.
func TestStateIsWhatWasSeen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, run, lease := w.deployed(w.ada, "shop")
	ctx := t.Context()
	for _, status := range []coderunner.DeploymentStatus{coderunner.Provisioning, coderunner.Building} {
		if err := w.store.SetDeploymentStatus(ctx, run.DeploymentID, status); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.store.Release(ctx, must(w.store.DeploymentByID(ctx, run.DeploymentID))(t), "app-1", nil); err != nil {
		t.Fatal(err)
	}
	w.finish(lease, coderunner.RunSucceeded, nil)
	failed := must(w.store.CreateDeployment(ctx, store.NewDeployment{ProjectID: p.ID}))(t)
	if err := w.store.SetDeploymentStatus(ctx, failed.ID, coderunner.Failed); err != nil {
		t.Fatal(err)
	}
	says := func(state string) {
		t.Helper()
		w.ada.get("/projects").wantText("#projects .state", state).wantText("#projects", "the last deploy failed")
		w.ada.get("/projects/"+p.ID).wantText(".head-name .state", state).wantText(".facts", "seen")
	}
	says("Running")
	if err := w.store.ObserveSandbox(ctx, "app-1", coderunner.SeenEnded); err != nil {
		t.Fatal(err)
	}
	says("Starting again")
	if err := w.store.ObserveSandbox(ctx, "app-1", coderunner.SeenRunning); err != nil {
		t.Fatal(err)
	}
	says("Running")
	if _, err := w.store.Pool().Exec(ctx, "UPDATE deployments SET observed_at = now() - interval '2 minutes' WHERE app_sandbox_id = 'app-1'"); err != nil {
		t.Fatal(err)
	}
	says("Unknown")
}

func TestProjectPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, run, lease := w.deployed(w.ada, "shop")
	ctx := t.Context()
	if err := w.projects.SetVariables(ctx, w.ada.user.ID, p.ID, []coderunner.Variable{{Key: "TOKEN", Value: "hunter2"}}); err != nil {
		t.Fatal(err)
	}
	must(w.store.EnsureDatabase(ctx, coderunner.Database{ProjectID: p.ID, Appliance: "postgres-15", Name: "shopdb", Volume: "vol-1"}))(t)
	route := coderunner.Route{Host: "shop.localhost", ProjectID: p.ID, DeploymentID: run.DeploymentID, SandboxID: "app-1", Target: "10.0.0.2:3000"}
	if err := w.store.MoveRoute(ctx, route, "http://shop.localhost:8080"); err != nil {
		t.Fatal(err)
	}
	w.finish(lease, coderunner.RunSucceeded, nil)
	a := w.ada.get("/projects/"+p.ID).want(http.StatusOK).wantText(".facts", "shop.localhost:8080").wantText(".rows", "postgres-15").wantText(".rows", "TOKEN").wantText(".rows", "set just now")
	if strings.Contains(a.body, "hunter2") {
		t.Error("the page shows a variable's value")
	}
	w.ada.get("/projects/"+p.ID+"/deployments").want(http.StatusOK).wantText(".rows", "#1")
	w.ada.get("/projects/"+p.ID+"/settings").want(http.StatusOK).wantText(".facts", "shop")
	w.ada.get("/projects/" + p.ID + "/overview").want(http.StatusOK)
	w.ada.get("/projects/" + p.ID + "/elsewhere").want(http.StatusNotFound)
	if err := w.store.EndProject(ctx, p.ID); err != nil {
		t.Fatal(err)
	}
	w.ada.get("/projects/"+p.ID).want(http.StatusOK).wantText(".flash", "was destroyed")
	w.ada.get("/projects/" + p.ID + "/destroy").want(http.StatusConflict)
}

func TestDestroyListsTheLossesAndAsksForTheName(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *web.Services) {
		s.Volumes = func(_ context.Context, id string) ([]views.VolumeLoss, error) {
			return []views.VolumeLoss{{Name: "vol-1", SizeBytes: 41 << 20}, {Name: "vol-2", SizeBytes: -1}, {Name: "vol-of-" + id, SizeBytes: 3 << 10}}, nil
		}
	})
	p, up := w.project(w.ada, "Café")
	ctx := t.Context()
	if err := w.projects.SetVariables(ctx, w.ada.user.ID, p.ID, []coderunner.Variable{{Key: "TOKEN", Value: "hunter2"}}); err != nil {
		t.Fatal(err)
	}
	db := must(w.store.EnsureDatabase(ctx, coderunner.Database{ProjectID: p.ID, Appliance: "postgres-15", Name: "cafe", Volume: "vol-1"}))(t)
	if err := w.store.ExpectSandbox(ctx, coderunner.SandboxRecord{Purpose: coderunner.ForDatabase, ID: "db-sandbox-1", Provider: "containerd", ProjectID: p.ID, DatabaseID: db.ID, Appliance: "postgres-15"}); err != nil {
		t.Fatal(err)
	}
	path := "/projects/" + p.ID + "/destroy"
	if text := w.ada.get(path).want(http.StatusOK).text(".losses"); strings.Contains(text, "line") || strings.Contains(text, "snapshot") {
		t.Errorf("what is not there is lost: %s", text)
	}
	d := must(w.store.CreateDeployment(ctx, store.NewDeployment{ProjectID: p.ID, BundleID: up.ID, Plan: up.Plan}))(t)
	w.printer(d.ID).print(coderunner.Stdout, time.Now(), "one", "two", "three")
	for _, kind := range []coderunner.SnapshotKind{coderunner.DependencySnapshot, coderunner.ReleaseSnapshot} {
		if err := w.store.KeepSnapshot(ctx, coderunner.SnapshotRecord{Name: string(kind) + "-1", Provider: "containerd", ProjectID: p.ID, Kind: kind}); err != nil {
			t.Fatal(err)
		}
	}
	a := w.ada.get(path).want(http.StatusOK).wantText(".danger-panel", "What stays is the history: its deployments and runs, with the logs of the runs.")
	for _, loss := range []string{"3 lines of the log of what its apps have printed", "2 snapshots what was installed and built", "postgres-15 · cafe 41.0 MB of data, every table and row", "vol-1 volume with all its files, 41.0 MB on disk", "vol-2 volume with all its filesvol-of",
		"vol-of-" + p.ID + " volume with all its files, 3 KB on disk", "db-sandbox-1", "TOKEN", "1 uploaded version"} {
		a.wantText(".losses", loss)
	}
	w.ada.post(path, map[string][]string{"name": {"cafe"}}).want(http.StatusUnprocessableEntity).wantText("#error-name", "not the project's name")
	if runs, _ := w.store.OpenRuns(ctx, p.ID); len(runs) != 0 {
		t.Fatal("a mistyped name destroyed the project")
	}
	a = w.ada.post(path, map[string][]string{"name": {" Cafe\u0301 "}}).want(http.StatusSeeOther) // as some keyboards compose it
	w.ada.get(a.header.Get("Location")).want(http.StatusOK).wantText("h1", "Destroy")
}

func TestAppliancesPage(t *testing.T) {
	t.Parallel()
	var fail error
	w := newWorld(t, func(s *web.Services) {
		s.Templates = func(context.Context) (map[string]web.TemplateStatus, error) {
			return map[string]web.TemplateStatus{"nodejs-18": {State: views.TemplateReady, SizeBytes: 5 << 20}}, fail
		}
	})
	w.ada.get("/appliances").want(http.StatusOK).wantText(".cards", "PostgreSQL 15").wantText(".cards", "Ready").wantText(".cards", "5.0 MB")
	fail = errors.New("dial unix: no such file")
	a := w.ada.get("/appliances").want(http.StatusOK).wantText(".flash-error", "does not answer")
	if strings.Contains(a.body, "dial unix") {
		t.Error("the page shows what is for the log")
	}
}
