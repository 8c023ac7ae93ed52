package web_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

// served is a deployment that has served, from its release and with these variables.
func (w *world) served(p coderunner.Project, bundleID string, plan coderunner.Plan, variables coderunner.Variables) coderunner.Deployment {
	w.Helper()
	ctx := w.Context()
	d := must(w.store.CreateDeployment(ctx, store.NewDeployment{ProjectID: p.ID, BundleID: bundleID, Plan: plan, Release: &coderunner.Release{Code: true}}))(w)
	sealed := must(w.keys.Seal(p.ID, "deployment/"+d.ID+"/variables", must(json.Marshal(variables))(w)))(w)
	if err := errors.Join(w.store.SetDeploymentStatus(ctx, d.ID, coderunner.Building), w.store.Release(ctx, d, "app-"+d.ID, sealed)); err != nil {
		w.Fatal(err)
	}
	return d
}

// TestRollbackPageShowsTheDifference before anything is done: keys, never values.
func TestRollbackPageShowsTheDifference(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, up := w.project(w.ada, "shop")
	old, plan := up.Plan, up.Plan
	old.Start.Value = "node old.js"
	first := w.served(p, up.ID, old, coderunner.Variables{{Key: "KEPT", Value: "hunter1", Secret: true}, {Key: "TOKEN", Value: "hunter2", Secret: true}, {Key: "GONE", Value: "hunter3"}})
	second := w.served(p, up.ID, plan, coderunner.Variables{{Key: "KEPT", Value: "hunter1", Secret: true}, {Key: "TOKEN", Value: "hunter4", Secret: true}, {Key: "NEW", Value: "hunter5"}})
	path := "/deployments/" + first.ID + "/rollback"
	a := w.ada.get(path).want(http.StatusOK).wantText("h1", "Roll back to #1?").wantText("#changes", "What changes from #2").wantText(".changes", "the same upload").
		wantText(".changes", "node old.js").wantText(".changes", "are not rolled back: what is in them stays as it is now")
	for _, key := range []string{"TOKEN", "GONE", "NEW"} {
		a.wantText(".changes", key)
	}
	if strings.Contains(a.text(".changes"), "KEPT") || strings.Contains(a.body, "hunter") || strings.Contains(w.log.String(), "hunter") {
		t.Errorf("the page has what is the same, or a value: %s", a.text(".changes"))
	}
	if action, _ := a.page().Find("form.confirm-do").Attr("action"); action != path {
		t.Errorf("its button leads to %q", action)
	}
	// Another's is told from none by nobody.
	theirs, missing := w.bob.get(path).want(http.StatusNotFound), w.bob.get("/deployments/00000000-0000-0000-0000-000000000000/rollback").want(http.StatusNotFound)
	if theirs.text("h1") != missing.text("h1") {
		t.Error("another's deployment is told from a missing one")
	}
	w.bob.post(path, nil).want(http.StatusNotFound)
	w.ada.get("/deployments/"+second.ID+"/rollback").want(http.StatusConflict).wantText("main", "it is the current one")

	a = w.ada.post(path, nil).want(http.StatusSeeOther)
	if run := must(w.store.OpenRuns(t.Context(), p.ID))(t)[0]; run.Playbook != "rollback" || a.header.Get("Location") != "/runs/"+run.ID {
		t.Errorf("the button began a %s and leads to %s", run.Playbook, a.header.Get("Location"))
	}
	if err := w.store.SetRelease(t.Context(), first.ID, nil); err != nil {
		t.Fatal(err)
	}
	w.ada.get(path).want(http.StatusConflict).wantText("main", "not kept any more")
}
