package api_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/api"
	"github.com/coderunner/coderunner/internal/auth"
	"github.com/coderunner/coderunner/internal/bundle"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/playbook"
	"github.com/coderunner/coderunner/internal/project"
	"github.com/coderunner/coderunner/internal/runlog"
	"github.com/coderunner/coderunner/internal/secret"
	"github.com/coderunner/coderunner/internal/store"
	"github.com/coderunner/coderunner/internal/testdb"
)

const (
	password    = "correct horse battery"
	uploadLimit = 1 << 20
)

// world is the whole of the API on a real database, behind a real HTTP server. Only
// the engine is stood in for: it writes real rows and leaves the work to the test.
type world struct {
	*testing.T
	store    *store.Store
	keys     *secret.KeyRing
	engine   *engine
	server   *httptest.Server
	log      *syncBuffer
	stopHub  func()
	ada, bob program
}

func newWorld(t *testing.T, limits bundle.Limits, change ...func(*api.Services)) *world {
	t.Helper()
	w := &world{T: t, store: store.New(testdb.NewPool(t)), log: &syncBuffer{}}
	bundles := must(bundle.Open(t.TempDir(), limits))(t)
	w.keys = must(secret.Open(filepath.Join(t.TempDir(), "keys.json")))(t)
	w.engine = &engine{Engine: playbook.New(playbook.Config{}, w.store, nil, nil, bundles, w.keys, nil, nil, playbook.Edge{}, slog.New(slog.DiscardHandler)), store: w.store}
	hub := runlog.NewHub(w.store)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = hub.Run(ctx)
	}()
	w.stopHub = func() { stop(); <-ended }
	services := api.Services{
		Auth:     must(auth.New(auth.Config{KeyFile: filepath.Join(t.TempDir(), "jwt.key"), PublicURL: "http://localhost:8080"}, w.store))(t),
		Projects: project.New(w.store, bundles, w.keys), Store: w.store, Engine: w.engine, Hub: hub, UploadLimit: limits.ArchiveBytes,
		Log: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&services)
	}
	w.server = httptest.NewServer(api.New(services))
	t.Cleanup(func() {
		w.stopHub()
		w.server.Close()
	})
	w.ada, w.bob = w.signUp("ada@example.com"), w.signUp("bob@example.com")
	return w
}

// small are limits that a test can go over quickly.
func small() bundle.Limits { return bundle.Limits{ArchiveBytes: uploadLimit, FreeBytes: 1} }

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// syncBuffer collects the server's log.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// engine writes the rows of a run and leaves the work to the test.
type engine struct {
	api.Engine // the real one, not started, for all that is not written out below
	store      *store.Store
	mu         sync.Mutex
	asked      []playbook.DeployRequest
}

func (e *engine) last() playbook.DeployRequest {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.asked[len(e.asked)-1]
}

func (e *engine) Deploy(ctx context.Context, userID string, req playbook.DeployRequest) (d coderunner.Deployment, run coderunner.Run, err error) {
	e.mu.Lock()
	e.asked = append(e.asked, req)
	e.mu.Unlock()
	if newest, err := e.store.ProjectDeployments(ctx, userID, req.ProjectID, 1, 0); req.After != "" && (err != nil || newest[0].ID != req.After) {
		return coderunner.Deployment{}, coderunner.Run{}, errors.Join(err, playbook.ErrSuperseded)
	}
	if _, err := e.store.Project(ctx, userID, req.ProjectID); err != nil {
		return d, run, err
	}
	if err := req.Plan.Check(); err != nil {
		return d, run, err
	}
	err = e.store.InTx(ctx, func(s *store.Store) error {
		if d, err = s.CreateDeployment(ctx, store.NewDeployment{ProjectID: req.ProjectID, BundleID: req.BundleID, Plan: req.Plan}); err != nil {
			return err
		}
		run, _, err = s.CreateRun(ctx, store.NewRun{ProjectID: req.ProjectID, DeploymentID: d.ID, Playbook: "deploy", Steps: []coderunner.Step{{Name: "install", Title: "Install dependencies"}, {Name: "start", Title: "Start the app", After: []string{"install"}}}})
		return err
	})
	return d, run, err
}

func (e *engine) Destroy(ctx context.Context, userID, projectID, confirm string) (coderunner.Run, error) {
	p, err := e.store.Project(ctx, userID, projectID)
	if err == nil && confirm != p.Name {
		err = coderunner.FieldError("confirm", "That is not the project's name.")
	}
	if err != nil {
		return coderunner.Run{}, err
	}
	run, _, err := e.store.CreateRun(ctx, store.NewRun{ProjectID: projectID, Playbook: "destroy", Steps: []coderunner.Step{{Name: "apps", Title: "Remove the app"}}})
	return run, err
}

// changeDatabase begins a run that is about one of a project's databases.
func (e *engine) changeDatabase(ctx context.Context, userID, projectID, playbook, appliance string, restart bool) (run coderunner.Run, err error) {
	if _, err := e.store.Project(ctx, userID, projectID); err != nil {
		return run, err
	}
	steps := []coderunner.Step{{Name: "database", Title: appliance}}
	if restart {
		steps = append(steps, coderunner.Step{Name: "start", Title: "Start the app", After: []string{"database"}})
	}
	run, _, err = e.store.CreateRun(ctx, store.NewRun{ProjectID: projectID, Playbook: playbook, Steps: steps})
	return run, err
}

func (e *engine) AttachDatabase(ctx context.Context, userID, projectID, appliance string, restart bool) (coderunner.Run, error) {
	return e.changeDatabase(ctx, userID, projectID, "attach", appliance, restart)
}

func (e *engine) DetachDatabase(ctx context.Context, userID, projectID, appliance string, restart bool) (coderunner.Run, error) {
	return e.changeDatabase(ctx, userID, projectID, "detach", appliance, restart)
}

func (e *engine) DeleteDatabase(ctx context.Context, userID, projectID, appliance, confirm string) (coderunner.Run, error) {
	run, err := e.changeDatabase(ctx, userID, projectID, "delete_database", appliance, false)
	if err == nil && confirm != appliance {
		err = coderunner.FieldError("confirm", "That is not the database's name.")
	}
	return run, err
}

func (e *engine) Cancel(ctx context.Context, userID, runID string) (coderunner.Run, error) {
	if _, err := e.store.Run(ctx, userID, runID); err != nil {
		return coderunner.Run{}, err
	}
	return e.store.RequestCancel(ctx, runID)
}

// program is somebody's client.
type program struct {
	w       *world
	userID  string
	token   string
	refresh string
}

func (w *world) signUp(email string) program {
	w.Helper()
	var in api.LoggedIn
	program{w: w}.send("POST", "/auth/register", map[string]string{"email": email, "password": password}).want(http.StatusCreated).into(&in)
	return program{w: w, userID: in.User.ID, token: in.AccessToken, refresh: in.RefreshToken}
}

// answer is a response that was read to its end.
type answer struct {
	t      *testing.T
	what   string
	status int
	header http.Header
	body   string
}

// open sends a request and leaves the answer to be read.
func (p program) open(method, path string, body io.Reader, headers ...string) *http.Response {
	p.w.Helper()
	r := must(http.NewRequestWithContext(p.w.Context(), method, p.w.server.URL+"/api/v1"+path, body))(p.w)
	if p.token != "" {
		r.Header.Set("Authorization", "Bearer "+p.token)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return must(http.DefaultClient.Do(r))(p.w)
}

func (p program) do(method, path string, body io.Reader, headers ...string) answer {
	p.w.Helper()
	response := p.open(method, path, body, headers...)
	defer response.Body.Close()
	text := must(io.ReadAll(response.Body))(p.w)
	return answer{t: p.w.T, what: method + " " + path, status: response.StatusCode, header: response.Header, body: string(text)}
}

func (p program) get(path string, headers ...string) answer {
	p.w.Helper()
	return p.do("GET", path, nil, headers...)
}

// send sends a JSON body, or none for nil.
func (p program) send(method, path string, body any, headers ...string) answer {
	p.w.Helper()
	var text []byte
	if body != nil {
		text = must(json.Marshal(body))(p.w)
	}
	return p.do(method, path, bytes.NewReader(text), append([]string{"Content-Type", "application/json"}, headers...)...)
}

func (a answer) want(status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: status %d, want %d; body: %.600s", a.what, a.status, status, a.body)
	}
	return a
}

func (a answer) into(v any) {
	a.t.Helper()
	if err := json.Unmarshal([]byte(a.body), v); err != nil {
		a.t.Fatalf("%s: %v in %.600s", a.what, err, a.body)
	}
}

// wantProblem checks the document as a whole and answers it.
func (a answer) wantProblem(status int, kind coderunner.Kind) api.Problem {
	a.t.Helper()
	a.want(status)
	var p api.Problem
	a.into(&p)
	if p.Status != status || p.Kind != string(kind) || p.Title != http.StatusText(status) || p.Type != "about:blank" || len(p.Detail) < 10 ||
		p.RequestID == "" || p.RequestID != a.header.Get("X-Request-Id") || a.header.Get("Content-Type") != "application/problem+json" {
		a.t.Errorf("%s: problem %s with headers %v, want status %d and kind %q", a.what, a.body, a.header, status, kind)
	}
	return p
}

// archive is a tar of files given as name, content, name, content …
func archive(t *testing.T, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	out := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		err := out.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))})
		if _, writeErr := out.Write([]byte(files[i+1])); errors.Join(err, writeErr) != nil {
			t.Fatal(err, writeErr)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func nodeApp(t *testing.T) []byte {
	return archive(t, "package.json", `{"name":"app","scripts":{"start":"node index.js"},"dependencies":{"pg":"^8"}}`,
		"index.js", "require('http').createServer((q, a) => a.end('hello')).listen(process.env.PORT)")
}

// project makes a project with an app uploaded.
func (p program) project(name string) (api.Project, api.Bundle) {
	p.w.Helper()
	var made api.Project
	p.send("POST", "/projects", map[string]string{"name": name}).want(http.StatusCreated).into(&made)
	var up api.Bundle
	p.do("POST", "/projects/"+made.ID+"/bundles?filename=app.tar", bytes.NewReader(nodeApp(p.w.T))).want(http.StatusCreated).into(&up)
	return made, up
}

// deployed is a project with a run in progress, and the lease to write to it.
func (p program) deployed(name string) (api.Project, api.StartedDeployment, store.Lease) {
	p.w.Helper()
	made, up := p.project(name)
	var started api.StartedDeployment
	p.send("POST", "/projects/"+made.ID+"/deployments", map[string]any{"bundle_id": up.ID}).want(http.StatusAccepted).into(&started)
	run, claimed, err := p.w.store.ClaimRun(p.w.Context(), started.Run.ID, "test", time.Hour)
	if err != nil || !claimed {
		p.w.Fatalf("claimed: %v, %v", claimed, err)
	}
	return made, started, store.Lease{RunID: run.ID, Owner: "test", Epoch: run.Epoch}
}

// say adds lines to a run's log.
func (w *world) say(lease store.Lease, first int64, texts ...string) {
	w.Helper()
	var lines []coderunner.LogLine
	for _, text := range texts {
		lines = append(lines, coderunner.LogLine{RunID: lease.RunID, At: time.Now(), Stream: coderunner.Stdout, Step: "install", Text: text})
	}
	if err := w.store.AppendLog(w.Context(), lease, first, lines); err != nil {
		w.Fatal(err)
	}
}

func (w *world) finish(lease store.Lease, state coderunner.RunState, failure *coderunner.Failure) {
	w.Helper()
	if err := w.store.FinishRun(w.Context(), lease, state, failure); err != nil {
		w.Fatal(err)
	}
}

// hasField reports whether a problem is about a field.
func hasField(p api.Problem, field string) bool {
	for _, e := range p.Errors {
		if e.Field == field && strings.TrimSpace(e.Message) != "" {
			return true
		}
	}
	return false
}
