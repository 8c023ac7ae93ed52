package daemon

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// TestHandover: a second edge takes over under load, and nobody notices.
func TestHandover(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	first := run(t, cfg)
	began, goOn := make(chan struct{}), make(chan struct{})
	one := app(t, "one", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/slow":
			close(began)
			<-goOn
			fmt.Fprint(w, "at last")
		case "/socket":
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
		default:
			io.Copy(w, r.Body)
		}
	})
	w.route(t, one)
	client := browser(t, first.Address)
	socket, _, err := websocket.Dial(t.Context(), "ws://one.apps.test/socket", &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.CloseNow()
	slow := make(chan string, 1)
	go func() {
		_, body, _ := get(t, client, "http://one.apps.test/slow")
		slow <- body
	}()
	receive(t, began, "the slow request")

	// Each of these keeps its connection for as long as it may.
	load, end := context.WithCancel(t.Context())
	defer end()
	var requests atomic.Int64
	var clients sync.WaitGroup
	for range 8 {
		client := browser(t, first.Address)
		clients.Go(func() {
			defer client.CloseIdleConnections()
			for load.Err() == nil {
				res, err := client.Post("http://one.apps.test/", "text/plain", strings.NewReader("x"))
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(res.Body)
				res.Body.Close()
				if err != nil || string(body) != "x" || res.StatusCode != http.StatusOK {
					t.Errorf("a request answers %d %q (%v)", res.StatusCode, body, err)
				}
				requests.Add(1)
			}
		})
	}
	progress := func() {
		t.Helper()
		for before, deadline := requests.Load(), time.Now().Add(patience); requests.Load() < before+50; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the load does not go on")
			}
		}
	}
	progress()
	cfg.Version = "second"
	second := run(t, cfg)
	if second.Address != first.Address || second.Version != "second" {
		t.Errorf("the second edge is %+v", second.Status)
	}
	progress()
	if err := socket.Write(t.Context(), websocket.MessageText, []byte("still here")); err != nil {
		t.Error(err)
	}
	if _, text, err := socket.Read(t.Context()); err != nil || string(text) != "still here" {
		t.Errorf("the socket reads %q (%v)", text, err)
	}

	// The former still answers for the sandbox: routes and drains are for it as well.
	two := app(t, "two", saying("two"))
	two.Host = one.Host
	end()
	clients.Wait()
	w.route(t, two)
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	drained := make(chan error, 1)
	go func() { drained <- w.Drain(short, one.SandboxID) }()
	if err := receive(t, drained, "the drain"); err == nil {
		t.Error("a drain forgets what the former edge has")
	}
	close(goOn)
	if body := receive(t, slow, "the slow answer"); !strings.Contains(body, "at last") && !strings.Contains(body, "A new version took over") {
		t.Errorf("the slow request got %q", body)
	}
	client.CloseIdleConnections()
	if err := receive(t, first.ended, "the former edge's end"); err != nil {
		t.Error(err)
	}
	if _, body, _ := get(t, client, "http://one.apps.test/"); body != "two" {
		t.Errorf("the second edge answers %q", body)
	}
	second.stop(t)
	if _, body, _ := get(t, browser(t, run(t, cfg).Address), "http://one.apps.test/"); body != "two" {
		t.Errorf("what the second kept is %q", body)
	}
}

// TestLeavingEnds: what does not end by itself is ended after the time for it.
func TestLeavingEnds(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.DrainTime = 100 * time.Millisecond
	first := run(t, cfg)
	w.route(t, app(t, "one", func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow()
		conn.Read(r.Context())
	}))
	socket, _, err := websocket.Dial(t.Context(), "ws://one.apps.test/", &websocket.DialOptions{HTTPClient: browser(t, first.Address)})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.CloseNow()
	idle, err := net.Dial("tcp", first.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	run(t, cfg)
	if err := receive(t, first.ended, "the former edge's end"); err != nil {
		t.Error(err)
	}
	bounded, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, _, err := socket.Read(bounded); err == nil || bounded.Err() != nil {
		t.Error("the socket is still open")
	}
}

// TestOtherAddress: a changed --listen closes the former address, also where both exclude each other.
func TestOtherAddress(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.DrainTime = 100 * time.Millisecond // the connections of our browsers stay
	first := run(t, cfg)
	_, port, err := net.SplitHostPort(first.Address)
	if err != nil {
		t.Fatal(err)
	}
	w.route(t, app(t, "one", saying("one")))
	answers := func(address string) {
		t.Helper()
		if _, body, _ := get(t, browser(t, address), "http://one.apps.test/"); body != "one" {
			t.Errorf("%s answers %q", address, body)
		}
	}
	cfg.Listen = "0.0.0.0:" + port
	second := run(t, cfg)
	answers("127.0.0.2:" + port)
	receive(t, first.ended, "the end of the former")
	cfg.Listen = "127.0.0.3:0"
	third := run(t, cfg)
	answers(third.Address)
	receive(t, second.ended, "the end of the second")
	if conn, err := net.Dial("tcp", first.Address); err == nil {
		conn.Close()
		t.Error("the former address is still open")
	}

	// One that cannot be had leaves everything as it is.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	cfg.Listen = taken.Addr().String()
	if err := Run(t.Context(), cfg, func(Status) {}); err == nil || !strings.Contains(err.Error(), "cannot be listened on") {
		t.Errorf("an address that is taken answers %v", err)
	}
	w.listens(t, third.Address)
	answers(third.Address)
	// Now it serves the address again that it closed in vain.
	if status, err := w.Status(t.Context()); err != nil || status.Leaving || status.Address != third.Address {
		t.Errorf("its status is %+v (%v)", status, err)
	}
}

// listens waits until an address takes connections.
func (w *world) listens(t *testing.T, address string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// TestHandoverBroken: a successor that dies in the middle changes nothing.
func TestHandoverBroken(t *testing.T) {
	for _, said := range []string{"", "close\n", "nonsense\n"} {
		w := newWorld(t)
		cfg := w.config()
		cfg.DrainTime = 100 * time.Millisecond
		e := run(t, cfg)
		w.route(t, app(t, "one", saying("one")))
		p, err := meet(t.Context(), w.dir)
		if err != nil {
			t.Fatal(err)
		}
		if said == "close\n" {
			p.socket.Close()
		}
		if _, err := io.WriteString(p.conn, said); err != nil {
			t.Fatal(err)
		}
		if said == "close\n" {
			if line, err := p.lines.ReadString('\n'); err != nil || line != "closed\n" {
				t.Fatalf("it says %q (%v)", line, err)
			}
		}
		p.close()
		w.listens(t, e.Address)
		if _, body, _ := get(t, browser(t, e.Address), "http://one.apps.test/"); body != "one" {
			t.Errorf("after %q the edge answers %q", said, body)
		}
		if next := run(t, cfg); next.Address != e.Address {
			t.Errorf("after %q the address of the next is %s", said, next.Address)
		}
		receive(t, e.ended, "the end")
	}
}

func TestSatisfies(t *testing.T) {
	for _, c := range []struct {
		asked, had, bound string
		want              bool
	}{
		{":8080", ":8080", "[::]:8080", true},
		{"127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:41000", true},
		{"127.0.0.1:41000", "127.0.0.1:0", "127.0.0.1:41000", true},
		{"127.0.0.1:0", "127.0.0.1:41000", "127.0.0.1:41000", true},
		{"127.0.0.1:8081", "127.0.0.1:8080", "127.0.0.1:8080", false},
		{":8080", "127.0.0.1:8080", "127.0.0.1:8080", false},
		{":0", "127.0.0.1:0", "127.0.0.1:41000", false},
	} {
		if got := satisfies(c.asked, c.had, c.bound); got != c.want {
			t.Errorf("%s by %s at %s: %v", c.asked, c.had, c.bound, got)
		}
	}
}
