package e2e

import (
	"regexp"
	"strings"
	"testing"
)

func TestSigningInSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	u, first := member(t, s)
	first.press("Log out")
	first.at("//[^/]+/$")
	if status := first.open("/projects"); status != 200 || !strings.Contains(first.URL(), "/login") {
		t.Errorf("after logging out, /projects answers %d at %s", status, first.URL())
	}

	page := u.tab()
	page.expecting("status of 4")
	page.open("/login")
	page.fill("E-mail", u.email)
	page.fill("Password", "not the password at all")
	page.submit("Log in")
	page.sees("[role=alert]", "")
	wrong := page.text("form.auth [role=alert]")
	if value, _ := page.GetByLabel("E-mail").InputValue(); value != u.email {
		t.Errorf("the address has to be typed again: %q", value)
	}
	page.fill("E-mail", "nobody@example.com")
	page.fill("Password", "not the password at all")
	page.submit("Log in")
	page.sees("[role=alert]", "")
	if unknown := page.text("form.auth [role=alert]"); unknown != wrong || wrong == "" {
		t.Errorf("who has an account can be found out: %q and %q", wrong, unknown)
	}
	page.open("/signup")
	page.fill("E-mail", u.email)
	page.fill("Password", password)
	page.submit("Create account")
	page.sees("#error-email", "")
	page.fill("E-mail", "new-"+u.email)
	page.fill("Password", "short")
	page.submit("Create account")
	page.sees("#error-password", "10")
	page.open("/login?next=%2Faccount")
	page.fill("E-mail", strings.ToUpper(u.email))
	page.fill("Password", password)
	page.submit("Log in")
	page.at("/account$")
	page.sees(".facts", u.email)
}

func TestASessionIsEndedFromAnotherBrowser(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	u, here := member(t, s)
	elsewhere := visitor(t, s)
	there := elsewhere.tab()
	there.open("/login")
	there.fill("E-mail", u.email)
	there.fill("Password", password)
	there.submit("Log in")
	there.at("/projects$")

	here.open("/account")
	here.sees(".rows", "This browser")
	if n := here.count(".rows .row"); n != 2 {
		t.Fatalf("%d sessions are shown", n)
	}
	must(t, here.Locator(".rows .row form button").Click())
	here.sees(".flash", "That browser is logged out.")
	if n := here.count(".rows .row"); n != 1 {
		t.Errorf("%d sessions are left", n)
	}
	there.open("/account")
	there.at("/login")
	here.open("/projects")
	here.at("/projects$")
}

var identifier = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

func TestNobodySeesWhatIsNotTheirs(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	_, page := member(t, s)
	page.proposed(hello(t, "secret-garden", "mine"), nil)
	plan := page.URL()
	page.deploy()
	page.ends("SUCCEEDED")
	run := page.URL()
	page.follow("secret-garden")
	page.at("/projects/[^/]+$")
	project := page.URL()

	_, stranger := member(t, s)
	stranger.expecting("status of 404")
	said := func(address string) string {
		t.Helper()
		if status := stranger.open(address); status != 404 {
			t.Errorf("%s answers %d to a stranger", address, status)
		}
		return strings.ReplaceAll(stranger.text("main"), stranger.text(".trouble-id"), "")
	}
	for _, address := range []string{project, project + "/settings", project + "/destroy", plan, run, run + "/log?after=0", run + "/log.txt", run + "/events"} {
		theirs, nothing := said(address), said(identifier.ReplaceAllString(address, "00000000-0000-4000-8000-000000000000"))
		if theirs != nothing || strings.Contains(theirs, "secret-garden") {
			t.Errorf("%s says %q to a stranger, and %q if there is no such thing", address, theirs, nothing)
		}
	}
	stranger.open("/projects")
	for path, form := range map[string]string{project + "/destroy": "name=secret-garden", run + "/cancel": "", plan + "/deploy": "name=x"} {
		status := number(stranger.js(`async ([path, body]) => (await fetch(path, { method: "POST", body: new URLSearchParams(body), redirect: "manual" })).status`, []any{path, form}))
		if status != 404 {
			t.Errorf("POST %s answers %d to a stranger", path, status)
		}
	}
}
