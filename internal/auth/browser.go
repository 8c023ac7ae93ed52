package auth

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"

	"github.com/coderunner/coderunner/internal/coderunner"
)

var errLoggedOut = &coderunner.Error{Kind: coderunner.Unauthenticated, Message: "You are not logged in. Log in, then try again."}

// StartSession logs the browser in as the user: a session with a new id takes the
// place of the one that it had.
func (s *Service) StartSession(w http.ResponseWriter, r *http.Request, userID string) error {
	session, err := s.sessions.Get(r, CookieName)
	if err != nil {
		return err
	}
	return s.sessions.Rotate(r, w, session, userID)
}

// EndSession logs the browser out; one that was not logged in is success.
func (s *Service) EndSession(w http.ResponseWriter, r *http.Request) error {
	session, err := s.sessions.Get(r, CookieName)
	if err != nil {
		return err
	}
	return s.sessions.Destroy(r, w, session)
}

// CurrentUser answers who the browser is logged in as, Unauthenticated if nobody.
func (s *Service) CurrentUser(r *http.Request) (coderunner.User, error) {
	session, err := s.sessions.Get(r, CookieName)
	if err != nil {
		return coderunner.User{}, err
	}
	id, ok := session.Values[userKey{}].(string)
	if !ok {
		return coderunner.User{}, errLoggedOut
	}
	user, err := s.store.UserByID(r.Context(), id)
	if coderunner.KindOf(err) == coderunner.NotFound {
		return coderunner.User{}, errLoggedOut
	}
	return user, err
}

// SessionHandle names the browser's session as store.UserSessions does, so that
// the account page can tell it from the others; "" if it has none.
func (s *Service) SessionHandle(r *http.Request) string {
	session, err := s.sessions.Get(r, CookieName)
	if err != nil || session.ID == "" {
		return ""
	}
	sum := sha256.Sum256(hashOf(session.ID))
	return hex.EncodeToString(sum[:])
}

// Flash keeps a sentence for the next page that the browser asks for.
func (s *Service) Flash(w http.ResponseWriter, r *http.Request, sentence string) error {
	session, err := s.sessions.Get(r, CookieName)
	if err != nil {
		return err
	}
	session.AddFlash(sentence)
	return s.sessions.Save(r, w, session)
}

// Flashes answers the sentences that were kept, once.
func (s *Service) Flashes(w http.ResponseWriter, r *http.Request) ([]string, error) {
	session, err := s.sessions.Get(r, CookieName)
	if err != nil {
		return nil, err
	}
	flashes := session.Flashes()
	if len(flashes) == 0 {
		return nil, nil
	}
	var sentences []string
	for _, flash := range flashes {
		if sentence, ok := flash.(string); ok {
			sentences = append(sentences, sentence)
		}
	}
	return sentences, s.sessions.Save(r, w, session)
}
