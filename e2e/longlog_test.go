package e2e

import (
	"strconv"
	"testing"

	"github.com/playwright-community/playwright-go"
)

// longest is how many milliseconds a page may go without drawing while lines stream in.
const longest = 1000

func TestFiftyThousandLinesDoNotFreezeThePage(t *testing.T) {
	_, page := member(t, sharedServer(t))
	// The recorder is there before the page is.
	must(t, page.AddInitScript(playwright.Script{Content: playwright.String(drawing)}))
	page.proposed(hello(t, "talkative", "done talking"), map[string]string{
		"install": `node -e "for (let i = 1; i <= 50000; i++) console.log('\u001b[32mfetched\u001b[0m package ' + i + ' of fifty thousand')"`,
	})
	page.deploy()
	page.ends("SUCCEEDED")
	gap, frames := number(page.js(`() => Math.round(drawn.longest)`)), number(page.js(`() => drawn.frames`))
	t.Logf("%d frames, the longest took %d ms", frames, gap)
	if gap > longest || frames < 10 {
		t.Errorf("the page did not draw for %d ms; it drew %d times", gap, frames)
	}
	// What was printed before the page was there is further up.
	for page.count("#log-earlier") > 0 {
		first := page.numbers()[0]
		must(t, page.Locator("#log-earlier").Click())
		page.until(`Number(document.querySelector(".ln").id.slice(1)) < ` + strconv.Itoa(first))
	}
	if n := page.everyLineOnce(); n < 50_000 {
		t.Errorf("the log has %d lines", n)
	}
	must(t, page.Locator("[data-log-search]").Fill("package 41234 of"))
	page.sees("[data-log-count]", "1 of 1")
	if gap := number(page.js(`() => Math.round(drawn.longest)`)); gap > longest {
		t.Errorf("reading all of it stopped the page for %d ms", gap)
	}
	_, err := page.Reload()
	must(t, err)
	page.sees(logEnd, "End of the log")
	if n := page.count(".ln"); n != 2000 {
		t.Errorf("the page begins with %d lines", n)
	}
}

// drawing measures the time between the frames of a page that is in sight.
const drawing = `
	globalThis.drawn = { frames: 0, longest: 0 };
	addEventListener("load", () => {
		let before = performance.now();
		requestAnimationFrame(function frame(now) {
			drawn.frames++;
			drawn.longest = Math.max(drawn.longest, performance.now() - before);
			before = performance.now();
			requestAnimationFrame(frame);
		});
	});
`
