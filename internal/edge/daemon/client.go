package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/edge"
)

const (
	returnTime = 10 * time.Second // how long an edge that is away is waited for
	answerTime = 5 * time.Second  // an edge that runs has answered by then, if nothing has to be waited for
	probeTime  = 15 * time.Second // more than a probe takes
)

// Client tells the edges of a data directory what to do: the one that accepts,
// and those that are leaving and have requests yet. While there is none, because
// it ended and is being started again, it waits. It is safe for concurrent use.
type Client struct {
	dataDir string
	routes  func(context.Context) ([]coderunner.Route, error)
	log     *slog.Logger

	telling  chan struct{} // holds one while a Refresh is under way: a slow, older reading must not win
	revision int64         // that was told last
	broken   []edge.Broken
}

// NewClient answers a client that reads all routes with the function.
func NewClient(dataDir string, routes func(context.Context) ([]coderunner.Route, error), log *slog.Logger) *Client {
	return &Client{dataDir: dataDir, routes: routes, log: log, telling: make(chan struct{}, 1)}
}

// refused is an edge's own no.
type refused struct{ refusal }

func (r *refused) Error() string { return r.Message }

// Refresh reads the routes and tells them. When it returns without an error, requests go by them.
func (c *Client) Refresh(ctx context.Context) error {
	select {
	case c.telling <- struct{}{}:
		defer func() { <-c.telling }()
	case <-ctx.Done():
		return ctx.Err()
	}
	list, err := c.routes(ctx)
	if err != nil {
		return fmt.Errorf("reading the routes: %w", err)
	}
	for try := 0; ; try++ {
		var now replaced
		err := c.each(ctx, answerTime, call{http.MethodPut, "/v1/routes", tableOf(list, c.revision+1), &now})
		var no *refused
		if errors.As(err, &no) && no.Revision > 0 && try < 3 {
			c.revision = no.Revision // by whoever was `serve` before
			continue
		}
		if err != nil {
			return fmt.Errorf("telling the edge its routes: %w", err)
		}
		c.revision = now.Revision
		if !slices.Equal(now.Broken, c.broken) {
			for _, b := range now.Broken {
				c.log.Warn("a route is skipped", "host", b.Host, "reason", b.Reason)
			}
		}
		c.broken = now.Broken
		return nil
	}
}

// Probe is edge.Edge's.
func (c *Client) Probe(ctx context.Context, host, path string) (sandbox string, status int, err error) {
	var got probed
	err = c.current(ctx, probeTime, call{http.MethodPost, "/v1/probe", probe{host, path}, &got})
	return got.Sandbox, got.Status, err
}

// Drain is edge.Edge's, for every edge that may have requests of the sandbox.
func (c *Client) Drain(ctx context.Context, sandbox string) error {
	asked := drain{Sandbox: sandbox}
	asking := ctx
	if deadline, limited := ctx.Deadline(); limited {
		// The edge cuts them off at the deadline and says so; only giving up earlier ends the call.
		asked.Within = max(1, time.Until(deadline).Milliseconds())
		longer, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Until(deadline)+answerTime)
		defer cancel()
		defer context.AfterFunc(ctx, func() {
			if errors.Is(ctx.Err(), context.Canceled) {
				cancel()
			}
		})()
		asking = longer
	}
	err := c.each(asking, 0, call{http.MethodPost, "/v1/drain", asked, nil})
	var no *refused
	switch {
	case errors.As(err, &no) && no.Kind == coderunner.Conflict:
		return coderunner.Errorf(coderunner.Conflict, "%s", no.Message)
	case err != nil && ctx.Err() != nil:
		return errors.Join(ctx.Err(), err)
	}
	return err
}

// Status asks the edge that accepts.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.current(ctx, answerTime, call{http.MethodGet, "/v1/status", nil, &s})
}

// call is a question to an edge.
type call struct {
	method, path   string
	question, into any // nil for none
}

// current asks the edge that accepts, and waits for it. It has answered within the limit, if there is one.
func (c *Client) current(ctx context.Context, limit time.Duration, q call) error {
	deadline := time.Now().Add(returnTime)
	for {
		err := ask(ctx, currentSocket(c.dataDir), limit, q)
		if err == nil || !isGone(err) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(lookAgain):
		}
	}
}

// each asks all edges. The answer is that of the one that accepts; of the others,
// which end by and by, only a refusal counts.
func (c *Client) each(ctx context.Context, limit time.Duration, q call) error {
	sockets, err := leavingSockets(c.dataDir)
	if err != nil {
		return err
	}
	failed := make([]error, len(sockets))
	var others sync.WaitGroup
	for i, socket := range sockets {
		others.Go(func() {
			err := ask(ctx, socket, limit, call{q.method, q.path, q.question, nil})
			if errors.Is(err, unix.ECONNREFUSED) {
				_ = os.Remove(socket) // it was killed
			}
			if err != nil && !isGone(err) {
				failed[i] = err
			}
		})
	}
	err = c.current(ctx, limit, q)
	others.Wait()
	return errors.Join(append(failed, err)...)
}

// leavingSockets are those of all edges but the one that accepts.
func leavingSockets(dataDir string) ([]string, error) {
	files, err := os.ReadDir(runDir(dataDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	current, err := os.Readlink(currentSocket(dataDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var sockets []string
	for _, f := range files {
		if strings.HasSuffix(f.Name(), ".sock") && f.Name() != current {
			sockets = append(sockets, filepath.Join(runDir(dataDir), f.Name()))
		}
	}
	return sockets, nil
}

// isGone reports whether an edge ended before it answered, or was never there.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// ask sends a question to the edge at a socket. Each has a connection of its own, so
// that none is left to an edge that was replaced.
func ask(ctx context.Context, socket string, limit time.Duration, q call) error {
	if limit > 0 {
		limited, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		ctx = limited
	}
	res, err := send(ctx, socket, q)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= http.StatusBadRequest {
		no := &refused{}
		if json.Unmarshal(text, &no.refusal) != nil || no.Message == "" {
			no.Message = fmt.Sprintf("the edge answers %d: %.200s", res.StatusCode, text)
		}
		return no
	}
	if q.into == nil {
		return nil
	}
	return json.Unmarshal(text, q.into)
}

// send answers the response with its body still to come.
func send(ctx context.Context, socket string, q call) (*http.Response, error) {
	var body []byte
	if q.question != nil {
		text, err := json.Marshal(q.question)
		if err != nil {
			return nil, err
		}
		body = text
	}
	req, err := http.NewRequestWithContext(ctx, q.method, "http://edge"+q.path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dialUnix(ctx, socket) }}
	return transport.RoundTrip(req)
}
