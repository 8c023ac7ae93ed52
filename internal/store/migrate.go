package store

import (
	"context"
	"fmt"
	"io/fs"

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
// An advisory lock makes several programs starting at once take turns.
func Migrate(ctx context.Context, pool *pgxpool.Pool) error {
	files, err := fs.Sub(db.Migrations, "migrations")
	if err != nil {
		return err
	}
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return err
	}
	conn := stdlib.OpenDBFromPool(pool)
	defer conn.Close()
	provider, err := goose.NewProvider(goose.DialectPostgres, conn, files, goose.WithSessionLocker(locker))
	if err != nil {
		return fmt.Errorf("reading the migrations: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrating the database: %w", err)
	}
	// River's migrator takes no lock of its own. The lock is the session's, so
	// that no transaction is open while it works.
	session, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer session.Release()
	q := sqlc.New(session)
	if err := q.LockQueueMigration(ctx); err != nil {
		return err
	}
	defer func() { _ = q.UnlockQueueMigration(context.WithoutCancel(ctx)) }()
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), nil)
	if err != nil {
		return err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("migrating the queue's tables: %w", err)
	}
	return nil
}
