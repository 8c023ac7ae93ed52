package e2e

import (
	"testing"

	"github.com/playwright-community/playwright-go"
)

// countShifts adds up how much of the page moved by itself from when it was opened until
// its run ended, and keeps what moved. How the run ended is put above the log then.
const countShifts = `
	globalThis.shifted = 0;
	globalThis.movers = [];
	let ended = Infinity;
	new MutationObserver((_, observer) => {
		if (document.querySelector("#run-bar[data-state=SUCCEEDED]") === null) return;
		ended = performance.now();
		observer.disconnect();
	}).observe(document, { subtree: true, childList: true, attributeFilter: ["data-state"] });
	new PerformanceObserver((list) => {
		for (const shift of list.getEntries().filter((entry) => entry.startTime < ended)) {
			shifted += shift.value;
			for (const { node, previousRect: from, currentRect: to } of shift.sources) {
				movers.push((node?.id || node?.className || node?.nodeName) + " " + [from.x, from.y, from.width, from.height] + " to " + [to.x, to.y, to.width, to.height]);
			}
		}
	}).observe({ type: "layout-shift", buffered: true });
`

// TestThePageStaysInPlaceWhileTheLogStreams: lines come one by one and in heaps, short
// and long, in several steps, and only the log itself moves.
func TestThePageStaysInPlaceWhileTheLogStreams(t *testing.T) {
	t.Parallel()
	for _, window := range []playwright.Size{{Width: 1280, Height: 800}, {Width: 390, Height: 844}} {
		_, page := member(t, sharedServer(t))
		must(t, page.SetViewportSize(window.Width, window.Height))
		must(t, page.AddInitScript(playwright.Script{Content: playwright.String(countShifts)}))
		page.proposed(hello(t, "steady", "steady"), map[string]string{
			"install": `node -e "let i = 0; const t = setInterval(() => { for (let n = i++ % 5; n >= 0; n--) console.log('line ' + i + ' ' + 'long '.repeat(n * 20)); if (i === 200) clearInterval(t) }, 10)"`,
		})
		page.deploy()
		page.going("line 50 ")
		page.ends("SUCCEEDED")
		page.drawn()
		sum, what := number(page.js(`() => Math.round(shifted * 1000)`)), page.js(`() => movers.slice(0, 10).join("\n")`)
		if sum >= 10 || sum < 0 {
			t.Errorf("%d px wide: the page moved by %d thousandths while the log streamed:\n%v", window.Width, sum, what)
		}
		t.Logf("%d px wide: %d thousandths", window.Width, sum)
	}
}
