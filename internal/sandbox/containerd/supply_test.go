package containerd

import (
	"crypto/sha512"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// asked is a server that has nothing, and remembers who asked for what: the credentials, and
// the address as a proxy is told it, or the path.
type asked struct {
	*httptest.Server
	mu       sync.Mutex
	requests []string
}

func newAsked(t *testing.T, answers map[string]string) *asked {
	a := &asked{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		a.mu.Lock()
		a.requests = append(a.requests, user+":"+password+" "+r.RequestURI)
		a.mu.Unlock()
		if answer, has := answers[r.RequestURI]; has {
			_, _ = w.Write([]byte(answer))
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *asked) has(request string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Contains(a.requests, request)
}

func (a *asked) withCredentials() string {
	return strings.Replace(a.URL, "http://", "http://ann:hunter2%40home@", 1)
}

// TestTheBaseComesFromTheMirror, and nowhere else: mmdebstrap asks it with the credentials, which
// nothing that it prints has.
func TestTheBaseComesFromTheMirror(t *testing.T) {
	t.Parallel()
	mirror := newAsked(t, nil)
	var said strings.Builder
	from := supply{sources: coderunner.Sources{AptMirror: mirror.withCredentials() + "/debian"}}
	_, err := ensureBase(t.Context(), from, t.TempDir(), "bookworm", func(format string, args ...any) { said.WriteString(format) })
	if err == nil {
		t.Fatal("a base was made of nothing")
	}
	for _, archive := range []string{"/debian/dists/bookworm/", "/debian/dists/bookworm-updates/", "/debian-security/dists/bookworm-security/"} {
		if !mirror.has("ann:hunter2@home " + archive + "InRelease") {
			t.Errorf("%s was not asked for: %q", archive, mirror.requests)
		}
	}
	explained := explainBuild(err, "", sandbox.Template{TemplateRef: sandbox.TemplateRef{Name: "box"}}, func(format string, args ...any) {
		for _, arg := range args {
			said.WriteString(arg.(string))
		}
	})
	for _, text := range []string{said.String(), err.Error(), explained.Error()} {
		if strings.Contains(text, "hunter2") {
			t.Errorf("the password is in %s", text)
		}
	}
}

// TestTemplatesComeThroughTheProxy, both what apt and what we ourselves download.
func TestTemplatesComeThroughTheProxy(t *testing.T) {
	t.Parallel()
	const content = "an archive"
	sum := sha512.Sum512([]byte(content))
	proxy := newAsked(t, map[string]string{"http://npm.invalid/box/-/box-1.0.0.tgz": content})
	from := supply{sources: coderunner.Sources{NPMRegistry: "http://ann:hunter2%40home@npm.invalid", AptMirror: "http://mirror.invalid/debian", HTTPProxy: proxy.URL}}
	if _, err := ensureBase(t.Context(), from, t.TempDir(), "bookworm", t.Logf); err == nil {
		t.Fatal("a base was made of nothing")
	}
	if !proxy.has(": http://mirror.invalid/debian/dists/bookworm/InRelease") {
		t.Errorf("apt did not ask the proxy: %q", proxy.requests)
	}
	work := t.TempDir()
	template := sandbox.Template{Downloads: []sandbox.Download{{Package: "box", Version: "1.0.0", Integrity: map[string]string{"any": "sha512-" + base64.StdEncoding.EncodeToString(sum[:])}, Into: "/box"}}}
	if err := download(t.Context(), from, work, template, t.Logf); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(work, "downloads", "0000.tgz")); string(got) != content || !proxy.has("ann:hunter2@home http://npm.invalid/box/-/box-1.0.0.tgz") {
		t.Errorf("the download is %q, %v; the proxy was asked for %q", got, err, proxy.requests)
	}
	template.Downloads[0].Version = "2.0.0"
	err := download(t.Context(), from, t.TempDir(), template, t.Logf)
	if coderunner.KindOf(err) != coderunner.Unavailable || !strings.Contains(err.Error(), "http://npm.invalid/box/") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a download that fails says %v", err)
	}
}

// TestSettings: a sandbox reads its settings at their paths and cannot change them, a snapshot of it has
// none of them, and another of the same name may have others.
func TestSettings(t *testing.T) {
	t.Parallel()
	p := open(t, newConfig(t))
	template := ready(t, p, templateOf(t, "postgres-15"))
	spec := sandbox.Spec{Name: "box", Template: template, Settings: map[string]string{"/etc/coderunner/npmrc": "registry=x\n"}}
	makeBox(t, p, spec)
	if got := sh(t, p, "box", `cat /etc/coderunner/npmrc; echo y 2>/dev/null >/etc/coderunner/npmrc || echo unchanged`); got != "registry=x\nunchanged\n" {
		t.Errorf("the sandbox has %q", got)
	}
	spec.Settings = nil
	if _, err := p.Create(within(t), spec); err != nil {
		t.Errorf("the sandbox without settings is not adopted: %v", err)
	}
	if err := p.Snapshot(within(t), "box", "kept", nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Destroy(within(t), "after"); _ = p.RemoveSnapshot(within(t), "kept") })
	makeBox(t, p, sandbox.Spec{Name: "after", Snapshot: "kept"})
	if got := sh(t, p, "after", `cat /etc/coderunner/npmrc`); got != "" {
		t.Errorf("the snapshot has %q", got)
	}
}
