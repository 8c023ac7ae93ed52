package app

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// showsHeaders answers what the edge told the app about the request.
const showsHeaders = `require("node:http").createServer((req, res) => res.end(JSON.stringify(req.headers))).listen(process.env.PORT);`

// TestAddresses serves behind a proxy that ends TLS: apps are below the apps' domain and
// nowhere else, cookies are for https, and what is shown are the public addresses.
func TestAddresses(t *testing.T) {
	t.Parallel()
	_, dsn := freshDatabase(t)
	config := DefaultConfig()
	config.DataDir, config.DatabaseURL = t.TempDir(), dsn
	config.PublicURL, config.AppsDomain = "https://coderunner.example.com:8443", "Apps.Example.com."
	s := serve(t, config)
	const dashboard, app = "coderunner.example.com", "https://shop.apps.example.com:8443"
	if s.url != config.PublicURL {
		t.Errorf("the server says that it is at %s", s.url)
	}

	project, run := s.deploy("shop", archive(t, "node-hello", map[string]string{"index.js": showsHeaders}))
	if state := s.ended(run); state != "SUCCEEDED" {
		t.Fatalf("the deploy ended %s", state)
	}
	var told struct {
		PublicURL string `json:"public_url"`
	}
	if status := s.call(http.MethodGet, "projects/"+project, nil, &told); status != http.StatusOK || told.PublicURL != app {
		t.Errorf("the API says %d, the app is at %q", status, told.PublicURL)
	}

	// Its host, in any case, with or without a port.
	for _, host := range []string{"shop.apps.example.com", "SHOP.apps.example.com:8443", "shop.apps.example.com."} {
		status, body := s.getExactly(host, "/")
		var headers map[string]string
		if status != http.StatusOK || json.Unmarshal([]byte(body), &headers) != nil {
			t.Errorf("%s answers %d %s", host, status, body)
			continue
		}
		if headers["x-forwarded-proto"] != "https" {
			t.Errorf("the app behind %s hears of %q", host, headers["x-forwarded-proto"])
		}
	}
	for _, host := range []string{"shop.localhost", "shop.example.com", "shop.coderunner.example.com", "x.shop.apps.example.com", "shopapps.example.com", "apps.example.com", "127.0.0.1", dashboard} {
		if _, body := s.getExactly(host, "/"); strings.Contains(body, "x-forwarded-proto") {
			t.Errorf("the app answers at %s: %s", host, body)
		}
	}
	if status, body := s.getExactly("other.apps.example.com", "/"); status != http.StatusNotFound || strings.Contains(body, "Log in") {
		t.Errorf("a host below the apps' domain without an app answers %d %s", status, body)
	}

	// The dashboard, with a session of the API's account.
	form := url.Values{"email": {"shop@example.com"}, "password": {"correct horse battery"}}
	res := s.post(dashboard+":8443", "/login", form)
	if len(res.Cookies()) == 0 {
		t.Fatalf("logging in answers %s", res.Status)
	}
	for _, c := range res.Cookies() {
		if !c.Secure || !c.HttpOnly || c.Domain != "" {
			t.Errorf("under https a cookie is %v", c)
		}
	}
	if to := res.Header.Get("Location"); strings.Contains(to, "127.0.0.1") || strings.Contains(to, "localhost") {
		t.Errorf("after a log-in one is sent to %s", to)
	}
	for _, path := range []string{"/projects", "/projects/" + project, "/runs/" + run} {
		status, page := s.getExactly(dashboard, path, res.Cookies()...)
		if status != http.StatusOK || !strings.Contains(page, `href="`+app+`"`) {
			t.Errorf("%s answers %d without a link to %s:\n%s", path, status, app, page)
		}
		if strings.Contains(page, "http://shop.") || strings.Contains(page, s.port) || strings.Contains(page, "shop.localhost") {
			t.Errorf("%s has an address that is not the public one:\n%s", path, page)
		}
	}
	s.destroy(project, "shop")
	if status, _ := s.getExactly("shop.apps.example.com", "/"); status != http.StatusNotFound {
		t.Errorf("a destroyed app's host answers %d", status)
	}
}

// TestCookiesOfALaptop: over plain http a Secure cookie would never come back.
func TestCookiesOfALaptop(t *testing.T) {
	t.Parallel()
	_, dsn := freshDatabase(t)
	config := DefaultConfig()
	config.DataDir, config.DatabaseURL = t.TempDir(), dsn
	s := serve(t, config)
	for _, c := range s.signUp("ada@example.com") {
		if c.Secure || !c.HttpOnly {
			t.Errorf("over http a cookie is %v", c)
		}
	}
}

// TestAddressesThatCannotWork are refused with how to write them.
func TestAddressesThatCannotWork(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]func(*Config){
		`--apps-domain "https://apps.example.com"`: func(c *Config) { c.AppsDomain = "https://apps.example.com" },
		`--apps-domain "apps.example.com:80"`:      func(c *Config) { c.AppsDomain = "apps.example.com:80" },
		`--apps-domain ""`:                         func(c *Config) { c.AppsDomain = "." },
		`--public-url "coderunner.example.com"`:    func(c *Config) { c.PublicURL = "coderunner.example.com" },
		`--public-url "ftp://example.com"`:         func(c *Config) { c.PublicURL = "ftp://example.com" },
	} {
		config := DefaultConfig()
		change(&config)
		err := config.check()
		if said := coderunner.Sentence(err); coderunner.KindOf(err) != coderunner.Invalid || !strings.HasPrefix(said, what) || !strings.Contains(said, "Write it like ") {
			t.Errorf("%s is answered %q, %v", what, said, err)
		}
	}
}
