package store

import (
	"context"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store/sqlc"
)

// SealedDatabase is a project's database with its connection encrypted.
type SealedDatabase struct {
	coderunner.Database        // Connection is nil
	Sealed              []byte // nil until provisioned
}

// EnsureDatabase returns the project's database of an appliance, made if absent. One
// that is there stays as it is, attached or detached.
func (s *Store) EnsureDatabase(ctx context.Context, d coderunner.Database) (SealedDatabase, error) {
	row, err := s.q.UpsertDatabase(ctx, sqlc.UpsertDatabaseParams{ProjectID: d.ProjectID, Appliance: d.Appliance, Name: d.Name, Volume: d.Volume, DetachedAt: d.DetachedAt})
	return database(row), translate(err, "database")
}

// ProjectDatabases lists the databases that are attached to a project, oldest first.
func (s *Store) ProjectDatabases(ctx context.Context, projectID string) ([]SealedDatabase, error) {
	rows, err := s.q.ProjectDatabases(ctx, projectID)
	return each(rows, database), translate(err, "project")
}

// AllDatabases lists a project's databases, those that are detached among them, oldest first.
func (s *Store) AllDatabases(ctx context.Context, projectID string) ([]SealedDatabase, error) {
	rows, err := s.q.AllDatabases(ctx, projectID)
	return each(rows, database), translate(err, "project")
}

// SetDatabaseConnection records a database's sandbox and its encrypted connection.
func (s *Store) SetDatabaseConnection(ctx context.Context, id, sandbox string, sealed []byte) error {
	return translate(s.q.SetDatabaseConnection(ctx, pointer(sandbox), sealed, id), "database")
}

func database(r sqlc.Database) SealedDatabase {
	return SealedDatabase{Database: coderunner.Database{ID: r.ID, ProjectID: r.ProjectID, Appliance: r.Appliance, Name: r.Name, SandboxID: deref(r.SandboxID), Volume: r.Volume, StoppedAt: r.StoppedAt, DetachedAt: r.DetachedAt}, Sealed: r.Connection}
}

// SetDatabaseStopped records whether a database's owner has stopped it.
func (s *Store) SetDatabaseStopped(ctx context.Context, id string, stopped bool) error {
	return translate(s.q.SetDatabaseStopped(ctx, stopped, id), "database")
}

// SetDatabaseDetached records whether a database is detached from its project's app.
func (s *Store) SetDatabaseDetached(ctx context.Context, id string, detached bool) error {
	return translate(s.q.SetDatabaseDetached(ctx, detached, id), "database")
}

// DeleteDatabase forgets a detached database, whose volume is gone. One that is attached stays.
func (s *Store) DeleteDatabase(ctx context.Context, id string) error {
	return translate(s.q.DeleteDatabase(ctx, id), "database")
}

// SetAppliedDatabases records the databases that a deployment's app was started with.
func (s *Store) SetAppliedDatabases(ctx context.Context, deploymentID string, databases []string) error {
	return translate(s.q.SetAppliedDatabases(ctx, databases, deploymentID), "deployment")
}
