package fetch

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// TestNodeJS: a version comes as the registry states it, once, and what is not that is refused and not kept.
func TestNodeJS(t *testing.T) {
	t.Parallel()
	var archive bytes.Buffer
	zipped := gzip.NewWriter(&archive)
	w := tar.NewWriter(zipped)
	if err := w.WriteHeader(&tar.Header{Name: "package/bin/node", Mode: 0o755, Size: 4}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("node")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), zipped.Close()); err != nil {
		t.Fatal(err)
	}
	sum := sha512.Sum512(archive.Bytes())
	var requests atomic.Int64
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		switch {
		case strings.HasSuffix(r.URL.Path, "/99.0.0"):
			http.NotFound(w, r)
		case strings.HasSuffix(r.URL.Path, "/98.0.0"):
			http.Error(w, "later", http.StatusServiceUnavailable)
		case strings.HasSuffix(r.URL.Path, ".tgz"):
			_, _ = w.Write(archive.Bytes())
		case strings.HasSuffix(r.URL.Path, "/97.0.0"):
			_, _ = w.Write([]byte(`{"dist": {"integrity": "sha512-other"}}`))
		default:
			_, _ = fmt.Fprintf(w, `{"dist": {"integrity": "sha512-%s"}}`, base64.StdEncoding.EncodeToString(sum[:]))
		}
	}))
	t.Cleanup(registry.Close)
	node := NodeJS{Dir: filepath.Join(t.TempDir(), "nodejs"), Registry: registry.URL}
	open := func(version string) error {
		stream, err := node.Tar(t.Context(), version)
		if err != nil {
			return err
		}
		defer stream.Close()
		header, err := tar.NewReader(stream).Next()
		if err != nil || header.Name != "package/bin/node" {
			t.Errorf("%s has %+v, %v", version, header, err)
		}
		_, err = io.Copy(io.Discard, stream)
		return err
	}
	for range 2 {
		if err := open("20.11.1"); err != nil || requests.Load() != 2 {
			t.Errorf("%v after %d requests", err, requests.Load())
		}
	}
	for version, want := range map[string]coderunner.Kind{"99.0.0": coderunner.NotFound, "98.0.0": coderunner.Unavailable, "97.0.0": coderunner.Invalid} {
		if err := open(version); coderunner.KindOf(err) != want {
			t.Errorf("%s: %v", version, err)
		}
	}
	for i := range keptVersions {
		if err := open(fmt.Sprintf("21.0.%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if kept, _ := filepath.Glob(filepath.Join(node.Dir, "*")); len(kept) != keptVersions || strings.Contains(strings.Join(kept, " "), "20.11.1") {
		t.Errorf("%v are kept", kept)
	}
}
