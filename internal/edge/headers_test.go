package edge

import (
	"encoding/json"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"testing"
)

// headersSeen routes a host to an app that answers with the headers it got.
func (w *world) headersSeen(t *testing.T, headers ...string) http.Header {
	t.Helper()
	_, body := w.get(t, "http://app.apps.test:8080/", headers...)
	var seen http.Header
	if err := json.Unmarshal([]byte(body), &seen); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return seen
}

func tellHeaders(w http.ResponseWriter, r *http.Request) { json.NewEncoder(w).Encode(r.Header) }

func TestForwardedHeadersAreOurs(t *testing.T) {
	w := newWorld(t)
	w.route(t, "app.apps.test", "sb", app(t, tellHeaders))
	lies := []string{
		"Connection", "X-Forwarded-For, X-Of-Hop", "X-Of-Hop", "gone", "Proxy-Authorization", "gone",
		"X-Forwarded-For", "6.6.6.6", "X-Forwarded-For", "7.7.7.7", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "evil.example", "X-Forwarded-Port", "6",
		"X-Forwarded-Prefix", "/evil", "X-Forwarded-User", "admin", "X-Forwarded_For", "6.6.6.6", "X_Forwarded_For", "6.6.6.6", "X_Real_IP", "6.6.6.6",
		"Forwarded", "for=6.6.6.6", "X-Real-Ip", "6.6.6.6", "True-Client-IP", "6.6.6.6", "CF-Connecting-IP", "6.6.6.6", "X-Client-IP", "6.6.6.6",
		"CodeRunner-Probe", "guess", "CodeRunner_Probe", "guess", "CodeRunner-Sandbox", "guess", "X-Kept", "kept",
	}
	seen := w.headersSeen(t, lies...)
	want := http.Header{"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"app.apps.test:8080"}, "X-Forwarded-Port": {"8080"},
		"X-Real-Ip": {"127.0.0.1"}, "X-Kept": {"kept"}, "User-Agent": {"Go-http-client/1.1"}}
	for name := range seen {
		if !slices.Equal(seen[name], want[name]) {
			t.Errorf("the app saw %s: %q, want %q", name, seen[name], want[name])
		}
	}
	for name := range want {
		if seen[name] == nil {
			t.Errorf("the app did not see %s", name)
		}
	}
}

func TestSchemeOfTheWorld(t *testing.T) {
	w := newWorld(t)
	w.scheme = "https"
	w.route(t, "app.apps.test", "sb", app(t, tellHeaders))
	_, body := w.get(t, "http://app.apps.test/", "X-Forwarded-Proto", "http")
	if !strings.Contains(body, `"X-Forwarded-Proto":["https"]`) || !strings.Contains(body, `"X-Forwarded-Port":["443"]`) {
		t.Errorf("the app saw %s", body)
	}
}

func TestSessionNeverReachesTheApp(t *testing.T) {
	w := newWorld(t)
	w.route(t, "app.apps.test", "sb", app(t, tellHeaders))
	for sent, want := range map[string]string{
		"coderunner_session=secret":                                  "",
		"a=1; coderunner_session=secret; b=2":                        "a=1; b=2",
		"coderunner_session=secret; coderunner_session=secret2; a=1": "a=1",
		"a=1;coderunner_session=secret":                              "a=1",
		"CodeRunner_Session=secret; a=1":                             "a=1",
		"coderunner_session =secret; a=1":                            "a=1",
		"=coderunner_session=secret; a=1":                            "a=1",
		`q="x; coderunner_session=secret"; a=1`:                      `q="x; a=1`,
		"my_coderunner_session=mine; a=b=c; flag":                    "my_coderunner_session=mine; a=b=c; flag",
	} {
		if got := strings.Join(w.headersSeen(t, "Cookie", sent)["Cookie"], "|"); got != want {
			t.Errorf("of %q the app saw %q, want %q", sent, got, want)
		}
	}
	if got := w.headersSeen(t, "Cookie", "a=1", "Cookie", "coderunner_session=secret")["Cookie"]; strings.Contains(strings.Join(got, ""), "secret") || !strings.Contains(strings.Join(got, ""), "a=1") {
		t.Errorf("of two headers the app saw %q", got)
	}
}

func TestAppsSetTheirOwnCookiesOnly(t *testing.T) {
	w := newWorld(t)
	var set []string
	w.route(t, "app.apps.test", "sb", app(t, func(w http.ResponseWriter, r *http.Request) { w.Header()["Set-Cookie"] = set }))
	for cookie, want := range map[string]string{
		"a=1; Path=/; HttpOnly":                             "a=1; Path=/; HttpOnly",
		"coderunner_session=evil; Path=/":                   "",
		"coderunner_session=evil; Domain=apps.test":         "",
		" CODERUNNER_SESSION = evil":                        "",
		"=coderunner_session=evil":                          "",
		"coderunner_session":                                "",
		"a=1; Domain=apps.test; Secure":                     "a=1; Secure",
		"a=1; domain = .apps.test":                          "a=1",
		"a=1; Domain=test; Domain=app.apps.test":            "a=1; Domain=app.apps.test",
		"a=1; Domain=other.apps.test; Path=/":               "a=1; Path=/",
		"a=1; Domain=.App.apps.test; Path=/":                "a=1; Domain=.App.apps.test; Path=/",
		"a=1; Domain=":                                      "a=1",
		"a=coderunner_session; Path=/coderunner_session=no": "a=coderunner_session; Path=/coderunner_session=no",
	} {
		set = []string{cookie, "b=2"}
		res, _ := w.get(t, "http://app.apps.test/")
		got := res.Header["Set-Cookie"]
		if want != "" && !slices.Equal(got, []string{want, "b=2"}) || want == "" && !slices.Equal(got, []string{"b=2"}) {
			t.Errorf("%q passes as %q, want %q", cookie, got, want)
		}
	}
}

func TestAnswersReachNoFurtherThanTheApp(t *testing.T) {
	w := newWorld(t)
	w.route(t, "app.apps.test", "sb", app(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Alt-Svc", `h3="evil.example:443"`)
		w.Header().Set("Coderunner-Sandbox", "another")
		w.Header()["Clear-Site-Data"] = r.URL.Query()["clear"]
		w.Header().Set("Location", "https://elsewhere.example/")
		w.WriteHeader(http.StatusFound)
	}))
	for clear, want := range map[string]string{`"cookies"`: "", `"*"`: `"cache", "storage", "executionContexts"`, `"storage", "cookies"`: `"storage"`} {
		res, _ := w.get(t, "http://app.apps.test/?clear="+strings.NewReplacer(`"`, "%22", " ", "%20").Replace(clear))
		if res.StatusCode != http.StatusFound || res.Header.Get("Alt-Svc") != "" || res.Header.Get("Coderunner-Sandbox") != "" || res.Header.Get("Clear-Site-Data") != want || res.Header.Get("Location") == "" {
			t.Errorf("%s: the answer is %d %v", clear, res.StatusCode, res.Header)
		}
	}
}

// TestEarlyAnswers: what comes before the answer is cleaned like it.
func TestEarlyAnswers(t *testing.T) {
	w := newWorld(t)
	w.route(t, "app.apps.test", "sb", app(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.Header().Set("Set-Cookie", "coderunner_session=evil; Domain=apps.test")
		w.Header().Set("Coderunner-Sandbox", "another")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Set-Cookie")
		w.WriteHeader(http.StatusOK)
	}))
	early := make(chan http.Header, 1)
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
		early <- http.Header(h)
		return nil
	}})
	res, err := w.client.Do(w.request(t, http.MethodGet, "http://app.apps.test/", nil).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if h := receive(t, early, "early hints pass"); h.Get("Link") == "" || h.Get("Set-Cookie") != "" || h.Get("Coderunner-Sandbox") != "" {
		t.Errorf("the hints are %v", h)
	}
}
