package web

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/a-h/templ"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/views"
)

// handler answers one request, or returns why it cannot before it has written anything.
type handler func(http.ResponseWriter, *http.Request) error

// userHandler is a handler for people who are logged in.
type userHandler func(http.ResponseWriter, *http.Request, coderunner.User) error

// handle gives a handler's error to fail.
func (s *site) handle(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			s.fail(w, r, err)
		}
	}
}

// private keeps visitors out.
func (s *site) private(h userHandler) http.HandlerFunc {
	return s.handle(func(w http.ResponseWriter, r *http.Request) error {
		user, err := s.Auth.CurrentUser(r)
		if err != nil {
			return err
		}
		remember(r, user)
		return h(w, r, user)
	})
}

// frame is what a page has around it.
func (s *site) frame(title string, section views.Section, user coderunner.User) views.Frame {
	f := views.Frame{Title: title, Email: user.Email, Section: section, Now: time.Now(), Asset: s.Static.Path}
	if s.Disk != nil {
		if err := s.Disk().Room(); err != nil {
			f.Notice = coderunner.Sentence(err)
		}
	}
	return f
}

// render shows a component. It is rendered in full first, so that one that fails
// is an error page and not half a page.
func (s *site) render(w http.ResponseWriter, r *http.Request, status int, component templ.Component) error {
	var page bytes.Buffer
	if err := component.Render(r.Context(), &page); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(page.Bytes()) // whoever has gone does not need the rest
	return nil
}

// renderJSON answers with a value as JSON.
func renderJSON(w http.ResponseWriter, status int, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
	return nil
}

// redirect sends the browser to a local path; htmx is told in its own way, since it
// would follow a redirect itself and swap the page it finds.
func redirect(w http.ResponseWriter, r *http.Request, path string) error {
	if isFragment(r) {
		w.Header().Set("HX-Redirect", path)
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	http.Redirect(w, r, path, http.StatusSeeOther)
	return nil
}

// isFragment reports whether htmx asks for a part of a page.
func isFragment(r *http.Request) bool { return r.Header.Get("HX-Request") == "true" }

// wantsJSON reports whether the answer is read by a script of ours and not shown as it is.
func wantsJSON(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "application/json") || r.URL.Path == "/upload" && !isForm(r)
}

// localPath answers next if it is a path of this site, else "". Whatever a browser
// would take for another host is none: "//host", "/\host", "https:host".
func localPath(next string) string {
	if !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t\x00") {
		return ""
	}
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || strings.HasPrefix(u.Path, "//") {
		return ""
	}
	return next
}

// maxForm bounds a posted form; maxPlanForm one with a project's variables in it.
const (
	maxForm     = 256 << 10
	maxPlanForm = 10 << 20
)

// readForm reads a posted form of at most limit bytes.
func readForm(w http.ResponseWriter, r *http.Request, limit int64) (url.Values, error) {
	r.Body = http.MaxBytesReader(w, r.Body, limit)
	if err := r.ParseForm(); err != nil {
		if isTooLarge(err) {
			return nil, coderunner.Wrap(err, coderunner.TooLarge, "The form is larger than %d KiB. Shorten what is in it.", limit>>10)
		}
		return nil, coderunner.Wrap(err, coderunner.Invalid, "The form could not be read. Load the page again and send it once more.")
	}
	return r.PostForm, nil
}
