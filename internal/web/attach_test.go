package web_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/web"
	"github.com/coderunner/coderunner/views"
)

// begun is the newest run of a project, with how many steps it has.
func (w *world) begun(p coderunner.Project) (playbook string, steps int) {
	w.Helper()
	open := must(w.store.OpenRuns(w.Context(), p.ID))(w)
	if len(open) == 0 {
		return "", 0
	}
	return open[len(open)-1].Playbook, len(must(w.store.Steps(w.Context(), open[len(open)-1].ID))(w))
}

// TestAttachAndDetachOnThePage: what is offered, what is not applied yet, and what each button begins.
func TestAttachAndDetachOnThePage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, up := w.project(w.ada, "shop")
	path := "/projects/" + p.ID + "/databases"
	a := w.ada.get(path).want(http.StatusOK).wantText("[aria-labelledby=offered]", "PostgreSQL 15").wantText("[aria-labelledby=offered]", "Redis 7")
	if n := a.page().Find("input[name=restart]").Length(); n != 0 {
		t.Errorf("%d restarts are offered of an app that was never deployed", n)
	}
	live := w.served(p, up.ID, up.Plan, nil)
	w.ada.get(path).want(http.StatusOK).wantText("[aria-labelledby=offered]", "Restart the app with it")
	w.ada.post(path+"/postgres-15/attach", map[string][]string{"restart": {"1"}}).want(http.StatusSeeOther)
	if playbook, steps := w.begun(p); playbook != "attach" || steps != 2 {
		t.Errorf("attach with a restart began %s of %d steps", playbook, steps)
	}

	d := w.database(p)
	a = w.ada.get(path).want(http.StatusOK).wantText("[data-database] .pending", "Not applied yet. The app that runs was started before this was attached.").wantText("[data-database]", "Restart the app without it")
	if action, _ := a.page().Find("[data-database] .pending form").Attr("action"); action != "/projects/"+p.ID+"/restart" {
		t.Errorf("the restart is asked for at %q", action)
	}
	if text := a.text("[aria-labelledby=offered]"); strings.Contains(text, "PostgreSQL") {
		t.Errorf("what is attached is offered: %s", text)
	}
	w.ada.get("/projects/"+p.ID).wantText(".rows", "not applied yet: a restart gives the app DATABASE_URL")
	if err := w.store.SetAppliedDatabases(t.Context(), live.ID, []string{d.ID}); err != nil {
		t.Fatal(err)
	}
	if a = w.ada.get(path); a.page().Find("[data-database] .pending").Length() != 0 {
		t.Errorf("all is applied, and the page says %q", a.text(".pending"))
	}
	w.ada.post(path+"/postgres-15/detach", nil).want(http.StatusSeeOther)
	if playbook, steps := w.begun(p); playbook != "detach" || steps != 1 {
		t.Errorf("detach without a restart began %s of %d steps", playbook, steps)
	}

	if err := w.store.SetDatabaseDetached(t.Context(), d.ID, true); err != nil {
		t.Fatal(err)
	}
	a = w.ada.get(path).want(http.StatusOK).wantText("[data-database] .state", "Detached").wantText("[data-database] .pending", "The app that runs still has its variables").
		wantText("[data-database]", "Its data is kept on the volume vol-1").wantText("[data-database]", "Attach again")
	if text := a.text("[aria-labelledby=offered]"); strings.Contains(text, "PostgreSQL") {
		t.Errorf("beside the detached one another is offered: %s", text)
	}
	if a.page().Find("[data-database] .names").Length() != 0 {
		t.Error("a detached database has variables")
	}
	w.ada.get("/projects/"+p.ID+"/destroy").wantText(".losses", "postgres-15 · shopdb, detached every table and row")
	w.ada.get("/projects/"+p.ID+"/bundles/"+up.ID).wantText(".options", "Detached, with its data. Ticked, it is attached again")
	w.served(p, up.ID, up.Plan, nil)
	w.ada.get("/deployments/"+live.ID+"/rollback").wantText(".changes", "postgres-15 is detached: that version had it, and is started without DATABASE_URL")
	w.bob.post(path+"/postgres-15/attach", nil).want(http.StatusNotFound)
}

// TestDeleteDatabasePage asks for the name of what is lost.
func TestDeleteDatabasePage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *web.Services) {
		s.Volumes = func(context.Context, string) ([]views.VolumeLoss, error) {
			return []views.VolumeLoss{{Name: "vol-1", SizeBytes: 41 << 20}}, nil
		}
	})
	p, _ := w.project(w.ada, "shop")
	d := w.database(p)
	path := "/projects/" + p.ID + "/databases/postgres-15/delete"
	w.ada.get(path).want(http.StatusConflict).wantText("main", "Detach it first; that keeps its data")
	if err := errors.Join(w.store.SetDatabaseDetached(t.Context(), d.ID, true), w.store.SetDatabaseStopped(t.Context(), d.ID, true)); err != nil {
		t.Fatal(err)
	}
	a := w.ada.get("/projects/" + p.ID + "/databases").want(http.StatusOK)
	if link, _ := a.page().Find("[data-database] a.btn").Attr("href"); link != path {
		t.Errorf("it is deleted at %q", link)
	}
	w.ada.get(path).want(http.StatusOK).wantText(".losses", "vol-1 41.0 MB of data, every table and row").wantText("form", "Type postgres-15 to confirm")
	w.ada.post(path, map[string][]string{"name": {"postgres"}}).want(http.StatusUnprocessableEntity).wantText("#error-name", "not the database's name")
	if playbook, _ := w.begun(p); playbook != "" {
		t.Errorf("a mistyped name began %s", playbook)
	}
	w.ada.post(path, map[string][]string{"name": {"postgres-15"}}).want(http.StatusSeeOther)
	if playbook, _ := w.begun(p); playbook != "delete_database" {
		t.Errorf("the name began %q", playbook)
	}
	w.ada.get("/projects/" + p.ID + "/databases/redis-7/delete").want(http.StatusNotFound)
	w.bob.get(path).want(http.StatusNotFound)
	w.bob.post(path, map[string][]string{"name": {"postgres-15"}}).want(http.StatusNotFound)
}
