package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/playwright-community/playwright-go"
)

const screenshots = "screenshots"

// sights are the widths and colours in which each page is looked at.
var sights = []struct {
	name   string
	width  int
	height int
	scheme *playwright.ColorScheme
}{
	{"1440-light", 1440, 900, playwright.ColorSchemeLight},
	{"1440-dark", 1440, 900, playwright.ColorSchemeDark},
	{"1280-light", 1280, 800, playwright.ColorSchemeLight},
	{"1280-dark", 1280, 800, playwright.ColorSchemeDark},
	{"390-light", 390, 844, playwright.ColorSchemeLight},
	{"390-dark", 390, 844, playwright.ColorSchemeDark},
}

// looked takes a picture of the page in every width and colour, and checks that
// nothing sticks out of it.
func (p *tab) looked(name string) {
	p.t.Helper()
	for _, sight := range sights {
		must(p.t, p.SetViewportSize(sight.width, sight.height))
		must(p.t, p.EmulateMedia(playwright.PageEmulateMediaOptions{ColorScheme: sight.scheme}))
		p.drawn()
		p.shot(filepath.Join(screenshots, name+"-"+sight.name+".png"), true)
		if wide, _ := p.js(outside).(string); wide != "" {
			p.t.Errorf("%s, %s: %s", name, sight.name, wide)
		}
	}
}

// drawn waits until what was asked for is on the screen.
func (p *tab) drawn() {
	p.t.Helper()
	p.js(`() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))
		.then(() => Promise.all(document.getAnimations().filter((a) => a.effect.getTiming().iterations !== Infinity).map((a) => a.finished.catch(() => {}))))`)
}

// outside names what makes the page wider than the window. What scrolls by itself,
// as the log does, may be as wide as it likes.
const outside = `() => {
	const room = document.documentElement.clientWidth;
	if (document.documentElement.scrollWidth <= room) return "";
	const scrolls = (element) => element && (["auto", "scroll", "hidden", "clip"].includes(getComputedStyle(element).overflowX) || scrolls(element.parentElement));
	const wide = [...document.body.querySelectorAll("*")].filter((element) =>
		element.getBoundingClientRect().right > room + 1 && !scrolls(element.parentElement));
	return "the page is " + document.documentElement.scrollWidth + " wide in a window of " + room + ": " +
		wide.slice(0, 5).map((element) => element.tagName.toLowerCase() + "." + element.className).join(", ");
}`

func TestEveryPageFitsItsWindow(t *testing.T) {
	t.Parallel()
	must(t, os.MkdirAll(screenshots, 0o755))
	s := sharedServer(t)
	stranger := visitor(t, s).tab()
	stranger.expecting("status of 4")
	for name, path := range map[string]string{"landing": "/", "signup": "/signup", "login": "/login"} {
		stranger.open(path)
		stranger.looked(name)
	}
	stranger.open("/login")
	stranger.fill("E-mail", "nobody@example.com")
	stranger.fill("Password", "not the password")
	stranger.submit("Log in")
	stranger.looked("login-refused")

	_, page := member(t, s)
	page.expecting("status of 4")
	page.looked("projects-empty")
	page.archive("notes.zip", []byte("these are only words"))
	page.refused("")
	page.looked("upload-refused")
	page.open("/projects")
	page.drop(folder(t, "poems", map[string]string{"autumn.txt": "leaves", "drafts/winter.txt": "snow"}))
	page.plan()
	page.looked("plan-unknown")
	page.press("Deploy")
	page.sees(".field-error", "")
	page.looked("plan-refused")

	page.open("/projects")
	page.drop(guestBook(t, "express-postgres"))
	page.plan()
	page.looked("plan")
	page.deploy()
	page.going("$ npm ci")
	page.looked("run-going")
	page.ends("SUCCEEDED")
	page.looked("run-succeeded")
	page.follow("express-postgres")
	page.at("/projects/[^/]+$")
	page.looked("project")
	page.follow("Databases")
	page.at("/databases$")
	page.sees("main", "PostgreSQL")
	page.looked("project-databases")
	page.follow("Settings")
	page.looked("project-settings")
	page.follow("Destroy project…")
	page.looked("destroy")

	page.open("/projects")
	long := "a-rather-long-name-that-nobody-would-give-but-somebody-did"
	page.proposed(hello(t, "short", "x"), map[string]string{"name": long,
		"start": `node -e "console.error('Error: ' + 'x'.repeat(300)); console.error('the last words of this app'); process.exit(1)"`})
	page.deploy()
	page.ends("FAILED")
	page.looked("run-failed")
	page.follow(long)
	page.follow("Deployments")
	page.looked("project-deployments")
	page.follow("Logs")
	page.at("/logs$")
	page.looked("project-logs")
	page.follow("Databases")
	page.at("/databases$")
	page.looked("project-databases-empty")
	page.open("/projects")
	page.looked("projects")
	page.open("/account")
	page.looked("account")
	page.open("/appliances")
	page.looked("appliances")
	page.open("/server")
	page.looked("server")
	if status := page.open("/projects/nowhere"); status != 404 {
		t.Errorf("a project that does not exist answers %d", status)
	}
	page.looked("not-found")
}
