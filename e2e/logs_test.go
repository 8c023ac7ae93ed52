package e2e

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/playwright-community/playwright-go"
)

// TestWhatAnAppPrintsIsOnItsLogsPage: live, found again after a restart of the
// server, filtered, searched and downloaded.
func TestWhatAnAppPrintsIsOnItsLogsPage(t *testing.T) {
	s := ownServer(t)
	u, page := member(t, s)
	page.drop(folder(t, "chatty", map[string]string{
		"package.json": `{"name": "chatty", "version": "1.0.0", "scripts": {"start": "node index.js"}}`,
		"index.js": `console.log("booting chatty");
			require("node:http").createServer((request, response) => {
				if (request.url === "/flood") for (let i = 1; i <= 700; i++) console.log("flood line " + i);
				else if (request.url.startsWith("/say/")) console.log("\u001b[32msaid\u001b[0m " + request.url.slice(5));
				else if (request.url === "/fail") console.error("<b id=pwned>an error</b> of chatty");
				response.end("chatty answers");
			}).listen(process.env.PORT, () => console.log("listening"));`,
	}))
	page.plan()
	page.deploy()
	page.ends("SUCCEEDED")
	address := page.address()
	ask := func(path string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:"+s.port+path, nil)
		must(t, err)
		request.Host = strings.TrimPrefix(address, "http://")
		response, err := http.DefaultClient.Do(request)
		must(t, err)
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Fatalf("%s answers %d", path, response.StatusCode)
		}
	}

	must(t, page.Locator(".crumbs a").Last().Click())
	page.at("/projects/[^/]+$")
	page.follow("Logs")
	page.at("/projects/[^/]+/logs$")
	logs := page.URL()
	page.sees("[data-log-lines]", "booting chatty")
	page.sees(".seg-head", "Deployment #1")
	ask("/say/live-one")
	page.sees("[data-log-lines]", "said live-one")

	// The server is killed, the app is not; what it says meanwhile is there later.
	page.expecting("net::ERR_", "network error", "Failed to fetch", "status of 50")
	must(t, s.kill())
	page.sees(logEnd, "The connection is lost")
	must(t, s.serve("127.0.0.1:"+s.port))
	page.sees(logEnd, "Waiting for the next line")
	ask("/say/after-the-kill")
	page.sees("[data-log-lines]", "said after-the-kill")
	ask("/fail")
	page.sees("[data-log-lines] .err", "<b id=pwned>an error</b> of chatty")
	if page.count("#pwned") > 0 {
		t.Error("what an app printed became part of the page")
	}
	if n := page.numbers(); n[0] != 1 || n[len(n)-1] != len(n) {
		t.Errorf("the page has the lines %v", n)
	}

	// Times beside the lines.
	page.press("Times")
	page.until(`getComputedStyle(document.querySelector(".ln > a"), "::after").content.includes("UTC")`)

	// One stream.
	_, err := page.GetByLabel("Stream").SelectOption(playwright.SelectOptionValues{Values: playwright.StringSlice("stderr")})
	must(t, err)
	page.at("stream=stderr")
	must(t, expect.Locator(page.Locator(".ln")).ToHaveCount(1))
	ask("/say/not-this")
	ask("/fail")
	must(t, expect.Locator(page.Locator(".ln")).ToHaveCount(2))

	// A search of the whole log leads to a line with what is around it.
	page.open(logs)
	ask("/flood")
	page.sees("[data-log-lines]", "flood line 700")
	page.open(logs)
	if page.numbers()[0] == 1 {
		t.Fatal("all lines are on the page, so the search proves nothing")
	}
	must(t, page.Locator("[data-log-search]").Fill("SAID live"))
	page.sees("[data-log-count]", "Nothing found")
	page.press("Search all")
	page.at("q=SAID")
	page.sees(".log-found h2", "1 line with “SAID live”")
	must(t, page.Locator(".found-line a").Click())
	page.at(`at=\d+#L\d+$`)
	must(t, expect.Locator(page.Locator(".ln.marked")).ToContainText("said live-one"))
	page.sees("[data-log-lines]", "booting chatty")
	page.follow("Newest lines")
	page.at("/logs$")

	// Earlier lines, up to the first.
	must(t, page.Locator("#log-earlier").Click())
	page.until(`document.querySelector(".ln").id === "L1"`)

	// Downloads have all of it.
	for name, kind := range map[string]string{"Download": "text/plain", "JSON": "application/x-ndjson"} {
		link, err := page.Locator(".log-tools").GetByRole("link", playwright.LocatorGetByRoleOptions{Name: name, Exact: playwright.Bool(true)}).GetAttribute("href")
		must(t, err)
		response, err := u.context.Request().Get(link)
		must(t, err)
		text, err := response.Text()
		must(t, err)
		if response.Status() != http.StatusOK || !strings.HasPrefix(response.Headers()["content-type"], kind) ||
			!strings.Contains(text, "booting chatty") || !strings.Contains(text, "flood line 700") || strings.Contains(text, "\x1b") {
			t.Errorf("%s is %d %s with %d bytes", name, response.Status(), response.Headers()["content-type"], len(text))
		}
	}
	must(t, expect.Page(page).ToHaveTitle(regexp.MustCompile("^Logs · chatty")))
}
