package daemon

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/edge"
)

// serve is the dashboard's side until the test ends, or end is called.
func serve(t *testing.T, dataDir string, handler http.HandlerFunc) (end func()) {
	t.Helper()
	listener, err := ListenDashboard(dataDir)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: BehindEdge(handler)}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return func() { server.Close() }
}

func TestDashboardGetsRequestsAsTheyCame(t *testing.T) {
	w := newWorld(t)
	e := run(t, w.config())
	serve(t, w.dir, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		forged := ""
		for name := range r.Header {
			if strings.Contains(strings.ToLower(name), "coderunner") {
				forged += name
			}
		}
		w.Header().Set("X-Of-Dashboard", "yes")
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprintf(w, "%s %s %s %s|%s|%s|%s", r.Method, r.RequestURI, r.Host, body, host, r.Header.Get("Cookie"), forged)
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://localhost:8080//a%2Fb?x=1;y=%zz", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Cookie", "coderunner_session=key")
	req.Header.Set("Coderunner-Peer", "192.0.2.1:1")
	req.Header["coderunner_peer"] = []string{"192.0.2.1:1"}
	res, err := browser(t, e.Address).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	if want := "PUT //a%2Fb?x=1;y=%zz localhost:8080 body|127.0.0.1|coderunner_session=key|"; string(body) != want || res.StatusCode != http.StatusTeapot || res.Header.Get("X-Of-Dashboard") != "yes" {
		t.Errorf("answers %d %v %q\nwant %q", res.StatusCode, res.Header, body, want)
	}
}

func TestDashboardStreams(t *testing.T) {
	w := newWorld(t)
	e := run(t, w.config())
	next, got := make(chan struct{}), make(chan string)
	serve(t, w.dir, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			for {
				piece := make([]byte, 5)
				if _, err := io.ReadFull(r.Body, piece); err != nil {
					return
				}
				got <- string(piece)
			}
		}
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		for range 2 {
			<-next
			fmt.Fprint(w, "data: tick\n\n")
			w.(http.Flusher).Flush()
		}
	})
	client := browser(t, e.Address)
	res, err := client.Get("http://localhost/events") // the headers come before any event
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewReader(res.Body)
	for range 2 {
		next <- struct{}{}
		if line, err := lines.ReadString('\n'); err != nil || line != "data: tick\n" {
			t.Fatalf("read %q (%v)", line, err)
		}
		lines.ReadString('\n')
	}
	out, in := io.Pipe()
	uploaded := make(chan error, 1)
	go func() {
		res, err := client.Post("http://localhost/upload", "application/zip", out)
		if err == nil {
			res.Body.Close()
		}
		uploaded <- err
	}()
	for _, piece := range []string{"first", "later"} {
		io.WriteString(in, piece)
		if arrived := receive(t, got, "the piece, while more is to come"); arrived != piece {
			t.Fatalf("%q arrived as %q", piece, arrived)
		}
	}
	in.Close()
	if err := receive(t, uploaded, "the upload's end"); err != nil {
		t.Error(err)
	}
}

// awaited returns when a request waits for the dashboard.
func awaited(t *testing.T, d *dashboard) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		d.mu.Lock()
		waits := d.looking != nil
		d.mu.Unlock()
		if waits {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody waits for the dashboard")
		}
	}
}

// TestDashboardIsWaitedFor: requests of all kinds wait for its return and arrive once.
func TestDashboardIsWaitedFor(t *testing.T) {
	dir := t.TempDir()
	d := newDashboard(dir, patience, quiet)
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: d.proxy}
	go server.Serve(front)
	t.Cleanup(func() { server.Close() })
	client := browser(t, front.Addr().String())
	type answer struct {
		body string
		err  error
	}
	for round := range 2 { // before the first start, and after an end that left its socket
		answers := make(chan answer, 2)
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			go func() {
				req, err := http.NewRequestWithContext(t.Context(), method, "http://localhost/", strings.NewReader("x"))
				if err != nil {
					answers <- answer{err: err}
					return
				}
				res, err := client.Do(req)
				if err != nil {
					answers <- answer{err: err}
					return
				}
				defer res.Body.Close()
				body, err := io.ReadAll(res.Body)
				answers <- answer{string(body), err}
			}()
		}
		awaited(t, d)
		var came atomic.Int64
		end := serve(t, dir, func(w http.ResponseWriter, r *http.Request) {
			came.Add(1)
			fmt.Fprint(w, "here")
		})
		for range 2 {
			if a := receive(t, answers, "the answer"); a.body != "here" || a.err != nil {
				t.Errorf("round %d: a request that waited got %q (%v)", round, a.body, a.err)
			}
		}
		if n := came.Load(); n != 2 {
			t.Errorf("round %d: the dashboard got %d requests", round, n)
		}
		end()
	}
}

// TestNothingIsSentTwice: what may change something and was not answered is told
// so; what only asks is asked again.
func TestNothingIsSentTwice(t *testing.T) {
	dir := t.TempDir()
	d := newDashboard(dir, patience, quiet)
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: d.proxy}
	go server.Serve(front)
	t.Cleanup(func() { server.Close() })
	client := browser(t, front.Addr().String())
	var came atomic.Int64
	serve(t, dir, func(w http.ResponseWriter, r *http.Request) {
		if came.Add(1) == 1 {
			panic(http.ErrAbortHandler) // as if it were killed
		}
		fmt.Fprint(w, "again")
	})
	for _, headers := range []map[string]string{{}, {"Idempotency-Key": "x", "X-Idempotency-Key": "x"}} {
		came.Store(0)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost/deploy", nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range headers {
			req.Header.Set(name, value)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != http.StatusBadGateway || !strings.Contains(string(body), "before you do it again") || came.Load() != 1 {
			t.Errorf("with %v it was sent %d times and answered %d %s", headers, came.Load(), res.StatusCode, body)
		}
	}
	came.Store(0)
	if status, body, _ := get(t, client, "http://localhost/"); status != http.StatusOK || body != "again" {
		t.Errorf("what only asks got %d %q", status, body)
	}
}

func TestDashboardStaysAway(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.DashboardWait = 30 * time.Millisecond
	e := run(t, cfg)
	w.route(t, app(t, "one", saying("one")))
	client := browser(t, e.Address)
	status, body, headers := get(t, client, "http://localhost/projects", "Accept", "text/html")
	if status != http.StatusServiceUnavailable || !strings.Contains(body, "CodeRunner is restarting") || !strings.Contains(body, `http-equiv="refresh"`) ||
		headers.Get("Retry-After") == "" || headers.Get("Cache-Control") != "no-store" {
		t.Errorf("a page answers %d %v\n%s", status, headers, body)
	}
	status, body, headers = get(t, client, "http://localhost/api/v1/projects")
	if status != http.StatusServiceUnavailable || headers.Get("Content-Type") != "application/problem+json" || !strings.Contains(body, `"detail":"CodeRunner is restarting`) {
		t.Errorf("the API answers %d %v\n%s", status, headers, body)
	}
	res, err := client.Post("http://localhost/projects", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	sent, _ := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusServiceUnavailable || strings.Contains(string(sent), "refresh") {
		t.Errorf("a form answers %d %s", res.StatusCode, sent)
	}
	if _, body, _ := get(t, client, "http://one.apps.test/"); body != "one" {
		t.Errorf("an app answers %q", body)
	}
}

// TestWithdraw: what was sent before is answered, and what comes later is kept for
// whoever listens next.
func TestWithdraw(t *testing.T) {
	dir := t.TempDir()
	listener, err := ListenDashboard(dir)
	if err != nil {
		t.Fatal(err)
	}
	early, err := dialUnix(t.Context(), filepath.Join(dir, "dashboard.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	withdrawn := make(chan struct{})
	go func() { listener.Withdraw(); close(withdrawn) }()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if _, err := dialUnix(t.Context(), filepath.Join(dir, "dashboard.sock")); errors.Is(err, os.ErrNotExist) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it can still be reached")
		}
	}
	select {
	case <-withdrawn:
		t.Error("it did not wait for what was sent")
	default:
	}
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	accepted.Close()
	for {
		select {
		case <-withdrawn:
			return
		default:
		}
		if err := listener.SetDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if conn, err := listener.Accept(); err == nil {
			conn.Close() // another of the test's own looks
		}
	}
}

// TestNobodyElseIsBelieved: without the edge in front the header says nothing.
func TestNobodyElseIsBelieved(t *testing.T) {
	w := newWorld(t)
	e := run(t, w.config())
	peers := make(chan string, 1)
	serve(t, w.dir, func(_ http.ResponseWriter, r *http.Request) { peers <- r.RemoteAddr })
	conn, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", e.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nCoderunner-Peer: 192.0.2.7:9\r\nConnection: Coderunner-Peer\r\n\r\n")
	if peer := receive(t, peers, "the request"); peer != conn.LocalAddr().String() {
		t.Errorf("the peer %s is taken for %s", conn.LocalAddr(), peer)
	}
}

// TestStalledClients are let go: one that takes nothing of what it asked for, and
// one that goes on sending nothing after it was answered.
func TestStalledClients(t *testing.T) {
	dir := t.TempDir()
	f := newFront(edge.New(edge.Config{}), newDashboard(dir, patience, quiet), quiet)
	f.stall = 50 * time.Millisecond
	listener, err := listenTCP(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.accept(listener)
	t.Cleanup(f.stop)
	ended := make(chan struct{})
	serve(t, dir, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			defer close(ended)
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}
	})
	for _, request := range []string{"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx"} {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, request)
		if strings.HasPrefix(request, "GET") {
			receive(t, ended, "the end of the page")
		}
		gone := make(chan struct{})
		go func() { io.Copy(io.Discard, conn); close(gone) }()
		receive(t, gone, "the end of the connection")
	}
}
