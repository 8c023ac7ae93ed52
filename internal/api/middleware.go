package api

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-chi/chi/v5/middleware"
)

// visit is what is known about a request; later parts add to it.
type visit struct {
	id, peer      string
	userID, token string // "" before authenticate
	control       *http.ResponseController
}

type visitKey struct{}

func visitOf(ctx context.Context) *visit {
	if v, ok := ctx.Value(visitKey{}).(*visit); ok {
		return v
	}
	return &visit{}
}

// endReadTimeout takes back the time limit of the body once it was read. Left in
// place, it would end the request itself when the handler takes longer.
func (v *visit) endReadTimeout() {
	if v.control != nil {
		_ = v.control.SetReadDeadline(time.Time{}) // a connection without deadlines has none to take back
	}
}

// withVisit names the request. A name from outside is not believed.
func withVisit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := &visit{id: strings.ToLower(rand.Text()[:16]), peer: r.RemoteAddr, control: http.NewResponseController(w)}
		if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
			v.peer = host
		}
		w.Header().Set("X-Request-Id", v.id)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), visitKey{}, v)))
	})
}

// headers keep answers out of caches, and browsers from making pages of them.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Cache-Control", "no-store")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		header.Set("Referrer-Policy", "no-referrer")
		next.ServeHTTP(w, r)
	})
}

// accessLog writes a record for each request. Queries, headers and bodies stay out
// of it: they may hold secrets.
func (s *server) accessLog(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin, v := time.Now(), visitOf(r.Context())
		out := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
		defer func() {
			s.Log.Log(r.Context(), slog.LevelInfo, "api request", "request", v.id, "method", r.Method, "path", r.URL.Path, "status", out.Status(),
				"bytes", out.BytesWritten(), "took", time.Since(begin).Round(time.Microsecond).String(), "peer", v.peer, "user", v.userID)
		}()
		next.ServeHTTP(out, r)
	})
}

// recoverPanics makes a problem of a panic, if nothing was written yet.
func (s *server) recoverPanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			if cause == any(http.ErrAbortHandler) {
				panic(cause)
			}
			s.Log.Error("a handler panicked", "request", visitOf(r.Context()).id, "cause", fmt.Sprint(cause), "stack", string(debug.Stack()))
			if out, ok := w.(middleware.WrapResponseWriter); ok && out.Status() != 0 {
				panic(http.ErrAbortHandler) // the answer is cut off rather than ended as if it were whole
			}
			s.write(w, r, fmt.Errorf("panic: %v", cause))
		}()
		next.ServeHTTP(w, r)
	})
}
