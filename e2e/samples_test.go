package e2e

import (
	"os"
	"testing"

	"github.com/playwright-community/playwright-go"
)

// TestASampleIsOneClickAway deploys one, and another one by way of its plan.
func TestASampleIsOneClickAway(t *testing.T) {
	t.Parallel()
	must(t, os.MkdirAll(screenshots, 0o755))
	u, page := member(t, sharedServer(t))
	page.sees("#samples", "Or start with a sample")
	page.looked("samples")
	page.press("Deploy Hello")
	page.at("/runs/[^/]+$")
	page.ends("SUCCEEDED")
	helloAnswers(u, page.address())

	page.open("/projects")
	page.sees("#projects", "Hello")
	must(t, expect.Locator(page.Locator(".sample").First()).ToBeHidden())
	must(t, page.Locator("summary", playwright.PageLocatorOptions{HasText: "Or start with a sample"}).Click())
	page.looked("samples-unfolded")
	page.press("See the plan of Hello")
	page.plan()
	if name, err := page.Locator("#name").InputValue(); err != nil || name != "Hello 2" {
		t.Errorf("the second project is called %q, %v", name, err)
	}
	page.press("Deploy")
	page.ends("SUCCEEDED")
	helloAnswers(u, page.address())
}

// helloAnswers asks the sample's address. It has no icon, which browsers ask for too.
func helloAnswers(u *user, address string) {
	u.t.Helper()
	app := u.tab()
	defer app.Close()
	app.expecting("status of 404")
	app.open(address)
	app.sees("body", "Hello from node-hello 1.0.0")
}
