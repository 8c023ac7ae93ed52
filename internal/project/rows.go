package project

import (
	"context"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

// rename changes a live project's name and slug. It runs in the store's
// transaction, so that a name or slug that is taken is the store's Conflict.
func (s *Service) rename(ctx context.Context, userID, projectID, name, slug string) (project coderunner.Project, err error) {
	err = s.store.InTx(ctx, func(st *store.Store) error {
		_, err := st.Tx().Exec(ctx, `UPDATE projects SET name = $3, slug = $4 WHERE id = $1 AND user_id = $2 AND destroyed_at IS NULL`, projectID, userID, name, slug)
		if err != nil {
			return err
		}
		project, err = st.Project(ctx, userID, projectID)
		return err
	})
	return project, err
}

// variableTimes tells when each of a project's variables was last set.
func (s *Service) variableTimes(ctx context.Context, projectID string) (map[string]time.Time, error) {
	times := map[string]time.Time{}
	err := s.store.InTx(ctx, func(st *store.Store) error {
		rows, err := st.Tx().Query(ctx, `SELECT key, updated_at FROM variables WHERE project_id = $1`, projectID)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var key string
			var at time.Time
			if err := rows.Scan(&key, &at); err != nil {
				return err
			}
			times[key] = at
		}
		return rows.Err()
	})
	return times, err
}

// Uploads counts a project's bundles and the bytes that they take on disk.
func (s *Service) Uploads(ctx context.Context, userID, projectID string) (count int, bytes int64, err error) {
	if _, err := s.store.Project(ctx, userID, projectID); err != nil {
		return 0, 0, err
	}
	err = s.store.InTx(ctx, func(st *store.Store) error {
		return st.Tx().QueryRow(ctx, `SELECT count(*), coalesce((SELECT sum(size_bytes) FROM (SELECT DISTINCT ON (sha256) size_bytes FROM bundles WHERE project_id = $1) AS blobs), 0)
			FROM bundles WHERE project_id = $1`, projectID).Scan(&count, &bytes)
	})
	return count, bytes, err
}
