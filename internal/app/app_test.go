package app

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/coderunner/coderunner/internal/edge/daemon"
	"github.com/coderunner/coderunner/internal/testdb"
)

// server is a whole CodeRunner within the test.
type server struct {
	t      *testing.T
	url    string
	port   string
	config Config
	stop   func() error // ends it and answers what Run answered
	token  string
}

// serve runs CodeRunner on a free port until the test ends, then takes down what it made.
func serve(t *testing.T, config Config) *server {
	t.Helper()
	config.Listen, config.EdgeWithin = "127.0.0.1:0", true
	if config.EngineDir == "" {
		config.EngineDir = os.Getenv("CODERUNNER_ENGINE_DIR")
	}
	if config.EngineDir == "" {
		config.EngineDir = "/var/cache/coderunner/engine"
	}
	ctx, cancel := context.WithCancel(context.Background())
	said, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := Run(ctx, config, slog.New(slog.NewTextHandler(io.Discard, nil)), out)
		out.CloseWithError(fmt.Errorf("the server ended: %w", err))
		ended <- err
	}()
	s := &server{t: t, config: config}
	s.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("the server answered %v", err)
		}
	})
	lines := bufio.NewScanner(said)
	for lines.Scan() {
		if _, address, found := strings.Cut(lines.Text(), "is ready: "); found {
			s.url = strings.TrimSpace(address)
			status, err := daemon.NewClient(config.DataDir, nil, slog.New(slog.DiscardHandler)).Status(ctx)
			if err != nil {
				t.Fatal(err)
			}
			s.port = status.Address[strings.LastIndex(status.Address, ":")+1:]
			go func() {
				for lines.Scan() { // the rest is read, so that nobody waits for us
				}
			}()
			return s
		}
	}
	t.Fatalf("no server: %v", lines.Err())
	return nil
}

// call asks the API and decodes its answer; it answers the status.
func (s *server) call(method, path string, body, answer any) int {
	s.t.Helper()
	var sent io.Reader
	kind := "application/json"
	switch b := body.(type) {
	case nil:
	case []byte:
		sent, kind = bytes.NewReader(b), "application/zip"
	default:
		text, err := json.Marshal(b)
		if err != nil {
			s.t.Fatal(err)
		}
		sent = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, "http://127.0.0.1:"+s.port+"/api/v1/"+path, sent)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	if s.token != "" {
		req.Header.Set("Authorization", "Bearer "+s.token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if answer != nil {
		if err := json.Unmarshal(text, answer); err != nil {
			s.t.Fatalf("%s %s answers %d %s", method, path, res.StatusCode, text)
		}
	}
	return res.StatusCode
}

// get requests a path of a host, as browsers do.
func (s *server) get(host, path string, cookies ...*http.Cookie) (int, string) {
	s.t.Helper()
	return s.getExactly(host+":"+s.port, path, cookies...)
}

// getExactly is get of a host as it stands in the header.
func (s *server) getExactly(host, path string, cookies ...*http.Cookie) (int, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://127.0.0.1:"+s.port+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Host = host
	for _, c := range cookies {
		req.AddCookie(c)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// signUp makes an account through the page and answers its cookies.
func (s *server) signUp(email string) []*http.Cookie {
	s.t.Helper()
	res := s.post("localhost:"+s.port, "/signup", url.Values{"email": {email}, "password": {"correct horse battery"}})
	if len(res.Cookies()) == 0 {
		s.t.Fatalf("a sign-up answers %s without a cookie", res.Status)
	}
	return res.Cookies()
}

// post sends a form, and follows no redirect.
func (s *server) post(host, path string, form url.Values) *http.Response {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, "http://127.0.0.1:"+s.port+path, strings.NewReader(form.Encode()))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Host = host
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		s.t.Fatal(err)
	}
	res.Body.Close()
	return res
}

// eventually tries until ok, for at most a minute.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	eventuallyWithin(t, time.Minute, what, ok)
}

func eventuallyWithin(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, limit)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// cable is a connection to a database that can be cut and mended.
type cable struct {
	t        *testing.T
	dir      string // of its own socket
	to       string
	mu       sync.Mutex
	listener net.Listener
	open     []net.Conn
}

// newCable answers a cable to dsn's database, and the connection string through it.
func newCable(t *testing.T, dsn string) (*cable, string) {
	t.Helper()
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "cable-") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{t: t, dir: dir, to: filepath.Join(config.Host, fmt.Sprintf(".s.PGSQL.%d", config.Port))}
	t.Cleanup(func() { c.cut(); os.RemoveAll(dir) })
	c.mend()
	return c, fmt.Sprintf("host=%s port=%d user=%s dbname=%s", dir, config.Port, config.User, config.Database)
}

func (c *cable) mend() {
	listener, err := net.Listen("unix", filepath.Join(c.dir, filepath.Base(c.to)))
	if err != nil {
		c.t.Error(err)
		return
	}
	c.mu.Lock()
	c.listener = listener
	c.mu.Unlock()
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("unix", c.to)
			if err != nil {
				near.Close()
				continue
			}
			c.mu.Lock()
			c.open = append(c.open, near, far)
			c.mu.Unlock()
			for from, to := range map[net.Conn]net.Conn{near: far, far: near} {
				go func() {
					_, _ = io.Copy(to, from)
					to.Close()
				}()
			}
		}
	}()
}

func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listener.Close()
	for _, conn := range c.open {
		conn.Close()
	}
	c.open = nil
}

// freshDatabase is testdb.New behind a cable.
func freshDatabase(t *testing.T) (*cable, string) { return newCable(t, testdb.New(t)) }
