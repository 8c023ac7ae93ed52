package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/api"
	"github.com/coderunner/coderunner/internal/coderunner"
)

func credentials(email, password string) map[string]string {
	return map[string]string{"email": email, "password": password}
}

func TestLogInRefreshLogOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small())
	anyone := program{w: w}
	var in api.LoggedIn
	a := anyone.send("POST", "/auth/login", credentials("ADA@example.com", password)).want(http.StatusOK)
	a.into(&in)
	if in.User.ID != w.ada.userID || in.User.Email != "ada@example.com" || in.User.PlanType != "free" || in.TokenType != "Bearer" || in.ExpiresAt.IsZero() {
		t.Errorf("log-in answered %s", a.body)
	}
	if a.header.Get("Cache-Control") != "no-store" || len(a.header.Values("Set-Cookie")) != 0 {
		t.Errorf("tokens came with the headers %v", a.header)
	}
	here := program{w: w, token: in.AccessToken}
	here.get("/projects").want(http.StatusOK)

	var next api.Tokens
	anyone.send("POST", "/auth/refresh", map[string]string{"refresh_token": in.RefreshToken}).want(http.StatusOK).into(&next)
	here.token = next.AccessToken
	here.get("/projects").want(http.StatusOK)
	anyone.send("POST", "/auth/logout", map[string]string{"refresh_token": next.RefreshToken}).want(http.StatusNoContent)
	anyone.send("POST", "/auth/logout", map[string]string{"refresh_token": next.RefreshToken}).want(http.StatusNoContent)
	here.get("/projects").wantProblem(http.StatusUnauthorized, coderunner.Unauthenticated)
	anyone.send("POST", "/auth/refresh", map[string]string{"refresh_token": next.RefreshToken}).wantProblem(http.StatusUnauthorized, coderunner.Unauthenticated)
	w.ada.get("/projects").want(http.StatusOK) // another log-in of hers
}

func TestReusedRefreshTokenEndsTheLogIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small())
	body := map[string]string{"refresh_token": w.ada.refresh}
	var next api.Tokens
	program{w: w}.send("POST", "/auth/refresh", body).want(http.StatusOK).into(&next)
	program{w: w}.send("POST", "/auth/refresh", body).wantProblem(http.StatusUnauthorized, coderunner.Unauthenticated)
	program{w: w, token: next.AccessToken}.get("/projects").wantProblem(http.StatusUnauthorized, coderunner.Unauthenticated)
}

func TestAccountsAreRefusedWithTheField(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small())
	anyone := program{w: w}
	if p := anyone.send("POST", "/auth/register", credentials("Ada@Example.com", password)).wantProblem(http.StatusConflict, coderunner.Conflict); !hasField(p, "email") {
		t.Errorf("an address that is taken: %+v", p)
	}
	if p := anyone.send("POST", "/auth/register", credentials("carol@example.com", "short")).wantProblem(http.StatusUnprocessableEntity, coderunner.Invalid); !hasField(p, "password") {
		t.Errorf("a short password: %+v", p)
	}
	wrong := anyone.send("POST", "/auth/login", credentials("ada@example.com", "wrong password")).wantProblem(http.StatusUnauthorized, coderunner.Unauthenticated)
	unknown := anyone.send("POST", "/auth/login", credentials("nobody@example.com", password)).wantProblem(http.StatusUnauthorized, coderunner.Unauthenticated)
	if wrong.Detail != unknown.Detail {
		t.Errorf("log-in tells accounts apart: %q and %q", wrong.Detail, unknown.Detail)
	}
}

// A forwarded address is the client's own word, and must not help to guess.
func TestGuessingIsThrottled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small())
	var a answer
	for i := range 11 {
		a = program{w: w}.send("POST", "/auth/login", credentials("ada@example.com", "wrong password"), "X-Forwarded-For", "198.51.100."+string(rune('0'+i%10)))
	}
	p := a.wantProblem(http.StatusTooManyRequests, coderunner.Throttled)
	if wait := a.header.Get("Retry-After"); wait == "" || p.Detail != "Too many tries to log in. Try again in "+wait+" seconds." {
		t.Errorf("Retry-After is %q, and the problem says %q", wait, p.Detail)
	}
	program{w: w}.send("POST", "/auth/login", credentials("bob@example.com", password)).want(http.StatusOK)
}

func TestOnlyBearerTokensLetIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small())
	anyone := program{w: w}
	for what, headers := range map[string][]string{
		"nothing":           {},
		"no scheme":         {"Authorization", w.ada.token},
		"basic":             {"Authorization", "Basic YWRhOnB3"},
		"a refresh token":   {"Authorization", "Bearer " + w.ada.refresh},
		"an empty token":    {"Authorization", "Bearer "},
		"the session":       {"Cookie", "coderunner_session=" + w.ada.token},
		"a token in cookie": {"Cookie", "access_token=" + w.ada.token},
	} {
		a := anyone.get("/projects", headers...)
		if p := a.wantProblem(http.StatusUnauthorized, coderunner.Unauthenticated); p.Detail == "" || !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s: %s with %v", what, a.body, a.header)
		}
	}
	anyone.get("/projects?access_token=" + w.ada.token).want(http.StatusUnauthorized)
	anyone.get("/projects", "Authorization", "bearer "+w.ada.token).want(http.StatusOK)
}

func TestNothingSecretIsLoggedOrRepeated(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small())
	const secret = "hunter2-hunter2"
	for _, body := range []any{
		map[string]any{"email": "ada@example.com", "password": secret, "role": "admin"},
		map[string]any{"email": 1, "password": []string{secret}},
		map[string]any{"password": secret},
		map[string]any{"email": "carol@example.com", "password": secret, secret + "x": secret},
	} {
		for _, path := range []string{"/auth/login", "/auth/register"} {
			if a := (program{w: w}).send("POST", path, body); a.status < 400 || strings.Contains(a.body, `"`+secret+`"`) {
				t.Errorf("%s answered %d %s", path, a.status, a.body)
			}
		}
	}
	w.ada.get("/projects").want(http.StatusOK)
	for _, s := range []string{secret, password, w.ada.token, w.ada.refresh} {
		if strings.Contains(w.log.String(), s) {
			t.Errorf("the log has %q", s)
		}
	}
}
