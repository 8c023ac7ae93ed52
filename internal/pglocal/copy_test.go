package pglocal

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// TestCopyKeepsThePasswordOffCommandLines: programs learn where to connect from their
// environment, in which everything is that the connection string says.
func TestCopyKeepsThePasswordOffCommandLines(t *testing.T) {
	t.Setenv("PGHOSTADDR", "192.0.2.1")
	for name, dsn := range map[string]string{
		"an address": "postgres://ada:hunter%202@db.example.com:6432/shop?sslmode=verify-full&pool_max_conns=3",
		"a list":     `host=db.example.com port=6432 user=ada password='hunter 2' dbname = shop sslmode='require'`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			script := "#!/bin/sh\necho \"$*\" >" + dir + "/arguments\nenv >" + dir + "/environment\necho 'no luck' >&2\nexit 1\n"
			if err := os.WriteFile(filepath.Join(dir, "pg_dump"), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			err := Tools{Dir: dir}.Copy(t.Context(), dsn, filepath.Join(dir, "copy"))
			if coderunner.KindOf(err) != coderunner.Unavailable || !strings.Contains(err.Error(), "no luck") || strings.Contains(err.Error(), "hunter") {
				t.Errorf("the copy answers %v", err)
			}
			arguments, err := os.ReadFile(filepath.Join(dir, "arguments"))
			if err != nil || strings.Contains(string(arguments), "hunter") || strings.Contains(string(arguments), "example.com") {
				t.Errorf("on the command line is %q, %v", arguments, err)
			}
			text, err := os.ReadFile(filepath.Join(dir, "environment"))
			if err != nil {
				t.Fatal(err)
			}
			environment := strings.Split(string(text), "\n")
			ssl := map[string]string{"an address": "PGSSLMODE=verify-full", "a list": "PGSSLMODE=require"}[name]
			for _, want := range []string{"PGHOST=db.example.com", "PGPORT=6432", "PGUSER=ada", "PGPASSWORD=hunter 2", "PGDATABASE=shop", ssl} {
				if !slices.Contains(environment, want) {
					t.Errorf("the environment is without %q", want)
				}
			}
			if strings.Contains(string(text), "192.0.2.1") {
				t.Error("another variable leads elsewhere")
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "copy*")); len(left) > 0 {
				t.Errorf("of the failed copy there is %q", left)
			}
		})
	}
}
