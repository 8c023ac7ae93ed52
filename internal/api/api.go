// Package api answers programs: JSON over HTTP under /api/v1, described by the
// OpenAPI 3.1 document at /api/v1/openapi.json, which is generated from this code.
//
// A program logs in with e-mail and password, sends the access token as a bearer
// token and exchanges the refresh token for new ones. The browser's cookie means
// nothing here, so that no page of another site can use it.
//
// What goes wrong is a problem document (RFC 9457) with the request's id and a
// sentence. What belongs to somebody else is not found. Archives and logs pass
// through; neither is ever in memory as a whole.
package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"

	"github.com/coderunner/coderunner/internal/auth"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/playbook"
	"github.com/coderunner/coderunner/internal/project"
	"github.com/coderunner/coderunner/internal/runlog"
	"github.com/coderunner/coderunner/internal/store"
	"github.com/coderunner/coderunner/internal/stream"
)

// Prefix is what the path of every request begins with. The handler wants the whole path.
const Prefix = "/api/v1"

// Engine runs playbooks; see playbook.Engine.
type Engine interface {
	Deploy(ctx context.Context, userID string, req playbook.DeployRequest) (coderunner.Deployment, coderunner.Run, error)
	Redeploy(ctx context.Context, userID, projectID string) (coderunner.Deployment, coderunner.Run, error)
	Rollback(ctx context.Context, userID, deploymentID string) (coderunner.Deployment, coderunner.Run, error)
	RestartApp(ctx context.Context, userID, projectID string) (coderunner.Run, error)
	StartApp(ctx context.Context, userID, projectID string) (coderunner.Run, error)
	StopApp(ctx context.Context, userID, projectID string, databases bool) (coderunner.Run, error)
	// Databases answers the project's databases, without their passwords.
	Databases(ctx context.Context, userID, projectID string) ([]coderunner.DatabaseStatus, error)
	// AttachDatabase, DetachDatabase and DeleteDatabase are about the project's database of an appliance.
	AttachDatabase(ctx context.Context, userID, projectID, appliance string, restart bool) (coderunner.Run, error)
	DetachDatabase(ctx context.Context, userID, projectID, appliance string, restart bool) (coderunner.Run, error)
	DeleteDatabase(ctx context.Context, userID, projectID, appliance, confirm string) (coderunner.Run, error)
	// Backend answers what a project on Manifest has, nil for another; RevealAdmin the login of its administrator.
	Backend(ctx context.Context, userID, projectID string) (*coderunner.Backend, error)
	RevealAdmin(ctx context.Context, userID, projectID string) (coderunner.AdminLogin, error)
	// Drops lists the columns that a Manifest backend would lose by a deploy.
	Drops(ctx context.Context, userID, projectID, bundleID string, plan coderunner.Plan) ([]coderunner.Drop, error)
	Destroy(ctx context.Context, userID, projectID, confirm string) (coderunner.Run, error)
	Cancel(ctx context.Context, userID, runID string) (coderunner.Run, error)
}

// Services are what the API is made of.
type Services struct {
	Auth     *auth.Service
	Projects *project.Service
	Store    *store.Store
	Engine   Engine
	Hub      *runlog.Hub
	Samples  []coderunner.Sample
	Disk     func() coderunner.Disk // as last observed
	Log      *slog.Logger           // nothing is logged if nil

	// VolumeSize answers how many bytes a volume takes. Optional.
	VolumeSize func(ctx context.Context, name string) (int64, error)

	// Streams counts those that are open, the pages' as well. Its own if nil.
	Streams *stream.Places

	UploadLimit int64 // bytes of one archive, as the bundle store has it

	// KeepAlive is how often a silent stream is given a comment, 15 s if zero;
	// WriteTimeout how long a reader may take for one write of a stream, 10 s if zero.
	KeepAlive, WriteTimeout time.Duration
}

// server is the handlers' receiver.
type server struct {
	Services
	huma      huma.API
	downloads downloads
}

// New answers the handler of every path under Prefix.
func New(services Services) http.Handler {
	s := &server{Services: services, downloads: downloads{open: map[string]int{}}}
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
	router := chi.NewRouter()
	router.Use(withVisit, headers, s.accessLog, s.recoverPanics)
	router.NotFound(func(w http.ResponseWriter, r *http.Request) {
		s.write(w, r, coderunner.Errorf(coderunner.NotFound, "There is nothing at this address. %s/openapi.json lists what there is.", Prefix))
	})
	router.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
			if router.Match(chi.NewRouteContext(), method, r.URL.Path) {
				w.Header().Add("Allow", method)
			}
		}
		s.writeProblem(w, newProblem(r.Context(), http.StatusMethodNotAllowed, "", "This address does not take "+r.Method+" requests."))
	})
	s.huma = humachi.New(router, description())
	s.routes()
	router.Get(Prefix+"/openapi.json", s.openAPI())
	return router
}

// routes is the table of all addresses.
func (s *server) routes() {
	public(s, post("/auth/register", "register", "Make an account", http.StatusCreated), s.register)
	public(s, post("/auth/login", "log-in", "Log in", http.StatusOK), s.logIn)
	public(s, post("/auth/refresh", "refresh", "Exchange a refresh token for new tokens", http.StatusOK), s.refresh)
	public(s, post("/auth/logout", "log-out", "End a log-in with all its tokens", http.StatusNoContent), s.logOut)

	private(s, post("/projects", "create-project", "Create a project", http.StatusCreated), s.createProject)
	private(s, get("/projects", "list-projects", "List projects, the newest first"), s.listProjects)
	private(s, get("/projects/{id}", "get-project", "Get a project"), s.getProject)
	private(s, destroyOperation(), s.destroyProject)

	private(s, get("/samples", "list-samples", "List the apps that come with CodeRunner"), s.listSamples)
	private(s, sampleOperation(), s.createFromSample)

	private(s, uploadOperation(), s.upload)
	describeUpload(s.huma.OpenAPI())
	private(s, post("/projects/{id}/deployments", "deploy", "Deploy a bundle", http.StatusAccepted), s.deploy)
	private(s, get("/projects/{id}/deployments", "list-deployments", "List a project's deployments, the newest first"), s.listDeployments)
	private(s, post("/projects/{id}/redeploy", "redeploy", "Install and build the current code again", http.StatusAccepted), s.redeploy)
	private(s, post("/projects/{id}/restart", "restart", "Run the current deployment in a new sandbox, with the variables as they are now", http.StatusAccepted), s.restart)
	private(s, post("/projects/{id}/start", "start", "Start a stopped app", http.StatusAccepted), s.start)
	private(s, post("/projects/{id}/stop", "stop", "Stop the app; everything but what it wrote beside its databases is kept", http.StatusAccepted), s.stop)
	s.variableOperations()
	private(s, get("/projects/{id}/databases", "list-databases", "List a project's databases, without their passwords"), s.listDatabases)
	private(s, post("/projects/{id}/databases/{appliance}/attach", "attach-database", "Give the app a new database, or a detached one with its data", http.StatusAccepted), s.attachDatabase)
	private(s, post("/projects/{id}/databases/{appliance}/detach", "detach-database", "Take a database away from the app and stop it; its data is kept", http.StatusAccepted), s.detachDatabase)
	private(s, post("/projects/{id}/databases/{appliance}/delete", "delete-database", "Delete a detached database with its data", http.StatusAccepted), s.deleteDatabase)
	private(s, get("/projects/{id}/backend", "get-backend", "Get what a project on Manifest has beside its deployments"), s.getBackend)
	private(s, post("/projects/{id}/backend/administrator", "reveal-administrator", "Get the login of the backend's administrator; that it was asked for is recorded", http.StatusOK), s.revealAdmin)
	private(s, runtimeLogOperation(s.huma), s.runtimeLog)
	private(s, runtimeEventsOperation(), s.runtimeEvents)
	private(s, get("/deployments/{id}", "get-deployment", "Get a deployment"), s.getDeployment)
	private(s, post("/deployments/{id}/rollback", "rollback", "Run what was built for an earlier deployment, as a new one", http.StatusAccepted), s.rollback)

	private(s, get("/runs/{id}", "get-run", "Get a run with its steps"), s.getRun)
	private(s, post("/runs/{id}/cancel", "cancel-run", "Ask a run to stop", http.StatusAccepted), s.cancelRun)
	private(s, post("/runs/{id}/fix", "fix-run", "Deploy a failed run's upload again with one of the fixes of its failure", http.StatusAccepted), s.fixRun)
	private(s, logOperation(s.huma), s.runLog)
	private(s, eventsOperation(), s.runEvents)

	private(s, get("/server/disk", "get-disk", "What this server stores, and how much room it has"), s.disk)
}

// openAPI serves the description of everything that routes registered.
func (s *server) openAPI() http.HandlerFunc {
	document := s.huma.OpenAPI()
	for _, unused := range []string{"ErrorModel", "ErrorDetail"} { // huma's own problem, see asProblem
		delete(document.Components.Schemas.Map(), unused)
	}
	text, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("the description of the API: %v", err)) // made of this code alone: found by any test
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(text)
	}
}
