package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// hostile is text that would do harm if a page took it for anything else.
var hostile = []string{
	`</span></div></section><b id=pwned>bold</b>`,
	`<div hx-get="/logout" hx-trigger="load" id=pwned></div>`,
	`<div id="run-outcome" hx-swap-oob="true">Your app is running.</div>`,
	`<hx-partial hx-target="body"><b id=pwned></b></hx-partial>`,
	`<a href="javascript:alert(1)" id=pwned>x</a>`,
	`"><svg onload=alert(1)>`,
	`data: x`,
	`event: end`,
	`{{constructor.constructor('alert(1)')()}}`,
	`&lt;b&gt; &amp;amp; &#60;`,
	`<script>alert(1)</script>`,
	`<img src=x onerror=alert(1)>`,
}

const hostileName = `<img src=x onerror=alert(1)>`

// harmless checks that nothing of the hostile text is part of the page. Dialogs and
// broken policies fail the test by themselves.
func (p *tab) harmless() {
	p.t.Helper()
	for _, selector := range []string{"#pwned", "img", "main svg[onload]", "[onerror]", "main script", "a[href^=javascript]", "main [hx-get='/logout']"} {
		if n := p.count(selector); n > 0 {
			p.t.Errorf("%s: %d × %s", p.URL(), n, selector)
		}
	}
	if p.count("main") != 1 {
		p.t.Errorf("%s has lost its main part", p.URL())
	}
}

func TestHostileTextStaysText(t *testing.T) {
	t.Parallel()
	_, page := member(t, sharedServer(t))
	var print strings.Builder
	for _, line := range hostile {
		fmt.Fprintf(&print, "console.log(%q); console.error(%q);\n", line, line)
	}
	app := folder(t, "trap", map[string]string{
		"package.json": `{"name": "<b id=pwned>", "scripts": {"start": "node index.js"}}`,
		"print.js":     print.String(),
		"index.js":     "require('./print.js'); process.exitCode = 1",
	})
	page.proposed(app, map[string]string{"name": hostileName, "install": "node print.js"})
	page.harmless()
	page.deploy()
	page.ends("FAILED")
	page.harmless()
	page.everyLineOnce()
	linesAreText(t, page)
	for _, line := range hostile[4:] { // the card has the last lines only
		page.sees(".evidence", line)
	}
	if title, _ := page.Title(); !strings.Contains(title, hostileName) {
		t.Errorf("the title is %q", title)
	}
	_, err := page.Reload()
	must(t, err)
	page.harmless()
	linesAreText(t, page)

	page.open("/projects")
	page.sees(".tile h2", hostileName)
	page.harmless()
	page.follow(hostileName)
	page.sees("h1", hostileName)
	page.harmless()
	page.follow("Settings")
	page.sees("dd", hostileName)
	page.harmless()
	page.follow("Destroy project…")
	page.sees("h1", hostileName)
	page.harmless()
	page.fill("Type "+hostileName+" to confirm", hostileName)
	page.press("Destroy project")
	page.at("/runs/[^/]+$")
	page.ends("SUCCEEDED")
	page.sees(outcome, hostileName+" is destroyed.")
	page.harmless()
}

// linesAreText checks that every hostile line is in the log as it was printed, by the
// install and by the app, to each of its two outputs.
func linesAreText(t *testing.T, page *tab) {
	t.Helper()
	list, _ := page.js(`() => [...document.querySelectorAll(".ln > span")].map((span) => span.textContent)`).([]any)
	seen := map[string]int{}
	for _, text := range list {
		seen[fmt.Sprint(text)]++
	}
	for _, line := range hostile {
		if seen[line] != 4 {
			t.Errorf("%q is in the log %d times, not 4", line, seen[line])
		}
	}
}
