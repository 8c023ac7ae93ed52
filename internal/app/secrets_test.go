package app

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/bundle"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/project"
	"github.com/coderunner/coderunner/internal/secret"
	"github.com/coderunner/coderunner/internal/store"
	"github.com/coderunner/coderunner/internal/testdb"
)

// vault is a database with secrets in every place that has some, and their key ring.
type vault struct {
	*store.Store
	t        *testing.T
	path     string
	keys     *secret.KeyRing
	projects *project.Service
	user     coderunner.User
	ids      []string
}

func newVault(t *testing.T, projects int) *vault {
	t.Helper()
	v := &vault{t: t, Store: store.New(testdb.NewPool(t)), path: filepath.Join(t.TempDir(), "keyring")}
	v.keys = must(secret.Open(v.path))(t)
	v.projects = project.New(v.Store, must(bundle.Open(t.TempDir(), bundle.Limits{}))(t), v.keys)
	v.user = must(v.CreateUser(t.Context(), "ada@example.com", "hash"))(t)
	for i := range projects {
		p := must(v.CreateProject(t.Context(), v.user.ID, fmt.Sprint("Shop ", i), fmt.Sprint("shop-", i)))(t)
		v.ids = append(v.ids, p.ID)
		v.set(p.ID, "TOKEN", fmt.Sprint("token of ", i))
		v.set(p.ID, "OTHER", fmt.Sprint("other of ", i))
		d := must(v.EnsureDatabase(t.Context(), coderunner.Database{ProjectID: p.ID, Appliance: "postgres-15", Name: "app", Volume: "volume-" + p.ID}))(t)
		sealed := must(v.keys.Seal(p.ID, "database/"+d.ID, []byte(`{"password":"p"}`)))(t)
		deployment := must(v.CreateDeployment(t.Context(), store.NewDeployment{ProjectID: p.ID}))(t)
		released := must(v.keys.Seal(p.ID, "deployment/"+deployment.ID+"/variables", []byte(`[]`)))(t)
		run, _, err := v.CreateRun(t.Context(), store.NewRun{ProjectID: p.ID, Playbook: "restart"})
		if err != nil {
			t.Fatal(err)
		}
		working := must(v.keys.Seal(p.ID, "run/"+run.ID+"/variables", []byte(`[]`)))(t)
		for _, err := range []error{v.SetDeploymentStatus(t.Context(), deployment.ID, coderunner.Provisioning), v.SetDeploymentStatus(t.Context(), deployment.ID, coderunner.Building), v.Release(t.Context(), deployment, "app-"+run.ID, released), v.SetRunVariables(t.Context(), run.ID, working), v.SetDatabaseConnection(t.Context(), d.ID, "db-"+d.ID, sealed), v.SetDeploymentDatabase(t.Context(), deployment.ID, "db-"+d.ID, sealed)} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return v
}

func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func (v *vault) set(projectID, key, value string) {
	v.t.Helper()
	if err := v.projects.SetVariables(v.t.Context(), v.user.ID, projectID, []coderunner.Variable{{Key: key, Value: value}}); err != nil {
		v.t.Error(err)
	}
}

// wantAll opens everything, and wants all of it sealed with the newest key.
func (v *vault) wantAll(value func(project int) string) {
	v.t.Helper()
	keys := must(secret.Read(v.path))(v.t)
	newest := must(keys.Keys())(v.t)[0]
	for i, id := range v.ids {
		variables := must(v.projects.Decrypted(v.t.Context(), id))(v.t).Environment(coderunner.RunScope)
		if variables["TOKEN"] != value(i) || len(variables) != 2 {
			v.t.Errorf("project %d has %v", i, variables)
		}
		for _, d := range must(v.ProjectDatabases(v.t.Context(), id))(v.t) {
			if plain, err := keys.Open(id, "database/"+d.ID, d.Sealed); err != nil || string(plain) != `{"password":"p"}` {
				v.t.Errorf("the database of project %d opens as %q, %v", i, plain, err)
			}
			var info []byte
			if err := v.Pool().QueryRow(v.t.Context(), "SELECT decode(db_connection_info ->> 'ciphertext', 'base64') FROM deployments WHERE project_id = $1", id).Scan(&info); err != nil {
				v.t.Fatal(err)
			}
			if _, err := keys.Open(id, "database/"+d.ID, info); err != nil {
				v.t.Errorf("the deployment of project %d: %v", i, err)
			}
		}
	}
	for _, u := range must(usesOf(v.t.Context(), v.Store))(v.t) {
		if u.key != newest.ID {
			v.t.Errorf("%d of %s are sealed with %s, want %s", u.count, u.place, u.key, newest.ID)
		}
	}
}

func tokenOf(i int) string { return fmt.Sprint("token of ", i) }

func TestRotationSealsEverythingAnew(t *testing.T) {
	t.Parallel()
	v := newVault(t, 60) // more than one batch
	before := must(v.projects.Variables(t.Context(), v.user.ID, v.ids[0]))(t)
	var out bytes.Buffer
	if err := rotate(t.Context(), v.Store, v.keys, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if !strings.Contains(out.String(), "360 values are sealed anew") {
		t.Errorf("said %s", out.String())
	}
	v.wantAll(tokenOf)
	after := must(v.projects.Variables(t.Context(), v.user.ID, v.ids[0]))(t)
	if project.VariablesVersion(before) != project.VariablesVersion(after) {
		t.Errorf("the rotation changed when variables were set: %v, then %v", before, after)
	}
	out.Reset()
	if err := status(t.Context(), v.Store, v.keys, &out, time.Now()); err != nil || strings.Count(out.String(), "within a day") != 2 || !strings.Contains(out.String(), "variables: 120") ||
		!strings.Contains(out.String(), "database connections: 60") || !strings.Contains(out.String(), "connections of deployments: 60") ||
		!strings.Contains(out.String(), "variables of deployments: 60") || !strings.Contains(out.String(), "variables of runs: 60") || !strings.Contains(out.String(), "seals nothing any more") {
		t.Errorf("status %v:\n%s", err, out.String())
	}
	if err := prune(t.Context(), v.Store, v.keys, &out, time.Now()); coderunner.KindOf(err) != coderunner.Conflict {
		t.Errorf("pruned at once: %v", err)
	}
	if err := prune(t.Context(), v.Store, v.keys, &out, time.Now().Add(time.Hour)); err != nil {
		t.Error(err)
	}
	if keys := must(v.keys.Keys())(t); len(keys) != 1 {
		t.Errorf("after the pruning the ring has %v", keys)
	}
	v.wantAll(tokenOf)
}

// Stopped after some batches, a rotation goes on with the key that it has made.
func TestRotationGoesOnWhereItWasStopped(t *testing.T) {
	t.Parallel()
	v := newVault(t, 60)
	ctx, stop := context.WithCancel(t.Context())
	said := writerFunc(func(b []byte) { stop() }) // as soon as the key is made
	if err := rotate(ctx, v.Store, v.keys, said); err == nil {
		t.Fatal("the rotation was not stopped")
	}
	halfway := must(secret.Read(v.path))(t)
	newest := must(halfway.Keys())(t)[0]
	if _, err := v.SealAgain(t.Context(), secret.Header(newest.ID), nil, 30, func(s store.SealedValue) ([]byte, error) { return reseal(halfway, s) }); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := rotate(t.Context(), v.Store, must(secret.Read(v.path))(t), &out); err != nil || !strings.Contains(out.String(), "Going on") || !strings.Contains(out.String(), "330 values") {
		t.Errorf("%v\n%s", err, out.String())
	}
	v.wantAll(tokenOf)
	if keys := must(v.keys.Keys())(t); len(keys) != 2 || keys[0].ID != newest.ID {
		t.Errorf("keys %v, want no third", keys)
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(b []byte) (int, error) { f(b); return len(b), nil }

// What is saved while keys are rotated is neither lost nor left behind.
func TestRotationWhileVariablesAreSaved(t *testing.T) {
	t.Parallel()
	v := newVault(t, 20)
	stop := make(chan struct{})
	var savers sync.WaitGroup
	last := make([]string, len(v.ids))
	for i, id := range v.ids {
		savers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				last[i] = fmt.Sprint("save ", n)
				v.set(id, "TOKEN", last[i])
			}
		})
	}
	tool := must(secret.Read(v.path))(t) // as another process has it
	for range 3 {
		if err := rotate(t.Context(), v.Store, tool, io.Discard); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	savers.Wait()
	if err := sealAgain(t.Context(), v.Store, tool, io.Discard); err != nil { // what was under way in the last moment
		t.Error(err)
	}
	v.wantAll(func(i int) string { return last[i] })
}

// A value that was moved to another row stops nothing and is told.
func TestRotationTellsWhatDoesNotOpen(t *testing.T) {
	t.Parallel()
	v := newVault(t, 2)
	if _, err := v.Pool().Exec(t.Context(), "UPDATE variables SET value = (SELECT value FROM variables WHERE project_id = $1 AND key = 'TOKEN') WHERE project_id = $2 AND key = 'TOKEN'", v.ids[0], v.ids[1]); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err := rotate(t.Context(), v.Store, v.keys, &out)
	if coderunner.KindOf(err) != coderunner.Unavailable || !strings.Contains(out.String(), "TOKEN of project "+v.ids[1]) || !strings.Contains(out.String(), "11 values") {
		t.Errorf("%v\n%s", err, out.String())
	}
	if err := prune(t.Context(), v.Store, v.keys, &out, time.Now().Add(time.Hour)); err != nil {
		t.Error(err)
	}
	if keys := must(v.keys.Keys())(t); len(keys) != 2 {
		t.Error("the key of a value that could not be sealed anew was removed")
	}
	// Its owner can replace or remove it.
	v.set(v.ids[1], "TOKEN", "new")
	if values := must(v.projects.Decrypted(t.Context(), v.ids[1]))(t).Environment(coderunner.RunScope); values["TOKEN"] != "new" {
		t.Errorf("set anew it is %v", values)
	}
}

func TestServerRefusesAFreshRingOverOldSecrets(t *testing.T) {
	t.Parallel()
	v := newVault(t, 1)
	dir := t.TempDir()
	a := &App{config: Config{DataDir: dir}, log: slog.New(slog.DiscardHandler)}
	_, err := a.openKeys(t.Context(), v.Store)
	if coderunner.KindOf(err) != coderunner.Unavailable || !strings.Contains(coderunner.Sentence(err), keyRingFile(dir)) {
		t.Errorf("a server without the ring answers %v", err)
	}
	if _, err := os.Stat(keyRingFile(dir)); err == nil {
		t.Error("a fresh ring was made all the same")
	}
	// With the wrong one it serves, and says so.
	must(secret.Open(keyRingFile(dir)))(t)
	var log bytes.Buffer
	a.log = slog.New(slog.NewTextHandler(&log, nil))
	keys := must(a.openKeys(t.Context(), v.Store))(t)
	if !strings.Contains(log.String(), "not in the key ring") {
		t.Errorf("logged %q", log.String())
	}
	if err := status(t.Context(), v.Store, keys, &log, time.Now()); coderunner.KindOf(err) != coderunner.Unavailable || !strings.Contains(log.String(), "NOT IN THE KEY RING") {
		t.Errorf("status %v, %s", err, log.String())
	}
	// An empty database gets a ring.
	a.config.DataDir = t.TempDir()
	must(a.openKeys(t.Context(), store.New(testdb.NewPool(t))))(t)
}

// The commands work beside a server, and only with its own database.
func TestSecretsCommandsBesideAServer(t *testing.T) {
	t.Parallel()
	_, dsn := freshDatabase(t)
	config := DefaultConfig()
	config.DataDir, config.DatabaseURL = t.TempDir(), dsn
	if err := RotateSecrets(t.Context(), config, io.Discard); coderunner.KindOf(err) != coderunner.NotFound {
		t.Errorf("without a key ring: %v", err)
	}
	s := serve(t, config)
	var out bytes.Buffer
	for range 2 {
		if err := RotateSecrets(t.Context(), config, &out); err != nil {
			t.Fatal(err)
		}
	}
	if err := SecretsStatus(t.Context(), config, &out); err != nil || strings.Count(out.String(), "within a day") != 3 {
		t.Errorf("%v\n%s", err, out.String())
	}
	other := config
	other.DatabaseURL = ""
	if err := PruneSecrets(t.Context(), other, &out); coderunner.KindOf(err) != coderunner.Invalid || !strings.Contains(coderunner.Sentence(err), "--database-url") {
		t.Errorf("with another database: %v", err)
	}
	if err := PruneSecrets(t.Context(), config, &out); coderunner.KindOf(err) != coderunner.Conflict {
		t.Errorf("right after the rotation: %v", err)
	}
	if status, _ := s.get("localhost", "/healthz"); status != 200 {
		t.Errorf("the server answers %d afterwards", status)
	}
}
