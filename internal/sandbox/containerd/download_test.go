package containerd

import (
	"crypto/sha512"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// TestDownloadsAreWhatTheTemplateWasWrittenWith, or nothing is built.
func TestDownloadsAreWhatTheTemplateWasWrittenWith(t *testing.T) {
	t.Parallel()
	const content = "an archive"
	sum := sha512.Sum512([]byte(content))
	right := "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/node-linux-"+npmArch+"/-/node-linux-"+npmArch+"-1.2.3.tgz" && r.URL.Path != "/@a/b/-/b-1.2.3.tgz" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(content))
	}))
	t.Cleanup(registry.Close)
	get := func(registry, name string, integrity map[string]string) (string, []string, error) {
		work := t.TempDir()
		var said []string
		template := sandbox.Template{TemplateRef: sandbox.TemplateRef{Name: "box"}, Downloads: []sandbox.Download{{Package: name, Version: "1.2.3", Integrity: integrity, Into: "/usr/local"}}}
		err := fetch(t.Context(), registry, work, template, func(format string, args ...any) { said = append(said, format) })
		got, _ := os.ReadFile(filepath.Join(work, "downloads", "0000.tgz"))
		if into, _ := os.ReadFile(filepath.Join(work, "downloads", "0000.into")); err == nil && string(into) != "/usr/local" {
			t.Errorf("it goes into %q", into)
		}
		return string(got), said, err
	}
	for _, c := range []struct {
		name, arch string
	}{{"node-linux-{arch}", npmArch}, {"@a/b", "any"}} {
		if got, said, err := get(registry.URL, c.name, map[string]string{c.arch: right}); err != nil || got != content || len(said) != 1 {
			t.Errorf("%s is %q, %v", c.name, got, err)
		}
	}
	for what, c := range map[string]struct {
		registry, name string
		integrity      map[string]string
		kind           coderunner.Kind
		says           string
	}{
		"another hash":     {registry.URL, "@a/b", map[string]string{"any": strings.Replace(right, "sha512-", "sha512-A", 1)}, coderunner.Invalid, "not the file"},
		"an unknown one":   {registry.URL, "missing", map[string]string{"any": right}, coderunner.Unavailable, "could not be downloaded"},
		"no registry":      {"http://127.0.0.1:1", "@a/b", map[string]string{"any": right}, coderunner.Unavailable, "proxy settings"},
		"another computer": {registry.URL, "@a/b", map[string]string{"mips": right}, coderunner.Invalid, "architecture"},
	} {
		if _, _, err := get(c.registry, c.name, c.integrity); coderunner.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestDownloadsForOthersAreLeftOut: a lockfile has packages for other computers too.
func TestDownloadsForOthersAreLeftOut(t *testing.T) {
	t.Parallel()
	work := t.TempDir()
	template := sandbox.Template{Downloads: []sandbox.Download{{Package: "theirs", Version: "1.2.3", Integrity: map[string]string{"any": "sha512-x"}, Into: "/usr/local", Only: "another"}}}
	if err := fetch(t.Context(), "http://127.0.0.1:1", work, template, func(string, ...any) {}); err != nil {
		t.Errorf("what is for another computer is wanted: %v", err)
	}
}
