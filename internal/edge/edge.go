// Package edge is the reverse proxy between the world and the apps.
//
// It guarantees:
//
//   - A request goes to the sandbox that its host's route names, and nowhere
//     else; a host without a route, or with that of a stopped app, is answered here.
//   - Replace and Refresh move all routes at once; one that cannot be used is left
//     out and named, and the others hold. A request belongs to the sandbox that it
//     was given to until it ends; Drain waits for those.
//   - An app never sees the dashboard's cookie, and cannot set it or any cookie
//     beyond its own host.
//   - Forwarding headers say what the edge saw. What a client sent under those
//     names is removed.
//   - Bodies stream in both directions; WebSockets pass; other upgrades do not.
package edge

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// maxHeaderBytes bounds the headers of a request, and of an app's answer.
const maxHeaderBytes = 64 << 10

// Config is what an edge needs.
type Config struct {
	Routes        func(context.Context) ([]coderunner.Route, error) // all that exist, for Refresh; nil where Replace is used
	AppsDomain    string                                            // apps are at <slug>.<AppsDomain>; the domain itself is not an app's
	DashboardHost string                                            // never an app's, also where it is below AppsDomain; may be ""
	Address       string                                            // host:port of our own listener, for Probe
	Scheme        string                                            // how browsers reach the apps, "https" behind a proxy that ends TLS; "" for what the connection is
	Log           *slog.Logger                                      // nil for none
}

// Edge is an http.Handler for all hosts of apps. It is safe for concurrent use.
type Edge struct {
	routes        func(context.Context) ([]coderunner.Route, error)
	appsDomain    string
	dashboardHost string
	scheme        string
	log           *slog.Logger
	token         string // known to this process only; marks its own probes
	buffers       bufferPool

	address atomic.Pointer[string]
	table   atomic.Pointer[map[string]entry] // by host

	refreshing chan struct{} // holds one while a Refresh is under way: a slow, older reading must not win
	mu         sync.Mutex    // taken before that of a target
	targets    map[targetKey]*target
}

// entry is what a host's route says.
type entry struct{ target *target } // nil for a stopped app

// New returns an edge without routes; Refresh reads them, Replace is given them.
func New(config Config) *Edge {
	e := &Edge{
		routes: config.Routes, appsDomain: hostname(config.AppsDomain), dashboardHost: hostname(config.DashboardHost), scheme: config.Scheme,
		log: config.Log, token: rand.Text() + rand.Text(), targets: map[targetKey]*target{}, refreshing: make(chan struct{}, 1),
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	e.SetAddress(config.Address)
	e.table.Store(&map[string]entry{})
	return e
}

// Address is the host:port of our own listener.
func (e *Edge) Address() string { return *e.address.Load() }

// SetAddress is for listeners that take a free port.
func (e *Edge) SetAddress(address string) { e.address.Store(&address) }

// IsAppHost reports whether requests for the host, with or without a port, are
// the edge's: every name below the apps domain, whether it has a route or not,
// and every other host with a route.
func (e *Edge) IsAppHost(host string) bool {
	name := hostname(host)
	if name == "" || name == e.appsDomain || name == e.dashboardHost {
		return false
	}
	if e.appsDomain != "" && strings.HasSuffix(name, "."+e.appsDomain) {
		return true
	}
	_, routed := (*e.table.Load())[name]
	return routed
}

// ServeHTTP passes the request to the sandbox of its host's route.
func (e *Edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodConnect {
		notAProxy.Write(w, r)
		return
	}
	if headerBytes(r.Header) > maxHeaderBytes {
		headersTooLarge.Write(w, r)
		return
	}
	t, leave, refusal := e.enter(hostname(r.Host))
	if t == nil {
		refusal.Write(w, r)
		return
	}
	defer leave()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(t.life, cancel)()
	visit := visit{probe: e.isProbe(r), host: hostname(r.Host)}
	t.proxy.ServeHTTP(&earlyAnswers{w, visit.host}, r.WithContext(context.WithValue(ctx, visitKey{}, visit)))
}

// enter finds the host's target and counts a request in; without one it answers
// the page that says why. A target that left the table between the two steps takes
// no more; the table then has another one.
func (e *Edge) enter(host string) (t *target, leave func(), refusal Page) {
	for {
		found, routed := (*e.table.Load())[host]
		if !routed {
			return nil, nil, nothingHere
		}
		t := found.target
		if t == nil {
			return nil, nil, stopped
		}
		if t.enter() {
			return t, func() {
				if t.leave() {
					e.forget(t)
				}
			}, Page{}
		}
	}
}

func (e *Edge) isProbe(r *http.Request) bool {
	return subtle.ConstantTimeCompare([]byte(r.Header.Get(probeHeader)), []byte(e.token)) == 1
}

// visit is what the parts of the proxy have to know about one request.
type visit struct {
	probe bool
	host  string
}

type visitKey struct{}

func visitOf(ctx context.Context) visit {
	v, _ := ctx.Value(visitKey{}).(visit)
	return v
}

// hostname is a host without port and final dot, in lower case.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

func headerBytes(h http.Header) int {
	n := 0
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(v) + len(": \r\n")
		}
	}
	return n
}

// bufferPool lends the buffers that bodies are copied through.
type bufferPool struct{ pool sync.Pool }

const bufferSize = 32 << 10

func (p *bufferPool) Get() []byte {
	if b, ok := p.pool.Get().(*[bufferSize]byte); ok {
		return b[:]
	}
	return make([]byte, bufferSize)
}

func (p *bufferPool) Put(b []byte) { p.pool.Put((*[bufferSize]byte)(b)) }
