package web_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/PuerkitoBio/goquery"

	"github.com/coderunner/coderunner/appliances"
	"github.com/coderunner/coderunner/internal/appliance"
	"github.com/coderunner/coderunner/internal/auth"
	"github.com/coderunner/coderunner/internal/bundle"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/playbook"
	"github.com/coderunner/coderunner/internal/project"
	"github.com/coderunner/coderunner/internal/runlog"
	"github.com/coderunner/coderunner/internal/secret"
	"github.com/coderunner/coderunner/internal/store"
	"github.com/coderunner/coderunner/internal/testdb"
	"github.com/coderunner/coderunner/internal/web"
	"github.com/coderunner/coderunner/static"
)

// world is the whole of web on a real database, behind a real HTTP server. Only the
// engine is stood in for: it writes real rows and leaves the work to the test.
type world struct {
	*testing.T
	store    *store.Store
	keys     *secret.KeyRing
	projects *project.Service
	engine   *engine
	server   *httptest.Server
	log      *syncBuffer
	ada, bob browser
}

func newWorld(t *testing.T, change ...func(*web.Services)) *world {
	t.Helper()
	w := &world{T: t, store: store.New(testdb.NewPool(t)), log: &syncBuffer{}}
	bundles := must(bundle.Open(t.TempDir(), bundle.Limits{ArchiveBytes: 1 << 20, FreeBytes: 1}))(t)
	w.keys = must(secret.Open(filepath.Join(t.TempDir(), "keys.json")))(t)
	w.projects = project.New(w.store, bundles, w.keys)
	w.engine = &engine{Engine: playbook.New(playbook.Config{}, w.store, nil, nil, bundles, w.keys, nil, nil, playbook.Edge{}, slog.New(slog.DiscardHandler)), store: w.store}
	people := must(auth.New(auth.Config{KeyFile: filepath.Join(t.TempDir(), "jwt.key"), PublicURL: "http://localhost:8080"}, w.store))(t)
	hub := runlog.NewHub(w.store)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = hub.Run(ctx)
	}()
	services := web.Services{
		Auth: people, Projects: w.projects, Store: w.store, Engine: w.engine, Hub: hub,
		Catalogue: must(appliance.Load(appliances.FS))(t), Static: static.New(), UploadLimit: 1 << 20,
		Log: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&services)
	}
	w.server = httptest.NewServer(web.New(services))
	t.Cleanup(func() {
		stop()
		<-ended
		w.server.Close()
	})
	w.ada, w.bob = w.signUp("ada@example.com"), w.signUp("bob@example.com")
	return w
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// syncBuffer collects the log of all requests.
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

// The services that the program has fit.
var (
	_ web.Auth   = (*auth.Service)(nil)
	_ web.Engine = (*playbook.Engine)(nil)
	_ web.Hub    = (*runlog.Hub)(nil)
)

// engine writes the rows of a run and leaves the work to the test.
type engine struct {
	web.Engine // the real one, not started, for all that is not written out below
	store      *store.Store
	mu         sync.Mutex
	asked      []playbook.DeployRequest
	err        error  // refuses the next request
	begin      func() // what happens as the next cancel arrives
}

func (e *engine) refuse(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.err = err
}

func (e *engine) take() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	defer func() { e.err = nil }()
	return e.err
}

func (e *engine) Deploy(ctx context.Context, userID string, req playbook.DeployRequest) (coderunner.Deployment, coderunner.Run, error) {
	if err := e.take(); err != nil {
		return coderunner.Deployment{}, coderunner.Run{}, err
	}
	e.mu.Lock()
	e.asked = append(e.asked, req)
	e.mu.Unlock()
	if newest, err := e.store.ProjectDeployments(ctx, userID, req.ProjectID, 1, 0); req.After != "" && (err != nil || newest[0].ID != req.After) {
		return coderunner.Deployment{}, coderunner.Run{}, errors.Join(err, playbook.ErrSuperseded)
	}
	if _, err := e.store.Project(ctx, userID, req.ProjectID); err != nil {
		return coderunner.Deployment{}, coderunner.Run{}, err
	}
	d, err := e.store.CreateDeployment(ctx, store.NewDeployment{ProjectID: req.ProjectID, BundleID: req.BundleID, Plan: req.Plan})
	if err != nil {
		return d, coderunner.Run{}, err
	}
	run, _, err := e.store.CreateRun(ctx, store.NewRun{ProjectID: req.ProjectID, DeploymentID: d.ID, Playbook: "deploy", Steps: []coderunner.Step{{Name: "install", Title: "Install dependencies"}, {Name: "start", Title: "Start the app", After: []string{"install"}}}})
	return d, run, err
}

func (e *engine) Rollback(ctx context.Context, userID, deploymentID string) (coderunner.Deployment, coderunner.Run, error) {
	to, err := e.store.Deployment(ctx, userID, deploymentID)
	if err != nil {
		return to, coderunner.Run{}, err
	}
	d, err := e.store.CreateDeployment(ctx, store.NewDeployment{ProjectID: to.ProjectID, BundleID: to.BundleID, Plan: to.Plan, Origin: coderunner.FromRollback, FromID: to.ID})
	if err != nil {
		return d, coderunner.Run{}, err
	}
	run, _, err := e.store.CreateRun(ctx, store.NewRun{ProjectID: to.ProjectID, DeploymentID: d.ID, Playbook: "rollback", Steps: []coderunner.Step{{Name: "start", Title: "Start the app"}}})
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
	if e.begin != nil {
		e.begin()
	}
	if err := e.take(); err != nil {
		return coderunner.Run{}, err
	}
	if _, err := e.store.Run(ctx, userID, runID); err != nil {
		return coderunner.Run{}, err
	}
	return e.store.RequestCancel(ctx, runID)
}

// browser is one person at the dashboard. It keeps cookies and does not follow redirects.
type browser struct {
	w      *world
	client *http.Client
	user   coderunner.User
}

const password = "correct horse battery"

func (w *world) visitor() browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.Fatal(err)
	}
	return browser{w: w, client: &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

func (w *world) signUp(email string) browser {
	w.Helper()
	b := w.visitor()
	b.post("/signup", url.Values{"email": {email}, "password": {password}}).wantRedirect("/projects")
	b.user = must(w.store.UserByEmail(w.Context(), email))(w)
	return b
}

// answer is a response that was read to its end.
type answer struct {
	t      *testing.T
	what   string
	status int
	header http.Header
	body   string
}

func (b browser) do(method, path string, body io.Reader, headers ...string) answer {
	b.w.Helper()
	r, err := http.NewRequestWithContext(b.w.Context(), method, b.w.server.URL+path, body)
	if err != nil {
		b.w.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := b.client.Do(r)
	if err != nil {
		b.w.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		b.w.Fatal(err)
	}
	return answer{t: b.w.T, what: method + " " + path, status: response.StatusCode, header: response.Header, body: string(text)}
}

func (b browser) get(path string, headers ...string) answer {
	b.w.Helper()
	return b.do(http.MethodGet, path, nil, headers...)
}

func (b browser) post(path string, form url.Values, headers ...string) answer {
	b.w.Helper()
	return b.do(http.MethodPost, path, strings.NewReader(form.Encode()), append([]string{"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin"}, headers...)...)
}

func (a answer) want(status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: status %d, want %d; body: %.600s", a.what, a.status, status, a.body)
	}
	return a
}

func (a answer) wantRedirect(to string) answer {
	a.t.Helper()
	a.want(http.StatusSeeOther)
	if got := a.header.Get("Location"); got != to {
		a.t.Fatalf("%s: redirect to %q, want %q", a.what, got, to)
	}
	return a
}

// page parses the body.
func (a answer) page() *goquery.Document {
	a.t.Helper()
	return must(goquery.NewDocumentFromReader(strings.NewReader(a.body)))(a.t)
}

// text is what the selector's elements say, with single spaces.
func (a answer) text(selector string) string {
	a.t.Helper()
	return strings.Join(strings.Fields(a.page().Find(selector).Text()), " ")
}

func (a answer) wantText(selector, want string) answer {
	a.t.Helper()
	if got := a.text(selector); !strings.Contains(got, want) {
		a.t.Errorf("%s: %s says %q, want %q in it", a.what, selector, got, want)
	}
	return a
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
	return archive(t, "package.json", `{"name":"app","scripts":{"start":"node index.js"}}`,
		"index.js", "require('http').createServer((q, a) => a.end(process.env.GREETING)).listen(process.env.PORT)")
}

// project uploads an app for a user.
func (w *world) project(b browser, name string) (coderunner.Project, coderunner.Bundle) {
	w.Helper()
	p, up, err := w.projects.NewFromUpload(w.Context(), b.user.ID, name, "app.tar", bytes.NewReader(nodeApp(w.T)), nil)
	if err != nil {
		w.Fatal(err)
	}
	return p, up
}

// deployed is a project with a run in progress, and the lease to write to it.
func (w *world) deployed(b browser, name string) (coderunner.Project, coderunner.Run, store.Lease) {
	w.Helper()
	p, up := w.project(b, name)
	_, run, err := w.engine.Deploy(w.Context(), b.user.ID, playbook.DeployRequest{ProjectID: p.ID, BundleID: up.ID, Plan: up.Plan})
	if err != nil {
		w.Fatal(err)
	}
	run, claimed, err := w.store.ClaimRun(w.Context(), run.ID, "test", time.Hour)
	if err != nil || !claimed {
		w.Fatalf("claimed: %v, %v", claimed, err)
	}
	return p, run, store.Lease{RunID: run.ID, Owner: "test", Epoch: run.Epoch}
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
