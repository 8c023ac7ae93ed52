package web_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// TestFixesOfAFailure are buttons that deploy the same upload again with one change, once.
func TestFixesOfAFailure(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, run, lease := w.deployed(w.ada, "shop")
	failed := must(w.store.DeploymentByID(t.Context(), run.DeploymentID))(t)
	page, path := "/runs/"+run.ID, "/runs/"+run.ID+"/fix"
	w.finish(lease, coderunner.RunFailed, &coderunner.Failure{ID: "x", Blame: coderunner.Upstream, Title: "It failed.", Lines: []string{"before", "the cause", "after"}, Shown: 2, Fixes: []coderunner.Fix{
		coderunner.NewFix(coderunner.FixPort, "4555"), coderunner.NewFix(coderunner.FixDatabase, "redis-7"), coderunner.NewFix(coderunner.FixVariable, "API_KEY"),
	}})
	a := w.ada.get(page).want(http.StatusOK).wantText(".evidence mark", "the cause").wantText(".blame", "a service elsewhere").
		wantText("form[action='"+path+"'] button[value=port]", "Use port 4555").wantText("form[action='"+path+"'] button[value=database]", "Add Redis and deploy again")
	if n := a.page().Find(".evidence mark").Length(); n != 1 {
		t.Errorf("%d lines are marked", n)
	}

	// A variable is asked for first; then the way leads back.
	link, _ := a.page().Find("[data-fix=variable]").Attr("href")
	form := w.ada.get(link).want(http.StatusOK).page().Find("form.vars")
	if key, _ := form.Find("textarea[autofocus]").Closest("[data-variable-row]").Find(".var-key").Attr("value"); key != "API_KEY" {
		t.Errorf("%s asks for %q", link, key)
	}
	row, _ := form.Find("textarea[autofocus]").Closest("[data-variable-row]").Attr("data-variable-row")
	w.ada.post("/projects/"+p.ID+"/variables", url.Values{"run": {run.ID}, "do": {"save"}, "row": {row}, "key." + row: {"API_KEY"}, "value." + row: {"k"}, "scope." + row: {"both"}}).wantRedirect(page)
	w.ada.get(page).wantText("main", "Deploy again, and the app gets it.")
	w.ada.post("/projects/"+p.ID+"/variables", url.Values{"run": {"00000000-0000-0000-0000-000000000000"}, "do": {"save"}}).wantRedirect("/projects/" + p.ID + "/variables")

	// Nobody else, and nothing that the failure does not offer.
	w.bob.post(path, url.Values{"fix": {"port"}}).want(http.StatusNotFound)
	for _, kind := range []string{"", "variable", "runtime", "nonsense"} {
		w.ada.post(path, url.Values{"fix": {kind}}).want(http.StatusConflict)
	}
	if len(w.engine.asked) != 1 {
		t.Fatalf("asked for: %+v", w.engine.asked)
	}

	begun := w.ada.post(path, url.Values{"fix": {"database"}}).want(http.StatusSeeOther).header.Get("Location")
	if req := w.engine.asked[1]; req.After != failed.ID || req.BundleID != failed.BundleID || len(req.Databases) != 1 || req.Databases[0] != "redis-7" || req.Plan.Port != failed.Plan.Port {
		t.Errorf("asked for: %+v", req)
	}
	// A second press, or one in a tab that is behind, leads to what was begun.
	w.ada.post(path, url.Values{"fix": {"port"}}).wantRedirect(begun)
	w.ada.get(begun).want(http.StatusOK).wantText("main", "nothing more was started")
	if a := w.ada.get(page); a.page().Find("form[action='"+path+"']").Length() > 0 || a.page().Find(".outcome-bad").Length() != 1 {
		t.Error("a failure that something newer has followed still has buttons")
	}
	if runs := must(w.store.ProjectRuns(t.Context(), w.ada.user.ID, p.ID, 9, 0))(t); len(runs) != 2 {
		t.Errorf("%d runs were begun", len(runs))
	}
}
