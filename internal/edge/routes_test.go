package edge

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// TestBrokenRoutesAreSkipped: one that cannot be used is named, and harms no other.
func TestBrokenRoutesAreSkipped(t *testing.T) {
	w := newWorld(t)
	address := app(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "well") })
	good := coderunner.Route{Host: "good.apps.test", SandboxID: "sb", Target: address}
	bad := []coderunner.Route{
		{Host: "", SandboxID: "sb", Target: address},
		{Host: "two words.apps.test", SandboxID: "sb", Target: address},
		{Host: "-x.apps.test", SandboxID: "sb", Target: address},
		{Host: "x..apps.test", SandboxID: "sb", Target: address},
		{Host: strings.Repeat("x", 64) + ".apps.test", SandboxID: "sb", Target: address},
		{Host: "port.apps.test:80", SandboxID: "sb", Target: address},
		{Host: "127.0.0.1", SandboxID: "sb", Target: address},
		{Host: "::1", SandboxID: "sb", Target: address},
		{Host: "apps.test", SandboxID: "sb", Target: address},
		{Host: "dashboard.apps.test", SandboxID: "sb", Target: address},
		{Host: "GOOD.apps.test.", SandboxID: "other", Target: address},
		{Host: "nowhere.apps.test", SandboxID: "sb", Target: ""},
		{Host: "portless.apps.test", SandboxID: "sb", Target: "10.0.0.1"},
		{Host: "zero.apps.test", SandboxID: "sb", Target: "10.0.0.1:0"},
		{Host: "word.apps.test", SandboxID: "sb", Target: "10.0.0.1:http"},
		{Host: "whose.apps.test", SandboxID: "", Target: address},
	}
	broken := w.Replace(append([]coderunner.Route{good}, bad...))
	if len(broken) != len(bad) {
		t.Fatalf("%d of %d were named: %q", len(broken), len(bad), broken)
	}
	for i, b := range broken {
		if b.Host != bad[i].Host || b.Reason == "" {
			t.Errorf("%q is named as %+v", bad[i].Host, b)
		}
	}
	if _, body := w.get(t, "http://good.apps.test/"); body != "well" {
		t.Errorf("beside them the good one answers %q", body)
	}
	if w.IsAppHost("127.0.0.1:80") {
		t.Error("a broken route took an address")
	}
}

// TestStoppedApp keeps its host, says that it is stopped, and serves again when it is started.
func TestStoppedApp(t *testing.T) {
	w := newWorld(t)
	route := coderunner.Route{Host: "app.apps.test", SandboxID: "sb", Target: app(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "well") })}
	w.Replace([]coderunner.Route{route})
	if _, body := w.get(t, "http://app.apps.test/"); body != "well" {
		t.Fatalf("before the stop it answers %q", body)
	}
	w.Replace([]coderunner.Route{{Host: route.Host, Stopped: true}})
	res, body := w.get(t, "http://app.apps.test/", "Accept", "text/html")
	if res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "This app is stopped.") || !strings.Contains(res.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("a stopped app answers %d %s", res.StatusCode, body)
	}
	if sandbox, status, err := w.Probe(t.Context(), "app.apps.test", "/"); sandbox != "" || status != http.StatusServiceUnavailable || err != nil {
		t.Errorf("the probe of a stopped app answers %q %d %v", sandbox, status, err)
	}
	if err := w.Drain(t.Context(), "sb"); err != nil {
		t.Errorf("a stopped app's sandbox cannot be drained: %v", err)
	}
	w.Replace([]coderunner.Route{route})
	if _, body := w.get(t, "http://app.apps.test/"); body != "well" {
		t.Errorf("after the start it answers %q", body)
	}
}

// TestClose ends what is under way.
func TestClose(t *testing.T) {
	w := newWorld(t)
	began := make(chan struct{})
	w.route(t, "app.apps.test", "sb", app(t, func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
	}))
	status := make(chan int, 1)
	go func() {
		res, _ := w.get(t, "http://app.apps.test/")
		status <- res.StatusCode
	}()
	receive(t, began, "the app is asked")
	if open := w.Open(); open["sb"] != 1 || len(open) != 1 {
		t.Errorf("open are %v", open)
	}
	w.Close()
	if got := receive(t, status, "the answer"); got != http.StatusServiceUnavailable {
		t.Errorf("the request under way got %d", got)
	}
	if res, _ := w.get(t, "http://app.apps.test/"); res.StatusCode != http.StatusNotFound {
		t.Errorf("after Close answers %d", res.StatusCode)
	}
}
