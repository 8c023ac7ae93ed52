package web

import (
	"net/http"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/views"
)

// landing is what visitors see; who is logged in goes on to the projects.
func (s *site) landing(w http.ResponseWriter, r *http.Request) error {
	_, err := s.Auth.CurrentUser(r)
	switch {
	case err == nil:
		return redirect(w, r, "/projects")
	case coderunner.KindOf(err) != coderunner.Unauthenticated:
		return err
	}
	return s.render(w, r, http.StatusOK, views.Landing(views.LandingPage{Frame: s.frame("Drop a folder, get a URL", "", coderunner.User{})}))
}
