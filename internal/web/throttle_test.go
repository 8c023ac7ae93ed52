package web_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"testing"
)

// from is a visitor with an address of its own.
func (w *world) from(address string) browser {
	b := w.visitor()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	transport := &http.Transport{DialContext: func(ctx context.Context, network, to string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, to)
	}}
	w.Cleanup(transport.CloseIdleConnections)
	b.client.Transport = transport
	return b
}

// TestGuessingIsThrottled, by account and by address, at the log-in and at the sign-up:
// the form comes back with how long to wait, and others are not held to it.
func TestGuessingIsThrottled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signUp("grace@example.com")
	const wrong = "a guess, and a wrong one"
	here := w.from("127.0.1.1")
	everywhere := func(i int) browser { return w.from(fmt.Sprint("127.0.2.", i+1)) }
	anybody := func(i int) string { return fmt.Sprint("user", i, "@example.com") }
	for _, tt := range []struct {
		what, path, sentence string
		tries, status        int
		who                  func(i int) browser
		email, password      func(i int) string
		other                browser // who is let in all the same
		otherEmail           string
	}{
		{"log-ins of one account", "/login", "Too many tries to log in. Try again in %s second", 30, http.StatusUnauthorized,
			everywhere, func(int) string { return "grace@example.com" }, func(int) string { return wrong }, everywhere(0), anybody(0)},
		{"log-ins of one address", "/login", "Too many tries to log in. Try again in %s second", 50, http.StatusUnauthorized,
			func(int) browser { return here }, anybody, func(int) string { return wrong }, everywhere(1), anybody(1)},
		{"sign-ups of one account", "/signup", "Too many tries to make an account with this e-mail address. Try again in %s second", 9, http.StatusConflict, // and the one that made it
			everywhere, func(int) string { return "grace@example.com" }, func(int) string { return password }, everywhere(2), "grace@example.org"},
	} {
		try := func(b browser, email, password string) answer {
			return b.post(tt.path, url.Values{"email": {email}, "password": {password}})
		}
		for i := range tt.tries {
			try(tt.who(i), tt.email(i), tt.password(i)).want(tt.status)
		}
		refused := refusedAtLast(t, tt.status, func() answer { return try(tt.who(100), tt.email(100), tt.password(100)) })
		wait := refused.header.Get("Retry-After")
		if wait == "" || wait == "0" {
			t.Errorf("%s: Retry-After is %q", tt.what, wait)
		}
		refused.wantText(".flash-error", fmt.Sprintf(tt.sentence, wait))
		if email, _ := refused.page().Find("input[name=email]").Attr("value"); email != tt.email(100) {
			t.Errorf("%s: the form came back with the e-mail address %q", tt.what, email)
		}
		if a := try(tt.other, tt.otherEmail, password); a.status == http.StatusTooManyRequests {
			t.Errorf("%s: somebody else is refused as well", tt.what)
		}
	}

	// Each account of one address is another, and a real one.
	many := w.from("127.0.3.1")
	for i := range 60 {
		many.post("/signup", url.Values{"email": {fmt.Sprint("many", i, "@example.com")}, "password": {password}}).wantRedirect("/projects")
	}
	more := 0
	refused := refusedAtLast(t, http.StatusSeeOther, func() answer {
		more++
		return many.post("/signup", url.Values{"email": {fmt.Sprint("more", more, "@example.com")}, "password": {password}})
	})
	refused.wantText(".flash-error", fmt.Sprintf("Too many accounts were made from your address. Try again in %s second", refused.header.Get("Retry-After")))
	w.from("127.0.3.2").post("/signup", url.Values{"email": {"other@example.com"}, "password": {password}}).wantRedirect("/projects")
}

// refusedAtLast tries on until it is refused: on a slow machine some of the tries before
// are forgiven by then, one every few seconds.
func refusedAtLast(t *testing.T, until int, try func() answer) answer {
	t.Helper()
	for range 30 {
		a := try()
		if a.status == http.StatusTooManyRequests {
			return a
		}
		a.want(until)
	}
	t.Fatal("thirty tries too many were let through")
	return answer{}
}
