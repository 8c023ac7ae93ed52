package store

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/coderunner/coderunner/db"
	"github.com/coderunner/coderunner/internal/store/sqlc"
)

// Migrate brings the schema, ours and the queue's, to the newest version.
// An advisory lock makes several programs starting at once take turns. Under it, and
// before a schema that exists is changed, before is called with its version; when that fails
// nothing is changed. It may be nil.
func Migrate(ctx context.Context, pool *pgxpool.Pool, before func(ctx context.Context, version int64) error) error {
	files, err := fs.Sub(db.Migrations, "migrations")
	if err != nil {
		return err
	}
	// The lock is the session's, so that no transaction is open while others work.
	session, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer session.Release()
	q := sqlc.New(session)
	if err := q.LockMigration(ctx); err != nil {
		return err
	}
	defer func() { _ = q.UnlockMigration(context.WithoutCancel(ctx)) }()
	// Programs from before the lock above was for all of it know only goose's.
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return err
	}
	conn := stdlib.OpenDBFromPool(pool)
	defer conn.Close()
	ours, err := goose.NewProvider(goose.DialectPostgres, conn, files, goose.WithSessionLocker(locker))
	if err != nil {
		return fmt.Errorf("reading the migrations: %w", err)
	}
	queue, err := rivermigrate.New(riverpgxv5.New(pool), nil)
	if err != nil {
		return err
	}
	if before != nil {
		version, pending, err := pendingMigrations(ctx, ours, queue)
		if err != nil {
			return fmt.Errorf("reading the schema's version: %w", err)
		}
		if pending && version > 0 {
			if err := before(ctx, version); err != nil {
				return err
			}
		}
	}
	if _, err := ours.Up(ctx); err != nil {
		return fmt.Errorf("migrating the database: %w", err)
	}
	if _, err := queue.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("migrating the queue's tables: %w", err)
	}
	return nil
}

// pendingMigrations answers the version of our schema, 0 for none, and whether it or the
// queue's is not the newest.
func pendingMigrations(ctx context.Context, ours *goose.Provider, queue *rivermigrate.Migrator[pgx.Tx]) (version int64, pending bool, err error) {
	if version, err = ours.GetDBVersion(ctx); err != nil || version == 0 {
		return 0, false, err
	}
	if pending, err = ours.HasPending(ctx); err != nil || pending {
		return version, pending, err
	}
	has, err := queue.ExistingVersions(ctx)
	return version, len(has) < len(queue.AllVersions()), err
}

// DatabaseSize is what the database takes on its disk, in bytes.
func (s *Store) DatabaseSize(ctx context.Context) (int64, error) {
	bytes, err := s.q.DatabaseSize(ctx)
	return bytes, translate(err, "database")
}

// ServerVersion is that of PostgreSQL, as it tells it: "15.18 (Debian 15.18-0+deb12u1)".
func (s *Store) ServerVersion(ctx context.Context) (string, error) {
	version, err := s.q.ServerVersion(ctx)
	return version, translate(err, "database")
}
