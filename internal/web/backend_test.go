package web_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
)

func TestAdministratorOfABackend(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, _ := w.project(w.ada, "shop")
	overview, path := "/projects/"+p.ID, "/projects/"+p.ID+"/administrator"
	if a := w.ada.get(overview).want(http.StatusOK); a.page().Find("[aria-labelledby=backend]").Length() != 0 {
		t.Error("a project without a backend shows one")
	}
	w.ada.post(path, nil).want(http.StatusNotFound)

	plain := must(json.Marshal(coderunner.BackendSecrets{TokenKey: "key-of-log-ins", AdminEmail: "ada@example.com", AdminPassword: "hunter2-of-the-admin"}))(t)
	sealed := must(w.keys.Seal(p.ID, "backend", plain))(t)
	if err := w.store.EnsureBackend(t.Context(), p.ID, "app-data-1", sealed); err != nil {
		t.Fatal(err)
	}
	w.ada.get(overview).want(http.StatusOK).wantText("[aria-labelledby=backend]", "Made at the first start")
	w.ada.post(path, nil).want(http.StatusNotFound)
	if err := w.store.SetBackendAdmin(t.Context(), p.ID, coderunner.AdminCreated); err != nil {
		t.Fatal(err)
	}
	a := w.ada.get(overview).want(http.StatusOK).wantText("[aria-labelledby=backend]", "app-data-1").wantText("[aria-labelledby=backend] button", "Show the login")
	if strings.Contains(a.body, "hunter2") {
		t.Error("the password is shown to whoever did not ask for it")
	}
	w.bob.post(path, nil).want(http.StatusNotFound)
	shown := w.ada.post(path, nil).want(http.StatusOK).wantText("[aria-labelledby=backend]", "hunter2-of-the-admin").wantText("[aria-labelledby=backend]", "ada@example.com")
	if strings.Contains(shown.body, "key-of-log-ins") || strings.Contains(w.log.String(), "hunter2") {
		t.Error("the key is on the page, or the password in the log")
	}
	if err := w.store.SetBackendAdmin(t.Context(), p.ID, coderunner.AdminForeign); err != nil {
		t.Fatal(err)
	}
	w.ada.get(overview).wantText("[aria-labelledby=backend]", "this login did not open its admin panel")
}

// TestPlanNamesTheDataThatGoes with the deploy of a Manifest file, and wants that confirmed.
func TestPlanNamesTheDataThatGoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const file = "name: Shop\nentities:\n  Cat:\n    properties:\n      - name\n      - photo\n"
	p, first, err := w.projects.NewFromUpload(t.Context(), w.ada.user.ID, "shop", "app.tar", bytes.NewReader(archive(t, "manifest.yml", file)), nil)
	if err != nil {
		t.Fatal(err)
	}
	path := "/projects/" + p.ID + "/bundles/"
	if a := w.ada.get(path + first.ID).want(http.StatusOK); a.page().Find("[name=accept_drops]").Length() != 0 {
		t.Error("a first version is said to delete something")
	}
	w.served(p, first.ID, first.Plan, nil)
	second := must(w.projects.Upload(t.Context(), w.ada.user.ID, p.ID, bytes.NewReader(archive(t, "manifest.yml", strings.Replace(file, "      - photo\n", "", 1))), "app.tar", nil))(t)
	a := w.ada.get(path+second.ID).want(http.StatusOK).wantText("[aria-labelledby=drops]", "The property photo of Cat is not in the file any more: its column and its data go at the next start.")
	_, form := planForm(a)
	w.engine.refuse(coderunner.FieldError("accept_drops", "Confirm that."))
	w.ada.post(path+second.ID+"/deploy", form).want(http.StatusUnprocessableEntity).wantText("#error-accept_drops", "Confirm that.")
	form.Set("accept_drops", "yes")
	w.ada.post(path+second.ID+"/deploy", form).want(http.StatusSeeOther)

	// An earlier version drops what it does not know as well.
	now := must(w.projects.Upload(t.Context(), w.ada.user.ID, p.ID, bytes.NewReader(archive(t, "manifest.yml", file+"      - age\n")), "app.tar", nil))(t)
	former := must(w.store.CurrentDeployment(t.Context(), w.ada.user.ID, p.ID))(t)
	w.served(p, now.ID, now.Plan, nil)
	w.ada.get("/deployments/"+former.ID+"/rollback").want(http.StatusOK).wantText(".changes", "The property age of Cat is not in the file any more")
	if asked := w.engine.asked; len(asked) != 1 || !asked[0].AcceptDrops {
		t.Errorf("the engine was asked for %+v", asked)
	}
}
