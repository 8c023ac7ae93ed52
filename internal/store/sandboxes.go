package store

import (
	"context"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store/sqlc"
)

// ExpectSandbox records a sandbox before it is made, so that none is ever forgotten.
func (s *Store) ExpectSandbox(ctx context.Context, r coderunner.SandboxRecord) error {
	return s.InTx(ctx, func(s *Store) error {
		if err := s.q.LockProject(ctx, r.ProjectID); err != nil {
			return translate(err, "project")
		}
		return translate(s.q.UpsertSandbox(ctx, sqlc.UpsertSandboxParams{ID: r.ID, Provider: r.Provider, ProjectID: r.ProjectID, DeploymentID: pointer(r.DeploymentID), DatabaseID: pointer(r.DatabaseID),
			RunID: pointer(r.RunID), Purpose: string(r.Purpose), Appliance: r.Appliance}), "sandbox")
	})
}

// IfUnclaimed calls fn if nobody expects the sandbox of the project. As long as fn
// is at work nobody comes to: whoever calls ExpectSandbox waits.
func (s *Store) IfUnclaimed(ctx context.Context, projectID, id string, fn func() error) error {
	return s.InTx(ctx, func(s *Store) error {
		if err := s.q.LockProject(ctx, projectID); err != nil {
			return translate(err, "project")
		}
		claimed, err := s.q.SandboxExpected(ctx, id)
		if err != nil || claimed {
			return translate(err, "sandbox")
		}
		return fn()
	})
}

// ObserveSandbox records what the provider said about a sandbox just now, or about the
// app in it.
func (s *Store) ObserveSandbox(ctx context.Context, id, state string) error {
	return s.InTx(ctx, func(s *Store) error {
		if err := s.q.ObserveSandbox(ctx, id, state); err != nil {
			return translate(err, "sandbox")
		}
		return translate(s.q.ObserveDeployment(ctx, state, &id), "deployment")
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
	return coderunner.SandboxRecord{ID: r.ID, Provider: r.Provider, ProjectID: r.ProjectID, DeploymentID: deref(r.DeploymentID), DatabaseID: deref(r.DatabaseID), RunID: deref(r.RunID), Purpose: coderunner.Purpose(r.Purpose),
		Appliance: r.Appliance, State: r.State, ObservedAt: r.ObservedAt, UnwantedAt: r.UnwantedAt, Restarts: int(r.Restarts), RestartAt: r.RestartAt, LastExit: r.LastExit, CreatedAt: r.CreatedAt}
}

// AbandonSandbox marks a sandbox as one that is removed as soon as that can be done.
func (s *Store) AbandonSandbox(ctx context.Context, id string) error {
	return translate(s.q.AbandonSandbox(ctx, id), "sandbox")
}

// AbandonApps marks all app sandboxes of a project so.
func (s *Store) AbandonApps(ctx context.Context, projectID string) error {
	_, err := s.q.AbandonSandboxes(ctx, projectID, "")
	return translate(err, "sandbox")
}

// CountRestart records that a sandbox's process is started again, and how long
// to wait before the next time.
func (s *Store) CountRestart(ctx context.Context, id string, wait time.Duration, last *coderunner.LastExit) error {
	return translate(s.q.CountRestart(ctx, wait.Seconds(), last, id), "sandbox")
}

// ForgetRestarts records that a sandbox's process has been well for a while.
func (s *Store) ForgetRestarts(ctx context.Context, id string) error {
	return translate(s.q.ForgetRestarts(ctx, id), "sandbox")
}
