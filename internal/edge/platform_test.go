package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// world is an edge on a real listener, and the routes it reads.
type world struct {
	*Edge
	client *http.Client

	mu     sync.Mutex
	routes []coderunner.Route
	broken error
}

func newWorld(t *testing.T) *world {
	w := &world{}
	w.Edge = New(Config{Routes: w.read, AppsDomain: "apps.test", DashboardHost: "dashboard.apps.test"})
	server := httptest.NewUnstartedServer(w.Edge)
	server.Config.MaxHeaderBytes = 1 << 20 // so that the edge's own limit is what is met
	server.Start()
	t.Cleanup(server.Close)
	w.SetAddress(server.Listener.Addr().String())
	transport := &http.Transport{DisableCompression: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, w.Address())
	}}
	t.Cleanup(transport.CloseIdleConnections)
	w.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return w
}

func (w *world) read(context.Context) ([]coderunner.Route, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]coderunner.Route(nil), w.routes...), w.broken
}

// route points host at an address and tells the edge.
func (w *world) route(t *testing.T, host, sandbox, address string) {
	t.Helper()
	w.mu.Lock()
	var kept []coderunner.Route
	for _, r := range w.routes {
		if r.Host != host {
			kept = append(kept, r)
		}
	}
	if address != "" {
		kept = append(kept, coderunner.Route{Host: host, SandboxID: sandbox, Target: address})
	}
	w.routes = kept
	w.mu.Unlock()
	if err := w.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// app starts an app and answers its address.
func app(t *testing.T, handler http.HandlerFunc) string {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func (w *world) request(t *testing.T, method, url string, body io.Reader, headers ...string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	return req
}

// get answers a response that is read to its end.
func (w *world) get(t *testing.T, url string, headers ...string) (*http.Response, string) {
	t.Helper()
	res, err := w.client.Do(w.request(t, http.MethodGet, url, nil, headers...))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

// receive fails the test when nothing comes.
func receive[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("waited in vain: %s", what)
		panic("unreachable")
	}
}

func TestIsAppHost(t *testing.T) {
	w := newWorld(t)
	w.route(t, "custom.example", "sb", "127.0.0.1:1")
	for host, want := range map[string]bool{
		"blog.apps.test": true, "blog.apps.test:8080": true, "BLOG.Apps.Test.": true, "a.b.apps.test": true, "unknown.apps.test:1": true,
		"custom.example": true, "custom.example:443": true,
		"apps.test": false, "apps.test:8080": false, "dashboard.apps.test": false, "Dashboard.Apps.test:8080": false,
		"localhost:8080": false, "evilapps.test": false, "apps.test.evil.example": false, "127.0.0.1:8080": false, "[::1]:8080": false, "": false, ".": false,
	} {
		if got := w.IsAppHost(host); got != want {
			t.Errorf("IsAppHost(%q) is %v", host, got)
		}
	}
}

func TestUnknownHost(t *testing.T) {
	w := newWorld(t)
	res, body := w.get(t, "http://nobody.apps.test/<script>", "Accept", "text/html,*/*")
	if res.StatusCode != http.StatusNotFound || !strings.Contains(body, "Nothing runs at this address") || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") ||
		!strings.Contains(res.Header.Get("Content-Security-Policy"), "default-src 'none'") || strings.Contains(body, "script") {
		t.Errorf("answers %d %v\n%s", res.StatusCode, res.Header, body)
	}
	res, body = w.get(t, "http://nobody.apps.test/")
	if res.StatusCode != http.StatusNotFound || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/plain") || !strings.HasPrefix(body, "Nothing runs at this address.") {
		t.Errorf("a program gets %d %v\n%s", res.StatusCode, res.Header, body)
	}
}

func TestDeadTarget(t *testing.T) {
	w := newWorld(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := listener.Addr().String()
	listener.Close()
	w.route(t, "dead.apps.test", "sb-dead", closed)
	w.route(t, "rude.apps.test", "sb-rude", app(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	w.route(t, "heavy.apps.test", "sb-heavy", app(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Heavy", strings.Repeat("x", 1<<20)) }))
	w.route(t, "odd.apps.test", "sb-odd", app(t, func(w http.ResponseWriter, _ *http.Request) { // switches protocols unasked
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		w.WriteHeader(http.StatusSwitchingProtocols)
	}))
	for name, words := range map[string]string{"dead": "The app does not answer.", "rude": "The app does not answer properly.", "heavy": "The app does not answer properly.", "odd": "The app does not answer properly."} {
		res, body := w.get(t, "http://"+name+".apps.test/", "Accept", "text/html")
		if res.StatusCode != http.StatusBadGateway || !strings.Contains(body, words) || strings.Contains(body, closed) || res.Header.Get(sandboxHeader) != "" {
			t.Errorf("%s: answers %d %v\n%s", name, res.StatusCode, res.Header, body)
		}
	}
}

func TestHugeHeaderIsRefused(t *testing.T) {
	w := newWorld(t)
	w.route(t, "app.apps.test", "sb", app(t, func(http.ResponseWriter, *http.Request) { t.Error("the app was asked") }))
	res, body := w.get(t, "http://app.apps.test/", "Cookie", strings.Repeat("x", maxHeaderBytes))
	if res.StatusCode != http.StatusRequestHeaderFieldsTooLarge || !strings.Contains(body, "too large") {
		t.Errorf("answers %d %s", res.StatusCode, body)
	}
}

func TestRefresh(t *testing.T) {
	w := newWorld(t)
	say := func(text string) string {
		return app(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) })
	}
	one, two := say("one"), say("two")
	w.route(t, "App.apps.test", "sb-1", one)
	if _, body := w.get(t, "http://app.apps.test:8080/"); body != "one" {
		t.Errorf("the first version answers %q", body)
	}
	w.route(t, "App.apps.test", "sb-2", two)
	if _, body := w.get(t, "http://app.apps.test/"); body != "two" {
		t.Errorf("after the swap answers %q", body)
	}
	w.mu.Lock()
	w.broken, w.routes = errors.New("the database is away"), nil
	w.mu.Unlock()
	if err := w.Refresh(t.Context()); !errors.Is(err, w.broken) {
		t.Errorf("a failed reading answers %v", err)
	}
	if _, body := w.get(t, "http://app.apps.test/"); body != "two" {
		t.Errorf("after a failed reading answers %q", body)
	}
	w.mu.Lock()
	w.broken = nil
	w.routes = []coderunner.Route{{Host: "app.apps.test", SandboxID: "sb-2", Target: "no address"}}
	w.mu.Unlock()
	if err := w.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if res, _ := w.get(t, "http://app.apps.test/"); res.StatusCode != http.StatusNotFound {
		t.Errorf("a route without a target answers %d", res.StatusCode)
	}
	if err := w.Drain(t.Context(), "sb-2"); err != nil { // the client may have its answer before the request has left
		t.Error(err)
	}
	if len(w.targets) != 0 {
		t.Errorf("targets that nothing uses are kept: %v", w.targets)
	}
}

// TestRefreshesTakeTurns: a reading that began earlier must not replace a later one.
func TestRefreshesTakeTurns(t *testing.T) {
	reading, goOn := make(chan struct{}), make(chan struct{})
	e := New(Config{Routes: func(context.Context) ([]coderunner.Route, error) {
		close(reading)
		<-goOn
		return nil, nil
	}})
	first := make(chan error, 1)
	go func() { first <- e.Refresh(t.Context()) }()
	receive(t, reading, "the first reading")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Refresh(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a second Refresh did not wait for its turn: %v", err)
	}
	close(goOn)
	if err := receive(t, first, "the first Refresh"); err != nil {
		t.Error(err)
	}
}

// TestSwapUnderLoad moves a route to and fro while it is used: no request is lost.
func TestSwapUnderLoad(t *testing.T) {
	w := newWorld(t)
	var drained [2]atomic.Bool
	var addresses [2]string
	for i := range addresses {
		addresses[i] = app(t, func(http.ResponseWriter, *http.Request) {
			if drained[i].Load() {
				t.Error("a request came to a version that was drained")
			}
		})
	}
	w.route(t, "app.apps.test", "sb-0", addresses[0])
	var load sync.WaitGroup
	for range 8 {
		load.Go(func() {
			for range 100 {
				res, err := w.client.Do(w.request(t, http.MethodPost, "http://app.apps.test/", strings.NewReader("x")))
				if err != nil {
					t.Error(err)
					return
				}
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
				if res.StatusCode != http.StatusOK {
					t.Errorf("a request during the swap answers %d", res.StatusCode)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { load.Wait(); close(done) }()
	for i := 1; ; i++ {
		old, next := (i-1)%2, i%2
		drained[next].Store(false)
		w.route(t, "app.apps.test", fmt.Sprintf("sb-%d", next), addresses[next])
		if err := w.Drain(t.Context(), fmt.Sprintf("sb-%d", old)); err != nil {
			t.Fatal(err)
		}
		drained[old].Store(true)
		select {
		case <-done:
			return
		default:
		}
	}
}
