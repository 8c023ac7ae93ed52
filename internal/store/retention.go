package store

import (
	"context"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store/sqlc"
)

// batch is how many rows go in one statement, so that nobody waits long for one.
const batch = 10_000

// DropUnneededBundles forgets the uploads that nothing can run any more and that are
// older than age, and answers how many. Their blobs are left to bundle.Store.Sweep.
func (s *Store) DropUnneededBundles(ctx context.Context, age time.Duration) (int64, error) {
	projects, err := s.q.ProjectsWithUnneededBundles(ctx, age.Seconds())
	if err != nil {
		return 0, translate(err, "bundle")
	}
	var dropped int64
	for _, project := range projects {
		err := s.InTx(ctx, func(s *Store) error {
			// A deployment that is being made holds its project's row.
			if err := s.q.LockProject(ctx, project); err != nil {
				return translate(err, "project")
			}
			n, err := s.q.DropUnneededBundles(ctx, project, age.Seconds())
			dropped += n
			return translate(err, "bundle")
		})
		if err != nil {
			return dropped, err
		}
	}
	return dropped, nil
}

// BundleHashes are the blobs that some upload has.
func (s *Store) BundleHashes(ctx context.Context) (map[string]bool, error) {
	hashes, err := s.q.BundleHashes(ctx)
	wanted := make(map[string]bool, len(hashes))
	for _, sha := range hashes {
		wanted[sha] = true
	}
	return wanted, translate(err, "bundle")
}

// OwnedVolumes are the volumes that some database or some project's app has.
func (s *Store) OwnedVolumes(ctx context.Context) (map[string]bool, error) {
	names, err := s.q.OwnedVolumes(ctx)
	owned := make(map[string]bool, len(names))
	for _, name := range names {
		owned[name] = true
	}
	return owned, translate(err, "volume")
}

// UserUploadBytes is what all uploads of a user take on disk.
func (s *Store) UserUploadBytes(ctx context.Context, userID string) (int64, error) {
	bytes, err := s.q.UserUploadBytes(ctx, userID)
	return bytes, translate(err, "user")
}

// DropOldRunLogs deletes the lines of runs that ended longer than age ago, but for
// the newest keep runs of each project. It answers how many runs and lines.
func (s *Store) DropOldRunLogs(ctx context.Context, age time.Duration, keep int) (runs, lines int64, err error) {
	// The mark comes first: what is cut off between the two is found again by it.
	if runs, err = s.q.DropOldRunLogs(ctx, int32(keep), age.Seconds()); err != nil {
		return 0, 0, translate(err, "run")
	}
	lines, err = inBatches(func() (int64, error) { return s.q.DeleteDroppedLines(ctx, batch) })
	return runs, lines, translate(err, "run")
}

// history is how many runs or deployments go in one statement.
const history = 1000

// ForgetHistory forgets runs, with their steps, and deployments that neither serve nor can be
// rolled back to: of each project those that are not among its newest keep and ended
// longer than age ago; of projects destroyed longer than age ago all. Nothing that is at work,
// or that something which stays refers to, goes. A project's own row stays, and its newest deployment's
// while it lives, so that neither its address nor a number is given twice.
func (s *Store) ForgetHistory(ctx context.Context, age time.Duration, keep int) (runs, deployments int64, err error) {
	keep = max(keep, 1)
	projects, err := s.q.ProjectsWithOldHistory(ctx, age.Seconds(), int32(keep))
	if err != nil {
		return 0, 0, translate(err, "project")
	}
	for _, p := range projects {
		newest := int32(keep)
		if p.Destroyed {
			newest = 0
		}
		n, err := s.forget(ctx, p.ID, func(s *Store) (int64, error) {
			return s.q.ForgetRuns(ctx, sqlc.ForgetRunsParams{ProjectID: p.ID, Keep: newest, AgeSeconds: age.Seconds(), Batch: history})
		})
		if runs += n; err != nil {
			return runs, deployments, err
		}
		n, err = s.forget(ctx, p.ID, func(s *Store) (int64, error) {
			return s.q.ForgetDeployments(ctx, sqlc.ForgetDeploymentsParams{ProjectID: p.ID, Keep: newest, AgeSeconds: age.Seconds(), Batch: history})
		})
		if deployments += n; err != nil {
			return runs, deployments, err
		}
	}
	return runs, deployments, nil
}

// forget repeats remove until it finds nothing more, each time while it holds the project's
// row: nobody makes a run or a deployment meanwhile.
func (s *Store) forget(ctx context.Context, project string, remove func(*Store) (int64, error)) (int64, error) {
	return inBatches(func() (n int64, err error) {
		err = s.InTx(ctx, func(s *Store) error {
			if err := s.q.LockProject(ctx, project); err != nil {
				return translate(err, "project")
			}
			n, err = remove(s)
			return translate(err, "run")
		})
		return n, err
	})
}

// LargestTables are those of the platform's database that take most, the logs' left out,
// which are measured by themselves.
func (s *Store) LargestTables(ctx context.Context) ([]coderunner.Table, error) {
	rows, err := s.q.LargestTables(ctx, largestTables)
	tables := make([]coderunner.Table, len(rows))
	for i, r := range rows {
		tables[i] = coderunner.Table(r)
	}
	return tables, translate(err, "database")
}

const largestTables = 5

// DeleteOldAuditEvents deletes those older than age and answers how many.
func (s *Store) DeleteOldAuditEvents(ctx context.Context, age time.Duration) (int64, error) {
	n, err := inBatches(func() (int64, error) { return s.q.DeleteOldAuditEvents(ctx, age.Seconds(), batch) })
	return n, translate(err, "event")
}

// inBatches repeats remove until it finds nothing more.
func inBatches(remove func() (int64, error)) (removed int64, err error) {
	for {
		n, err := remove()
		removed += n
		if err != nil || n == 0 {
			return removed, err
		}
	}
}

// StoredRows measures what the rows know of: uploads, run logs, app logs, and the rest of
// the database; of the whole server, and by project as far as it belongs to one.
// The bytes of a project's run log are its share of all lines.
func (s *Store) StoredRows(ctx context.Context) (all []coderunner.Stored, projects map[string][]coderunner.Stored, err error) {
	projects = map[string][]coderunner.Stored{}
	err = s.InTx(ctx, func(s *Store) error {
		uploads, err := s.q.StoredUploads(ctx)
		if err != nil {
			return err
		}
		sizes, err := s.q.DatabaseSizes(ctx)
		if err != nil {
			return err
		}
		lines, err := s.q.ProjectsRunLines(ctx)
		if err != nil {
			return err
		}
		each, err := s.q.ProjectsUploads(ctx)
		if err != nil {
			return err
		}
		for _, r := range each {
			projects[r.ProjectID] = append(projects[r.ProjectID], coderunner.Stored{Kind: coderunner.StoredUploads, Count: r.Uploads, Bytes: r.Bytes})
		}
		printed, err := s.q.ProjectsAppLogs(ctx)
		if err != nil {
			return err
		}
		for _, r := range printed {
			projects[r.ProjectID] = append(projects[r.ProjectID], coderunner.Stored{Kind: coderunner.StoredAppLogs, Count: r.Lines, Bytes: r.Bytes})
		}
		total := shareLines(lines, sizes.RunLogs, projects)
		all = []coderunner.Stored{
			{Kind: coderunner.StoredUploads, Count: uploads.Uploads, Bytes: uploads.Bytes},
			{Kind: coderunner.StoredRunLogs, Count: total, Bytes: sizes.RunLogs},
			{Kind: coderunner.StoredAppLogs, Bytes: sizes.AppLogs},
			{Kind: coderunner.StoredDatabase, Bytes: max(0, sizes.Whole-sizes.RunLogs-sizes.AppLogs)},
		}
		return nil
	})
	return all, projects, translate(err, "database")
}

// shareLines adds to each project its part of bytes, and answers how many lines there are.
func shareLines(lines []sqlc.ProjectsRunLinesRow, bytes int64, projects map[string][]coderunner.Stored) (total int64) {
	for _, r := range lines {
		total += r.Lines
	}
	for _, r := range lines {
		if r.Lines > 0 {
			share := int64(float64(bytes) * float64(r.Lines) / float64(total))
			projects[r.ProjectID] = append(projects[r.ProjectID], coderunner.Stored{Kind: coderunner.StoredRunLogs, Count: r.Lines, Bytes: share})
		}
	}
	return total
}
