package store_test

import (
	"context"
	"errors"
	"io/fs"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/coderunner/coderunner/db"
	"github.com/coderunner/coderunner/internal/store"
	"github.com/coderunner/coderunner/internal/testdb"
)

// emptyDatabase is one without any table, beside one of the tests'.
func emptyDatabase(t *testing.T) *pgxpool.Pool {
	t.Helper()
	beside := testdb.NewPool(t)
	config := beside.Config()
	name := config.ConnConfig.Database + "_empty"
	quoted := pgx.Identifier{name}.Sanitize()
	if _, err := beside.Exec(t.Context(), "CREATE DATABASE "+quoted+" TEMPLATE template0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := beside.Exec(context.Background(), "DROP DATABASE "+quoted+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	config.ConnConfig.Database = name
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// TestMigrateAtOnce: programs that start at the same time take turns.
func TestMigrateAtOnce(t *testing.T) {
	t.Parallel()
	pool := emptyDatabase(t)
	const programs = 4
	results := make(chan error, programs)
	for range programs {
		go func() {
			own, err := pgxpool.NewWithConfig(t.Context(), pool.Config())
			if err == nil {
				defer own.Close()
				err = store.Migrate(t.Context(), own, nil)
			}
			results <- err
		}()
	}
	for range programs {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	must(store.New(pool).CreateUser(t.Context(), "ada@example.com", "hash"))(t)
}

// TestBeforeMigrations: one of the programs that start at the same time is told before it
// changes what is there, none for a schema that is new or the newest, and who says no keeps
// everything as it is.
func TestBeforeMigrations(t *testing.T) {
	t.Parallel()
	pool := testdb.NewPool(t)
	ctx := t.Context()
	never := func(context.Context, int64) error { t.Error("the newest schema was to be changed"); return nil }
	if err := store.Migrate(ctx, pool, never); err != nil {
		t.Fatal(err)
	}
	if err := store.Migrate(ctx, emptyDatabase(t), never); err != nil {
		t.Fatal(err)
	}
	version := func() (newest int64) {
		if err := pool.QueryRow(ctx, "SELECT max(version_id) FROM goose_db_version").Scan(&newest); err != nil {
			t.Fatal(err)
		}
		return newest
	}
	files, err := fs.Sub(db.Migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	conn := stdlib.OpenDBFromPool(pool)
	defer conn.Close()
	provider, err := goose.NewProvider(goose.DialectPostgres, conn, files)
	if err != nil {
		t.Fatal(err)
	}
	newest := version()
	if _, err := provider.Down(ctx); err != nil {
		t.Fatal(err)
	}
	former, refusal := version(), errors.New("no copy")
	if err := store.Migrate(ctx, pool, func(context.Context, int64) error { return refusal }); !errors.Is(err, refusal) || version() != former {
		t.Errorf("refused, it is %d after %d, %v", version(), former, err)
	}
	var told atomic.Int64
	results := make(chan error, 4)
	for range cap(results) {
		go func() {
			own, err := pgxpool.NewWithConfig(ctx, pool.Config())
			if err == nil {
				defer own.Close()
				err = store.Migrate(ctx, own, func(_ context.Context, version int64) error { told.Add(version); return nil })
			}
			results <- err
		}()
	}
	for range cap(results) {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if told.Load() != former || version() != newest {
		t.Errorf("told of %d in all, the schema was %d and is %d", told.Load(), former, version())
	}
	if _, err := pool.Exec(ctx, "DELETE FROM river_migration WHERE version = (SELECT max(version) FROM river_migration)"); err != nil {
		t.Fatal(err)
	}
	if err := store.Migrate(ctx, pool, func(context.Context, int64) error { return refusal }); !errors.Is(err, refusal) {
		t.Errorf("of a change to the queue's tables alone nobody is told: %v", err)
	}
}

// TestMigrateKeepsRows: what was written under the first schema is there under the newest.
func TestMigrateKeepsRows(t *testing.T) {
	t.Parallel()
	pool := emptyDatabase(t)
	ctx := t.Context()
	files, err := fs.Sub(db.Migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	conn := stdlib.OpenDBFromPool(pool)
	defer conn.Close()
	provider, err := goose.NewProvider(goose.DialectPostgres, conn, files)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.UpTo(ctx, 1); err != nil {
		t.Fatal(err)
	}
	var user, project, deployment string
	err = pool.QueryRow(ctx, `WITH u AS (INSERT INTO users (email, password_hash) VALUES ('ada@example.com', 'hash') RETURNING id),
		p AS (INSERT INTO projects (user_id, name, slug) SELECT id, 'Guest book', 'guest-book' FROM u RETURNING id, user_id),
		b AS (INSERT INTO bundles (project_id, sha256, filename, size_bytes, expanded_bytes, files, plan) SELECT id, repeat('a', 64), 'book.zip', 7, 70, 1, '{}' FROM p RETURNING id, project_id),
		d AS (INSERT INTO deployments (project_id, bundle_id, number, plan, runtime_type, status) SELECT project_id, id, 1, '{}', 'nodejs', 'RUNNING' FROM b RETURNING id, project_id)
		SELECT p.user_id, p.id, d.id FROM p JOIN d ON d.project_id = p.id`).Scan(&user, &project, &deployment)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Migrate(ctx, pool, nil); err != nil {
		t.Fatal(err)
	}
	s := store.New(pool)
	if p := must(s.Project(ctx, user, project))(t); p.Name != "Guest book" || p.Slug != "guest-book" {
		t.Errorf("the project is %+v", p)
	}
	if d := must(s.DeploymentByID(ctx, deployment))(t); d.Number != 1 || d.Status != "RUNNING" {
		t.Errorf("the deployment is %+v", d)
	}
}
