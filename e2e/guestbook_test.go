package e2e

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// guestBook is a copy of the example with what a person's folder has beside it.
func guestBook(t *testing.T, name string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), name)
	must(t, os.CopyFS(root, os.DirFS("../examples/express-postgres")))
	must(t, os.RemoveAll(filepath.Join(root, "node_modules")))
	fake := filepath.Join(root, "node_modules", "express")
	must(t, os.MkdirAll(fake, 0o755))
	must(t, os.WriteFile(filepath.Join(fake, "index.js"), []byte("throw new Error('this is not Express')\n"), 0o644))
	return root
}

// picture is for whoever changes how the run's page looks:
//
//	go test ./e2e -run TestADroppedFolder -picture ../docs/run.png
var picture = flag.String("picture", "", "write the README's picture to this file; the server then takes the README's port")

func TestADroppedFolderBecomesAnAppAndGoesWithoutATrace(t *testing.T) {
	var flags []string
	if *picture != "" {
		flags = []string{"--listen", "127.0.0.1:8080"}
	}
	s := ownServer(t, flags...)
	u, page := member(t, s)
	page.sees("h2", "Drop your project here")
	page.sees(".drop", "Drop a folder, a .zip or a .tar.gz anywhere on this page")
	page.sees("#samples", "Or start with a sample")

	page.drop(guestBook(t, "express-postgres"))
	planShowsReasons(t, page)
	page.deploy()
	deployIsLive(t, page)

	address, err := page.Locator(".outcome-url").GetAttribute("href")
	must(t, err)
	if address != "http://express-postgres.localhost:"+s.port {
		t.Fatalf("the address is %s", address)
	}
	signsTheBook(t, u, address)

	before := left(t, s)
	for _, kind := range []string{"container", "snapshot", "link crb-", "link crv-", "file bundles", "file sandboxes/volumes", "/run/coderunner/netns"} {
		if !slices.ContainsFunc(before, func(line string) bool { return strings.HasPrefix(line, kind) }) {
			t.Errorf("nothing that begins with %q is on this machine, so its end proves nothing:\n%s", kind, strings.Join(before, "\n"))
		}
	}
	if addresses, err := linkLocal(s); err != nil || len(addresses) > 0 {
		t.Errorf("browsers on this machine were told of networks that do not concern them: %q, %v", addresses, err)
	}
	destroys(t, page, "express-postgres", before)
	after := left(t, s)
	// One that is being made ready at this moment is not known as such yet.
	for tick, end := time.NewTicker(50*time.Millisecond), time.Now().Add(10*time.Second); len(after) > 0 && time.Now().Before(end); after = left(t, s) {
		<-tick.C
	}
	if len(after) > 0 {
		t.Errorf("still there:\n%s", strings.Join(after, "\n"))
	}
	gone := u.tab()
	gone.expecting("status of 404")
	if status := gone.open(address); status != 404 {
		t.Errorf("the address answers %d", status)
	}
	gone.sees("h1", "Nothing runs at this address")
	page.open("/projects")
	page.sees("h2", "Drop your project here")
}

func planShowsReasons(t *testing.T, page *tab) {
	t.Helper()
	page.plan()
	page.sees("h1", "Check the plan, then deploy")
	page.sees(".plan-side", "Left out")
	page.sees(".plan-side .names", "node_modules/")
	for field, want := range map[string]string{"install": "npm ci", "start": "node index.js", "port": "8080", "name": "express-postgres"} {
		if got, err := page.Locator("#" + field).InputValue(); err != nil || got != want {
			t.Errorf("%s is %q, want %q", field, got, want)
		}
	}
	for _, reason := range []string{"#why-type", "#why-appliance", "#why-install", "#why-start"} {
		if page.text(reason) == "" {
			t.Errorf("%s is empty", reason)
		}
	}
	page.sees("#why-start", "package.json")
	must(t, expect.Locator(page.Locator("input[name=database][value=postgres-15]")).ToBeChecked())
	page.sees(".option:has(input[value=postgres-15])", "pg")
}

// deployIsLive follows the run to its end, with a reload on the way.
func deployIsLive(t *testing.T, page *tab) {
	t.Helper()
	page.going("$ npm ci")
	_, err := page.Reload()
	must(t, err)
	if page.count("#log-live") != 1 {
		t.Error("the run was over when the page was loaded again")
	}
	for _, step := range []string{"database", "install", "sandbox", "start", "health", "route"} {
		page.sees(`[data-step="`+step+`"] .step-facts`, "Done")
	}
	page.ends("SUCCEEDED")
	page.sees(badge, "Running")
	page.sees(outcome, "Your app is running.")
	if *picture != "" {
		must(t, page.SetViewportSize(1280, 900))
		page.drawn()
		page.shot(*picture, false)
	}
	page.everyLineOnce()
	if log := page.text("[data-log-view]"); strings.Contains(log, "postgres://") {
		t.Error("the log shows the database's password")
	}
	_, err = page.Reload()
	must(t, err)
	page.sees(logEnd, "End of the log")
	page.everyLineOnce()
}

// signsTheBook writes a row through the app and reads it in another tab.
func signsTheBook(t *testing.T, u *user, address string) {
	t.Helper()
	book := u.tab()
	book.open(address)
	book.sees("h1", "Guest book")
	book.sees(".top", "Nobody has signed yet.")
	book.fill("Name", "Ada <b>")
	book.fill("Message", "It works.\nSecond line.")
	book.press("Sign the book")
	book.sees(".entries", "Ada <b>")
	second := u.tab()
	second.open(address)
	second.sees(".top", "1 person has signed.")
	second.sees(".entries", "It works.")
}

// destroys goes the way of a person who wants to be rid of a project.
func destroys(t *testing.T, page *tab, name string, machine []string) {
	t.Helper()
	page.follow(name)
	page.follow("Settings")
	page.follow("Destroy project…")
	page.sees("#losses", "This is lost")
	losses := page.text(".losses")
	if !regexp.MustCompile(`\d MB of data, every table and row`).MatchString(losses) || !regexp.MustCompile(`volume with all its files, [\d.]+ MB on disk`).MatchString(losses) {
		t.Errorf("how much data is lost is not said: %s", losses)
	}
	for _, loss := range []string{name + ".localhost", "postgres-15 · app", "1 uploaded version"} {
		if !strings.Contains(losses, loss) {
			t.Errorf("%q is not among the losses: %s", loss, losses)
		}
	}
	// Each sandbox and volume of this machine is named.
	for _, line := range machine {
		thing, isVolume := strings.CutPrefix(line, "file sandboxes/volumes/")
		if sandbox, isSandbox := strings.CutPrefix(line, "file sandboxes/sandboxes/"); isSandbox {
			thing, isVolume = sandbox, true
		}
		if isVolume && !strings.Contains(losses, thing) {
			t.Errorf("%q is not among the losses: %s", thing, losses)
		}
	}
	button := page.Locator("[data-confirm-button]")
	must(t, expect.Locator(button).ToBeDisabled())
	page.fill("Type "+name+" to confirm", name+"s")
	must(t, expect.Locator(button).ToBeDisabled())
	page.expecting("status of 422")
	page.js(`() => document.querySelector("form.confirm").submit()`) // past the script that disables the button
	page.sees("#error-name", "That is not the project's name.")
	page.fill("Type "+name+" to confirm", name)
	must(t, expect.Locator(button).ToBeEnabled())
	must(t, button.Click())
	page.at("/runs/[^/]+$")
	for _, step := range []string{"unroute", "apps", "databases", "volumes", "network", "bundles", "verify"} {
		page.sees(`[data-step="`+step+`"] .step-facts`, "Done")
	}
	page.ends("SUCCEEDED")
	page.sees(outcome, "is destroyed.")
	page.everyLineOnce()
}

// left is what this machine has of the server's projects.
func left(t *testing.T, s *server) []string {
	t.Helper()
	found, err := ofProjects(s)
	must(t, err)
	return found
}
