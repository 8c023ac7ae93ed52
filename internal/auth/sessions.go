package auth

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/sessions"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

// CookieName is the name of the session's cookie.
const CookieName = "coderunner_session"

const (
	sessionLifetime = 30 * 24 * time.Hour
	idLength        = 32  // bytes
	maxUserAgent    = 400 // bytes
)

// userKey is where a session's Values have the user's id. No other value has a
// key that is not a string, and it is never part of the stored data.
type userKey struct{}

// Sessions is a gorilla sessions.Store over the database. The cookie has a random
// id and nothing else; the row is found by the id's hash, so that who reads the
// database cannot log in. Values have string keys and what JSON can carry.
type Sessions struct {
	store   *store.Store
	options sessions.Options
}

var _ sessions.Store = (*Sessions)(nil)

// NewSessions returns a store of sessions; secure is for a site under https.
func NewSessions(st *store.Store, secure bool) *Sessions {
	return &Sessions{store: st, options: sessions.Options{
		Path: "/", MaxAge: int(sessionLifetime / time.Second), HttpOnly: true, Secure: secure, SameSite: http.SameSiteLaxMode,
	}}
}

// Get answers the request's session, the same one each time.
func (s *Sessions) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(s, name)
}

// New answers the session that the request's cookie names, or a new one when the
// cookie names none that is alive. An id that we did not give out is never taken on.
func (s *Sessions) New(r *http.Request, name string) (*sessions.Session, error) {
	session := sessions.NewSession(s, name)
	options := s.options
	session.Options = &options
	session.IsNew = true
	id, ok := cookieID(r, name)
	if !ok {
		return session, nil
	}
	row, err := s.store.Session(r.Context(), hashOf(id))
	switch {
	case coderunner.KindOf(err) == coderunner.NotFound:
		return session, nil
	case err != nil:
		return session, err
	}
	values := map[string]any{}
	if err := json.Unmarshal(row.Data, &values); err != nil {
		return session, fmt.Errorf("data of a session: %w", err)
	}
	for key, value := range values {
		session.Values[key] = value
	}
	if row.UserID != "" {
		session.Values[userKey{}] = row.UserID
	}
	session.ID, session.IsNew = id, false
	return session, nil
}

// Save stores the session and sets its cookie. A negative MaxAge destroys it.
// Unauthenticated when it was revoked since it was read.
func (s *Sessions) Save(r *http.Request, w http.ResponseWriter, session *sessions.Session) error {
	if session.Options.MaxAge < 0 {
		return s.Destroy(r, w, session)
	}
	data, err := dataOf(session)
	if err != nil {
		return err
	}
	if session.ID == "" {
		if err := s.create(r, session, s.store, data); err != nil {
			return err
		}
		http.SetCookie(w, sessions.NewCookie(session.Name(), session.ID, session.Options))
		return nil
	}
	err = s.store.SetSessionData(r.Context(), hashOf(session.ID), data)
	if coderunner.KindOf(err) == coderunner.NotFound {
		return errLoggedOut
	}
	return err
}

// Rotate gives the session a new id, and the user, and forgets what it held: the
// old id, which somebody may have planted or seen, is worth nothing afterwards.
func (s *Sessions) Rotate(r *http.Request, w http.ResponseWriter, session *sessions.Session, userID string) error {
	old := session.ID
	clear(session.Values)
	session.Values[userKey{}] = userID
	err := s.store.InTx(r.Context(), func(st *store.Store) error {
		if old != "" {
			if err := st.DeleteSession(r.Context(), hashOf(old)); err != nil {
				return err
			}
		}
		return s.create(r, session, st, []byte("{}"))
	})
	if err == nil {
		http.SetCookie(w, sessions.NewCookie(session.Name(), session.ID, session.Options))
	}
	return err
}

// Destroy ends the session and takes the cookie away. One that has ended is success.
func (s *Sessions) Destroy(r *http.Request, w http.ResponseWriter, session *sessions.Session) error {
	if session.ID != "" {
		if err := s.store.DeleteSession(r.Context(), hashOf(session.ID)); err != nil {
			return err
		}
	}
	clear(session.Values)
	session.ID, session.IsNew = "", true
	gone := s.options
	gone.MaxAge = -1
	http.SetCookie(w, sessions.NewCookie(session.Name(), "", &gone))
	return nil
}

// create stores the session under a new id.
func (s *Sessions) create(r *http.Request, session *sessions.Session, st *store.Store, data []byte) error {
	id := base64.RawURLEncoding.EncodeToString(random(idLength))
	userID, _ := session.Values[userKey{}].(string)
	row := store.Session{IDHash: hashOf(id), UserID: userID, Data: data, UserAgent: userAgent(r), Peer: peerOf(r)}
	if err := st.CreateSession(r.Context(), row, sessionLifetime); err != nil {
		return err
	}
	session.ID, session.IsNew = id, false
	return nil
}

func dataOf(session *sessions.Session) ([]byte, error) {
	values := map[string]any{}
	for key, value := range session.Values {
		switch key := key.(type) {
		case string:
			values[key] = value
		case userKey:
		default:
			return nil, fmt.Errorf("a session's key is a %T, not a string", key)
		}
	}
	return json.Marshal(values)
}

// cookieID answers the id in the request's cookie, if it has the form of one.
func cookieID(r *http.Request, name string) (string, bool) {
	cookie, err := r.Cookie(name)
	if err != nil {
		return "", false
	}
	id, err := base64.RawURLEncoding.Strict().DecodeString(cookie.Value)
	return cookie.Value, err == nil && len(id) == idLength
}

func hashOf(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

func userAgent(r *http.Request) string {
	agent := r.UserAgent()
	return strings.ReplaceAll(strings.ToValidUTF8(agent[:min(len(agent), maxUserAgent)], ""), "\x00", "")
}

func peerOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
