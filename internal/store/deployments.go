package store

import (
	"context"
	"encoding/json"
	"fmt"
	"math"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store/sqlc"
)

// NewDeployment is a deployment to be created.
type NewDeployment struct {
	ProjectID string
	BundleID  string
	Plan      coderunner.Plan
	Origin    coderunner.Origin   // FromUpload if ""
	FromID    string              // the deployment that it repeats
	Release   *coderunner.Release // of a rollback: what is kept of that deployment
}

// CreateDeployment adds the project's next deployment, PENDING.
func (s *Store) CreateDeployment(ctx context.Context, n NewDeployment) (coderunner.Deployment, error) {
	if n.Origin == "" {
		n.Origin = coderunner.FromUpload
	}
	row, err := s.q.CreateDeployment(ctx, sqlc.CreateDeploymentParams{ProjectID: n.ProjectID, BundleID: pointer(n.BundleID), Plan: n.Plan, RuntimeType: n.Plan.Runtime.Name,
		Origin: string(n.Origin), FromDeploymentID: pointer(n.FromID), Release: n.Release})
	return deployment(row), translate(err, "deployment")
}

// CurrentDeployment is the version of a user's project that serves, or would if
// it were started; NotFound before the first.
func (s *Store) CurrentDeployment(ctx context.Context, userID, projectID string) (coderunner.Deployment, error) {
	row, err := s.q.CurrentDeployment(ctx, projectID, userID)
	return deployment(row), translate(err, "deployment")
}

// DeploymentVariables answers the encrypted variables that a deployment last ran
// with, nil if it never ran.
func (s *Store) DeploymentVariables(ctx context.Context, id string) ([]byte, error) {
	sealed, err := s.q.DeploymentVariables(ctx, id)
	return sealed, translate(err, "deployment")
}

// SetRelease records what a deployment's sandboxes are made from, nil when that is not kept.
func (s *Store) SetRelease(ctx context.Context, id string, r *coderunner.Release) error {
	return translate(s.q.SetDeploymentRelease(ctx, r, id), "deployment")
}

// ForgetDeploymentSecrets removes what is kept encrypted with a project's deployments
// that neither serve nor can be rolled back to any more.
func (s *Store) ForgetDeploymentSecrets(ctx context.Context, projectID string) error {
	return translate(s.q.ForgetDeploymentSecrets(ctx, projectID), "project")
}

// KeptReleases lists a project's deployments that can be run again, newest first.
func (s *Store) KeptReleases(ctx context.Context, projectID string) ([]coderunner.Deployment, error) {
	rows, err := s.q.KeptReleases(ctx, projectID)
	return each(rows, deployment), translate(err, "project")
}

// Release makes a deployment the one of its project that serves, from a sandbox
// and with the variables given (nil: those that it had), and marks the sandboxes
// of others as unwanted. Conflict when its status has no way to RUNNING.
func (s *Store) Release(ctx context.Context, d coderunner.Deployment, sandbox string, variables []byte) error {
	return s.InTx(ctx, func(s *Store) error {
		if err := s.checkTransition(ctx, d.ID, coderunner.Running); err != nil {
			return err
		}
		if err := s.q.SupersedeDeployments(ctx, d.ProjectID, d.ID); err != nil {
			return translate(err, "deployment")
		}
		if err := s.q.Release(ctx, &sandbox, variables, d.ID); err != nil {
			return translate(err, "deployment")
		}
		_, err := s.q.AbandonSandboxes(ctx, d.ProjectID, sandbox)
		return translate(err, "sandbox")
	})
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
	return coderunner.Deployment{ID: r.ID, ProjectID: r.ProjectID, BundleID: deref(r.BundleID), Number: int(r.Number), Origin: coderunner.Origin(r.Origin), FromID: deref(r.FromDeploymentID), Release: r.Release, ReleasedAt: r.ReleasedAt, Status: r.Status, RuntimeType: r.RuntimeType, Plan: r.Plan,
		AppSandboxID: deref(r.AppSandboxID), DBSandboxID: deref(r.DbSandboxID), AppliedDatabases: r.AppliedDatabases, PublicURL: deref(r.PublicUrl), Failure: r.Failure, ObservedAt: r.ObservedAt, Observed: r.ObservedState, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt}
}

// SetDeploymentStatus moves a deployment to a status; Conflict when the state
// machine has no such transition.
func (s *Store) SetDeploymentStatus(ctx context.Context, id string, status coderunner.DeploymentStatus) error {
	return s.InTx(ctx, func(s *Store) error {
		if err := s.checkTransition(ctx, id, status); err != nil {
			return err
		}
		return translate(s.q.SetDeploymentStatus(ctx, id, status), "deployment")
	})
}

// AdvanceDeployment moves a deployment to a status if it has a way there, and leaves
// it as it is otherwise: of steps side by side, the one that is further has moved it.
func (s *Store) AdvanceDeployment(ctx context.Context, id string, status coderunner.DeploymentStatus) error {
	return s.InTx(ctx, func(s *Store) error {
		err := s.checkTransition(ctx, id, status)
		if coderunner.KindOf(err) == coderunner.Conflict {
			return nil
		}
		if err != nil {
			return err
		}
		return translate(s.q.SetDeploymentStatus(ctx, id, status), "deployment")
	})
}

// checkTransition locks a deployment whose status may change so.
func (s *Store) checkTransition(ctx context.Context, id string, status coderunner.DeploymentStatus) error {
	d, err := s.q.DeploymentForUpdate(ctx, id)
	if err != nil {
		return translate(err, "deployment")
	}
	if !d.Status.CanBecome(status) {
		return coderunner.Errorf(coderunner.Conflict, "Deployment %d is %s and cannot become %s.", d.Number, d.Status, status)
	}
	return nil
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

// EndProject turns a project into history: its deployments are DESTROYED, its
// databases, backend, variables, routes and what its apps printed forgotten. Bundles go by DeleteProjectBundles.
func (s *Store) EndProject(ctx context.Context, id string) error {
	return s.InTx(ctx, func(s *Store) error {
		for what, delete := range map[string]func(context.Context, string) error{
			"routes": s.q.DeleteProjectRoutes, "variables": s.q.DeleteProjectVariables, "databases": s.q.DeleteProjectDatabases, "backend": s.q.DeleteProjectBackend,
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
