package e2e

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/playwright-community/playwright-go"

	"github.com/coderunner/coderunner/views"
)

// longest is how long a page may keep its thread from drawing.
const longest = 500 * time.Millisecond

func TestFiftyThousandLinesDoNotFreezeThePage(t *testing.T) {
	_, page := member(t, sharedServer(t))
	must(t, page.AddInitScript(playwright.Script{Content: playwright.String(countFrames)}))
	page.proposed(hello(t, "talkative", "done talking"), map[string]string{
		"install": `node -e "for (let i = 1; i <= 50000; i++) console.log('\u001b[32mfetched\u001b[0m package ' + i + ' of fifty thousand')"`,
	})
	must(t, browser.StartTracing(playwright.BrowserStartTracingOptions{Page: page.Page, Categories: []string{"toplevel"}}))
	page.deploy()
	page.ends("SUCCEEDED")
	stops(t, "following the log")
	if frames := number(page.js(`() => framesDrawn`)); frames < 20 {
		t.Errorf("the page was drawn %d times only", frames)
	}
	must(t, browser.StartTracing(playwright.BrowserStartTracingOptions{Page: page.Page, Categories: []string{"toplevel"}}))
	// What was printed before the page was there is further up.
	for page.count("#log-earlier") > 0 {
		first := page.numbers()[0]
		must(t, page.Locator("#log-earlier").Click())
		page.until(`Number(document.querySelector(".ln").id.slice(1)) < ` + strconv.Itoa(first))
	}
	must(t, page.Locator("[data-log-search]").Fill("package 41234 of"))
	page.sees("[data-log-count]", "1 of 1")
	stops(t, "searching it")
	if n := page.everyLineOnce(); n < 50_000 {
		t.Errorf("the log has %d lines", n)
	}
	_, err := page.Reload()
	must(t, err)
	page.sees(logEnd, "End of the log")
	if n := page.count(".ln"); n != views.LogFirst {
		t.Errorf("the page begins with %d lines", n)
	}
}

const countFrames = `
	globalThis.framesDrawn = 0;
	requestAnimationFrame(function frame() {
		framesDrawn++;
		requestAnimationFrame(frame);
	});
`

// stops ends the tracing and checks the page's longest task. It counts the time that
// the page's thread worked: how long it waited for a processor says nothing about the page.
func stops(t *testing.T, doing string) {
	t.Helper()
	recorded, err := browser.StopTracing()
	must(t, err)
	var trace struct {
		Events []struct {
			Name     string
			Process  int   `json:"pid"`
			Thread   int   `json:"tid"`
			Duration int64 `json:"tdur"` // of the thread, in µs
			Args     struct{ Name string }
		} `json:"traceEvents"`
	}
	must(t, json.Unmarshal(recorded, &trace))
	type thread struct{ process, thread int }
	pages := map[thread]bool{}
	for _, event := range trace.Events {
		if event.Name == "thread_name" && event.Args.Name == "CrRendererMain" {
			pages[thread{event.Process, event.Thread}] = true
		}
	}
	tasks, worst := 0, time.Duration(0)
	for _, event := range trace.Events {
		if strings.HasSuffix(event.Name, "RunTask") && pages[thread{event.Process, event.Thread}] {
			tasks++
			worst = max(worst, time.Duration(event.Duration)*time.Microsecond)
		}
	}
	t.Logf("%s: %d tasks, the longest worked for %s", doing, tasks, worst)
	if tasks == 0 || worst == 0 || worst > longest {
		t.Errorf("%s: of %d tasks the longest worked for %s", doing, tasks, worst)
	}
}
