package testupstream

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// Version is that of every package.
const Version = "1.0.0"

// Upstream has the npm packages and the wheels of the names that it was made with, and acts as a proxy
// for http addresses whatever their host. With a User, it wants that and Password,
// as a proxy for the way and otherwise for what it has.
//
//	<URL>/<name>, <URL>/<name>/-/<name>-1.0.0.tgz    npm
//	<URL>/simple/<name>/, <URL>/wheels/…              pip
//	<URL>/debian…/dists/…, <URL>/go/…                 what a mirror and a Go proxy are known by
type Upstream struct {
	URL            string // "http://address:port"
	User, Password string

	mu       sync.Mutex
	requests []string
	files    map[string][]byte // by path
}

// New makes one that serves until the test has ended.
func New(t testing.TB, names ...string) *Upstream {
	t.Helper()
	listener := listen(t)
	u := &Upstream{URL: "http://" + listener.Addr().String(), files: map[string][]byte{"/debian/dists/bookworm/InRelease": nil, "/debian-security/dists/bookworm-security/InRelease": nil, "/go/golang.org/x/text/@v/list": nil}}
	for _, name := range append(names, "npm", "pip") {
		if err := u.add(name); err != nil {
			t.Fatal(err)
		}
	}
	server := &http.Server{Handler: u}
	go func() { _ = server.Serve(listener) }() // ends with the listener
	t.Cleanup(func() { server.Close() })
	return u
}

// WithCredentials is the URL with user and password in it.
func (u *Upstream) WithCredentials() string {
	return strings.Replace(u.URL, "http://", "http://"+u.User+":"+u.Password+"@", 1)
}

// Requests counts those whose address contains the text; "" counts all. Addresses are as they were
// sent: those of a proxy have a host.
func (u *Upstream) Requests(containing string) (n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, request := range u.requests {
		if strings.Contains(request, containing) {
			n++
		}
	}
	return n
}

// Lockfile is package-lock.json of a project that depends on the package, as one that was made with
// npm's own registry.
func (u *Upstream) Lockfile(name string) string {
	return fmt.Sprintf(`{"name":"app","version":"1.0.0","lockfileVersion":3,"requires":true,"packages":{"":{"name":"app","version":"1.0.0","dependencies":{%[1]q:%[2]q}},
"node_modules/%[1]s":{"version":%[2]q,"resolved":"https://registry.npmjs.org/%[1]s/-/%[1]s-%[2]s.tgz","integrity":%[3]q}}}`, name, Version, integrity(u.files[tarball(name)]))
}

func tarball(name string) string { return "/" + name + "/-/" + name + "-" + Version + ".tgz" }

func integrity(content []byte) string {
	sum := sha512.Sum512(content)
	return "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
}

// ServeHTTP implements http.Handler.
func (u *Upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	u.requests = append(u.requests, r.RequestURI)
	u.mu.Unlock()
	status := http.StatusUnauthorized
	if r.URL.IsAbs() || r.Method == http.MethodConnect {
		status = http.StatusProxyAuthRequired
		r.Header.Set("Authorization", r.Header.Get("Proxy-Authorization"))
	}
	if user, password, _ := r.BasicAuth(); user != u.User || password != u.Password {
		w.Header().Set("WWW-Authenticate", `Basic realm="upstream"`)
		w.WriteHeader(status)
		return
	}
	name := strings.Trim(strings.TrimPrefix(r.URL.Path, "/simple"), "/")
	content, isFile := u.files[r.URL.Path]
	archive, isPackage := u.files[tarball(name)]
	switch {
	case isFile:
		w.Header().Set("Cache-Control", "max-age=31536000, immutable") // what has a version stays as it is
		_, _ = w.Write(content)
	case !isPackage:
		http.NotFound(w, r)
	case strings.HasPrefix(r.URL.Path, "/simple/"):
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!DOCTYPE html><html><body><a href="/wheels/%[1]s#sha256=%[2]x">%[1]s</a></body></html>`, wheelName(name), sha256.Sum256(u.files["/wheels/"+wheelName(name)]))
	default:
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"name":%[1]q,"dist-tags":{"latest":%[2]q},"versions":{%[2]q:{"name":%[1]q,"version":%[2]q,"dist":{"tarball":"http://%[3]s%[4]s","integrity":%[5]q}}}}`,
			name, Version, r.Host, tarball(name), integrity(archive))
	}
}

func wheelName(name string) string { return name + "-" + Version + "-py3-none-any.whl" }

// add makes the package of a name: for both languages it answers its name.
func (u *Upstream) add(name string) (err error) {
	if u.files[tarball(name)], err = packed(map[string]string{
		"package/package.json": fmt.Sprintf(`{"name":%q,"version":%q,"main":"index.js"}`, name, Version), "package/index.js": fmt.Sprintf("module.exports = %q;\n", name),
	}); err != nil {
		return err
	}
	info := name + "-" + Version + ".dist-info/"
	var wheel bytes.Buffer
	z := zip.NewWriter(&wheel)
	for _, file := range [][2]string{
		{name + ".py", fmt.Sprintf("name = %q\n", name)}, {info + "METADATA", "Metadata-Version: 2.1\nName: " + name + "\nVersion: " + Version + "\n"},
		{info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}, {info + "RECORD", name + ".py,,\n" + info + "METADATA,,\n" + info + "WHEEL,,\n" + info + "RECORD,,\n"},
	} {
		w, err := z.Create(file[0])
		if err != nil {
			return err
		}
		if _, err := io.WriteString(w, file[1]); err != nil {
			return err
		}
	}
	err = z.Close()
	u.files["/wheels/"+wheelName(name)] = wheel.Bytes()
	return err
}

func packed(files map[string]string) ([]byte, error) {
	var archive bytes.Buffer
	zipped := gzip.NewWriter(&archive)
	w := tar.NewWriter(zipped)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(w, content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	err := zipped.Close()
	return archive.Bytes(), err
}
