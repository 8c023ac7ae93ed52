// Package static holds what browsers fetch beside the pages: the compiled style
// sheet, htmx, our scripts and the icon, embedded into the program. The address
// of each contains a hash of all of them, so that an answer may be kept for ever
// and modules can import each other by relative path.
package static

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed app.css icon.svg js/*.js vendor/*.js
var files embed.FS

// Files serves the static files under Prefix.
type Files struct {
	hash    string
	content map[string]file
}

// Prefix is where the handler expects to be mounted.
const Prefix = "/static/"

type file struct {
	kind string
	body string
	etag string
}

// New reads the embedded files and hashes them.
func New() *Files {
	static := &Files{content: make(map[string]file)}
	whole := sha256.New()
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		body, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		whole.Write([]byte(name))
		whole.Write(sum[:])
		static.content[name] = file{kind: kindOf(name), body: string(body), etag: `"` + hex.EncodeToString(sum[:8]) + `"`}
		return nil
	})
	if err != nil {
		panic(err) // the files are part of the program
	}
	static.hash = hex.EncodeToString(whole.Sum(nil)[:6])
	return static
}

// Path answers the address of the named file, such as "app.css" or "js/log.js".
func (s *Files) Path(name string) string { return Prefix + s.hash + "/" + name }

// ServeHTTP answers GET and HEAD for the addresses that Path gives. An address
// with another hash, from a page that was open during an update, gets the
// present file and may not be kept.
func (s *Files) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "Static files can only be read.", http.StatusMethodNotAllowed)
		return
	}
	hash, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, Prefix), "/")
	file, found := s.content[name]
	if !found {
		http.NotFound(w, r)
		return
	}
	header := w.Header()
	header.Set("Content-Type", file.kind)
	header.Set("ETag", file.etag)
	header.Set("X-Content-Type-Options", "nosniff")
	if hash == s.hash {
		header.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		header.Set("Cache-Control", "no-cache")
	}
	http.ServeContent(w, r, name, time.Time{}, strings.NewReader(file.body))
}

func kindOf(name string) string {
	switch path.Ext(name) {
	case ".css":
		return "text/css; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return "application/octet-stream"
}
