package e2e

import (
	"os"
	"testing"
)

// TestAFailureIsPutRightAtAClick in the browser: the port that the app uses, and a variable that it wants.
func TestAFailureIsPutRightAtAClick(t *testing.T) {
	t.Parallel()
	must(t, os.MkdirAll(screenshots, 0o755))
	u, page := member(t, sharedServer(t))
	manifest := `{"name": "stall", "version": "1.0.0", "scripts": {"start": "node index.js"}}`
	page.proposed(folder(t, "stall", map[string]string{"package.json": manifest,
		"index.js": "require('node:http').createServer((request, response) => response.end('open')).listen(4000 + 555);\n"}), map[string]string{"port": "3000"})
	page.deploy()
	page.ends("FAILED")
	page.sees(".outcome-bad h2", "listens on 4555, not on 3000")
	page.sees(".blame", "your code")
	page.looked("run-failed-port")
	page.press("Use port 4555")
	page.ends("SUCCEEDED")
	u.says(page.address(), "open")

	page.open("/projects")
	page.proposed(folder(t, "till", map[string]string{"package.json": manifest,
		"index.js": "const key = process.env.PAY_KEY;\nif (!key) throw new Error('PAY_KEY is not set');\nrequire('node:http').createServer((request, response) => response.end('paid')).listen(process.env.PORT);\n"}), nil)
	page.deploy()
	page.ends("FAILED")
	page.sees(".evidence mark", "PAY_KEY is not set")
	page.looked("run-failed-variable")
	page.follow("Set PAY_KEY")
	page.at("/variables")
	must(t, page.Keyboard().Type("k-123"))
	page.press("Save variables")
	page.at("/runs/")
	page.sees("main", "Deploy again, and the app gets it.")
	page.press("Deploy again")
	page.ends("SUCCEEDED")
	u.says(page.address(), "paid")
}
