package web_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/web"
	"github.com/coderunner/coderunner/static"
	"github.com/coderunner/coderunner/views"
)

func TestEveryAnswerHasTheSecurityHeaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	want := map[string]string{
		"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
		"X-Content-Type-Options":  "nosniff",
		"Referrer-Policy":         "same-origin",
	}
	ids := map[string]bool{}
	for _, path := range []string{"/", "/login", "/projects", "/nowhere", "/healthz", static.New().Path("app.css"), "/runs/x/log.txt"} {
		a := w.ada.get(path)
		for name, value := range want {
			if got := a.header.Get(name); got != value {
				t.Errorf("%s: %s is %q, want %q", path, name, got, value)
			}
		}
		if id := a.header.Get("X-Request-Id"); id == "" || ids[id] {
			t.Errorf("%s: request id %q is empty or not its own", path, id)
		} else {
			ids[id] = true
		}
	}
	if got := w.ada.get("/projects").header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("a page may be kept: %q", got)
	}
}

func TestPagesHaveNothingInline(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, up := w.project(w.ada, "shop")
	_, run, _ := w.deployed(w.ada, "book")
	for _, path := range []string{"/projects", "/account", "/appliances", "/projects/" + p.ID, "/projects/" + p.ID + "/bundles/" + up.ID, "/projects/" + p.ID + "/destroy", "/runs/" + run.ID} {
		page := w.ada.get(path).want(http.StatusOK).page()
		if n := page.Find("script:not([src]), style, [style], [onclick], [onload], a[href^='javascript:']").Length(); n != 0 {
			t.Errorf("%s has %d inline scripts or styles, which the policy forbids", path, n)
		}
	}
}

func TestRequestsOfOtherSitesAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, _ := w.project(w.ada, "shop")
	path := "/projects/" + p.ID + "/destroy"
	form := url.Values{"name": {"shop"}}
	for _, site := range []string{"cross-site", "same-site"} { // an app on a subdomain is same-site
		w.ada.post(path, form, "Sec-Fetch-Site", site).want(http.StatusForbidden).wantText("main", "another site's page")
	}
	a := w.ada.do(http.MethodPost, path, strings.NewReader(form.Encode()), "Content-Type", "application/x-www-form-urlencoded", "Origin", "http://shop.localhost")
	a.want(http.StatusForbidden)
	w.ada.post("/upload?name=x", nil, "Sec-Fetch-Site", "cross-site", "Accept", "application/json").want(http.StatusForbidden)
	runs, err := w.store.OpenRuns(t.Context(), p.ID)
	if err != nil || len(runs) != 0 {
		t.Fatalf("%d runs (%v), want none", len(runs), err)
	}
	w.ada.post(path, form).want(http.StatusSeeOther)
}

func TestErrorsArePages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.ada.get("/nowhere").want(http.StatusNotFound).wantText("h1", "Nothing is here")
	if id := a.header.Get("X-Request-Id"); !strings.Contains(a.text(".trouble-id"), id) {
		t.Errorf("the page does not name request %s", id)
	}
	a = w.ada.do(http.MethodDelete, "/projects", nil, "Sec-Fetch-Site", "same-origin").want(http.StatusMethodNotAllowed).wantText("h1", "Not this way")
	if allow := a.header.Values("Allow"); len(allow) != 1 || allow[0] != "GET" {
		t.Errorf("Allow is %q, want GET", allow)
	}
	w.ada.get("/projects/not-a-uuid").want(http.StatusNotFound)
	w.ada.get("/projects/").want(http.StatusOK)
	w.ada.do(http.MethodHead, "/projects", nil).want(http.StatusOK)
	a = w.ada.get("/nowhere", "Accept", "application/json").want(http.StatusNotFound)
	if !strings.Contains(a.body, `"error":`) || !strings.Contains(a.body, a.header.Get("X-Request-Id")) {
		t.Errorf("a script is told %s", a.body)
	}
}

func TestPanicsAndDefectsAreLoggedAndNotShown(t *testing.T) {
	t.Parallel()
	panicking := true
	w := newWorld(t, func(s *web.Services) {
		s.Volumes = func(context.Context, string) ([]views.VolumeLoss, error) {
			if panicking {
				panic("the secret is hunter2")
			}
			return nil, errors.New("the secret is hunter2")
		}
	})
	p, _ := w.project(w.ada, "shop")
	for range 2 {
		a := w.ada.get("/projects/"+p.ID+"/destroy").want(http.StatusInternalServerError).wantText("h1", "Something went wrong")
		if strings.Contains(a.body, "hunter2") {
			t.Error("the page shows what is for the log")
		}
		if !strings.Contains(w.log.String(), a.header.Get("X-Request-Id")) || !strings.Contains(w.log.String(), "hunter2") {
			t.Error("the log does not tell of it")
		}
		panicking = false
	}
	w.ada.get("/projects").want(http.StatusOK)
}

func TestTheLogOfRequestsHoldsNoSecrets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.visitor().post("/login?token=query-secret", url.Values{"email": {"ada@example.com"}, "password": {"body-secret"}}).want(http.StatusUnauthorized)
	w.ada.get("/account").want(http.StatusOK)
	log := w.log.String()
	if !strings.Contains(log, "path=/login") || !strings.Contains(log, "status=401") || !strings.Contains(log, "user="+w.ada.user.ID) {
		t.Errorf("the log lacks a request, its status or its user:\n%s", log)
	}
	for _, secret := range []string{"query-secret", "body-secret", password} {
		if strings.Contains(log, secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if a := w.visitor().get("/healthz").want(http.StatusOK); a.body != "ok\n" {
		t.Errorf("answer %q", a.body)
	}
	w.store.Close()
	w.visitor().get("/healthz").want(http.StatusServiceUnavailable)
}

func TestForeignThingsAreNotFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, run, _ := w.deployed(w.ada, "shop")
	up, err := w.store.LatestBundle(t.Context(), w.ada.user.ID, p.ID)
	if err != nil {
		t.Fatal(err)
	}
	own, _ := w.project(w.bob, "shop")
	for _, path := range []string{
		"/projects/" + p.ID, "/projects/" + p.ID + "/deployments", "/projects/" + p.ID + "/destroy", "/projects/" + p.ID + "/bundles/" + up.ID,
		"/projects/" + own.ID + "/bundles/" + up.ID, "/runs/" + run.ID, "/runs/" + run.ID + "/events", "/runs/" + run.ID + "/log?before=5", "/runs/" + run.ID + "/log?after=0", "/runs/" + run.ID + "/log.txt",
	} {
		w.bob.get(path).want(http.StatusNotFound)
	}
	for _, path := range []string{"/projects/" + p.ID + "/destroy", "/projects/" + p.ID + "/bundles/" + up.ID + "/deploy", "/projects/" + own.ID + "/bundles/" + up.ID + "/deploy", "/runs/" + run.ID + "/cancel", "/samples/nothing"} {
		w.bob.post(path, url.Values{"name": {"shop"}}).want(http.StatusNotFound)
	}
	w.bob.do(http.MethodPost, "/upload?project="+p.ID+"&filename=a.tar", strings.NewReader(string(nodeApp(t)))).want(http.StatusNotFound)
	w.bob.get("/projects/" + own.ID).want(http.StatusOK)
}
