package examples

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/coderunner/coderunner/internal/analyzer"
	"github.com/coderunner/coderunner/internal/testdb"
)

// TestOwnTests installs each example as a user would and runs the tests that it comes with;
// those in Go are this module's own.
func TestOwnTests(t *testing.T) {
	t.Parallel()
	for _, sample := range Samples() {
		var pack struct{ Scripts map[string]string }
		if text, err := fs.ReadFile(sample.Files, "package.json"); err == nil {
			if err := json.Unmarshal(text, &pack); err != nil {
				t.Errorf("%s: %v", sample.Name, err)
			}
		}
		python, _ := fs.Glob(sample.Files, "test_*.py")
		if pack.Scripts["test"] == "" && len(python) == 0 {
			continue
		}
		t.Run(sample.Name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.CopyFS(dir, sample.Files); err != nil {
				t.Fatal(err)
			}
			if len(python) > 0 {
				run(t, dir, "python3", "-m", "unittest")
				return
			}
			if _, err := os.Stat(filepath.Join(dir, "package-lock.json")); err == nil {
				run(t, dir, "npm", "ci", "--no-audit", "--no-fund", "--loglevel=error")
			}
			run(t, dir, "npm", "test")
		})
	}
}

// run runs a command with a fresh database in DATABASE_URL.
func run(t *testing.T, dir string, args ...string) {
	t.Helper()
	config, err := pgx.ParseConfig(testdb.New(t))
	if err != nil {
		t.Fatal(err)
	}
	// The driver of Node takes a socket's directory from the query.
	database := url.URL{Scheme: "postgres", User: url.User(config.User), Host: "localhost:" + strconv.Itoa(int(config.Port)), Path: "/" + config.Database,
		RawQuery: url.Values{"host": {config.Host}}.Encode()}
	command := exec.CommandContext(t.Context(), args[0], args[1:]...)
	command.Dir = dir
	command.Env = append(os.Environ(), "DATABASE_URL="+database.String())
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatal(fmt.Errorf("%v: %w\n%s", args, err, out))
	}
}

// TestEveryExampleIsRecognised: one click deploys the analyzer's plan as it is.
func TestEveryExampleIsRecognised(t *testing.T) {
	t.Parallel()
	got := map[string]string{}
	for _, sample := range Samples() {
		plan, err := analyzer.Analyze(sample.Files)
		if err != nil {
			t.Fatalf("%s: %v", sample.Name, err)
		}
		if err := plan.Check(); err != nil {
			t.Errorf("%s: %v", sample.Name, err)
		}
		words := []string{plan.Type, plan.Framework.Value}
		for _, need := range plan.Databases {
			words = append(words, need.Appliance)
		}
		if plan.Static() {
			words = append(words, "files of "+plan.StaticDir.Value)
		}
		for name := range plan.Processes {
			words = append(words, name)
		}
		slices.Sort(words[2:])
		got[sample.Name] = strings.Join(words, ", ")
	}
	for name, want := range map[string]string{
		"astro": "nodejs, Astro, files of dist", "django-postgres": "python, Django, postgres-15, release", "express-postgres": "nodejs, Express, postgres-15",
		"fastapi-postgres": "python, FastAPI, postgres-15", "fastify-redis": "nodejs, Fastify, redis-7", "flask": "python, Flask", "go": "go, ",
		"manifest-postgres": "manifest, Manifest, postgres-15", "manifest-sqlite": "manifest, Manifest", "nest": "nodejs, NestJS", "next": "nodejs, Next.js",
		"node-hello": "nodejs, ", "pnpm-workspace": "nodejs, Hono", "procfile-worker": "nodejs, , postgres-15, release, web, worker",
		"static": "static, , files of .", "vite-react": "nodejs, Vite, files of dist",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("nothing is said of %v", got)
	}
}

// TestEveryFolderIsASample: what is here is offered, with a README, and npm's locks name no registry but the public one.
func TestEveryFolderIsASample(t *testing.T) {
	t.Parallel()
	var names []string
	for _, sample := range Samples() {
		names = append(names, sample.Name)
		if _, err := fs.Stat(sample.Files, "README.md"); err != nil {
			t.Error(err)
		}
		lock, err := fs.ReadFile(sample.Files, "package-lock.json")
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(lock)) {
			if strings.Contains(line, `"resolved"`) && !strings.Contains(line, `"https://registry.npmjs.org/`) {
				t.Errorf("%s: %s", sample.Name, line)
			}
		}
	}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.IsDir() && !slices.Contains(names, entry.Name()) {
			t.Errorf("%s is not offered", entry.Name())
		}
	}
}
