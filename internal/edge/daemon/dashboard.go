package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/edge"
)

// peerHeader has the address of who asks. The dashboard believes it on its socket,
// and the edge lets nobody else write it.
const peerHeader = "Coderunner-Peer"

// lookAgain is how often a dashboard that is away is looked for.
const lookAgain = 20 * time.Millisecond

var (
	restarting = edge.Page{Status: http.StatusServiceUnavailable, Title: "CodeRunner is restarting", Reload: 3,
		Text: "This page asks again by itself. The apps go on meanwhile."}
	brokenOff = edge.Page{Status: http.StatusBadGateway, Title: "CodeRunner stopped before it was done with this",
		Text: "It may have been done or not. Look whether it was before you do it again."}
)

// errAway: nobody listens at the dashboard's socket, and nobody came.
var errAway = errors.New("the dashboard is away")

func dashboardSocket(dataDir string) string { return filepath.Join(dataDir, "dashboard.sock") }

// dashboard passes requests to `serve`. While that is away they wait for it. A
// request that may change something is sent once at most; one that was sent and
// not answered is told so.
type dashboard struct {
	socket string
	wait   time.Duration // for a dashboard that is away
	proxy  *httputil.ReverseProxy
	kept   *http.Transport // connections are used again
	once   *http.Transport // a connection for each request: a kept one may close just as a request is sent

	mu      sync.Mutex
	looking chan struct{} // closed when the dashboard is back or was waited for in vain; nil while nobody waits
}

func newDashboard(dataDir string, wait time.Duration, log *slog.Logger) *dashboard {
	d := &dashboard{socket: dashboardSocket(dataDir), wait: wait}
	transport := func(keep bool) *http.Transport {
		return &http.Transport{DialContext: d.dial, DisableCompression: true, DisableKeepAlives: !keep, MaxIdleConnsPerHost: 16,
			IdleConnTimeout: 30 * time.Second, ExpectContinueTimeout: time.Second}
	}
	d.kept, d.once = transport(true), transport(false)
	d.proxy = &httputil.ReverseProxy{Rewrite: rewrite, Transport: d, ErrorHandler: d.failed, FlushInterval: -1,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	return d
}

// rewrite makes the request that the dashboard gets: as it came, and who asked.
func rewrite(p *httputil.ProxyRequest) {
	in, out := p.In, p.Out
	out.URL.Scheme, out.URL.Host = "http", "dashboard"
	out.URL.RawQuery = in.URL.RawQuery
	for name := range out.Header {
		if strings.HasPrefix(http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-")), "Coderunner-") {
			delete(out.Header, name)
		}
	}
	out.Header.Set(peerHeader, in.RemoteAddr)
	// With these the transport would take a request that changes something for one that may be sent twice.
	out.Header.Del("Idempotency-Key")
	out.Header.Del("X-Idempotency-Key")
	// Pages need no other protocol; within one, requests would pass that were not looked at.
	out.Header.Del("Upgrade")
	out.Header.Del("Connection")
}

// RoundTrip sends a request that only asks again when the dashboard ended before it answered.
func (d *dashboard) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead || r.Body != nil {
		return d.once.RoundTrip(r)
	}
	deadline := time.Now().Add(d.wait)
	for {
		res, err := d.kept.RoundTrip(r)
		if err == nil || r.Context().Err() != nil || errors.Is(err, errAway) || time.Now().After(deadline) {
			return res, err
		}
		select {
		case <-r.Context().Done():
		case <-time.After(lookAgain):
		}
	}
}

func (d *dashboard) failed(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case !errors.Is(err, errAway) && r.Method != http.MethodGet && r.Method != http.MethodHead:
		brokenOff.Write(w, r)
	case strings.HasPrefix(r.URL.Path, "/api/"):
		w.Header().Set("Content-Type", "application/problem+json")
		w.Header().Set("Retry-After", fmt.Sprint(restarting.Reload))
		w.WriteHeader(restarting.Status)
		fmt.Fprintf(w, `{"title":%q,"status":%d,"detail":"%s. Try again in a moment."}`+"\n", http.StatusText(restarting.Status), restarting.Status, restarting.Title)
	default:
		restarting.Write(w, r)
	}
}

// dial connects to the dashboard, and waits for one that is away.
func (d *dashboard) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.wait)
	defer cancel()
	for {
		conn, err := dialUnix(ctx, d.socket)
		if err == nil {
			return conn, nil
		}
		if !isAway(err) {
			return nil, err
		}
		select {
		case <-d.back():
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", errAway, err)
		}
	}
}

// isAway: nobody listens, or whoever does cannot take more connections now.
func isAway(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EAGAIN)
}

// back is closed when it is worth dialling again. However many wait, one looks.
func (d *dashboard) back() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.looking == nil {
		d.looking = make(chan struct{})
		go d.look(d.looking)
	}
	return d.looking
}

func (d *dashboard) look(found chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), d.wait)
	defer cancel()
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for ctx.Err() == nil {
		<-tick.C
		if conn, err := dialUnix(ctx, d.socket); err == nil {
			conn.Close()
			break
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.looking = nil
	close(found)
}

// close lets go of the connections that are kept.
func (d *dashboard) close() { d.kept.CloseIdleConnections() }
