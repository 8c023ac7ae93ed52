package examples

import (
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/coderunner/coderunner/internal/testdb"
)

// TestOwnTests installs each example as a user would and runs the tests that it comes with.
func TestOwnTests(t *testing.T) {
	entries, err := fs.ReadDir(FS, ".")
	if err != nil {
		t.Fatal(err)
	}
	for _, example := range entries {
		t.Run(example.Name(), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			tree, err := fs.Sub(FS, example.Name())
			if err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(dir, tree); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(filepath.Join(dir, "package-lock.json")); err == nil {
				npm(t, dir, "ci", "--no-audit", "--no-fund", "--loglevel=error")
			}
			npm(t, dir, "test")
		})
	}
}

// npm runs one of npm's commands with a fresh database in DATABASE_URL.
func npm(t *testing.T, dir string, args ...string) {
	t.Helper()
	config, err := pgx.ParseConfig(testdb.New(t))
	if err != nil {
		t.Fatal(err)
	}
	// The driver of Node takes a socket's directory from the query.
	database := url.URL{Scheme: "postgres", User: url.User(config.User), Host: "localhost:" + strconv.Itoa(int(config.Port)), Path: "/" + config.Database,
		RawQuery: url.Values{"host": {config.Host}}.Encode()}
	command := exec.CommandContext(t.Context(), "npm", args...)
	command.Dir = dir
	command.Env = append(os.Environ(), "DATABASE_URL="+database.String())
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatal(fmt.Errorf("npm %v: %w\n%s", args, err, out))
	}
}
