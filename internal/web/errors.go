package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/views"
)

// statusOf is the one place that maps kinds to HTTP statuses.
func statusOf(err error) int {
	switch coderunner.KindOf(err) {
	case coderunner.Invalid:
		return http.StatusUnprocessableEntity
	case coderunner.Unauthenticated:
		return http.StatusUnauthorized
	case coderunner.Forbidden:
		return http.StatusForbidden
	case coderunner.NotFound:
		return http.StatusNotFound
	case coderunner.Conflict:
		return http.StatusConflict
	case coderunner.TooLarge:
		return http.StatusRequestEntityTooLarge
	case coderunner.Throttled:
		return http.StatusTooManyRequests
	case coderunner.Unavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// isTooLarge reports whether a body was over http.MaxBytesReader's limit.
func isTooLarge(err error) bool { return errors.As(err, new(*http.MaxBytesError)) }

// errMethod is a request of the wrong method to an address that exists.
var errMethod = errors.New("method not allowed")

// fail answers a request that cannot be served.
func (s *site) fail(w http.ResponseWriter, r *http.Request, err error) {
	status := statusOf(err)
	switch {
	case errors.Is(err, errMethod):
		status = http.StatusMethodNotAllowed
	case r.Context().Err() != nil && errors.Is(err, context.Canceled):
		s.logger(r).Debug("the client left", "err", err)
		return
	case status == http.StatusUnauthorized && !wantsJSON(r):
		s.toLogIn(w, r)
		return
	case status >= http.StatusInternalServerError:
		s.logger(r).Error("a request failed", "status", status, "err", err)
	}
	s.tell(w, r, status, err)
}

// retryAfter says when another try may succeed.
func retryAfter(w http.ResponseWriter, status int, err error) {
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", strconv.Itoa(int(coderunner.RetryAfter(err)/time.Second)))
	}
}

// tell shows a status with err's sentence, in the form that suits who asks.
func (s *site) tell(w http.ResponseWriter, r *http.Request, status int, err error) {
	retryAfter(w, status, err)
	if wantsJSON(r) {
		sentence := coderunner.Sentence(err)
		if status == http.StatusUnauthorized {
			sentence = "You are not logged in any more. Load the page again, log in and repeat what you did."
		}
		_ = renderJSON(w, status, map[string]string{"error": sentence, "request_id": requestID(r)})
		return
	}
	page := views.ErrorFor(s.frame("", "", remembered(r)), status, err, requestID(r))
	if errors.Is(err, errMethod) {
		page.Sentence = ""
	}
	if renderErr := s.render(w, r, status, views.Error(page)); renderErr != nil {
		s.logger(r).Error("the error page failed", "err", renderErr)
		http.Error(w, coderunner.Sentence(err), status)
	}
}

// toLogIn sends a visitor to the log-in page, which leads back to where they were.
// A script that asked for a fragment or a stream must not take that page for it.
func (s *site) toLogIn(w http.ResponseWriter, r *http.Request) {
	next := ""
	switch {
	case isFragment(r):
		if current, err := url.Parse(r.Header.Get("HX-Current-URL")); err == nil {
			next = localPath(current.RequestURI())
		}
	case r.Method == http.MethodGet || r.Method == http.MethodHead: // what was posted cannot be repeated
		next = localPath(r.URL.RequestURI())
	}
	path := "/login"
	if next != "" && next != "/" {
		path += "?next=" + url.QueryEscape(next)
	}
	if !isFragment(r) && !strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		http.Redirect(w, r, path, http.StatusSeeOther)
		return
	}
	w.Header().Set("HX-Redirect", path)
	http.Error(w, "Log in first.", http.StatusUnauthorized)
}

func (s *site) notFound(_ http.ResponseWriter, r *http.Request) error {
	s.recognise(r)
	return &coderunner.Error{Kind: coderunner.NotFound, Message: "There is no page at this address."}
}

func (s *site) methodNotAllowed(w http.ResponseWriter, r *http.Request) error {
	s.recognise(r)
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
		if s.router.Match(chi.NewRouteContext(), method, r.URL.Path) {
			w.Header().Add("Allow", method)
		}
	}
	return errMethod
}

// recognise notes who asks, for the frame of a page that is for everybody.
func (s *site) recognise(r *http.Request) {
	if user, err := s.Auth.CurrentUser(r); err == nil {
		remember(r, user)
	}
}
