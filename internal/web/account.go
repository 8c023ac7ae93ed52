package web

import (
	"net/http"
	"strings"

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
	if page.Flash, err = s.flash(w, r); err != nil {
		return err
	}
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
	if err := s.Auth.Flash(w, r, "That browser is logged out."); err != nil && coderunner.KindOf(err) != coderunner.Unauthenticated {
		return err // it is no error that the session was this browser's own
	}
	return redirect(w, r, "/account")
}

// flash answers what was kept to be said on the next page, nil if nothing was.
func (s *site) flash(w http.ResponseWriter, r *http.Request) (*views.Flash, error) {
	sentences, err := s.Auth.Flashes(w, r)
	if err != nil || len(sentences) == 0 {
		return nil, err
	}
	return &views.Flash{Kind: views.FlashDone, Text: strings.Join(sentences, " ")}, nil
}
