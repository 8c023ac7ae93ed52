package daemon

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// TestMain is an edge when a test has started one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == Command {
		var cfg Config
		flags := flag.NewFlagSet(Command, flag.ExitOnError)
		flags.StringVar(&cfg.DataDir, "data-dir", "", "")
		flags.StringVar(&cfg.Listen, "listen", "", "")
		flags.StringVar(&cfg.AppsDomain, "apps-domain", "", "")
		flags.StringVar(&cfg.DashboardHost, "dashboard-host", "", "")
		flags.StringVar(&cfg.Scheme, "scheme", "", "")
		_ = flags.Parse(os.Args[2:])
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		err := RunProcess(ctx, cfg)
		stop()
		if err != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// patience is for what must happen; a test that passes does not wait so long.
const patience = 20 * time.Second

// world is a data directory, the rows that `serve` would read, and a client.
type world struct {
	dir string
	*Client

	mu   sync.Mutex
	rows []coderunner.Route
}

func newWorld(t *testing.T) *world {
	w := &world{dir: t.TempDir()}
	w.Client = NewClient(w.dir, w.read, quiet)
	return w
}

var quiet = slog.New(slog.DiscardHandler)

func (w *world) read(context.Context) ([]coderunner.Route, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]coderunner.Route(nil), w.rows...), nil
}

// route changes the rows and tells them.
func (w *world) route(t *testing.T, rows ...coderunner.Route) {
	t.Helper()
	w.mu.Lock()
	w.rows = rows
	w.mu.Unlock()
	if err := w.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (w *world) config() Config {
	return Config{DataDir: w.dir, Version: "test", Log: quiet, Settings: Settings{Listen: "127.0.0.1:0", AppsDomain: "apps.test", DashboardHost: "localhost"},
		DrainTime: patience, DashboardWait: patience}
}

// running is an edge within the test.
type running struct {
	Status
	end   context.CancelFunc
	ended chan error
}

// run starts an edge, which ends with the test.
func run(t *testing.T, cfg Config) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{end: cancel, ended: make(chan error, 1)}
	ready := make(chan Status, 1)
	go func() {
		err := Run(ctx, cfg, func(s Status) { ready <- s })
		r.ended <- err
		close(r.ended)
	}()
	t.Cleanup(func() {
		cancel()
		for range r.ended {
		}
	})
	select {
	case r.Status = <-ready:
	case err := <-r.ended:
		t.Fatalf("the edge did not start: %v", err)
	}
	return r
}

// stop ends the edge and waits for that.
func (r *running) stop(t *testing.T) {
	t.Helper()
	r.end()
	if err := receive(t, r.ended, "the edge's end"); err != nil {
		t.Fatal(err)
	}
}

func receive[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("waited in vain: %s", what)
		panic("unreachable")
	}
}

// browser is a client that reaches the edge under every name.
func browser(t *testing.T, address string) *http.Client {
	transport := &http.Transport{DisableCompression: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 2 * patience}
}

func get(t *testing.T, client *http.Client, url string, headers ...string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text), res.Header
}

// app starts an app and answers the route to it.
func app(t *testing.T, name string, handler http.HandlerFunc) coderunner.Route {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return coderunner.Route{Host: name + ".apps.test", SandboxID: "sb-" + name, Target: server.Listener.Addr().String()}
}

func saying(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
}

// TestRoutesAreKept: an edge serves what was told to the one before it.
func TestRoutesAreKept(t *testing.T) {
	w := newWorld(t)
	first := run(t, w.config())
	w.route(t, app(t, "one", saying("one")), coderunner.Route{Host: "stopped.apps.test", Stopped: true}, coderunner.Route{Host: "bad host", SandboxID: "x", Target: "y"})
	first.stop(t)
	second := run(t, w.config())
	client := browser(t, second.Address)
	if _, body, _ := get(t, client, "http://one.apps.test/"); body != "one" {
		t.Errorf("before anybody told it, the new edge answers %q", body)
	}
	if status, body, _ := get(t, client, "http://stopped.apps.test/"); status != http.StatusServiceUnavailable || !strings.Contains(body, "stopped") {
		t.Errorf("a stopped app answers %d %s", status, body)
	}
	status, err := w.Status(t.Context())
	if err != nil || status.Revision != 1 || len(status.Broken) != 1 || status.Broken[0].Host != "bad host" || status.Version != "test" || status.PID != os.Getpid() {
		t.Errorf("its status is %+v (%v)", status, err)
	}
	// Another `serve` does not know the revision.
	w.Client = NewClient(w.dir, w.read, quiet)
	w.route(t, app(t, "two", saying("two")))
	if _, body, _ := get(t, client, "http://two.apps.test/"); body != "two" {
		t.Errorf("a new route answers %q", body)
	}
	if status, _, _ := get(t, client, "http://one.apps.test/"); status != http.StatusNotFound {
		t.Errorf("a route that is gone answers %d", status)
	}
	second.stop(t)

	kept := filepath.Join(w.dir, "edge", "routes.json")
	if err := os.WriteFile(kept, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	third := run(t, w.config())
	if status, _, _ := get(t, browser(t, third.Address), "http://two.apps.test/"); status != http.StatusNotFound {
		t.Errorf("with a file that cannot be read, the edge answers %d", status)
	}
	if err := w.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, body, _ := get(t, browser(t, third.Address), "http://two.apps.test/"); body != "two" {
		t.Errorf("once it was told, the edge answers %q", body)
	}
}

// TestDiskIsFull: routes that cannot be kept are served, and kept as soon as they can be.
func TestDiskIsFull(t *testing.T) {
	w := newWorld(t)
	e := run(t, w.config())
	inTheWay := filepath.Join(w.dir, "edge", "routes.json.new")
	if err := os.Mkdir(inTheWay, 0o700); err != nil {
		t.Fatal(err)
	}
	w.route(t, app(t, "one", saying("one")))
	if _, body, _ := get(t, browser(t, e.Address), "http://one.apps.test/"); body != "one" {
		t.Errorf("a route that cannot be kept answers %q", body)
	}
	if err := os.Remove(inTheWay); err != nil {
		t.Fatal(err)
	}
	if err := w.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.stop(t)
	if _, body, _ := get(t, browser(t, run(t, w.config()).Address), "http://one.apps.test/"); body != "one" {
		t.Errorf("after a restart it answers %q", body)
	}
}

// TestOlderTableIsRefused: what was told later holds.
func TestOlderTableIsRefused(t *testing.T) {
	w := newWorld(t)
	run(t, w.config())
	w.route(t, app(t, "one", saying("one")))
	err := ask(t.Context(), currentSocket(w.dir), 0, call{http.MethodPut, "/v1/routes", routes{Revision: 1}, nil})
	var no *refused
	if !errors.As(err, &no) || no.Revision != 1 || no.Kind != coderunner.Conflict {
		t.Errorf("an older table is answered %v", err)
	}
	if err := ask(t.Context(), currentSocket(w.dir), 0, call{http.MethodPut, "/v1/routes", "nonsense", nil}); err == nil {
		t.Error("nonsense is a table")
	}
}

// TestProbeAndDrain are the edge's own, from another process.
func TestProbeAndDrain(t *testing.T) {
	w := newWorld(t)
	run(t, w.config())
	began, goOn := make(chan struct{}), make(chan struct{})
	one := app(t, "one", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(began)
			<-goOn
		}
	})
	w.route(t, one)
	if sandbox, status, err := w.Probe(t.Context(), one.Host, "/x"); sandbox != one.SandboxID || status != http.StatusOK || err != nil {
		t.Errorf("the probe answers %q %d %v", sandbox, status, err)
	}
	if _, _, err := w.Probe(t.Context(), one.Host, "no path"); err == nil {
		t.Error("what is no path was probed")
	}
	if err := w.Drain(t.Context(), one.SandboxID); coderunner.KindOf(err) != coderunner.Conflict || !strings.Contains(coderunner.Sentence(err), "still has a route") {
		t.Errorf("draining what is routed answers %v", err)
	}
	status, err := w.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan int, 1)
	client := browser(t, status.Address)
	go func() {
		status, _, _ := get(t, client, "http://one.apps.test/slow")
		answered <- status
	}()
	receive(t, began, "the app is asked")
	if status, err = w.Status(t.Context()); err != nil || status.Open[one.SandboxID] != 1 {
		t.Errorf("open requests are %v (%v)", status.Open, err)
	}
	w.route(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := w.Drain(ctx, one.SandboxID); err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("a drain that is over answers %v", err)
	}
	if got := receive(t, answered, "the answer"); got != http.StatusServiceUnavailable {
		t.Errorf("what was cut off got %d", got)
	}
	close(goOn)
	if err := w.Drain(t.Context(), one.SandboxID); err != nil {
		t.Errorf("a drain of what is empty answers %v", err)
	}
}

func TestSocketsOfLongPaths(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 40))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	w := &world{dir: dir}
	w.Client = NewClient(dir, w.read, quiet)
	run(t, w.config())
	w.route(t, app(t, "one", saying("one")))
	sockets, err := filepath.Glob(filepath.Join(dir, "edge", "*.sock"))
	if err != nil || len(sockets) != 1 {
		t.Fatalf("sockets are %v (%v)", sockets, err)
	}
	if info, err := os.Stat(sockets[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v (%v)", info.Mode(), err)
	}
}

func TestFileID(t *testing.T) {
	own, err := executableID()
	if err != nil || own == "" {
		t.Fatalf("our own id is %q (%v)", own, err)
	}
	ids := map[string]bool{own: true}
	for _, text := range []string{"one", "two"} {
		path := filepath.Join(t.TempDir(), "program")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		id, err := fileID(path)
		if err != nil || ids[id] {
			t.Errorf("the id of %q is %q (%v)", text, id, err)
		}
		ids[id] = true
	}
}

func TestLogIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	log := &boundedLog{path: path, file: file}
	line := []byte(strings.Repeat("x", 64<<10))
	for range 3 * logBytes / len(line) {
		if _, err := log.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Fprint(file, "a crash")
	text, err := os.ReadFile(path)
	if err != nil || !strings.HasSuffix(string(text), "a crash") {
		t.Errorf("what is written past it is not in the file (%v)", err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 2 {
		t.Errorf("files are %v (%v)", entries, err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Size() > logBytes+int64(len(line)) {
			t.Errorf("%s has %d bytes (%v)", e.Name(), info.Size(), err)
		}
	}
}
