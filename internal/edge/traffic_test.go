package edge

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

func TestRequestPassesUnchanged(t *testing.T) {
	w := newWorld(t)
	w.route(t, "app.apps.test", "sb", app(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Of-App", "yes")
		w.Header().Add("Content-Encoding", "br")
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprintf(w, "%s %s %s %s|%s|%s", r.Method, r.RequestURI, r.Host, body, r.Header.Get("X-Of-Client"), r.Header.Get("Accept-Encoding"))
	}))
	res, err := w.client.Do(w.request(t, http.MethodPatch, "http://app.apps.test:8080//a%2Fb/../c?x=1;y=%zz&q", strings.NewReader("body"), "X-Of-Client", "kept"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	if want := "PATCH //a%2Fb/../c?x=1;y=%zz&q app.apps.test:8080 body|kept|"; string(body) != want {
		t.Errorf("the app saw %q\nwant %q", body, want)
	}
	if res.StatusCode != http.StatusTeapot || res.Header.Get("X-Of-App") != "yes" || res.Header.Get("Content-Encoding") != "br" {
		t.Errorf("the answer is %d %v", res.StatusCode, res.Header)
	}
}

func TestWebSocket(t *testing.T) {
	w := newWorld(t)
	w.route(t, "app.apps.test", "sb", app(t, echoSocket))
	conn, _, err := websocket.Dial(t.Context(), "ws://app.apps.test/live", &websocket.DialOptions{HTTPClient: w.client})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	for _, text := range []string{"first", strings.Repeat("long", 5000)} {
		if err := conn.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := conn.Read(t.Context()); err != nil || string(got) != text {
			t.Fatalf("the echo is %.20q (%v)", got, err)
		}
	}
}

func echoSocket(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	for {
		kind, text, err := conn.Read(r.Context())
		if err != nil || conn.Write(r.Context(), kind, text) != nil {
			return
		}
	}
}

// TestOnlyWebSocketsUpgrade: through h2c, requests would reach the app that the edge has not looked at.
func TestOnlyWebSocketsUpgrade(t *testing.T) {
	w := newWorld(t)
	w.route(t, "app.apps.test", "sb", app(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%q %q %q", r.Header.Get("Upgrade"), r.Header.Get("Connection"), r.Header.Get("Http2-Settings"))
	}))
	res, body := w.get(t, "http://app.apps.test/", "Connection", "Upgrade, HTTP2-Settings", "Upgrade", "h2c", "HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA")
	if res.StatusCode != http.StatusOK || body != `"" "" ""` {
		t.Errorf("the app saw an upgrade: %d %s", res.StatusCode, body)
	}
}

func TestEventsPassAtOnce(t *testing.T) {
	w := newWorld(t)
	next := make(chan struct{})
	w.route(t, "app.apps.test", "sb", app(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.URL.Query().Get("type"))
		if length := r.URL.Query().Get("length"); length != "" {
			w.Header().Set("Content-Length", length)
		}
		w.(http.Flusher).Flush() // before the first event
		for range 3 {
			select {
			case <-next:
			case <-r.Context().Done():
				return
			}
			fmt.Fprint(w, "data: tick\n\n")
			w.(http.Flusher).Flush()
		}
	}))
	for _, kind := range []string{"text/event-stream", "application/x-ndjson", "text/plain&length=36"} {
		res, err := w.client.Do(w.request(t, http.MethodGet, "http://app.apps.test/?type="+kind, nil)) // the headers come before any event
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(res.Body)
		for range 3 {
			next <- struct{}{}
			if line, err := lines.ReadString('\n'); err != nil || line != "data: tick\n" {
				t.Fatalf("%s: read %q (%v)", kind, line, err)
			}
			lines.ReadString('\n')
		}
		res.Body.Close()
	}
}

func TestUploadsStream(t *testing.T) {
	w := newWorld(t)
	got := make(chan int64)
	w.route(t, "app.apps.test", "sb", app(t, func(w http.ResponseWriter, r *http.Request) {
		first := make([]byte, 5)
		io.ReadFull(r.Body, first)
		got <- int64(len(first))
		rest, _ := io.Copy(io.Discard, r.Body)
		got <- rest
	}))
	read, write := io.Pipe()
	failed := make(chan error, 1)
	go func() {
		res, err := w.client.Do(w.request(t, http.MethodPost, "http://app.apps.test/", read))
		if err == nil {
			res.Body.Close()
		}
		failed <- err
	}()
	write.Write([]byte("hello"))
	if n := receive(t, got, "the app reads while the client still sends"); n != 5 {
		t.Fatalf("the app read %d bytes", n)
	}
	const size = 64 << 20
	chunk := bytes.Repeat([]byte("x"), 1<<20)
	for range size >> 20 {
		write.Write(chunk)
	}
	write.Close()
	if n := receive(t, got, "the rest arrives"); n != size {
		t.Errorf("the app read %d bytes of the rest", n)
	}
	if err := receive(t, failed, "the upload ends"); err != nil {
		t.Error(err)
	}
}

// TestRefusalOfAnUpload: an app may answer before it has read everything.
func TestRefusalOfAnUpload(t *testing.T) {
	w := newWorld(t)
	w.route(t, "app.apps.test", "sb", app(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	res, err := w.client.Do(w.request(t, http.MethodPost, "http://app.apps.test/", strings.NewReader(strings.Repeat("x", 100<<10)), "Expect", "100-continue"))
	if err != nil || res.StatusCode != http.StatusForbidden {
		t.Fatalf("answers %+v (%v)", res, err)
	}
	res.Body.Close()
}

// TestHangUp: who hangs up ends the app's work as well.
func TestHangUp(t *testing.T) {
	w := newWorld(t)
	began, ended := make(chan struct{}), make(chan struct{})
	w.route(t, "app.apps.test", "sb", app(t, func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
		close(ended)
	}))
	ctx, hangUp := context.WithCancel(t.Context())
	go func() {
		res, err := w.client.Do(w.request(t, http.MethodGet, "http://app.apps.test/", nil).WithContext(ctx))
		if err == nil {
			res.Body.Close()
		}
	}()
	receive(t, began, "the app is asked")
	hangUp()
	receive(t, ended, "the app learns that nobody waits")
}

// raw sends bytes to the edge and answers the status line.
func (w *world) raw(t *testing.T, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", w.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, request)
	status, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(status)
}

// TestOnlyTheRouteIsDialled tries to use the edge as a way to other places.
func TestOnlyTheRouteIsDialled(t *testing.T) {
	w := newWorld(t)
	elsewhere := app(t, func(http.ResponseWriter, *http.Request) { t.Error("another server was reached") })
	w.route(t, "app.apps.test", "sb", app(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	for request, want := range map[string]string{
		"GET http://" + elsewhere + "/ HTTP/1.1\r\nHost: app.apps.test\r\n\r\n":    "404",
		"GET http://app.apps.test/ HTTP/1.1\r\nHost: " + elsewhere + "\r\n\r\n":    "418",
		"CONNECT " + elsewhere + " HTTP/1.1\r\nHost: app.apps.test\r\n\r\n":        "405",
		"CONNECT app.apps.test:80 HTTP/1.1\r\nHost: app.apps.test:80\r\n\r\n":      "405",
		"GET //" + elsewhere + "/ HTTP/1.1\r\nHost: app.apps.test\r\n\r\n":         "418",
		"GET / HTTP/1.1\r\nHost: " + elsewhere + "\r\n\r\n":                        "404",
		"GET / HTTP/1.1\r\nHost: app.apps.test\r\nHost: " + elsewhere + "\r\n\r\n": "400",
		"GET / HTTP/1.0\r\n\r\n": "404",
	} {
		if status := w.raw(t, request); !strings.Contains(status, " "+want+" ") {
			t.Errorf("%q answers %q", request, status)
		}
	}
}
