package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coderunner/coderunner/internal/edge"
)

const (
	stopTime = 5 * time.Second // for requests to end in when the edge is told to stop
	// stallTime is for whoever takes nothing of a page, or sends on what nobody reads
	// any more. The dashboard drops them at its own end, and cannot at this one.
	stallTime = 30 * time.Second
)

// front is the public side: the listener, its connections, and who answers.
type front struct {
	edge      *edge.Edge
	dashboard *dashboard
	server    *http.Server
	stall     time.Duration
	leaving   atomic.Bool // each answer is the last on its connection
	failed    chan error  // the listener broke

	mu       sync.Mutex
	listener *net.TCPListener // nil while nothing is accepted
	open     int              // connections, and requests that were made of them
	empty    chan struct{}    // closed when open falls to 0; nil while nobody waits
}

func newFront(e *edge.Edge, d *dashboard, log *slog.Logger) *front {
	f := &front{edge: e, dashboard: d, stall: stallTime, failed: make(chan error, 1)}
	f.server = &http.Server{
		Handler: f, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				f.count(1)
			case http.StateClosed, http.StateHijacked:
				f.count(-1)
			}
		},
	}
	return f
}

// ServeHTTP gives each request to an app or to the dashboard, by its host.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.count(1) // a WebSocket is no connection of the server's any more
	defer f.count(-1)
	if f.leaving.Load() && r.Header.Get("Upgrade") == "" {
		w.Header().Set("Connection", "close")
	}
	if f.edge.IsAppHost(r.Host) || r.Method == http.MethodConnect {
		f.edge.ServeHTTP(w, r)
		return
	}
	control := http.NewResponseController(w)
	f.dashboard.proxy.ServeHTTP(&timedWriter{w, control, f.stall}, r)
	_ = control.SetWriteDeadline(time.Time{})            // for the connection's next request
	_ = control.SetReadDeadline(time.Now().Add(f.stall)) // for the rest of this one; the server sets the next one's
}

// timedWriter gives each write its own time.
type timedWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
}

func (w *timedWriter) Write(b []byte) (int, error) {
	_ = w.control.SetWriteDeadline(time.Now().Add(w.stall))
	return w.ResponseWriter.Write(b)
}

// Unwrap gives http.ResponseController the way to Flush.
func (w *timedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (f *front) count(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open += n
	if f.open == 0 && f.empty != nil {
		close(f.empty)
		f.empty = nil
	}
}

// accept answers what comes to the listener until it is closed.
func (f *front) accept(listener *net.TCPListener) {
	f.mu.Lock()
	f.listener = listener
	f.mu.Unlock()
	go func() {
		err := f.server.Serve(listener)
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.listener == listener && !errors.Is(err, http.ErrServerClosed) {
			f.failed <- err
		}
	}()
}

// close ends the listener, and no connection.
func (f *front) close() {
	f.mu.Lock()
	listener := f.listener
	f.listener = nil
	f.mu.Unlock()
	if listener != nil {
		listener.Close()
	}
}

// leave lets what is under way end, for as long as ctx, and ends the rest. Idle
// connections stay as long, since a client may just be sending on one; their next
// answer is their last.
func (f *front) leave(ctx context.Context) {
	f.leaving.Store(true)
	f.close()
	f.mu.Lock()
	var empty chan struct{}
	if f.open > 0 {
		empty = make(chan struct{})
		f.empty = empty
	}
	f.mu.Unlock()
	if empty != nil {
		select {
		case <-empty:
		case <-ctx.Done():
		}
	}
	f.end()
}

// stop ends at once what is idle, and within stopTime what is under way.
func (f *front) stop() {
	f.close()
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	_ = f.server.Shutdown(ctx)
	f.end()
}

func (f *front) end() {
	f.edge.Close() // WebSockets as well
	_ = f.server.Close()
	f.dashboard.close()
}
