package web

import (
	"net/http"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/views"
)

// server shows what the machine stores in all, and how much room it has, and what it runs on. Nothing on
// the page belongs to anybody by name.
func (s *site) server(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	page := views.ServerPage{Frame: s.frame("Server", views.SectionServer, user)}
	if s.Disk != nil {
		page.Disk = s.Disk()
	}
	if s.Machine != nil {
		page.Machine = s.Machine(r.Context())
	}
	return s.render(w, r, http.StatusOK, views.Server(page))
}
