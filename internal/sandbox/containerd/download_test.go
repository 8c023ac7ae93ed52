package containerd

import (
	"archive/zip"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/dirhash"

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
		err := download(t.Context(), supply{sources: coderunner.Sources{NPMRegistry: registry}}, work, template, func(format string, args ...any) { said = append(said, format) })
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

// TestModulesOfGoBecomeArchives: of a zip whose hash is that of a go.sum, with the programs of a toolchain executable.
func TestModulesOfGoBecomeArchives(t *testing.T) {
	t.Parallel()
	version := "v0.0.1-go1.2.3.linux-" + runtime.GOARCH
	zipped := filepath.Join(t.TempDir(), "module.zip")
	out, err := os.Create(zipped)
	if err != nil {
		t.Fatal(err)
	}
	w := zip.NewWriter(out)
	for name, text := range map[string]string{"bin/go": "#!/bin/sh", "pkg/tool/compile": "#!/bin/sh", "src/fmt/print.go": "package fmt"} {
		entry, err := w.Create("golang.org/toolchain@" + version + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := entry.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), out.Close()); err != nil {
		t.Fatal(err)
	}
	sum, err := dirhash.HashZip(zipped, dirhash.Hash1)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/golang.org/toolchain/@v/"+version+".zip" {
			http.NotFound(w, r)
			return
		}
		http.ServeFile(w, r, zipped)
	}))
	t.Cleanup(proxy.Close)
	get := func(sum string) (string, error) {
		work := t.TempDir()
		template := sandbox.Template{TemplateRef: sandbox.TemplateRef{Name: "box"}, Downloads: []sandbox.Download{
			{Module: "golang.org/toolchain", Version: "v0.0.1-go1.2.3.linux-{arch}", Integrity: map[string]string{runtime.GOARCH: sum}, Into: "/usr/local/go"}}}
		return work, download(t.Context(), supply{sources: coderunner.Sources{GoProxy: proxy.URL}}, work, template, func(string, ...any) {})
	}
	work, err := get(sum)
	if err != nil {
		t.Fatal(err)
	}
	unpacked := t.TempDir() // as template_root.sh does
	if text, err := exec.CommandContext(t.Context(), "tar", "-xzf", filepath.Join(work, "downloads", "0000.tgz"), "-C", unpacked, "--strip-components=1").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	for name, mode := range map[string]fs.FileMode{"bin/go": 0o755, "pkg/tool/compile": 0o755, "src/fmt/print.go": 0o644} {
		if info, err := os.Stat(filepath.Join(unpacked, name)); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(work, "downloads", "*.zip")); len(left) > 0 {
		t.Errorf("%v stay", left)
	}
	if _, err := get("h1:" + strings.Repeat("A", 43) + "="); coderunner.KindOf(err) != coderunner.Invalid || !strings.Contains(err.Error(), "not the file") {
		t.Errorf("another hash: %v", err)
	}
}

// TestDownloadsForOthersAreLeftOut: a lockfile has packages for other computers too.
func TestDownloadsForOthersAreLeftOut(t *testing.T) {
	t.Parallel()
	work := t.TempDir()
	template := sandbox.Template{Downloads: []sandbox.Download{{Package: "theirs", Version: "1.2.3", Integrity: map[string]string{"any": "sha512-x"}, Into: "/usr/local", Only: "another"}}}
	if err := download(t.Context(), supply{sources: coderunner.Sources{NPMRegistry: "http://127.0.0.1:1"}}, work, template, func(string, ...any) {}); err != nil {
		t.Errorf("what is for another computer is wanted: %v", err)
	}
}
