package daemon

import (
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// DashboardListener is where `serve` gets the requests that are not for an app.
type DashboardListener struct {
	*net.UnixListener
	path string
}

// ListenDashboard takes the place of whoever listened for this data directory before.
func ListenDashboard(dataDir string) (*DashboardListener, error) {
	path := dashboardSocket(dataDir)
	listener, err := listenUnix(path)
	if err != nil {
		return nil, err
	}
	return &DashboardListener{listener, path}, nil
}

// Withdraw makes the edge keep further requests for whoever listens next, and
// returns when those that had been sent already are accepted (after a second at most).
func (l *DashboardListener) Withdraw() {
	_ = os.Remove(l.path) // without the file nobody comes, with it somebody may come too late
	deadline := time.Now().Add(time.Second)
	for l.waiting() && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
}

// waiting reports whether a connection is there that was not accepted.
func (l *DashboardListener) waiting() (waiting bool) {
	raw, err := l.SyscallConn()
	if err != nil {
		return false
	}
	_ = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		waiting = err == nil && n > 0
	})
	return waiting
}

// BehindEdge gives requests the address of who asked the edge. Only for handlers
// on a DashboardListener: elsewhere anybody could write what it believes.
func BehindEdge(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if peer := r.Header.Get(peerHeader); peer != "" {
			r.RemoteAddr = peer
			r.Header.Del(peerHeader)
		}
		next.ServeHTTP(w, r)
	})
}
