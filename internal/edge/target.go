package edge

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"sync"
	"time"
)

const (
	dialTimeout = 5 * time.Second
	// idleTime is shorter than any common server keeps an idle connection
	// (gunicorn 2 s, Node.js and uvicorn 5 s): one that the app closes just as a
	// POST is sent on it cannot be retried, and a new one to this machine costs nothing.
	idleTime = 1500 * time.Millisecond
)

// targetKey tells targets apart. A sandbox that comes back at another address is another target.
type targetKey struct{ sandbox, address string }

// target is one sandbox's port, with the connections to it and the requests in it.
type target struct {
	targetKey
	proxy     *httputil.ReverseProxy
	transport *http.Transport
	life      context.Context // ends when requests still in it are cut off
	cut       context.CancelFunc

	mu      sync.Mutex
	retired bool // takes no more requests
	count   int
	idle    chan struct{} // closed when count falls to 0; nil while nobody waits
}

func (e *Edge) newTarget(key targetKey) *target {
	t := &target{targetKey: key}
	t.life, t.cut = context.WithCancel(context.Background())
	t.transport = &http.Transport{
		Proxy: nil, // the environment's is for the internet
		// Whatever a request says, only this address is dialled.
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialSandbox(ctx, &net.Dialer{Timeout: dialTimeout}, key.address)
		},
		DisableCompression:     true, // bodies pass as they are
		MaxIdleConnsPerHost:    64,
		IdleConnTimeout:        idleTime,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: maxHeaderBytes,
		// No limit on the time until an answer: long polling is legitimate, and whoever waits can hang up.
	}
	t.proxy = &httputil.ReverseProxy{
		Rewrite:        func(p *httputil.ProxyRequest) { e.rewrite(p, key.address) },
		ModifyResponse: func(res *http.Response) error { return t.answer(res) },
		ErrorHandler:   func(w http.ResponseWriter, r *http.Request, err error) { e.failed(w, r, t, err) },
		Transport:      t.transport,
		FlushInterval:  -1,
		BufferPool:     &e.buffers,
		ErrorLog:       slog.NewLogLogger(e.log.Handler(), slog.LevelDebug),
	}
	return t
}

// errElsewhere is the end of a connection that left this machine.
var errElsewhere = errors.New("the sandbox's network is not there")

// dialSandbox connects to a sandbox's port. An address of numbers is one of a network of this machine. While that is
// not there, after a reboot or before the sandbox is back, the way leads out to the
// world: whoever answers there gets nothing.
func dialSandbox(ctx context.Context, dialer *net.Dialer, address string) (net.Conn, error) {
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	local, _ := netip.ParseAddrPort(conn.LocalAddr().String())
	if remote, err := netip.ParseAddrPort(address); err == nil && !sameNetwork(local.Addr(), remote.Addr()) {
		conn.Close()
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: conn.RemoteAddr(), Err: errElsewhere}
	}
	return conn, nil
}

// sameNetwork reports whether two addresses can be of one of the networks that providers make on this
// machine: those of IPv4 are all of one /16.
func sameNetwork(a, b netip.Addr) bool {
	a, b = a.Unmap(), b.Unmap()
	bits := 64
	if a.Is4() {
		bits = 16
	}
	network, err := a.Prefix(bits)
	return err == nil && network.Contains(b)
}

// enter counts a request in, unless the target takes no more.
func (t *target) enter() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.retired {
		return false
	}
	t.count++
	return true
}

// leave counts a request out. It reports whether the target is of no more use.
func (t *target) leave() (finished bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count--
	if t.count == 0 && t.idle != nil {
		close(t.idle)
		t.idle = nil
	}
	return t.retired && t.count == 0
}

// wait returns when no request is in the target, or with ctx's error.
func (t *target) wait(ctx context.Context) error {
	t.mu.Lock()
	if t.count == 0 {
		t.mu.Unlock()
		return nil
	}
	if t.idle == nil {
		t.idle = make(chan struct{})
	}
	idle := t.idle
	t.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *target) setRetired(retired bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.retired = retired
}

// forget lets go of a target that takes no more requests and has none.
func (e *Edge) forget(t *target) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.retired && t.count == 0 { // else its route came back
		e.remove(t)
	}
}

// remove ends a target, and with it the requests still in it. Call with e.mu held.
func (e *Edge) remove(t *target) {
	if e.targets[t.targetKey] == t {
		delete(e.targets, t.targetKey)
	}
	t.cut()
	t.transport.CloseIdleConnections()
}

// failed answers for an app that did not.
func (e *Edge) failed(w http.ResponseWriter, r *http.Request, t *target, err error) {
	v := visitOf(r.Context())
	if v.probe {
		w.Header().Set(sandboxHeader, t.sandbox)
	}
	if t.life.Err() != nil {
		replaced.Write(w, r)
		return
	}
	if !errors.Is(err, context.Canceled) { // else whoever asked hung up, or we are being stopped
		e.log.Info("an app did not answer", "host", v.host, "sandbox", t.sandbox, "err", err)
	}
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		unreachable.Write(w, r)
		return
	}
	noProperAnswer.Write(w, r)
}
