package app

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/coderunner/coderunner/db"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/pglocal"
	"github.com/coderunner/coderunner/internal/testdb"
)

// schema answers what migrates the database of dsn, and the newest version but one.
func schema(t *testing.T, dsn string) (provider *goose.Provider, former int64) {
	t.Helper()
	files, err := fs.Sub(db.Migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.New(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	conn := stdlib.OpenDBFromPool(pool)
	t.Cleanup(func() { conn.Close(); pool.Close() })
	if provider, err = goose.NewProvider(goose.DialectPostgres, conn, files); err != nil {
		t.Fatal(err)
	}
	sources := provider.ListSources()
	return provider, sources[len(sources)-2].Version
}

// scripts answers a directory with programs in place of PostgreSQL's.
func scripts(t *testing.T, dump string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"pg_dump": dump, "pg_restore": "exit 1"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// dataDir is a place that the database's account reaches, which that of t.TempDir is not.
func dataDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "copies-")
	if err == nil {
		err = os.Chmod(dir, 0o711)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func copiesIn(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(copiesDir(dir), "*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestUpgradeCopiesTheDatabase goes from the newest schema but one to the newest and back.
func TestUpgradeCopiesTheDatabase(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), dataDir(t)
	var logged bytes.Buffer
	a := &App{log: slog.New(slog.DiscardHandler)}
	t.Cleanup(func() { a.release() })
	start := func(tools string) (err error) { // as serve does, after the former has ended
		a.release()
		a = &App{config: Config{DataDir: dir, pgTools: tools}, log: slog.New(slog.NewTextHandler(&logged, nil))}
		a.store, err = a.openDatabase(ctx)
		return err
	}
	version := func() int64 {
		provider, _ := schema(t, a.cluster.DSN(pglocal.Database))
		return must(provider.GetDBVersion(ctx))(t)
	}
	if err := start(""); err != nil {
		t.Fatal(err)
	}
	must(a.store.CreateUser(ctx, "ada@example.com", "hash"))(t)
	if _, err := os.Stat(copiesDir(dir)); err == nil {
		t.Error("a fresh database was copied")
	}
	provider, former := schema(t, a.cluster.DSN(pglocal.Database))
	must(provider.DownTo(ctx, former))(t)

	err := start(scripts(t, "echo 'pg_dump: error: out of luck' >&2; exit 1"))
	if coderunner.KindOf(err) != coderunner.Unavailable || !strings.Contains(coderunner.Sentence(err), "out of luck") || !strings.Contains(coderunner.Sentence(err), "Nothing was changed") {
		t.Errorf("a copy that fails: %v", err)
	}
	if now := version(); now != former {
		t.Errorf("without a copy the schema went from %d to %d", former, now)
	}
	if err = start(scripts(t, "exit 0")); err == nil {
		t.Error("an empty copy was taken for one")
	}
	if left := copiesIn(t, dir); len(left) != 0 {
		t.Errorf("of failed copies there are %q", left)
	}

	for _, name := range []string{"3-20250101T000000Z.dump", "5-20240101T000000Z.dump", "12-20250601T000000Z.dump", "4-20250201T000000Z.dump.part"} {
		if err := os.WriteFile(filepath.Join(copiesDir(dir), name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err = start(""); err != nil {
		t.Fatal(err)
	}
	made := copiesIn(t, dir)
	if len(made) != 3 || !strings.HasSuffix(made[0], "12-20250601T000000Z.dump") || !strings.HasSuffix(made[1], "3-20250101T000000Z.dump") ||
		!strings.HasPrefix(filepath.Base(made[2]), fmt.Sprintf("%d-", former)) {
		t.Fatalf("the newest three copies are %q", made)
	}
	info, err := os.Stat(made[2])
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the copy is %v, %v", info, err)
	}
	if parent, err := os.Stat(copiesDir(dir)); err != nil || parent.Mode().Perm() != 0o700 {
		t.Errorf("its directory is %v, %v", parent, err)
	}
	if !strings.Contains(logged.String(), made[2]) || !strings.Contains(logged.String(), "coderunner restore") {
		t.Errorf("logged is %s", logged.String())
	}
	if err := start(""); err != nil {
		t.Fatal(err)
	}
	if again := copiesIn(t, dir); len(again) != 3 || again[2] != made[2] {
		t.Errorf("a start without a migration left %q", again)
	}

	// Back: the copy's rows under the copy's schema, and what was there is kept.
	must(a.store.CreateUser(ctx, "later@example.com", "hash"))(t)
	a.release()
	a = &App{log: a.log}
	config := DefaultConfig()
	config.DataDir = dir
	if err := Restore(ctx, config, copiesDir(dir), io.Discard); err == nil {
		t.Error("a directory was restored")
	}
	var said bytes.Buffer
	if err := Restore(ctx, config, made[2], &said); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said.String(), "coderunner_former") {
		t.Errorf("it said %q", said.String())
	}
	cluster, err := pglocal.Start(ctx, pglocal.Config{Dir: postgresDir(dir)})
	if err != nil {
		t.Fatal(err)
	}
	a.cluster = cluster
	if users := usersOf(t, cluster.DSN(pglocal.Database)); users != "ada@example.com" || version() != former {
		t.Errorf("restored are %q under the schema %d", users, version())
	}
	if users := usersOf(t, cluster.DSN("coderunner_former")); users != "ada@example.com later@example.com" {
		t.Errorf("kept are %q", users)
	}
}

func usersOf(t *testing.T, dsn string) (emails string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(t.Context(), "SELECT string_agg(email, ' ' ORDER BY created_at) FROM users").Scan(&emails); err != nil {
		t.Fatal(err)
	}
	return emails
}

// TestUpgradeOfADatabaseOfOnesOwn copies it where that can be done, and goes on with a
// warning where not.
func TestUpgradeOfADatabaseOfOnesOwn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tools, said string
		copies      int
	}{
		"with pg_dump":     {said: "pg_restore --no-owner", copies: 1},
		"without":          {tools: t.TempDir(), said: "pg_dump, which copies of the platform's database need, is not on this machine"},
		"with an old one":  {tools: scripts(t, "echo 'pg_dump: error: aborting because of server version mismatch' >&2; exit 1"), said: "older than the database's server"},
		"with a wrong one": {tools: scripts(t, `echo "password $PGPASSWORD on $*, $DATABASE_URL" >&2; exit 1`), said: "pg_dump could not copy"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn, dir := testdb.New(t), t.TempDir()
			provider, former := schema(t, dsn)
			if _, err := provider.DownTo(t.Context(), former); err != nil {
				t.Fatal(err)
			}
			var logged bytes.Buffer
			a := &App{config: Config{DataDir: dir, DatabaseURL: dsn, pgTools: c.tools}, log: slog.New(slog.NewTextHandler(&logged, nil))}
			st, err := a.openDatabase(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			st.Close()
			if version := must(provider.GetDBVersion(t.Context()))(t); version <= former {
				t.Errorf("it was not migrated from %d", version)
			}
			if made := copiesIn(t, dir); len(made) != c.copies || !strings.Contains(logged.String(), c.said) {
				t.Errorf("there are %q; logged is %s", made, logged.String())
			}
		})
	}
}
