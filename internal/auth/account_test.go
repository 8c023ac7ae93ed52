package auth

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
	"github.com/coderunner/coderunner/internal/testdb"
)

const (
	email    = "ada@example.com"
	password = "correct horse battery"
	peer     = "192.0.2.1"
)

func newService(t *testing.T, publicURL string) *Service {
	t.Helper()
	s, err := New(Config{KeyFile: filepath.Join(t.TempDir(), "jwt.key"), PublicURL: publicURL}, store.New(testdb.NewPool(t)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func register(t *testing.T, s *Service, email string) coderunner.User {
	t.Helper()
	user, err := s.Register(t.Context(), email, password, peer)
	if err != nil {
		t.Fatal(err)
	}
	return user
}

func wantKind(t *testing.T, what string, err error, kind coderunner.Kind) {
	t.Helper()
	if coderunner.KindOf(err) != kind {
		t.Errorf("%s: error %v has kind %q, want %q", what, err, coderunner.KindOf(err), kind)
	}
}

func TestRegisterThenLogin(t *testing.T) {
	t.Parallel()
	s := newService(t, "http://localhost:8080")
	user := register(t, s, email)
	if !strings.HasPrefix(user.PasswordHash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("the stored hash is %q, not argon2id with 19 MiB, t=2, p=1", user.PasswordHash)
	}
	got, err := s.Login(t.Context(), " Ada@Example.com ", password, peer)
	if err != nil || got.ID != user.ID {
		t.Fatalf("log-in answered %q, %v; want user %q", got.ID, err, user.ID)
	}
	for what, wrong := range map[string]string{"wrong": "correct horse batterY", "empty": "", "endless": password + strings.Repeat("x", 10<<20), "with a NUL": password + "\x00"} {
		_, err := s.Login(t.Context(), email, wrong, peer)
		wantKind(t, what+" password", err, coderunner.Unauthenticated)
	}
}

func TestRegisterRefuses(t *testing.T) {
	t.Parallel()
	s := newService(t, "http://localhost:8080")
	register(t, s, email)
	for what, c := range map[string]struct {
		email, password, field string
		kind                   coderunner.Kind
	}{
		"an address that is taken, in another case": {"ADA@Example.COM", password, "email", coderunner.Conflict},
		"no address":       {"ada", password, "email", coderunner.Invalid},
		"a short password": {"grace@example.com", "short", "password", coderunner.Invalid},
	} {
		_, err := s.Register(t.Context(), c.email, c.password, peer)
		wantKind(t, what, err, c.kind)
		var e *coderunner.Error
		if !errors.As(err, &e) || e.Field != c.field {
			t.Errorf("%s: the error %v is not about the field %q", what, err, c.field)
		}
	}
}

// An address without an account must cost a hash as well, and give the same answer.
func TestUnknownAddressTakesTheSamePath(t *testing.T) {
	t.Parallel()
	s := newService(t, "http://localhost:8080")
	register(t, s, email)
	_, wrong := s.Login(t.Context(), email, "not the password", peer)
	for _, unknown := range []string{"nobody@example.com", "no address", "", "a\x00b@example.com"} {
		_, err := s.Login(t.Context(), unknown, password, peer)
		if err == nil || wrong == nil || err.Error() != wrong.Error() {
			t.Errorf("log-in as %q answered %v, as a user with a wrong password %v; want the same", unknown, err, wrong)
		}
	}
	// With every turn taken, whoever hashes must wait for one: both do.
	s.hasher.patience = time.Millisecond
	for range cap(s.hasher.turns) {
		s.hasher.turns <- struct{}{}
	}
	var wait sync.WaitGroup
	answers := make(chan error, 2)
	for _, who := range []string{email, "nobody@example.com"} {
		wait.Go(func() {
			_, err := s.Login(t.Context(), who, password, peer)
			answers <- err
		})
	}
	wait.Wait()
	for range 2 {
		wantKind(t, "log-in while all turns to hash are taken", <-answers, coderunner.Throttled)
	}
}

func TestThrottleByAccountAndPeer(t *testing.T) {
	t.Parallel()
	s := newService(t, "http://localhost:8080")
	now := time.Now()
	s.now = func() time.Time { return now }
	register(t, s, email)
	register(t, s, "grace@example.com")
	if _, err := s.Login(t.Context(), email, password, "198.51.100.7"); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		_, err := s.Login(t.Context(), email, "a guess, and a wrong one", peer)
		wantKind(t, "one of the first guesses", err, coderunner.Unauthenticated)
	}
	_, err := s.Login(t.Context(), "ADA@example.com", password, peer)
	wantKind(t, "the eleventh try, though right", err, coderunner.Throttled)
	if _, err := s.Login(t.Context(), "grace@example.com", password, peer); err != nil {
		t.Errorf("another account from the same address: %v", err)
	}

	// Guesses from everywhere close the account to strangers, never to where its owner was before.
	for i := range 20 {
		_, err := s.Login(t.Context(), email, "a guess, and a wrong one", "203.0.113."+string(rune('a'+i)))
		wantKind(t, "a guess from elsewhere", err, coderunner.Unauthenticated)
	}
	_, err = s.Login(t.Context(), email, "a guess, and a wrong one", "203.0.113.99")
	wantKind(t, "a guess when the account had 30", err, coderunner.Throttled)
	for range 40 {
		if _, err := s.Login(t.Context(), email, password, "198.51.100.7"); err != nil {
			t.Fatalf("the owner, from a known address: %v", err)
		}
	}
	now = now.Add(time.Minute)
	if _, err := s.Login(t.Context(), email, password, peer); err != nil {
		t.Errorf("a minute later: %v", err)
	}
}

func TestThrottleManyAccountsFromOnePeer(t *testing.T) {
	t.Parallel()
	th, err := newThrottle()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for i := range 50 {
		if _, err := th.logIn(strings.Repeat("x", i)+"@example.com", "2001:db8::"+string(rune('1'+i%9)), now); err != nil {
			t.Fatalf("try %d: %v", i+1, err)
		}
	}
	_, err = th.logIn("more@example.com", "2001:db8::ffff", now)
	wantKind(t, "the 51st try from one /64", err, coderunner.Throttled)
	if _, err := th.logIn("more@example.com", "2001:db8:0:1::1", now); err != nil {
		t.Errorf("another /64: %v", err)
	}
}

func TestThrottleSignUps(t *testing.T) {
	t.Parallel()
	th, err := newThrottle()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for range 60 {
		if err := th.signUp(rand.Text()+"@example.com", peer, now); err != nil {
			t.Fatal(err)
		}
	}
	wantKind(t, "the 61st account of one address", th.signUp(email, peer, now), coderunner.Throttled)
	if err := th.signUp(email, "192.0.2.2", now); err != nil {
		t.Errorf("from another address: %v", err)
	}
}

// TestThrottleEnds waits as long as each refusal says, and no longer.
func TestThrottleEnds(t *testing.T) {
	t.Parallel()
	elsewhere := func(i int) string { return fmt.Sprint("198.51.100.", i) }
	anybody := func(i int) string { return fmt.Sprint("user", i, "@example.com") }
	for what, tt := range map[string]struct {
		tries int // that are let through
		try   func(th *throttle, i int, now time.Time) error
	}{
		"log-ins of one account": {30, func(th *throttle, i int, now time.Time) error {
			_, err := th.logIn(email, elsewhere(i), now)
			return err
		}},
		"log-ins of one address":  {50, func(th *throttle, i int, now time.Time) error { _, err := th.logIn(anybody(i), peer, now); return err }},
		"sign-ups of one account": {10, func(th *throttle, i int, now time.Time) error { return th.signUp(email, elsewhere(i), now) }},
		"sign-ups of one address": {60, func(th *throttle, i int, now time.Time) error { return th.signUp(anybody(i), peer, now) }},
	} {
		th, err := newThrottle()
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		for i := range tt.tries {
			if err := tt.try(th, i, now); err != nil {
				t.Fatalf("%s, try %d: %v", what, i+1, err)
			}
		}
		var refused *coderunner.Error
		for range 3 { // a refused try makes it no longer
			err := tt.try(th, 200, now)
			wantKind(t, what, err, coderunner.Throttled)
			if !errors.As(err, &refused) || refused.After <= 0 || !strings.Contains(refused.Message, fmt.Sprintf("Try again in %d second", coderunner.RetryAfter(err)/time.Second)) {
				t.Fatalf("%s are refused with %+v", what, err)
			}
		}
		wantKind(t, what+", too early", tt.try(th, 201, now.Add(refused.After-time.Millisecond)), coderunner.Throttled)
		if err := tt.try(th, 202, now.Add(refused.After+time.Millisecond)); err != nil {
			t.Errorf("%s, after %s: %v", what, refused.After, err)
		}
	}
}

func TestKeyFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "data", "jwt.key")
	first, err := openKey(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := openKey(path)
	if err != nil || string(again) != string(first) {
		t.Errorf("the key was not kept: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode is %v (%v), want 0600", info.Mode(), err)
	}
	other, err := openKey(filepath.Join(t.TempDir(), "jwt.key"))
	if err != nil || string(other) == string(first) {
		t.Errorf("two fresh installs have the same key (%v)", err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = openKey(path)
	wantKind(t, "a key that others can read", err, coderunner.Invalid)
	if err := errors.Join(os.WriteFile(path, []byte("short\n"), 0o600), os.Chmod(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	_, err = openKey(path)
	wantKind(t, "a damaged key", err, coderunner.Invalid)
}
