package web_test

import (
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
