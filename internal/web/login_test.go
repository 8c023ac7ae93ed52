package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestVisitorsSeeTheFrontPageAndAreSentToLogIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v := w.visitor()
	v.get("/").want(http.StatusOK).wantText("h1", "Drop a folder")
	v.get("/projects").wantRedirect("/login?next=%2Fprojects")
	v.get("/projects/x/bundles/y?root=server").wantRedirect("/login?next=%2Fprojects%2Fx%2Fbundles%2Fy%3Froot%3Dserver")
	v.post("/runs/x/cancel", nil).wantRedirect("/login")
	a := v.get("/projects", "HX-Request", "true", "HX-Current-URL", w.server.URL+"/account").want(http.StatusUnauthorized)
	if got := a.header.Get("HX-Redirect"); got != "/login?next=%2Faccount" {
		t.Errorf("htmx is sent to %q, want the log-in page that leads back to the page it is on", got)
	}
	v.get("/runs/x/events", "Accept", "text/event-stream").want(http.StatusUnauthorized)
	w.ada.get("/").wantRedirect("/projects")
	w.ada.get("/login?next=/account").wantRedirect("/account")
}

func TestSignUpAndLogIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v := w.visitor()
	v.get("/signup?next=/appliances").want(http.StatusOK).wantText("h1", "Create your account")
	form := url.Values{"email": {"cleo@example.com"}, "password": {"short"}, "next": {"/appliances"}}
	a := v.post("/signup", form).want(http.StatusUnprocessableEntity)
	if email, _ := a.page().Find("input[name=email]").Attr("value"); email != "cleo@example.com" {
		t.Errorf("the form came back with e-mail %q", email)
	}
	if a.text("#error-password") == "" || strings.Contains(a.body, `value="short"`) {
		t.Errorf("no sentence beside the password, or the password itself: %s", a.text("form"))
	}
	form.Set("password", password)
	v.post("/signup", form).wantRedirect("/appliances")
	v.get("/projects").want(http.StatusOK)

	other := w.visitor()
	other.post("/signup", form).want(http.StatusConflict).wantText("#error-email", "already an account")
	form.Set("password", "wrong")
	other.post("/login", form).want(http.StatusUnauthorized).wantText(".flash-error", "password is wrong")
	form.Set("password", password)
	other.post("/login", form).wantRedirect("/appliances")
}

func TestNextIsOnlyEverAPathOfThisSite(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, next := range []string{"https://evil.example/", "//evil.example/", `/\evil.example`, "/\t/evil.example", "javascript:alert(1)", "evil", "http:/evil", "/x\r\nSet-Cookie: a=b"} {
		v := w.visitor()
		a := v.get("/login?next=" + url.QueryEscape(next)).want(http.StatusOK)
		if a.page().Find("input[name=next]").Length() != 0 {
			t.Errorf("the form carries %q", next)
		}
		v.post("/login", url.Values{"email": {"ada@example.com"}, "password": {password}, "next": {next}}).wantRedirect("/projects")
	}
}

func TestLoggingOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	second := w.visitor()
	second.post("/login", url.Values{"email": {"ada@example.com"}, "password": {password}}, "User-Agent", "Mozilla/5.0 (X11; Linux) Firefox/130.0").wantRedirect("/projects")
	a := w.ada.get("/account").want(http.StatusOK).wantText("main", "ada@example.com").wantText("main", "Firefox on Linux")
	if n := a.page().Find("li.row").Length(); n != 2 || a.page().Find("li.row .tag").Length() != 1 {
		t.Fatalf("%d sessions, want 2 of which one is this browser's", n)
	}
	revoke, _ := a.page().Find("li.row form").Attr("action")
	w.bob.post(revoke, nil).want(http.StatusNotFound)
	second.get("/account").want(http.StatusOK)
	w.ada.post(revoke, nil).wantRedirect("/account")
	second.get("/account").wantRedirect("/login?next=%2Faccount")
	w.ada.get("/account").want(http.StatusOK).wantText(".flash", "is logged out")
	if w.ada.get("/account").text(".flash") != "" {
		t.Error("the same is said twice")
	}

	w.ada.post("/logout", nil).wantRedirect("/")
	w.ada.get("/account").wantRedirect("/login?next=%2Faccount")
	w.bob.post("/logout/all", nil).wantRedirect("/login")
	w.bob.get("/account").wantRedirect("/login?next=%2Faccount")
}
