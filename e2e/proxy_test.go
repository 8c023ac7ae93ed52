package e2e

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/playwright-community/playwright-go"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// holder is a proxy in front of a server that holds back each stream of events until
// its end, as proxies do that nobody has set up for streams.
type holder struct {
	server  *server // as browsers behind it see it
	lets    atomic.Bool
	streams atomic.Int32 // that were asked for
	dropped atomic.Int32 // that their page let go of
	asked   atomic.Int32 // questions for new lines
}

func hold(t *testing.T, s *server) *holder {
	t.Helper()
	h := &holder{}
	to, err := url.Parse("http://127.0.0.1:" + s.port)
	must(t, err)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host
		},
		FlushInterval: -1,
		ErrorLog:      slog.NewLogLogger(slog.DiscardHandler, 0), // of readers that have gone
		ModifyResponse: func(r *http.Response) error {
			if !strings.HasPrefix(r.Header.Get("Content-Type"), "text/event-stream") || h.lets.Load() {
				return nil
			}
			whole, err := io.ReadAll(r.Body)
			r.Body.Close()
			r.Body = io.NopCloser(bytes.NewReader(whole))
			if err != nil {
				h.dropped.Add(1)
			}
			return err
		},
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/events"):
			h.streams.Add(1)
		case r.URL.Query().Has("after"):
			h.asked.Add(1)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	behind := *s
	behind.url = front.URL
	h.server = &behind
	return h
}

// TestBehindAProxyThatHoldsStreamsBack: the page asks instead, and is the same page.
func TestBehindAProxyThatHoldsStreamsBack(t *testing.T) {
	t.Parallel()
	must(t, os.MkdirAll(screenshots, 0o755))
	h := hold(t, sharedServer(t))
	_, page := member(t, h.server)
	page.proposed(folder(t, "held", map[string]string{
		"package.json": `{"name": "held", "version": "1.0.0", "scripts": {"start": "node index.js"}}`,
		"index.js": `require("node:http").createServer((request, response) => {
				console.log("asked for " + request.url);
				response.end("held answers");
			}).listen(process.env.PORT);`,
	}), map[string]string{
		// More than what one question is answered with, and then one by one for longer than the page waits for the stream.
		"install": `node -e "for (let i = 1; i <= 3000; i++) console.log('early line ' + i); let n = 0; setInterval(() => { console.log('late line ' + ++n); if (n === 24) process.exit(0) }, 500)"`,
	})
	page.deploy()
	page.going("late line 3")
	page.until(`document.querySelector('.step[data-step="install"]').className.includes("step-busy")`)
	page.ends("SUCCEEDED")
	page.sees(outcome, "Your app is running.")
	if n := page.everyLineOnce(); n < 3024 {
		t.Errorf("the log has %d lines", n)
	}
	if h.streams.Load() != 1 || h.dropped.Load() != 1 || h.asked.Load() < 5 {
		t.Errorf("%d streams, of which %d were let go, and %d questions", h.streams.Load(), h.dropped.Load(), h.asked.Load())
	}

	// What the app prints, by questions as well.
	address, err := page.Locator(".outcome-url").GetAttribute("href")
	must(t, err)
	ask := func(path string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:"+h.server.port+path, nil)
		must(t, err)
		request.Host = strings.TrimPrefix(address, "http://")
		response, err := http.DefaultClient.Do(request)
		must(t, err)
		response.Body.Close()
	}
	must(t, page.Locator(".crumbs a").Last().Click())
	page.at("/projects/[^/]+$")
	page.follow("Logs")
	page.at("/logs$")
	before := h.asked.Load()
	ask("/one")
	page.sees("[data-log-lines]", "asked for /one")
	ask("/two")
	page.sees("[data-log-lines]", "asked for /two")
	if h.streams.Load() != 2 || h.asked.Load() < before+2 {
		t.Errorf("%d streams and %d questions", h.streams.Load(), h.asked.Load()-before)
	}
	page.open("/server")
	page.sees("[data-verdict=held]:visible", "holds live output back")
	page.looked("server-held")

	// Loaded again, a page tries the stream, and stays with it if that gets through.
	_, err = page.GoBack()
	must(t, err)
	h.lets.Store(true)
	_, err = page.Reload()
	must(t, err)
	page.until(`document.getElementById("log-live")._htmx?.sse?.lastEventId`)
	before = h.asked.Load()
	ask("/three")
	page.sees("[data-log-lines]", "asked for /three")
	if h.streams.Load() < 3 || h.asked.Load() != before {
		t.Errorf("%d streams and %d questions", h.streams.Load(), h.asked.Load()-before)
	}
	if n := page.numbers(); n[0] != 1 || n[len(n)-1] != len(n) {
		t.Errorf("the page has the lines %v", n)
	}
}

// TestTheOldestPageMakesRoom: it says so, leaves it at that, and goes on when asked to.
func TestTheOldestPageMakesRoom(t *testing.T) {
	t.Parallel()
	must(t, os.MkdirAll(screenshots, 0o755))
	s := sharedServer(t)
	u, page := member(t, s)
	page.proposed(folder(t, "crowded", map[string]string{
		"package.json": `{"name": "crowded", "version": "1.0.0", "scripts": {"start": "node index.js"}}`,
		"index.js":     `require("node:http").createServer((request, response) => response.end("ok")).listen(process.env.PORT);`,
	}), nil)
	page.deploy()
	page.ends("SUCCEEDED")
	must(t, page.Locator(".crumbs a").Last().Click())
	page.at("/projects/[^/]+$")
	project := page.URL()[strings.LastIndex(page.URL(), "/")+1:]
	page.follow("Logs")
	page.at("/logs$")
	page.until(`document.getElementById("log-live")._htmx?.sse?.lastEventId`)
	var connections atomic.Int32
	page.OnRequest(func(request playwright.Request) {
		if strings.Contains(request.URL(), "/logs/") {
			connections.Add(1)
		}
	})

	var login struct {
		Token string `json:"access_token"`
	}
	s.call(t, http.MethodPost, "/auth/login", "", map[string]string{"email": u.email, "password": password}, &login)
	for range coderunner.MaxStreams {
		response := s.request(t, http.MethodGet, "/projects/"+project+"/logs/events", login.Token, nil)
		defer response.Body.Close()
	}
	page.sees("[data-log-crowded]:visible", "This page is not live any more: 128 newer pages and programs of yours are")
	page.looked("logs-crowded")
	page.until(`!document.getElementById("log-live")._htmx?.sse`)
	if n := connections.Load(); n > 0 {
		t.Errorf("the page asks or connects %d times", n)
	}
	page.follow("Go on here")
	page.until(`document.getElementById("log-live")?._htmx?.sse?.lastEventId`)
	page.sees(logEnd, "Waiting for the next line")
	page.open("/server")
	page.sees("[data-verdict=live]:visible", "arrives at this browser as it is written")
	page.looked("server-live")
}
