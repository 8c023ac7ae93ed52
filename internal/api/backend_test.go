package api_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/api"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
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

// TestUploadWarnsOfTheDataThatGoes with its deploy, which says that this is meant.
func TestUploadWarnsOfTheDataThatGoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small())
	p, _ := w.ada.project("shop")
	const file = "name: Shop\nentities:\n  Cat:\n    properties:\n      - name\n      - photo\n"
	const warning = "The property photo of Cat is not in the file any more"
	upload := func(text string) (up api.Bundle) {
		t.Helper()
		w.ada.do("POST", "/projects/"+p.ID+"/bundles?filename=app.tar", bytes.NewReader(archive(t, "manifest.yml", text))).want(http.StatusCreated).into(&up)
		return up
	}
	first := upload(file)
	ctx := t.Context()
	d := must(w.store.CreateDeployment(ctx, store.NewDeployment{ProjectID: p.ID, BundleID: first.ID, Plan: first.Plan}))(t)
	if err := errors.Join(w.store.SetDeploymentStatus(ctx, d.ID, coderunner.Building), w.store.Release(ctx, d, "s", nil)); err != nil {
		t.Fatal(err)
	}
	if same := upload(file + "# the same\n"); strings.Contains(strings.Join(same.Plan.Warnings, "\n"), warning) {
		t.Errorf("the same file warns: %q", same.Plan.Warnings)
	}
	second := upload(strings.Replace(file, "      - photo\n", "", 1))
	if !strings.Contains(strings.Join(second.Plan.Warnings, "\n"), warning) {
		t.Errorf("the warnings are %q", second.Plan.Warnings)
	}
	w.ada.send("POST", "/projects/"+p.ID+"/deployments", map[string]any{"bundle_id": second.ID, "accept_drops": true}).want(http.StatusAccepted)
	if !w.engine.last().AcceptDrops {
		t.Error("what was confirmed does not reach the engine")
	}
}
