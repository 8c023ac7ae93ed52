package auth

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// browser keeps the cookie of one browser.
type browser struct {
	t      *testing.T
	cookie *http.Cookie
}

// visit lets f answer one request and keeps the cookie that it set.
func (b *browser) visit(f func(http.ResponseWriter, *http.Request)) *http.Cookie {
	b.t.Helper()
	w, r := httptest.NewRecorder(), httptest.NewRequestWithContext(b.t.Context(), http.MethodPost, "/", nil)
	r.Header.Set("User-Agent", "Test\xff/1.0")
	if b.cookie != nil {
		r.AddCookie(b.cookie)
	}
	f(w, r)
	for _, c := range w.Result().Cookies() {
		b.cookie = c
		return c
	}
	return nil
}

func (b *browser) logIn(s *Service, user coderunner.User) *http.Cookie {
	b.t.Helper()
	return b.visit(func(w http.ResponseWriter, r *http.Request) {
		if err := s.StartSession(w, r, user.ID); err != nil {
			b.t.Fatal(err)
		}
		if got, err := s.CurrentUser(r); err != nil || got.ID != user.ID {
			b.t.Errorf("in the same request the user is %q, %v", got.ID, err)
		}
	})
}

func (b *browser) who(s *Service) (user coderunner.User, err error) {
	b.visit(func(_ http.ResponseWriter, r *http.Request) { user, err = s.CurrentUser(r) })
	return user, err
}

func TestSessionKnowsTheUser(t *testing.T) {
	t.Parallel()
	s := newService(t, "http://localhost:8080")
	user := register(t, s, email)
	b := &browser{t: t}
	_, err := b.who(s)
	wantKind(t, "before log-in", err, coderunner.Unauthenticated)
	b.logIn(s, user)
	if got, err := b.who(s); err != nil || got.Email != email {
		t.Errorf("logged in, the user is %q, %v", got.Email, err)
	}
	kept := *b.cookie
	b.visit(func(w http.ResponseWriter, r *http.Request) {
		if err := s.EndSession(w, r); err != nil {
			t.Fatal(err)
		}
	})
	if b.cookie.MaxAge >= 0 || b.cookie.Value != "" {
		t.Errorf("log-out leaves the cookie %v", b.cookie)
	}
	_, err = (&browser{t: t, cookie: &kept}).who(s)
	wantKind(t, "with the cookie of a session that was ended", err, coderunner.Unauthenticated)
}

func TestCookieFlags(t *testing.T) {
	t.Parallel()
	for publicURL, secure := range map[string]bool{"http://localhost:8080": false, "https://coderunner.example.com": true} {
		s := newService(t, publicURL)
		c := (&browser{t: t}).logIn(s, register(t, s, email))
		if c.Name != "coderunner_session" || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.Secure != secure || c.MaxAge != 30*24*3600 {
			t.Errorf("under %s the cookie is %s", publicURL, c)
		}
	}
}

// A planted id must be worth nothing, before log-in and after.
func TestSessionFixation(t *testing.T) {
	t.Parallel()
	s := newService(t, "http://localhost:8080")
	user := register(t, s, email)
	planted := &http.Cookie{Name: CookieName, Value: strings.Repeat("A", 43)}
	victim := &browser{t: t, cookie: planted}
	if c := victim.logIn(s, user); c.Value == planted.Value {
		t.Error("log-in took on an id that came from outside")
	}
	_, err := (&browser{t: t, cookie: planted}).who(s)
	wantKind(t, "with the planted id", err, coderunner.Unauthenticated)

	// A session of ours from before log-in, which the attacker knows.
	attacker := &browser{t: t}
	attacker.visit(func(w http.ResponseWriter, r *http.Request) {
		if err := s.Flash(w, r, "Planted."); err != nil {
			t.Fatal(err)
		}
	})
	known := *attacker.cookie
	victim = &browser{t: t, cookie: &known}
	if c := victim.logIn(s, user); c.Value == known.Value {
		t.Error("log-in kept the id of before")
	}
	_, err = attacker.who(s)
	wantKind(t, "with the id of before log-in", err, coderunner.Unauthenticated)
	victim.visit(func(w http.ResponseWriter, r *http.Request) {
		if flashes, err := s.Flashes(w, r); err != nil || len(flashes) != 0 {
			t.Errorf("what was planted before log-in came through: %q, %v", flashes, err)
		}
	})
}

func TestRevokedSessionIsRefused(t *testing.T) {
	t.Parallel()
	s := newService(t, "http://localhost:8080")
	user := register(t, s, email)
	here, there := &browser{t: t}, &browser{t: t}
	here.logIn(s, user)
	there.logIn(s, user)
	var handle string
	there.visit(func(_ http.ResponseWriter, r *http.Request) { handle = s.SessionHandle(r) })
	listed, err := s.store.UserSessions(t.Context(), user.ID)
	if err != nil || len(listed) != 2 {
		t.Fatalf("the account has the sessions %v, %v; want two", listed, err)
	}
	there.visit(func(w http.ResponseWriter, r *http.Request) {
		if _, err := s.CurrentUser(r); err != nil {
			t.Fatal(err)
		}
		if err := s.store.RevokeSession(r.Context(), user.ID, handle); err != nil {
			t.Fatal(err)
		}
		wantKind(t, "saving a session that was revoked meanwhile", s.Flash(w, r, "Late."), coderunner.Unauthenticated)
	})
	_, err = there.who(s)
	wantKind(t, "the revoked browser", err, coderunner.Unauthenticated)
	if _, err := here.who(s); err != nil {
		t.Errorf("the other browser: %v", err)
	}
}

func TestRowHoldsNoWayIn(t *testing.T) {
	t.Parallel()
	s := newService(t, "http://localhost:8080")
	user := register(t, s, email)
	b := &browser{t: t}
	b.logIn(s, user)
	rows, err := s.store.UserSessions(t.Context(), user.ID)
	if err != nil || len(rows) != 1 {
		t.Fatalf("sessions %v, %v", rows, err)
	}
	if row := rows[0]; len(row.IDHash) != 32 || bytes.Contains(row.IDHash, []byte(b.cookie.Value)) || row.UserAgent != "Test/1.0" || row.Peer != peer {
		t.Errorf("the row is %+v", row)
	}
	_, err = (&browser{t: t, cookie: &http.Cookie{Name: CookieName, Value: rows[0].Handle}}).who(s)
	wantKind(t, "with the handle as a cookie", err, coderunner.Unauthenticated)
}

func TestFlashIsShownOnce(t *testing.T) {
	t.Parallel()
	s := newService(t, "http://localhost:8080")
	b := &browser{t: t}
	b.logIn(s, register(t, s, email))
	for _, sentence := range []string{"Saved.", "Deployed <b>it</b>."} {
		b.visit(func(w http.ResponseWriter, r *http.Request) {
			if err := s.Flash(w, r, sentence); err != nil {
				t.Fatal(err)
			}
		})
	}
	for _, want := range [][]string{{"Saved.", "Deployed <b>it</b>."}, nil} {
		b.visit(func(w http.ResponseWriter, r *http.Request) {
			if got, err := s.Flashes(w, r); err != nil || !slices.Equal(got, want) {
				t.Errorf("flashes %q, %v; want %q", got, err, want)
			}
		})
	}
	if _, err := b.who(s); err != nil {
		t.Errorf("after flashes the user is gone: %v", err)
	}
}
