package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAFailedDeployLeavesTheOldVersionAndCanBePutRight(t *testing.T) {
	t.Parallel()
	u, page := member(t, sharedServer(t))
	page.proposed(hello(t, "shop", "first version"), nil)
	page.deploy()
	page.ends("SUCCEEDED")
	address := page.address()
	u.says(address, "first version")

	page.follow("shop")
	page.at("/projects/[^/]+$")
	page.proposed(hello(t, "shop", "second version"), map[string]string{
		"start": `node -e "console.log('reading the settings'); console.error('no colour was chosen'); process.exit(3)"`,
	})
	page.deploy()
	page.ends("FAILED")
	page.sees(badge, "Failed")
	page.sees(".outcome-bad h2", "exit code 3")
	page.sees(".outcome-bad", "Exit code 3")
	page.sees(".evidence", "reading the settings")
	page.sees(".evidence", "no colour was chosen")
	page.sees(".outcome-next", "deploy again")
	page.sees(`[data-step="health"] .step-facts`, "Failed")
	page.everyLineOnce()
	u.says(address, "first version")
	project := u.tab()
	project.open("/projects")
	project.follow("shop")
	project.sees(".head-name .state", "Running")
	project.sees("[aria-labelledby=latest] .row", "#2")
	project.sees("[aria-labelledby=latest] .row", "Failed")

	page.follow("Change the plan and deploy again")
	page.plan()
	if start, _ := page.Locator("#start").InputValue(); !strings.Contains(start, "process.exit(3)") {
		t.Errorf("the plan forgot the start command that was typed: %q", start)
	}
	must(t, page.Locator("#start").Fill("node index.js"))
	page.deploy()
	page.ends("SUCCEEDED")
	u.says(address, "second version")
}

func TestCancelStopsAnInstall(t *testing.T) {
	t.Parallel()
	u, page := member(t, sharedServer(t))
	marker := "forever-" + filepath.Base(t.TempDir()) + "-" + u.email
	page.proposed(hello(t, "patience", "never seen"), map[string]string{
		"install": `node -e "require('child_process').spawn('sleep', ['86399'], {argv0: '` + marker + `'}).on('spawn', () => console.log('it ' + 'begins'))"`,
	})
	page.deploy()
	page.going("it begins")
	if !running(t, marker) {
		t.Fatal("the install's child does not run, so its end proves nothing")
	}
	page.press("Cancel")
	page.ends("CANCELLED")
	page.sees(badge, "Cancelled")
	page.sees(outcome, "The deploy was cancelled")
	page.sees(`[data-step="install"] .step-facts`, "Cancelled")
	page.sees(`[data-step="start"] .step-facts`, "Skipped")
	page.everyLineOnce()
	if running(t, marker) {
		t.Error("the install's child goes on after the cancel")
	}
	page.follow("Change the plan and deploy again")
	page.plan()
	must(t, page.Locator("#install").Fill(""))
	page.deploy()
	page.ends("SUCCEEDED")
}

// running reports whether a process of this machine has the word in its command line.
func running(t *testing.T, word string) bool {
	t.Helper()
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	for _, path := range commands {
		line, err := os.ReadFile(path)
		if err == nil && strings.HasPrefix(string(line), word) {
			return true
		}
	}
	return false
}
