package e2e

import (
	"os"
	"testing"
)

// TestALifeInTheBrowser takes an app through what its owner does in its first week.
func TestALifeInTheBrowser(t *testing.T) {
	t.Parallel()
	must(t, os.MkdirAll(screenshots, 0o755))
	u, page := member(t, sharedServer(t))
	page.proposed(hello(t, "weekly", "first version"), nil)
	page.deploy()
	page.ends("SUCCEEDED")
	address, err := page.Locator(".outcome-url").GetAttribute("href")
	must(t, err)
	u.says(address, "first version")

	// Restart: the page says what it keeps, and nothing is installed.
	page.open("/projects")
	page.follow("weekly")
	page.sees("[aria-labelledby=manage]", "no request is dropped")
	page.press("Restart")
	page.ends("SUCCEEDED")
	page.sees(badge, "Running")
	u.says(address, "first version")

	// A second version, and back to the first.
	page.open("/projects")
	page.follow("weekly")
	page.drop(hello(t, "weekly", "second version"))
	page.plan()
	page.deploy()
	page.ends("SUCCEEDED")
	u.says(address, "second version")
	page.open("/projects")
	page.follow("weekly")
	page.follow("Deployments")
	page.looked("deployments-two")
	page.follow("Roll back…")
	page.sees("h1", "Roll back to #1?")
	page.looked("rollback")
	page.sees(".losses", "Databases are not rolled back")
	page.press("Roll back")
	page.ends("SUCCEEDED")
	u.says(address, "first version")

	// Stop, and the address says so; start again.
	page.open("/projects")
	page.follow("weekly")
	page.sees("[aria-labelledby=latest]", "rolled back to #1")
	page.press("Stop")
	page.ends("SUCCEEDED")
	page.sees(outcome, "The app is stopped.")
	page.looked("run-stopped")
	visitor := u.tab()
	visitor.expecting("status of 503")
	visitor.open(address)
	visitor.sees("body", "stopped")
	visitor.looked("app-stopped")
	page.follow("Open the project")
	page.sees(".head-name .state", "Stopped")
	page.looked("project-stopped")
	page.press("Start")
	page.ends("SUCCEEDED")
	u.says(address, "first version")
}
