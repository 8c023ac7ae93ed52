package e2e

import (
	"archive/zip"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/playwright-community/playwright-go"
)

// patience is how long a page may take for anything, in milliseconds: a whole deploy
// on a busy machine as well.
const patience = 60_000

const password = "correct horse battery"

var expect = playwright.NewPlaywrightAssertions(patience)

// user is a person with a browser of their own.
type user struct {
	t       *testing.T
	server  *server
	context playwright.BrowserContext
	email   string
	gone    atomic.Bool // the test has ended, and what pages say does not matter any more
}

// tab is one page of a user. Whatever a page complains about fails the test.
type tab struct {
	playwright.Page
	t    *testing.T
	user *user

	mu       sync.Mutex
	expected []string

	// A network came or went on this machine, as at each deploy, and Chromium dropped
	// what it was connecting for this page.
	torn atomic.Bool
}

const networkChanged = "net::ERR_NETWORK_CHANGED"

// visitor is somebody without an account.
func visitor(t *testing.T, s *server, options ...playwright.BrowserNewContextOptions) *user {
	t.Helper()
	option := playwright.BrowserNewContextOptions{Viewport: &playwright.Size{Width: 1280, Height: 800}}
	if len(options) > 0 {
		option = options[0]
	}
	option.BaseURL = playwright.String(s.url)
	context, err := browser.NewContext(option)
	must(t, err)
	context.SetDefaultTimeout(patience)
	u := &user{t: t, server: s, context: context}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the server's log ends with:\n%s", s.log)
		}
		u.gone.Store(true)
		must(t, context.Close())
		if u.email != "" {
			s.destroyAll(t, u.email, password)
		}
	})
	return u
}

var accounts atomic.Int64

// member is somebody who has just signed up, and the page that shows them then.
func member(t *testing.T, s *server) (*user, *tab) {
	t.Helper()
	u := visitor(t, s)
	page := u.tab()
	page.open("/signup")
	email := fmt.Sprintf("ada-%d@example.com", accounts.Add(1))
	page.fill("E-mail", email)
	page.fill("Password", password)
	page.press("Create account")
	page.at("/projects$")
	u.email = email
	return u, page
}

// tab opens another page of the same browser.
func (u *user) tab() *tab {
	u.t.Helper()
	page, err := u.context.NewPage()
	must(u.t, err)
	p := &tab{Page: page, t: u.t, user: u}
	page.OnConsole(func(message playwright.ConsoleMessage) {
		if kind := message.Type(); kind == "error" || kind == "warning" {
			p.complain(kind + ": " + message.Text())
		}
	})
	page.OnRequestFailed(func(request playwright.Request) {
		if err := request.Failure(); err != nil && strings.Contains(err.Error(), networkChanged) {
			p.torn.Store(true)
		}
	})
	page.OnPageError(func(err error) { p.complain("uncaught: " + err.Error()) })
	page.OnDialog(func(dialog playwright.Dialog) {
		p.complain("dialog: " + dialog.Message())
		go func() { _ = dialog.Dismiss() }()
	})
	return p
}

// expecting lets complaints with one of these words pass from here on.
func (p *tab) expecting(words ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expected = append(p.expected, words...)
}

func (p *tab) complain(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.user.gone.Load() || strings.Contains(text, networkChanged) {
		return
	}
	for _, words := range p.expected {
		if strings.Contains(text, words) {
			return
		}
	}
	p.t.Errorf("the page %s: %s", p.URL(), text)
}

// open goes to a path of the dashboard or to a URL, and answers the status.
func (p *tab) open(address string) int {
	p.t.Helper()
	response, err := p.Goto(address)
	for err != nil && strings.Contains(err.Error(), networkChanged) {
		response, err = p.Goto(address)
	}
	must(p.t, err)
	p.mend()
	return response.Status()
}

// mend loads a page again of which Chromium dropped a part.
func (p *tab) mend() {
	p.t.Helper()
	for p.torn.Swap(false) {
		_, err := p.Reload()
		if err != nil && strings.Contains(err.Error(), networkChanged) {
			p.torn.Store(true)
			continue
		}
		must(p.t, err)
	}
}

// at waits until the address matches and the page with its scripts is there.
func (p *tab) at(pattern string) {
	p.t.Helper()
	must(p.t, expect.Page(p).ToHaveURL(regexp.MustCompile(pattern)))
	must(p.t, p.WaitForLoadState())
	p.mend()
}

// sees waits until a part of the page has this text.
func (p *tab) sees(selector, text string) {
	p.t.Helper()
	must(p.t, expect.Locator(p.Locator(selector).First()).ToContainText(text))
}

func (p *tab) fill(label, value string) {
	p.t.Helper()
	must(p.t, p.GetByLabel(label, playwright.PageGetByLabelOptions{Exact: playwright.Bool(true)}).Fill(value))
}

// press clicks the button of that name, follow the link.
func (p *tab) press(name string) {
	p.t.Helper()
	must(p.t, p.GetByRole("button", playwright.PageGetByRoleOptions{Name: name, Exact: playwright.Bool(true)}).First().Click())
}

// submit sends the form of the page by the button of that name, and waits for the
// next page.
func (p *tab) submit(name string) {
	p.t.Helper()
	p.js(`() => { document.documentElement.dataset.submitted = "" }`) // what comes may look the same
	must(p.t, p.Locator("main").GetByRole("button", playwright.LocatorGetByRoleOptions{Name: name, Exact: playwright.Bool(true)}).Click())
	must(p.t, expect.Locator(p.Locator("html:not([data-submitted])")).ToBeAttached())
	must(p.t, p.WaitForLoadState())
	p.mend()
}

func (p *tab) follow(name string) {
	p.t.Helper()
	must(p.t, p.GetByRole("link", playwright.PageGetByRoleOptions{Name: name, Exact: playwright.Bool(true)}).First().Click())
}

// text answers what a part of the page says, in one line.
func (p *tab) text(selector string) string {
	p.t.Helper()
	text, err := p.Locator(selector).First().InnerText()
	must(p.t, err)
	return strings.Join(strings.Fields(text), " ")
}

// count answers how many there are now.
func (p *tab) count(selector string) int {
	p.t.Helper()
	n, err := p.Locator(selector).Count()
	must(p.t, err)
	return n
}

// js evaluates a function in the page.
func (p *tab) js(function string, argument ...any) any {
	p.t.Helper()
	value, err := p.Evaluate(function, argument...)
	must(p.t, err)
	return value
}

// until waits for a condition that only the page itself can tell, written as an
// expression in JavaScript. It is looked at in every frame that the page draws.
func (p *tab) until(condition string) {
	p.t.Helper()
	came := p.js(fmt.Sprintf(`(patience) => new Promise((done) => {
		const began = performance.now();
		const look = () => {
			if (%s) done(true);
			else if (performance.now() - began > patience) done(false);
			else requestAnimationFrame(look);
		};
		look();
	})`, condition), patience)
	if came != true {
		p.t.Fatalf("%s: never within %d s", condition, patience/1000)
	}
}

// drop uploads a folder through the zone's own input.
func (p *tab) drop(folder string) {
	p.t.Helper()
	must(p.t, p.Locator("[data-input=folder]").SetInputFiles(folder))
}

// plan waits for the page of a plan.
func (p *tab) plan() {
	p.t.Helper()
	p.at("/projects/[^/]+/bundles/[^/]+$")
}

// folder makes a folder of that name with these files.
func folder(t *testing.T, name string, contents map[string]string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), name)
	for path, text := range contents {
		place := filepath.Join(root, path)
		must(t, os.MkdirAll(filepath.Dir(place), 0o755))
		must(t, os.WriteFile(place, []byte(text), 0o644))
	}
	return root
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// zipOf packs a folder as people's tools do.
func zipOf(t *testing.T, folder string) []byte {
	t.Helper()
	var archive bytes.Buffer
	out := zip.NewWriter(&archive)
	must(t, out.AddFS(os.DirFS(folder)))
	must(t, out.Close())
	return archive.Bytes()
}
