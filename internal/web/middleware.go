package web

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

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/static"
)

// visit is what is known about a request; later parts add to it.
type visit struct {
	id   string
	user coderunner.User
}

type visitKey struct{}

func visitOf(r *http.Request) *visit {
	if v, ok := r.Context().Value(visitKey{}).(*visit); ok {
		return v
	}
	return &visit{}
}

func requestID(r *http.Request) string { return visitOf(r).id }

// remember notes who asks, for the log and the error page.
func remember(r *http.Request, user coderunner.User) { visitOf(r).user = user }

func remembered(r *http.Request) coderunner.User { return visitOf(r).user }

// logger has what every record about the request says.
func (s *site) logger(r *http.Request) *slog.Logger {
	return s.Log.With("request", requestID(r), "method", r.Method, "path", r.URL.Path)
}

// withRequestID names the request. A name from outside is not believed.
func withRequestID(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := strings.ToLower(rand.Text()[:16])
		w.Header().Set("X-Request-Id", id)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), visitKey{}, &visit{id: id})))
	})
}

// policy allows what our own pages need: scripts, styles, pictures and requests of
// this origin. Nothing inline, nothing from elsewhere, nobody's frame.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
	"connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

func securityHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", policy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "same-origin")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		if !strings.HasPrefix(r.URL.Path, static.Prefix) {
			header.Set("Cache-Control", "no-store") // pages are one person's; the static files say their own
			header.Set("Vary", "HX-Request, Cookie")
		}
		next.ServeHTTP(w, r)
	})
}

// sameOrigin refuses requests that change something and were made by another site's
// page, an app of this server included.
func (s *site) sameOrigin(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(s.handle(func(_ http.ResponseWriter, r *http.Request) error {
		s.recognise(r)
		return coderunner.Errorf(coderunner.Forbidden, "The request came from another site's page, so it was refused. Open the page here and repeat what you did.")
	}))
	return protection.Handler(next)
}

// accessLog writes a record for each request. Queries and bodies stay out of it:
// they may hold secrets.
func (s *site) accessLog(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		method, path := r.Method, r.URL.Path
		out := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
		defer func() {
			level := slog.LevelInfo
			if path == "/healthz" || strings.HasPrefix(path, static.Prefix) {
				level = slog.LevelDebug
			}
			s.Log.Log(r.Context(), level, "request", "request", requestID(r), "method", method, "path", path, "status", out.Status(),
				"bytes", out.BytesWritten(), "took", time.Since(begin).Round(time.Microsecond).String(), "peer", peer(r), "user", remembered(r).ID)
		}()
		next.ServeHTTP(out, r)
	})
}

// recoverPanics makes an error page of a panic, if nothing was written yet.
func (s *site) recoverPanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			if cause == any(http.ErrAbortHandler) {
				panic(cause)
			}
			s.logger(r).Error("a handler panicked", "cause", fmt.Sprint(cause), "stack", string(debug.Stack()))
			if out, ok := w.(middleware.WrapResponseWriter); ok && out.Status() != 0 {
				panic(http.ErrAbortHandler) // the answer is cut off rather than ended as if it were whole
			}
			s.tell(w, r, http.StatusInternalServerError, fmt.Errorf("panic: %v", cause))
		}()
		next.ServeHTTP(w, r)
	})
}

// peer is the network address of who asks.
func peer(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
