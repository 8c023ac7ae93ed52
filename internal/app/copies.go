package app

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/pglocal"
	"github.com/coderunner/coderunner/internal/store"
)

// keepCopies is how many copies of the database stay, the newest.
const keepCopies = 3

func copiesDir(dataDir string) string { return filepath.Join(dataDir, "copies") }

// copyBefore answers what store.Migrate has to do before it changes a schema: a copy of the
// database, <data dir>/copies/<schema version>-<UTC time>.dump. Without one the private
// database is not migrated. A database of somebody's own is: it may be out of reach for the
// programs of this machine, and whoever runs it has other ways to keep copies.
func (a *App) copyBefore(st *store.Store, dsn string) (func(ctx context.Context, version int64) error, error) {
	tools := pglocal.NewestTools()
	if a.cluster != nil {
		var err error
		if tools, err = a.cluster.Tools(); err != nil {
			return nil, err
		}
	}
	if a.config.pgTools != "" {
		tools.Dir = a.config.pgTools
	}
	return func(ctx context.Context, version int64) error {
		path := filepath.Join(copiesDir(a.config.DataDir), fmt.Sprintf("%d-%s.dump", version, time.Now().UTC().Format("20060102T150405Z")))
		err := makeCopy(ctx, st, tools, dsn, path)
		switch {
		case err == nil && a.cluster != nil:
			a.log.Info("the database was copied before its schema is changed", "copy", path, "to go back", fmt.Sprintf("coderunner restore --data-dir %s %s, then start the former version", a.config.DataDir, path))
		case err == nil:
			a.log.Info("the database was copied before its schema is changed", "copy", path, "to go back", "pg_restore --no-owner --dbname=<an empty database> "+path)
		case a.cluster != nil || ctx.Err() != nil:
			return coderunner.Wrap(err, coderunner.Unavailable, "This version of CodeRunner has to change the schema of its database, and copies it before, which failed: %s Nothing was changed: correct that and start again, or go on with the former version.", coderunner.Sentence(err))
		default:
			a.log.Warn("the database's schema is changed without a copy made before", "why", coderunner.Sentence(err), "err", err)
		}
		return nil
	}, nil
}

// makeCopy writes the copy and removes what was kept before it, but for the newest.
func makeCopy(ctx context.Context, st *store.Store, tools pglocal.Tools, dsn, path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return coderunner.Wrap(err, coderunner.Unavailable, "The directory %s cannot be made: %v.", dir, err)
	}
	// What a former process did not finish takes room, and nobody else copies now.
	unfinished, err := filepath.Glob(filepath.Join(dir, "*.part"))
	if err != nil {
		return err
	}
	for _, part := range unfinished {
		_ = os.Remove(part)
	}
	if err := roomForCopy(ctx, st, dir); err != nil {
		return err
	}
	if err := tools.Copy(ctx, dsn, path); err != nil {
		return err
	}
	copies, err := filepath.Glob(filepath.Join(dir, "*.dump"))
	if err != nil {
		return err
	}
	made := func(path string) string { // when, which is the name's second part
		_, at, _ := strings.Cut(filepath.Base(path), "-")
		return at
	}
	slices.SortFunc(copies, func(a, b string) int { return strings.Compare(made(b), made(a)) })
	for _, old := range copies[min(keepCopies, len(copies)):] {
		_ = os.Remove(old)
	}
	return nil
}

// roomForCopy refuses a copy that would take the disk's last room from everything else.
// Compressed and without indexes it takes less than half of the database.
func roomForCopy(ctx context.Context, st *store.Store, dir string) error {
	bytes, err := st.DatabaseSize(ctx)
	if err != nil {
		return err
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil {
		return coderunner.Wrap(err, coderunner.Unavailable, "The disk that holds %s cannot be looked at: %v.", dir, err)
	}
	if free := int64(disk.Bavail) * disk.Bsize; free < bytes/2 {
		return coderunner.Errorf(coderunner.Unavailable, "The disk that holds %s has %d MB free, and a copy may need %d MB. Free some space.", dir, free>>20, bytes>>21)
	}
	return nil
}

// Restore puts a copy in the place of the private database, which no server may use
// meanwhile. What was there is kept in the cluster, until the next time.
func Restore(ctx context.Context, config Config, path string, out io.Writer) error {
	if err := config.check(); err != nil {
		return err
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if config.DatabaseURL != "" {
		return coderunner.Errorf(coderunner.Invalid, "The database is one of your own. Make an empty one beside it, bring the copy back with pg_restore --no-owner --dbname=<the empty one> %s, and name that one in DATABASE_URL.", path)
	}
	a := &App{config: config}
	defer a.release()
	if err := a.takeDataDir(); err != nil {
		return err
	}
	if a.cluster, err = pglocal.Start(ctx, pglocal.Config{Dir: postgresDir(config.DataDir)}); err != nil {
		return err
	}
	kept, err := a.cluster.Restore(ctx, path)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "The platform's database is as it was in %s. What it was before is kept as %s until the next restore.\nStart the version of CodeRunner that the copy is of: a newer one migrates it again.\n", path, kept)
	return nil
}
