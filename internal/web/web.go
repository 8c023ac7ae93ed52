// Package web answers browsers: one file for each page, over the page structs of
// views. A handler reads the request, makes a call or two of the domain, and
// renders; what goes wrong it returns, and errors.go makes a page, a fragment or
// JSON of it.
//
// Every answer has a request id and a strict content security policy. A request
// that changes something is refused unless it comes from a page of ours. What
// belongs to somebody else is not found.
package web

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/coderunner/coderunner/internal/appliance"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/playbook"
	"github.com/coderunner/coderunner/internal/project"
	"github.com/coderunner/coderunner/internal/runlog"
	"github.com/coderunner/coderunner/internal/store"
	"github.com/coderunner/coderunner/internal/stream"
	"github.com/coderunner/coderunner/static"
	"github.com/coderunner/coderunner/views"
)

// Auth knows who asks; see auth.Service. Its errors are sentences: Unauthenticated when nobody is
// logged in or the password is wrong, Throttled after too many tries.
type Auth interface {
	Register(ctx context.Context, email, password, peer string) (coderunner.User, error)
	Login(ctx context.Context, email, password, peer string) (coderunner.User, error)
	// StartSession gives the browser a new session, in place of the one it has.
	StartSession(w http.ResponseWriter, r *http.Request, userID string) error
	EndSession(w http.ResponseWriter, r *http.Request) error
	CurrentUser(r *http.Request) (coderunner.User, error)
	// SessionHandle names the browser's session as store.UserSessions does; "" if it has none.
	SessionHandle(r *http.Request) string
	// Flash keeps a sentence for the next page that shows Flashes.
	Flash(w http.ResponseWriter, r *http.Request, sentence string) error
	Flashes(w http.ResponseWriter, r *http.Request) ([]string, error)
}

// Engine runs playbooks; see playbook.Engine.
type Engine interface {
	Deploy(ctx context.Context, userID string, req playbook.DeployRequest) (coderunner.Deployment, coderunner.Run, error)
	Redeploy(ctx context.Context, userID, projectID string) (coderunner.Deployment, coderunner.Run, error)
	Rollback(ctx context.Context, userID, deploymentID string) (coderunner.Deployment, coderunner.Run, error)
	RestartApp(ctx context.Context, userID, projectID string) (coderunner.Run, error)
	StartApp(ctx context.Context, userID, projectID string) (coderunner.Run, error)
	StopApp(ctx context.Context, userID, projectID string, databases bool) (coderunner.Run, error)
	// DeploymentVariables answers what a deployment last ran with, values included.
	DeploymentVariables(ctx context.Context, projectID, deploymentID string) (coderunner.Variables, error)
	// Databases answers the project's databases, without their passwords.
	Databases(ctx context.Context, userID, projectID string) ([]coderunner.DatabaseStatus, error)
	// AttachDatabase, DetachDatabase and DeleteDatabase are about the project's database of an appliance.
	AttachDatabase(ctx context.Context, userID, projectID, appliance string, restart bool) (coderunner.Run, error)
	DetachDatabase(ctx context.Context, userID, projectID, appliance string, restart bool) (coderunner.Run, error)
	DeleteDatabase(ctx context.Context, userID, projectID, appliance, confirm string) (coderunner.Run, error)
	// DetachedSince lists the databases that a deployment had and that are detached now.
	DetachedSince(ctx context.Context, projectID, deploymentID string) ([]coderunner.Database, error)
	// Backend answers what a project on Manifest has, nil for another; RevealAdmin the login of its administrator.
	Backend(ctx context.Context, userID, projectID string) (*coderunner.Backend, error)
	RevealAdmin(ctx context.Context, userID, projectID string) (coderunner.AdminLogin, error)
	// Drops lists the columns that a Manifest backend would lose by a deploy.
	Drops(ctx context.Context, userID, projectID, bundleID string, plan coderunner.Plan) ([]coderunner.Drop, error)
	Destroy(ctx context.Context, userID, projectID, confirm string) (coderunner.Run, error)
	Cancel(ctx context.Context, userID, runID string) (coderunner.Run, error)
}

// Hub wakes those who watch a run or a runtime log; see runlog.Hub.
type Hub interface {
	Subscribe(runID string) (<-chan struct{}, func())
	ReadRuntime(projectID string) *runlog.RuntimeReader
	Closed() <-chan struct{}
}

// TemplateStatus is what a provider says about an appliance's template.
type TemplateStatus struct {
	State     views.TemplateState
	Detail    string
	BuiltAt   *time.Time
	SizeBytes int64
}

// Services are what the pages are made of. Those marked optional may be nil.
type Services struct {
	Auth      Auth
	Projects  *project.Service
	Store     *store.Store
	Engine    Engine
	Hub       Hub
	Catalogue *appliance.Catalogue
	Samples   []coderunner.Sample // offered on the page of projects
	Static    *static.Files

	// Templates answers the state of each appliance's template by name. Optional.
	Templates func(ctx context.Context) (map[string]TemplateStatus, error)
	// Volumes answers the provider's volumes of a project by name. Optional.
	Volumes func(ctx context.Context, projectID string) ([]views.VolumeLoss, error)

	// Applied answers the variables that a project's app was last started with; known
	// is false where nothing runs. Optional: without it no page says what is not applied yet.
	Applied func(ctx context.Context, userID, projectID string) (variables coderunner.Variables, known bool, err error)

	// Disk answers what the server stores, ProjectDisk what a project does and when that
	// was measured (nil: never). Optional.
	Disk        func() coderunner.Disk
	ProjectDisk func(projectID string) ([]coderunner.Stored, *time.Time)
	Sources     []coderunner.Source // of packages, where whoever runs the server has named some
	// Machine answers what the server runs on, and what of it may not work. Optional.
	Machine func(ctx context.Context) []coderunner.Part

	// Streams counts those that are open, the API's as well. Its own if nil.
	Streams *stream.Places

	UploadLimit int64 // bytes of one upload
	Log         *slog.Logger

	// KeepAlive is how often a silent stream is given a comment, 15 s if zero;
	// WriteTimeout how long a reader may take for one write of a stream, 10 s if zero.
	KeepAlive, WriteTimeout time.Duration
}

// site is the handlers' receiver.
type site struct {
	Services
	router *chi.Mux
}

// New answers the handler of all pages.
func New(services Services) http.Handler {
	s := &site{Services: services, router: chi.NewRouter()}
	if s.Log == nil {
		s.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if s.Streams == nil {
		s.Streams = &stream.Places{}
	}
	if s.KeepAlive == 0 {
		s.KeepAlive = 15 * time.Second
	}
	if s.WriteTimeout == 0 {
		s.WriteTimeout = 10 * time.Second
	}
	s.router.Use(withRequestID, securityHeaders, s.accessLog, s.recoverPanics, s.sameOrigin, middleware.StripSlashes, middleware.GetHead)
	s.router.NotFound(s.handle(s.notFound))
	s.router.MethodNotAllowed(s.handle(s.methodNotAllowed))
	s.routes(s.router)
	return s.router
}

// routes is the table of all addresses; views/paths.go makes the links to them.
func (s *site) routes(r chi.Router) {
	r.Get("/healthz", s.handle(s.health))
	r.Handle(static.Prefix+"*", s.Static)

	r.Get("/", s.handle(s.landing))
	r.Get("/signup", s.handle(s.signUpPage))
	r.Post("/signup", s.handle(s.signUp))
	r.Get("/login", s.handle(s.logInPage))
	r.Post("/login", s.handle(s.logIn))
	r.Post("/logout", s.handle(s.logOut))
	r.Post("/logout/all", s.private(s.logOutEverywhere))

	r.Get("/account", s.private(s.account))
	r.Post("/account/sessions/{session}/revoke", s.private(s.revokeSession))
	r.Get("/appliances", s.private(s.appliances))
	r.Get("/server", s.private(s.server))
	r.Get("/server/live-test", s.private(s.liveTest))

	r.Get("/projects", s.private(s.projects))
	r.Post("/upload", s.handle(s.upload)) // keeps visitors out itself, once it has heard them out
	r.Post("/samples/{sample}", s.private(s.startSample))
	r.Route("/projects/{project}", func(r chi.Router) {
		r.Get("/", s.private(s.project))
		r.Get("/logs", s.private(s.logs))
		r.Get("/logs/lines", s.private(s.logLines))
		r.Get("/logs/events", s.private(s.logEvents))
		r.Get("/logs.txt", s.private(s.logsText))
		r.Get("/logs.ndjson", s.private(s.logsJSON))
		r.Get("/{tab:overview|deployments|settings}", s.private(s.project))
		r.Get("/variables", s.private(s.variables))
		r.Post("/variables", s.private(s.saveVariables))
		r.Get("/databases", s.private(s.databases))
		r.Post("/databases/{appliance}/attach", s.private(s.act(s.attachDatabase)))
		r.Post("/databases/{appliance}/detach", s.private(s.act(s.detachDatabase)))
		r.Get("/databases/{appliance}/delete", s.private(s.deleteDatabasePage))
		r.Post("/databases/{appliance}/delete", s.private(s.deleteDatabase))
		r.Post("/administrator", s.private(s.revealAdmin))
		r.Get("/bundles/{bundle}", s.private(s.plan))
		r.Post("/bundles/{bundle}/deploy", s.private(s.deploy))
		r.Post("/redeploy", s.private(s.act(s.redeploy)))
		r.Post("/restart", s.private(s.act(s.restart)))
		r.Post("/start", s.private(s.act(s.start)))
		r.Post("/stop", s.private(s.act(s.stop)))
		r.Get("/destroy", s.private(s.destroyPage))
		r.Post("/destroy", s.private(s.destroy))
	})
	r.Get("/deployments/{deployment}/rollback", s.private(s.rollbackPage))
	r.Post("/deployments/{deployment}/rollback", s.private(s.rollback))
	r.Route("/runs/{run}", func(r chi.Router) {
		r.Get("/", s.private(s.run))
		r.Get("/events", s.private(s.runEvents))
		r.Get("/log", s.private(s.runLog))
		r.Get("/log.txt", s.private(s.runLogText))
		r.Get("/log.ndjson", s.private(s.runLogJSON))
		r.Post("/cancel", s.private(s.cancel))
		r.Post("/fix", s.private(s.fix))
	})
}

// health says whether this process can do its work.
func (s *site) health(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err := s.Store.Ping(r.Context()); err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, err = io.WriteString(w, coderunner.Sentence(err)+"\n")
		return err
	}
	_, err := io.WriteString(w, "ok\n")
	return err
}
