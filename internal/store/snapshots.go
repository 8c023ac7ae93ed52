package store

import (
	"context"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store/sqlc"
)

// KeepSnapshot records a snapshot, or that it was used once more.
func (s *Store) KeepSnapshot(ctx context.Context, r coderunner.SnapshotRecord) error {
	return translate(s.q.InsertSnapshot(ctx, sqlc.InsertSnapshotParams{Name: r.Name, Provider: r.Provider, ProjectID: r.ProjectID, Kind: string(r.Kind), Basis: r.Basis,
		Depth: int32(r.Depth), Bytes: r.Bytes}), "snapshot")
}

// UseSnapshot notes a use and reports whether the snapshot is recorded.
func (s *Store) UseSnapshot(ctx context.Context, name string) (bool, error) {
	n, err := s.q.UseSnapshot(ctx, name)
	return n > 0, translate(err, "snapshot")
}

// LatestDependencies answers the newest snapshot of a project's dependencies with
// this basis, nil if there is none.
func (s *Store) LatestDependencies(ctx context.Context, projectID, provider, basis string) (*coderunner.SnapshotRecord, error) {
	rows, err := s.q.LatestDependencies(ctx, projectID, provider, basis)
	if err != nil || len(rows) == 0 {
		return nil, translate(err, "snapshot")
	}
	found := snapshot(rows[0])
	return &found, nil
}

// ProjectSnapshots lists a project's snapshots, oldest first.
func (s *Store) ProjectSnapshots(ctx context.Context, projectID string) ([]coderunner.SnapshotRecord, error) {
	rows, err := s.q.ProjectSnapshots(ctx, projectID)
	return each(rows, snapshot), translate(err, "project")
}

// Snapshots lists a provider's snapshots, the least recently used first.
func (s *Store) Snapshots(ctx context.Context, provider string) ([]coderunner.SnapshotRecord, error) {
	rows, err := s.q.Snapshots(ctx, provider)
	return each(rows, snapshot), translate(err, "snapshot")
}

// ForgetSnapshot removes a snapshot that the provider confirmed gone.
func (s *Store) ForgetSnapshot(ctx context.Context, name string) error {
	return translate(s.q.DeleteSnapshot(ctx, name), "snapshot")
}

// SnapshotReleased reports whether a kept release is made from the snapshot.
func (s *Store) SnapshotReleased(ctx context.Context, name string) (bool, error) {
	used, err := s.q.ReleaseUses(ctx, name)
	return used, translate(err, "snapshot")
}

func snapshot(r sqlc.Snapshot) coderunner.SnapshotRecord {
	return coderunner.SnapshotRecord{Name: r.Name, Provider: r.Provider, ProjectID: r.ProjectID, Kind: coderunner.SnapshotKind(r.Kind), Basis: r.Basis, Depth: int(r.Depth),
		Bytes: r.Bytes, CreatedAt: r.CreatedAt, LastUsedAt: r.LastUsedAt}
}
