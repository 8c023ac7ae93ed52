package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/api"
	"github.com/coderunner/coderunner/internal/coderunner"
)

func TestDatabasesAreListedWithoutTheirPasswords(t *testing.T) {
	t.Parallel()
	var fail error
	w := newWorld(t, small(), func(s *api.Services) {
		s.VolumeSize = func(_ context.Context, name string) (int64, error) { return int64(len(name)), fail }
	})
	p, _ := w.ada.project("shop")
	path := "/projects/" + p.ID + "/databases"
	read := func() (list api.DatabaseList) {
		a := w.ada.get(path).want(http.StatusOK)
		if a.into(&list); list.Items == nil || strings.Contains(a.body, "hunter2") || strings.Contains(a.body, "password") {
			t.Fatalf("the list is %s", a.body)
		}
		return list
	}
	if list := read(); len(list.Items) != 0 {
		t.Errorf("a project without any has %+v", list.Items)
	}
	ctx := t.Context()
	d := must(w.store.EnsureDatabase(ctx, coderunner.Database{ProjectID: p.ID, Appliance: "postgres-15", Name: "app", Volume: "vol-1"}))(t)
	fail = errors.New("dial unix: no such file")
	if got := read().Items[0]; got.ID != d.ID || got.State != coderunner.DatabasePending || got.ObservedAt != nil || got.Host != "" || got.SizeBytes != nil || got.Name != "app" || got.Volume != "vol-1" {
		t.Errorf("before its first start it is %+v", got)
	}
	fail = nil
	plain := must(json.Marshal(coderunner.Connection{Host: "10.7.0.3", Port: 5433, User: "shopkeeper", Database: "shopdb", Password: "hunter2"}))(t)
	sealed := must(w.keys.Seal(p.ID, "database/"+d.ID, plain))(t)
	err := w.store.ExpectSandbox(ctx, coderunner.SandboxRecord{Purpose: coderunner.ForDatabase, ID: "db-1", Provider: "containerd", ProjectID: p.ID, DatabaseID: d.ID, Appliance: d.Appliance})
	if err := errors.Join(err, w.store.SetDatabaseConnection(ctx, d.ID, "db-1", sealed), w.store.ObserveSandbox(ctx, "db-1", "running")); err != nil {
		t.Fatal(err)
	}
	if got := read().Items[0]; got.State != coderunner.DatabaseRunning || got.ObservedAt == nil || got.Host != "10.7.0.3" || got.Port != 5433 || got.User != "shopkeeper" || got.Name != "shopdb" ||
		!slices.Contains(got.Variables, "DATABASE_URL") || got.SizeBytes == nil || *got.SizeBytes != 5 {
		t.Errorf("running it is %+v", got)
	}
	if strings.Contains(w.log.String(), "hunter2") {
		t.Error("the password is in the log")
	}
}

// TestVariablesOfDatabases are those of their kind, and as they are beside the others.
func TestVariablesOfDatabases(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small())
	p, _ := w.ada.project("shop")
	read := func(appliance string) []api.Database {
		must(w.store.EnsureDatabase(t.Context(), coderunner.Database{ProjectID: p.ID, Appliance: appliance, Name: "app", Volume: appliance}))(t)
		var list api.DatabaseList
		w.ada.get("/projects/" + p.ID + "/databases").want(http.StatusOK).into(&list)
		return list.Items
	}
	if got := read("mysql")[0]; got.Protocol != coderunner.MySQL || !slices.Contains(got.Variables, "DATABASE_URL") || !slices.Contains(got.Variables, "MYSQL_URL") {
		t.Errorf("MySQL alone is %+v", got)
	}
	if got := read("redis-7")[1]; got.Protocol != coderunner.Redis || !slices.Contains(got.Variables, "REDIS_URL") || slices.Contains(got.Variables, "DATABASE_URL") {
		t.Errorf("Redis is %+v", got)
	}
	if got := read("postgres-15"); got[2].Protocol != coderunner.PostgreSQL || !slices.Contains(got[2].Variables, "DATABASE_URL") || slices.Contains(got[0].Variables, "DATABASE_URL") {
		t.Errorf("MySQL beside PostgreSQL is %+v", got)
	}
}

// TestAttachAndDetachByProgram: each begins a run, and a detached database says what is kept.
func TestAttachAndDetachByProgram(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small())
	p, _ := w.ada.project("shop")
	path := "/projects/" + p.ID + "/databases"
	d := must(w.store.EnsureDatabase(t.Context(), coderunner.Database{ProjectID: p.ID, Appliance: "postgres-15", Name: "app", Volume: "vol-1"}))(t)
	must(w.store.EnsureDatabase(t.Context(), coderunner.Database{ProjectID: p.ID, Appliance: "mysql", Name: "app", Volume: "vol-2"}))(t)
	if err := w.store.SetDatabaseDetached(t.Context(), d.ID, true); err != nil {
		t.Fatal(err)
	}
	var list api.DatabaseList
	w.ada.get(path).want(http.StatusOK).into(&list)
	if got := list.Items[0]; got.State != coderunner.DatabaseDetached || got.DetachedAt == nil || len(got.Variables) != 0 || !got.Applied || got.Volume != "vol-1" {
		t.Errorf("the detached one is %+v", got)
	}
	if got := list.Items[1]; got.DetachedAt != nil || !slices.Contains(got.Variables, "DATABASE_URL") {
		t.Errorf("beside a detached PostgreSQL, MySQL gives %v", got.Variables)
	}
	for _, ask := range []struct {
		path, playbook string
		body           any
		steps          int
	}{
		{"/postgres-15/attach", "attach", nil, 1}, {"/postgres-15/attach?restart=true", "attach", nil, 2}, {"/mysql/detach?restart=true", "detach", nil, 2},
		{"/postgres-15/delete", "delete_database", map[string]any{"confirm": "postgres-15"}, 1},
	} {
		var run api.Run
		w.ada.send("POST", path+ask.path, ask.body).want(http.StatusAccepted).into(&run)
		if run.Playbook != ask.playbook || len(run.Steps) != ask.steps {
			t.Errorf("%s began %+v", ask.path, run)
		}
	}
	w.ada.send("POST", path+"/postgres-15/delete", map[string]any{"confirm": "postgres"}).wantProblem(http.StatusUnprocessableEntity, coderunner.Invalid)
}
