package app_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/app"
	"github.com/coderunner/coderunner/internal/coderunner"
)

// The same plan comes from a folder and from an archive of it, in either form.
func TestAnalyze(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := map[string]string{"package.json": `{"scripts": {"start": "node a.js \u001b]52;c;x\u0007"}}`, "a.js": "listen(process.env.PORT)\n"}
	var packed bytes.Buffer
	archive := zip.NewWriter(&packed)
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		w, err := archive.Create("poems/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	zipped := filepath.Join(t.TempDir(), "poems.zip")
	if err := os.WriteFile(zipped, packed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{dir, zipped} {
		var text, raw bytes.Buffer
		if err := app.Analyze(t.Context(), name, false, &text); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"type             nodejs", "start            node a.js �]52;c;x�  scripts.start in package.json:1", "process.env.PORT read in a.js:1"} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("%s: no %q in\n%s", name, want, text.String())
			}
		}
		if err := app.Analyze(t.Context(), name, true, &raw); err != nil {
			t.Fatal(err)
		}
		var plan coderunner.Plan
		if err := json.Unmarshal(raw.Bytes(), &plan); err != nil || plan.Type != "nodejs" || plan.Warnings == nil {
			t.Errorf("%s: %v, plan %+v", name, err, plan)
		}
	}
	for name, want := range map[string]string{filepath.Join(dir, "gone"): "There is no ", filepath.Join(dir, "a.js"): "a.js"} {
		if err := app.Analyze(t.Context(), name, false, &bytes.Buffer{}); !strings.Contains(coderunner.Sentence(err), want) {
			t.Errorf("%s: %v, want a sentence with %q", name, err, want)
		}
	}
}
