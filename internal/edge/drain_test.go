package edge

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// awaited reports, as soon as it is so, that somebody waits for the sandbox's requests.
func (w *world) awaited(t *testing.T, sandbox string) {
	t.Helper()
	for t.Context().Err() == nil {
		w.Edge.mu.Lock()
		for key, target := range w.targets {
			target.mu.Lock()
			waiting := key.sandbox == sandbox && target.idle != nil
			target.mu.Unlock()
			if waiting {
				w.Edge.mu.Unlock()
				return
			}
		}
		w.Edge.mu.Unlock()
		runtime.Gosched()
	}
}

func TestDrainWaits(t *testing.T) {
	w := newWorld(t)
	began, goOn := make(chan struct{}), make(chan struct{})
	var finished atomic.Bool
	w.route(t, "app.apps.test", "sb-1", app(t, func(w http.ResponseWriter, _ *http.Request) {
		close(began)
		<-goOn
		finished.Store(true)
		io.WriteString(w, "from the old one")
	}))
	answer := make(chan string, 1)
	go func() {
		_, body := w.get(t, "http://app.apps.test/")
		answer <- body
	}()
	receive(t, began, "the old version is asked")
	if err := w.Drain(t.Context(), "sb-1"); coderunner.KindOf(err) != coderunner.Conflict {
		t.Errorf("draining what is routed answers %v", err)
	}
	w.route(t, "app.apps.test", "sb-2", app(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "from the new one") }))
	drained := make(chan error, 1)
	go func() {
		err := w.Drain(t.Context(), "sb-1")
		if err == nil && !finished.Load() {
			err = errors.New("did not wait")
		}
		drained <- err
	}()
	w.awaited(t, "sb-1")
	if _, body := w.get(t, "http://app.apps.test/"); body != "from the new one" {
		t.Errorf("during the drain answers %q", body)
	}
	close(goOn)
	if err := receive(t, drained, "the drain ends"); err != nil {
		t.Errorf("the drain: %v", err)
	}
	if body := receive(t, answer, "the old version's answer"); body != "from the old one" {
		t.Errorf("the request under way got %q", body)
	}
	if err := w.Drain(t.Context(), "sb-1"); err != nil {
		t.Errorf("draining again: %v", err)
	}
	if err := w.Drain(t.Context(), "never-seen"); err != nil {
		t.Errorf("draining an unknown sandbox: %v", err)
	}
}

// TestDrainCutsOff ends what does not end by itself: a socket, a stream, a request without an answer.
func TestDrainCutsOff(t *testing.T) {
	w := newWorld(t)
	asked := make(chan struct{}, 1)
	w.route(t, "app.apps.test", "sb-1", app(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/socket":
			echoSocket(w, r)
		case "/stream":
			fmt.Fprintln(w, "begun")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		case "/silent":
			asked <- struct{}{}
			<-r.Context().Done()
		}
	}))
	socket, _, err := websocket.Dial(t.Context(), "ws://app.apps.test/socket", &websocket.DialOptions{HTTPClient: w.client})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.CloseNow()
	stream, err := w.client.Do(w.request(t, http.MethodGet, "http://app.apps.test/stream", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	lines := bufio.NewReader(stream.Body)
	if line, err := lines.ReadString('\n'); err != nil || line != "begun\n" {
		t.Fatalf("the stream begins with %q (%v)", line, err)
	}
	silent := make(chan string, 1)
	go func() {
		res, body := w.get(t, "http://app.apps.test/silent")
		silent <- res.Status + " " + body
	}()
	receive(t, asked, "the app is asked")

	w.route(t, "app.apps.test", "", "")
	ctx, giveUp := context.WithCancel(t.Context())
	drained := make(chan error, 1)
	go func() { drained <- w.Drain(ctx, "sb-1") }()
	w.awaited(t, "sb-1")
	if err := socket.Write(t.Context(), websocket.MessageText, []byte("still here")); err != nil {
		t.Errorf("a socket during the drain: %v", err)
	}
	if _, text, err := socket.Read(t.Context()); err != nil || string(text) != "still here" {
		t.Errorf("a socket during the drain reads %q (%v)", text, err)
	}
	giveUp()
	bounded, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := receive(t, drained, "the drain ends"); !errors.Is(err, context.Canceled) {
		t.Errorf("a drain that was given up answers %v", err)
	}
	if _, _, err := socket.Read(bounded); err == nil || bounded.Err() != nil {
		t.Error("the socket is still open")
	}
	streamEnd := make(chan error, 1)
	go func() {
		_, err := lines.ReadString('\n')
		streamEnd <- err
	}()
	if err := receive(t, streamEnd, "the stream is cut off"); err == nil {
		t.Error("the stream is still open")
	}
	if got := receive(t, silent, "the silent request ends"); !strings.HasPrefix(got, "503 ") || !strings.Contains(got, "A new version took over") {
		t.Errorf("the silent request got %s", got)
	}
}

// TestRouteComesBack: a deploy that is undone goes on with the requests that are still under way.
func TestRouteComesBack(t *testing.T) {
	w := newWorld(t)
	began, goOn := make(chan struct{}, 1), make(chan struct{})
	old := app(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			began <- struct{}{}
			<-goOn
		}
		io.WriteString(w, "old")
	})
	w.route(t, "app.apps.test", "sb-1", old)
	answer := make(chan string, 1)
	go func() {
		_, body := w.get(t, "http://app.apps.test/slow")
		answer <- body
	}()
	receive(t, began, "the old version is asked")
	w.route(t, "app.apps.test", "sb-2", app(t, func(http.ResponseWriter, *http.Request) {}))
	w.route(t, "app.apps.test", "sb-1", old)
	if _, body := w.get(t, "http://app.apps.test/"); body != "old" {
		t.Errorf("the version that came back answers %q", body)
	}
	w.route(t, "app.apps.test", "", "")
	close(goOn)
	if body := receive(t, answer, "the slow request"); body != "old" {
		t.Errorf("the slow request got %q", body)
	}
	for deadline := time.Now().Add(20 * time.Second); ; runtime.Gosched() {
		w.Edge.mu.Lock()
		left := len(w.targets)
		w.Edge.mu.Unlock()
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("a target without route and requests is kept")
		}
	}
}

func TestProbe(t *testing.T) {
	w := newWorld(t)
	seen := make(chan *http.Request, 1)
	w.route(t, "app.apps.test", "sb-1", app(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Coderunner-Sandbox", "a lie")
		for name, values := range r.Header { // everything it got, said back
			w.Header().Set("Echo-"+name, strings.Join(values, ","))
		}
		w.WriteHeader(http.StatusAccepted)
		seen <- r
	}))
	sandbox, status, err := w.Probe(t.Context(), "app.apps.test", "/up?deep=1")
	if sandbox != "sb-1" || status != http.StatusAccepted || err != nil {
		t.Fatalf("the probe answers %q %d %v", sandbox, status, err)
	}
	r := receive(t, seen, "the app is asked")
	if r.Host != "app.apps.test" || r.RequestURI != "/up?deep=1" {
		t.Errorf("the app was asked for %s %s", r.Host, r.RequestURI)
	}
	for name, values := range r.Header {
		if strings.Contains(strings.Join(values, ""), w.token) || strings.HasPrefix(name, "Coderunner-") {
			t.Errorf("the app saw %s: %q", name, values)
		}
	}
	if other := New(Config{}); len(w.token) < 40 || other.token == w.token {
		t.Errorf("the token %q can be guessed", w.token)
	}

	// With the right token the edge names the sandbox; with any other it says nothing.
	for token, want := range map[string]string{w.token: "sb-1", "": "", "guess": "", w.token[1:]: "", w.token + "x": "", strings.ToLower(w.token): ""} {
		res, _ := w.get(t, "http://app.apps.test/", probeHeader, token)
		<-seen
		if got := res.Header.Get(sandboxHeader); got != want {
			t.Errorf("with the token %q the edge names %q", token, got)
		}
		for name, values := range res.Header {
			if strings.Contains(strings.Join(values, ""), w.token) {
				t.Errorf("the token is in the answer: %s: %q", name, values)
			}
		}
	}

	w.route(t, "dead.apps.test", "sb-2", "127.0.0.1:1")
	if sandbox, status, err := w.Probe(t.Context(), "dead.apps.test", "/"); sandbox != "sb-2" || status != http.StatusBadGateway || err != nil {
		t.Errorf("the probe of a dead app answers %q %d %v", sandbox, status, err)
	}
	if sandbox, status, err := w.Probe(t.Context(), "nobody.apps.test", "/"); sandbox != "" || status != http.StatusNotFound || err != nil {
		t.Errorf("the probe of an unknown host answers %q %d %v", sandbox, status, err)
	}
	for _, path := range []string{"", "x", "http://elsewhere.example/", "/\x00"} {
		if _, _, err := w.Probe(t.Context(), "app.apps.test", path); err == nil {
			t.Errorf("the path %q was probed", path)
		}
	}
	if _, _, err := New(Config{}).Probe(t.Context(), "app.apps.test", "/"); err == nil {
		t.Error("an edge without an address was probed")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := w.Probe(ctx, "app.apps.test", "/"); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled probe answers %v", err)
	}
}
