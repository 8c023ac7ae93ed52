package app

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/secret"
	"github.com/coderunner/coderunner/internal/store"
)

func keyRingFile(dataDir string) string { return filepath.Join(dataDir, "keyring") }

// openKeys reads the key ring, and makes one for a database that has no use of one
// yet. A fresh ring beside secrets that it cannot open would look like a working
// server until the first deploy.
func (a *App) openKeys(ctx context.Context, st *store.Store) (*secret.KeyRing, error) {
	path := keyRingFile(a.config.DataDir)
	keys, err := secret.Read(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		has, err := st.HasSealed(ctx)
		if err != nil {
			return nil, err
		}
		if has {
			return nil, coderunner.Errorf(coderunner.Unavailable, "The key ring %s is missing, and the database has secrets that nothing else can open. Put the file back from the backup; it belongs to the database's. Nothing has been changed.", path)
		}
		return secret.Open(path)
	case err != nil:
		return nil, err
	}
	lost, err := lostKeys(ctx, st, keys)
	if err != nil {
		return nil, err
	}
	for _, id := range lost {
		a.log.Error("the database has secrets of a key that is not in the key ring; projects that need them cannot be deployed", "key", id.String(), "keyring", path)
	}
	return keys, nil
}

// Which database the server of a data directory works with is written down, so that
// no key is removed because another database has no use of it.
const (
	privateDatabase = "private\n"
	ownDatabase     = "--database-url\n"
)

func (a *App) databaseKind() string {
	if a.config.DatabaseURL == "" {
		return privateDatabase
	}
	return ownDatabase
}

func (a *App) noteDatabase() error {
	return os.WriteFile(filepath.Join(a.config.DataDir, "database"), []byte(a.databaseKind()), 0o600)
}

// sameDatabase reports whether the database is the kind that the server uses.
func (a *App) sameDatabase() error {
	kind, err := os.ReadFile(filepath.Join(a.config.DataDir, "database"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return coderunner.Errorf(coderunner.Conflict, "No server of this version has worked with %s yet, so that it is not known which database its secrets are in. Start the server once.", a.config.DataDir)
	case err != nil:
		return err
	case string(kind) == a.databaseKind():
		return nil
	case string(kind) == ownDatabase:
		return coderunner.Errorf(coderunner.Invalid, "The server of %s works with a database of your own. Name it with --database-url.", a.config.DataDir)
	}
	return coderunner.Errorf(coderunner.Invalid, "The server of %s works with its private database. Leave --database-url and DATABASE_URL away.", a.config.DataDir)
}

// lostKeys are those that something is sealed with and that the ring does not have.
func lostKeys(ctx context.Context, st *store.Store, keys *secret.KeyRing) ([]secret.KeyID, error) {
	list, err := keys.Keys()
	if err != nil {
		return nil, err
	}
	has := map[secret.KeyID]bool{}
	for _, key := range list {
		has[key.ID] = true
	}
	uses, err := usesOf(ctx, st)
	if err != nil {
		return nil, err
	}
	var lost []secret.KeyID
	for _, use := range uses {
		if !has[use.key] {
			lost, has[use.key] = append(lost, use.key), true
		}
	}
	return lost, nil
}

// use is how many values of a place are sealed with a key.
type use struct {
	key   secret.KeyID // 0 for what is no ciphertext of ours
	place string
	count int
}

func usesOf(ctx context.Context, st *store.Store) ([]use, error) {
	counts, err := st.SealedCounts(ctx, secret.HeaderBytes)
	if err != nil {
		return nil, err
	}
	uses := make([]use, len(counts))
	for i, n := range counts {
		id, _ := secret.KeyOf(n.Header)
		uses[i] = use{key: id, place: n.Place, count: n.Count}
	}
	return uses, nil
}
