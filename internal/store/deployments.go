package store

import (
	"context"
	"encoding/json"
	"fmt"
	"math"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store/sqlc"
)

// CreateDeployment adds the project's next deployment, PENDING.
func (s *Store) CreateDeployment(ctx context.Context, projectID, bundleID string, plan coderunner.Plan) (coderunner.Deployment, error) {
	row, err := s.q.CreateDeployment(ctx, sqlc.CreateDeploymentParams{ProjectID: projectID, BundleID: pointer(bundleID), Plan: plan, RuntimeType: plan.Runtime.Name})
	return deployment(row), translate(err, "deployment")
}

// Deployment returns a deployment of one of the user's projects.
func (s *Store) Deployment(ctx context.Context, userID, id string) (coderunner.Deployment, error) {
	row, err := s.q.Deployment(ctx, id, userID)
	return deployment(row), translate(err, "deployment")
}

// DeploymentByID is for the engine.
func (s *Store) DeploymentByID(ctx context.Context, id string) (coderunner.Deployment, error) {
	row, err := s.q.DeploymentByID(ctx, id)
	return deployment(row), translate(err, "deployment")
}

// DeploymentByNumber returns the deployment that people call #number.
func (s *Store) DeploymentByNumber(ctx context.Context, userID, projectID string, number int) (coderunner.Deployment, error) {
	row, err := s.q.DeploymentByNumber(ctx, projectID, userID, int32(min(number, math.MaxInt32)))
	return deployment(row), translate(err, "deployment")
}

// ProjectDeployments lists a user's project's deployments, newest first.
func (s *Store) ProjectDeployments(ctx context.Context, userID, projectID string, limit, offset int) ([]coderunner.Deployment, error) {
	rows, err := s.q.ProjectDeployments(ctx, sqlc.ProjectDeploymentsParams{ProjectID: projectID, UserID: userID, PageSize: int32(limit), PageStart: int32(offset)})
	return each(rows, deployment), translate(err, "project")
}

func deployment(r sqlc.Deployment) coderunner.Deployment {
	return coderunner.Deployment{ID: r.ID, ProjectID: r.ProjectID, BundleID: deref(r.BundleID), Number: int(r.Number), Status: r.Status, RuntimeType: r.RuntimeType, Plan: r.Plan,
		AppSandboxID: deref(r.AppSandboxID), DBSandboxID: deref(r.DbSandboxID), PublicURL: deref(r.PublicUrl), Failure: r.Failure, ObservedAt: r.ObservedAt, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt}
}

// SetDeploymentStatus moves a deployment to a status; Conflict when the state
// machine has no such transition.
func (s *Store) SetDeploymentStatus(ctx context.Context, id string, status coderunner.DeploymentStatus) error {
	return s.InTx(ctx, func(s *Store) error {
		d, err := s.q.DeploymentForUpdate(ctx, id)
		if err != nil {
			return translate(err, "deployment")
		}
		if !d.Status.CanBecome(status) {
			return coderunner.Errorf(coderunner.Conflict, "Deployment %d is %s and cannot become %s.", d.Number, d.Status, status)
		}
		return translate(s.q.SetDeploymentStatus(ctx, id, status), "deployment")
	})
}

// SetDeploymentFailure records why a deployment failed.
func (s *Store) SetDeploymentFailure(ctx context.Context, id string, f *coderunner.Failure) error {
	return translate(s.q.SetDeploymentFailure(ctx, id, f), "deployment")
}

// SetDeploymentSandbox records the app's sandbox, "" for none.
func (s *Store) SetDeploymentSandbox(ctx context.Context, id, sandbox string) error {
	return translate(s.q.SetDeploymentSandbox(ctx, pointer(sandbox), id), "deployment")
}

// SetDeploymentDatabase records the database that a deployment was given;
// sealed is the encrypted connection.
func (s *Store) SetDeploymentDatabase(ctx context.Context, id, sandbox string, sealed []byte) error {
	info, err := json.Marshal(map[string][]byte{"ciphertext": sealed})
	if err != nil {
		return err
	}
	return translate(s.q.SetDeploymentDatabase(ctx, pointer(sandbox), info, id), "deployment")
}

// MoveRoute points a host at a sandbox and gives the deployment, and no other of
// the project, the public URL. Conflict when the host is another project's.
func (s *Store) MoveRoute(ctx context.Context, r coderunner.Route, url string) error {
	return s.InTx(ctx, func(s *Store) error {
		n, err := s.q.UpsertRoute(ctx, sqlc.UpsertRouteParams{Host: r.Host, ProjectID: r.ProjectID, DeploymentID: r.DeploymentID, SandboxID: r.SandboxID, Target: r.Target})
		if err != nil {
			return translate(err, "route")
		}
		if n == 0 {
			return coderunner.Errorf(coderunner.Conflict, "The host %s belongs to another project.", r.Host)
		}
		if err := s.q.MoveProjectURL(ctx, r.ProjectID, r.DeploymentID); err != nil {
			return translate(err, "deployment")
		}
		if err := s.q.SetDeploymentURL(ctx, &url, r.DeploymentID); err != nil {
			return translate(err, "deployment")
		}
		return s.notifyRoutes(ctx)
	})
}

// RoutesChannel is notified after every change of the routes.
const RoutesChannel = "routes"

func (s *Store) notifyRoutes(ctx context.Context) error {
	return translate(s.q.NotifyRoutes(ctx), "route")
}

// Routes lists all routes.
func (s *Store) Routes(ctx context.Context) ([]coderunner.Route, error) {
	rows, err := s.q.Routes(ctx)
	return each(rows, route), translate(err, "route")
}

// ProjectRoutes lists a project's routes.
func (s *Store) ProjectRoutes(ctx context.Context, projectID string) ([]coderunner.Route, error) {
	rows, err := s.q.ProjectRoutes(ctx, projectID)
	return each(rows, route), translate(err, "route")
}

// DeleteProjectRoutes takes a project off the edge.
func (s *Store) DeleteProjectRoutes(ctx context.Context, projectID string) error {
	return s.InTx(ctx, func(s *Store) error {
		if err := s.q.DeleteProjectRoutes(ctx, projectID); err != nil {
			return translate(err, "route")
		}
		if err := s.q.ClearProjectURL(ctx, projectID); err != nil {
			return translate(err, "deployment")
		}
		return s.notifyRoutes(ctx)
	})
}

func route(r sqlc.Route) coderunner.Route {
	return coderunner.Route{Host: r.Host, ProjectID: r.ProjectID, DeploymentID: r.DeploymentID, SandboxID: r.SandboxID, Target: r.Target, UpdatedAt: r.UpdatedAt}
}

// SealedDatabase is a project's database with its connection encrypted.
type SealedDatabase struct {
	coderunner.Database        // Connection is nil
	Sealed              []byte // nil until provisioned
}

// EnsureDatabase returns the project's database of an appliance, made if absent.
func (s *Store) EnsureDatabase(ctx context.Context, d coderunner.Database) (SealedDatabase, error) {
	row, err := s.q.UpsertDatabase(ctx, sqlc.UpsertDatabaseParams{ProjectID: d.ProjectID, Appliance: d.Appliance, Name: d.Name, Volume: d.Volume})
	return database(row), translate(err, "database")
}

// ProjectDatabases lists a project's databases, oldest first.
func (s *Store) ProjectDatabases(ctx context.Context, projectID string) ([]SealedDatabase, error) {
	rows, err := s.q.ProjectDatabases(ctx, projectID)
	return each(rows, database), translate(err, "project")
}

// SetDatabaseConnection records a database's sandbox and its encrypted connection.
func (s *Store) SetDatabaseConnection(ctx context.Context, id, sandbox string, sealed []byte) error {
	return translate(s.q.SetDatabaseConnection(ctx, pointer(sandbox), sealed, id), "database")
}

func database(r sqlc.Database) SealedDatabase {
	return SealedDatabase{Database: coderunner.Database{ID: r.ID, ProjectID: r.ProjectID, Appliance: r.Appliance, Name: r.Name, SandboxID: deref(r.SandboxID), Volume: r.Volume}, Sealed: r.Connection}
}

// ExpectSandbox records a sandbox before it is made, so that none is ever forgotten.
func (s *Store) ExpectSandbox(ctx context.Context, r coderunner.SandboxRecord) error {
	return translate(s.q.UpsertSandbox(ctx, sqlc.UpsertSandboxParams{ID: r.ID, Provider: r.Provider, ProjectID: r.ProjectID, DeploymentID: pointer(r.DeploymentID), DatabaseID: pointer(r.DatabaseID), Appliance: r.Appliance}), "sandbox")
}

// ObserveSandbox records what the provider said about a sandbox just now.
func (s *Store) ObserveSandbox(ctx context.Context, id, state string) error {
	return s.InTx(ctx, func(s *Store) error {
		if err := s.q.ObserveSandbox(ctx, id, state); err != nil {
			return translate(err, "sandbox")
		}
		return translate(s.q.ObserveDeployment(ctx, &id), "deployment")
	})
}

// ForgetSandbox removes a sandbox that the provider confirmed gone.
func (s *Store) ForgetSandbox(ctx context.Context, id string) error {
	return translate(s.q.DeleteSandbox(ctx, id), "sandbox")
}

// ProjectSandboxes lists what we believe a project has.
func (s *Store) ProjectSandboxes(ctx context.Context, projectID string) ([]coderunner.SandboxRecord, error) {
	rows, err := s.q.ProjectSandboxes(ctx, projectID)
	return each(rows, sandboxRecord), translate(err, "project")
}

// Sandboxes lists what we believe a provider has.
func (s *Store) Sandboxes(ctx context.Context, provider string) ([]coderunner.SandboxRecord, error) {
	rows, err := s.q.Sandboxes(ctx, provider)
	return each(rows, sandboxRecord), translate(err, "sandbox")
}

func sandboxRecord(r sqlc.Sandbox) coderunner.SandboxRecord {
	return coderunner.SandboxRecord{ID: r.ID, Provider: r.Provider, ProjectID: r.ProjectID, DeploymentID: deref(r.DeploymentID), DatabaseID: deref(r.DatabaseID), Appliance: r.Appliance, State: r.State, ObservedAt: r.ObservedAt, CreatedAt: r.CreatedAt}
}

// EndProject turns a project into history: its deployments are DESTROYED, its
// databases, variables, routes and what its apps printed forgotten. Bundles go by DeleteProjectBundles.
func (s *Store) EndProject(ctx context.Context, id string) error {
	return s.InTx(ctx, func(s *Store) error {
		for what, delete := range map[string]func(context.Context, string) error{
			"routes": s.q.DeleteProjectRoutes, "variables": s.q.DeleteProjectVariables, "databases": s.q.DeleteProjectDatabases,
			"deployments": s.q.DestroyProjectDeployments, "runtime log": s.q.DeleteRuntimeLog, "project": s.q.MarkProjectDestroyed,
		} {
			if err := delete(ctx, id); err != nil {
				return fmt.Errorf("ending the project's %s: %w", what, translate(err, "project"))
			}
		}
		return s.notifyRoutes(ctx)
	})
}

func each[T, U any](rows []T, f func(T) U) []U {
	out := make([]U, len(rows))
	for i, r := range rows {
		out[i] = f(r)
	}
	return out
}
