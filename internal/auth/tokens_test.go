package auth

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/coderunner/coderunner/internal/coderunner"
)

func tokensOf(t *testing.T, s *Service, user coderunner.User) Tokens {
	t.Helper()
	tokens, err := s.Tokens(t.Context(), user.ID)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func (s *Service) wantRefused(t *testing.T, what, access string) {
	t.Helper()
	id, err := s.VerifyAccess(context.WithoutCancel(t.Context()), access)
	if id != "" {
		t.Errorf("%s: the user %q was answered", what, id)
	}
	wantKind(t, what, err, coderunner.Unauthenticated)
}

func TestTokensRotate(t *testing.T) {
	t.Parallel()
	s := newService(t, "")
	user := register(t, s, email)
	first := tokensOf(t, s, user)
	if id, err := s.VerifyAccess(t.Context(), first.Access); err != nil || id != user.ID {
		t.Fatalf("the access token is for %q, %v; want %q", id, err, user.ID)
	}
	if left := time.Until(first.ExpiresAt); left > 15*time.Minute || left < 14*time.Minute {
		t.Errorf("the access token lives %v, want 15 minutes", left)
	}
	second, err := s.Refresh(t.Context(), first.Refresh)
	if err != nil || second.Refresh == first.Refresh || second.Access == first.Access {
		t.Fatalf("refresh answered %+v, %v; want new tokens", second, err)
	}
	for _, access := range []string{first.Access, second.Access} {
		if id, err := s.VerifyAccess(t.Context(), access); err != nil || id != user.ID {
			t.Errorf("after a refresh the access token is for %q, %v", id, err)
		}
	}
}

func TestReuseOfARefreshTokenRevokesItsFamily(t *testing.T) {
	t.Parallel()
	s := newService(t, "")
	user := register(t, s, email)
	stolen, other := tokensOf(t, s, user), tokensOf(t, s, user)
	fresh, err := s.Refresh(t.Context(), stolen.Refresh)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Refresh(t.Context(), stolen.Refresh)
	wantKind(t, "the second use", err, coderunner.Unauthenticated)
	_, err = s.Refresh(t.Context(), fresh.Refresh)
	wantKind(t, "the newest token of the family", err, coderunner.Unauthenticated)
	s.wantRefused(t, "an access token of the family", stolen.Access)
	s.wantRefused(t, "the newest access token of the family", fresh.Access)
	if _, err := s.VerifyAccess(t.Context(), other.Access); err != nil {
		t.Errorf("another log-in of the same user: %v", err)
	}
}

func TestOneRefreshTokenIsGoodForOneOfMany(t *testing.T) {
	t.Parallel()
	s := newService(t, "")
	tokens := tokensOf(t, s, register(t, s, email))
	var wait sync.WaitGroup
	answers := make(chan error, 8)
	for range cap(answers) {
		wait.Go(func() {
			_, err := s.Refresh(t.Context(), tokens.Refresh)
			answers <- err
		})
	}
	wait.Wait()
	close(answers)
	good := 0
	for err := range answers {
		if err == nil {
			good++
		}
	}
	if good != 1 {
		t.Errorf("%d of 8 uses at once succeeded, want 1", good)
	}
}

func TestLogoutEndsTheFamily(t *testing.T) {
	t.Parallel()
	s := newService(t, "")
	user := register(t, s, email)
	tokens := tokensOf(t, s, user)
	for range 2 {
		if err := s.LogoutTokens(t.Context(), tokens.Refresh); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.LogoutTokens(t.Context(), "never given out"); err != nil {
		t.Errorf("logging out with an unknown token: %v", err)
	}
	s.wantRefused(t, "after log-out", tokens.Access)
	_, err := s.Refresh(t.Context(), tokens.Refresh)
	wantKind(t, "refresh after log-out", err, coderunner.Unauthenticated)

	tokens = tokensOf(t, s, user)
	if err := s.store.RevokeUser(t.Context(), user.ID); err != nil {
		t.Fatal(err)
	}
	s.wantRefused(t, "after logging out everywhere", tokens.Access)
}

func TestExpiredTokensAreRefused(t *testing.T) {
	t.Parallel()
	s := newService(t, "")
	tokens := tokensOf(t, s, register(t, s, email))
	s.now = func() time.Time { return time.Now().Add(accessLifetime + time.Second) }
	s.wantRefused(t, "a quarter of an hour later", tokens.Access)
	s.now = func() time.Time { return time.Now().Add(refreshLifetime + time.Minute) }
	_, err := s.Refresh(t.Context(), tokens.Refresh)
	wantKind(t, "a month later", err, coderunner.Unauthenticated)
}

func TestForgedAccessTokensAreRefused(t *testing.T) {
	t.Parallel()
	s := newService(t, "")
	user := register(t, s, email)
	tokens := tokensOf(t, s, user)
	var real claims
	if _, _, err := jwt.NewParser().ParseUnverified(tokens.Access, &real); err != nil {
		t.Fatal(err)
	}
	sign := func(method jwt.SigningMethod, key any, change func(*claims)) string {
		c := real
		change(&c)
		token, err := jwt.NewWithClaims(method, c).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	same := func(*claims) {}
	if _, err := s.VerifyAccess(t.Context(), sign(jwt.SigningMethodHS256, s.key, same)); err != nil {
		t.Fatalf("the test cannot make good tokens: %v", err)
	}
	for what, token := range map[string]string{
		"alg none":             sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, same),
		"alg HS512":            sign(jwt.SigningMethodHS512, s.key, same),
		"another key":          sign(jwt.SigningMethodHS256, random(32), same),
		"no key":               sign(jwt.SigningMethodHS256, []byte{}, same),
		"another issuer":       sign(jwt.SigningMethodHS256, s.key, func(c *claims) { c.Issuer = "elsewhere" }),
		"another audience":     sign(jwt.SigningMethodHS256, s.key, func(c *claims) { c.Audience = jwt.ClaimStrings{"mail"} }),
		"expired":              sign(jwt.SigningMethodHS256, s.key, func(c *claims) { c.ExpiresAt = jwt.NewNumericDate(time.Now().Add(-time.Second)) }),
		"no expiry":            sign(jwt.SigningMethodHS256, s.key, func(c *claims) { c.ExpiresAt = nil }),
		"no family":            sign(jwt.SigningMethodHS256, s.key, func(c *claims) { c.Family = "" }),
		"a family of nobody":   sign(jwt.SigningMethodHS256, s.key, func(c *claims) { c.Family = uuid.NewString() }),
		"no user":              sign(jwt.SigningMethodHS256, s.key, func(c *claims) { c.Subject = "" }),
		"an endless one":       sign(jwt.SigningMethodHS256, s.key, func(c *claims) { c.ID = string(make([]byte, 1<<20)) }),
		"the refresh token":    tokens.Refresh,
		"a changed signature":  tokens.Access[:len(tokens.Access)-4] + "AAAA",
		"nothing":              "",
		"two dots and no more": "..",
	} {
		s.wantRefused(t, what, token)
	}
}
