package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/api"
	"github.com/coderunner/coderunner/internal/coderunner"
)

func TestBackendAndItsAdministrator(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small())
	p, _ := w.ada.project("shop")
	path := "/projects/" + p.ID + "/backend"
	w.ada.get(path).want(http.StatusNotFound)
	w.ada.send(http.MethodPost, path+"/administrator", nil).want(http.StatusNotFound)
	plain := must(json.Marshal(coderunner.BackendSecrets{TokenKey: "key", AdminEmail: "ada@example.com", AdminPassword: "hunter2"}))(t)
	if err := w.store.EnsureBackend(t.Context(), p.ID, "app-data-1", must(w.keys.Seal(p.ID, "backend", plain))(t)); err != nil {
		t.Fatal(err)
	}
	read := func(want string) {
		t.Helper()
		var b api.Backend
		a := w.ada.get(path).want(http.StatusOK)
		if a.into(&b); b.Volume != "app-data-1" || b.Administrator != want || strings.Contains(a.body, "hunter2") {
			t.Errorf("the backend is %s, want %s", a.body, want)
		}
	}
	read("pending")
	w.ada.send(http.MethodPost, path+"/administrator", nil).want(http.StatusNotFound)
	if err := w.store.SetBackendAdmin(t.Context(), p.ID, coderunner.AdminCreated); err != nil {
		t.Fatal(err)
	}
	read("created")
	w.bob.get(path).want(http.StatusNotFound)
	w.bob.send(http.MethodPost, path+"/administrator", nil).want(http.StatusNotFound)
	var login api.Administrator
	if w.ada.send(http.MethodPost, path+"/administrator", nil).want(http.StatusOK).into(&login); login != (api.Administrator{Email: "ada@example.com", Password: "hunter2"}) {
		t.Errorf("the login is %+v", login)
	}
}
