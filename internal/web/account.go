package web

import (
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/views"
)

// account shows who is logged in, and where.
func (s *site) account(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	sessions, err := s.Store.UserSessions(r.Context(), user.ID)
	if err != nil {
		return err
	}
	page := views.AccountPage{Frame: s.frame("Account", views.SectionAccount, user), User: user}
	current := s.Auth.SessionHandle(r)
	for _, session := range sessions {
		page.Sessions = append(page.Sessions, views.Session{ID: session.Handle, UserAgent: session.UserAgent, Peer: session.Peer,
			CreatedAt: session.CreatedAt, LastSeenAt: session.LastSeenAt, Current: session.Handle == current})
	}
	return s.render(w, r, http.StatusOK, views.Account(page))
}

// revokeSession logs one browser out.
func (s *site) revokeSession(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	if err := s.Store.RevokeSession(r.Context(), user.ID, chi.URLParam(r, "session")); err != nil {
		return err
	}
	return redirect(w, r, "/account")
}
