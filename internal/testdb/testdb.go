// Package testdb gives tests a migrated PostgreSQL database of their own.
//
// All test processes of a machine share one server, which the first starts and
// which stays; its files may be lost at any time, so it does not sync. The schema
// and the queue's tables are migrated once, into a template named by the migrations' hash; each test gets a
// copy and drops it. Copies of runs that crashed are dropped an hour later.
//
// Only tests import this package.
package testdb

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coderunner/coderunner/db"
	"github.com/coderunner/coderunner/internal/pglocal"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver that goose migrates through
	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

const (
	copyPrefix     = "test_"     // test_<unix seconds>_<random>
	templatePrefix = "template_" // template_<hash>_<unix seconds>
	buildingPrefix = "building_"

	copyAge     = time.Hour
	templateAge = 7 * 24 * time.Hour
)

// New returns the connection string of a fresh database with every migration
// applied. It is dropped, connections and all, when the test has ended.
func New(t testing.TB) string {
	t.Helper()
	migrations, err := fs.Sub(db.Migrations, "migrations")
	if err != nil {
		t.Fatalf("testdb: %v", err)
	}
	return newDatabase(t, migrations)
}

// NewPool returns a pool on a database as New makes it. It is closed when the test has ended.
func NewPool(t testing.TB) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(context.Background(), New(t))
	if err != nil {
		t.Fatalf("testdb: %v", err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// directory is the same for all checkouts and test processes of an account.
func directory() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/cache/coderunner/testdb", nil
	}
	cache, err := os.UserCacheDir()
	return filepath.Join(cache, "coderunner", "testdb"), err
}

// openWay lets the database's account pass to the directory, which may be beside what is root's.
func openWay(dir string) error {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o711); err != nil {
		return err
	}
	info, err := os.Stat(parent)
	if err != nil || os.Geteuid() != 0 || info.Mode().Perm()&0o011 == 0o011 {
		return err
	}
	return os.Chmod(parent, info.Mode().Perm()|0o011)
}

func newDatabase(t testing.TB, migrations fs.FS) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	dir, err := directory()
	if err != nil {
		t.Fatalf("testdb: %v", err)
	}
	if err := openWay(dir); err != nil {
		t.Fatalf("testdb: %v", err)
	}
	cluster, err := pglocal.Start(ctx, pglocal.Config{Dir: dir, Settings: map[string]string{
		"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off",
		"max_connections": "500", "shared_buffers": "128MB", "max_wal_size": "2GB",
	}})
	if err != nil {
		t.Fatalf("testdb: %v", err)
	}
	t.Cleanup(cluster.Release)
	conn, err := pgx.Connect(ctx, cluster.DSN(pglocal.Database))
	if err != nil {
		t.Fatalf("testdb: %v", err)
	}
	defer conn.Close(ctx)
	if err := dropLeftovers(ctx, conn, time.Now()); err != nil {
		t.Fatalf("testdb: %v", err)
	}
	template, err := ensureTemplate(ctx, conn, cluster.DSN, migrations)
	if err != nil {
		t.Fatalf("testdb: %v", err)
	}
	name := fmt.Sprintf("%s%d_%s", copyPrefix, time.Now().Unix(), strings.ToLower(rand.Text()[:10]))
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+name+" TEMPLATE "+template); err != nil {
		t.Fatalf("testdb: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := cluster.Ready(ctx); err != nil {
			t.Errorf("testdb: %v", err)
			return
		}
		conn, err := pgx.Connect(ctx, cluster.DSN(pglocal.Database))
		if err != nil {
			t.Errorf("testdb: drop %s: %v", name, err)
			return
		}
		defer conn.Close(ctx)
		if _, err := conn.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("testdb: drop %s: %v", name, err)
		}
	})
	return cluster.DSN(name)
}

// ensureTemplate returns the template that has exactly these migrations, and makes
// it if there is none. It appears in one rename, under a lock that all processes share.
func ensureTemplate(ctx context.Context, conn *pgx.Conn, dsn func(string) string, migrations fs.FS) (string, error) {
	hash, err := hashOf(migrations)
	if err != nil {
		return "", err
	}
	if template, err := findTemplate(ctx, conn, hash); err != nil || template != "" {
		return template, err
	}
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock(hashtext('testdb'))"); err != nil {
		return "", fmt.Errorf("lock: %w", err)
	}
	defer conn.Exec(ctx, "SELECT pg_advisory_unlock(hashtext('testdb'))") //nolint:errcheck // the connection's end unlocks as well
	if template, err := findTemplate(ctx, conn, hash); err != nil || template != "" {
		return template, err
	}
	building := buildingPrefix + hash
	for _, statement := range []string{"DROP DATABASE IF EXISTS " + building + " WITH (FORCE)", "CREATE DATABASE " + building} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return "", fmt.Errorf("%s: %w", statement, err)
		}
	}
	if err := migrate(ctx, dsn(building), migrations); err != nil {
		return "", err
	}
	template := fmt.Sprintf("%s%s_%d", templatePrefix, hash, time.Now().Unix())
	for _, statement := range []string{
		"ALTER DATABASE " + building + " ALLOW_CONNECTIONS false", // or a copy could find it in use
		"ALTER DATABASE " + building + " RENAME TO " + template,
	} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return "", fmt.Errorf("%s: %w", statement, err)
		}
	}
	return template, nil
}

func findTemplate(ctx context.Context, conn *pgx.Conn, hash string) (string, error) {
	rows, err := conn.Query(ctx, "SELECT datname FROM pg_database WHERE starts_with(datname, $1) ORDER BY datname DESC", templatePrefix+hash+"_")
	if err != nil {
		return "", fmt.Errorf("look for a template: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(names) == 0 {
		return "", err
	}
	return names[0], nil
}

func migrate(ctx context.Context, dsn string, migrations fs.FS) error {
	conn, err := sql.Open("pgx", dsn)
	if err != nil {
		return fmt.Errorf("open the template: %w", err)
	}
	defer conn.Close()
	provider, err := goose.NewProvider(goose.DialectPostgres, conn, migrations)
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	pool, err := pgxpool.New(ctx, dsn)
	if err != nil {
		return fmt.Errorf("open the template: %w", err)
	}
	defer pool.Close()
	queue, err := rivermigrate.New(riverpgxv5.New(pool), nil)
	if err != nil {
		return fmt.Errorf("read the queue's migrations: %w", err)
	}
	if _, err := queue.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("migrate the queue: %w", err)
	}
	return nil
}

// dropLeftovers drops copies whose test crashed and templates of old migrations.
func dropLeftovers(ctx context.Context, conn *pgx.Conn, now time.Time) error {
	rows, err := conn.Query(ctx, "SELECT datname FROM pg_database WHERE starts_with(datname, $1) OR starts_with(datname, $2)", copyPrefix, templatePrefix)
	if err != nil {
		return fmt.Errorf("list databases: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("list databases: %w", err)
	}
	for _, name := range names {
		parts := strings.Split(name, "_")
		stamp, age := parts[len(parts)-1], templateAge
		if strings.HasPrefix(name, copyPrefix) {
			stamp, age = parts[1], copyAge
		}
		seconds, err := strconv.ParseInt(stamp, 10, 64)
		if err != nil || now.Sub(time.Unix(seconds, 0)) < age {
			continue
		}
		// Another process may be dropping it as well; whoever comes first does it.
		_, _ = conn.Exec(ctx, "DROP DATABASE IF EXISTS "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)")
	}
	return nil
}

func hashOf(migrations fs.FS) (string, error) {
	files, err := fs.Glob(migrations, "*.sql")
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	for _, name := range files {
		text, err := fs.ReadFile(migrations, name)
		if err != nil {
			return "", fmt.Errorf("read migration: %w", err)
		}
		fmt.Fprintf(hash, "%s %d\n%s", name, len(text), text)
	}
	queue, err := rivermigrate.New(riverpgxv5.New(nil), nil)
	if err != nil {
		return "", fmt.Errorf("read the queue's migrations: %w", err)
	}
	fmt.Fprintf(hash, "river %d", len(queue.AllVersions()))
	return hex.EncodeToString(hash.Sum(nil)[:8]), nil
}
