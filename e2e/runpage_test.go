package e2e

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/playwright-community/playwright-go"
)

// What the run's page looks like to these tests.
const (
	bar     = "#run-bar"
	badge   = "#run-bar .state"
	outcome = "#run-outcome"
	logEnd  = "#log-end"
)

// deploy presses Deploy on the plan's page and waits for the run's.
func (p *tab) deploy() {
	p.t.Helper()
	p.press("Deploy")
	p.at("/runs/[^/]+$")
}

// ends waits for the end of the run and of its log on the page.
func (p *tab) ends(state string) {
	p.t.Helper()
	must(p.t, expect.Locator(p.Locator(bar)).ToHaveAttribute("data-state", regexp.MustCompile("SUCCEEDED|FAILED|CANCELLED")))
	if got, _ := p.Locator(bar).GetAttribute("data-state"); got != state {
		p.t.Fatalf("the run is %s, want %s. The page says: %s\n%s", got, state, p.text(outcome), p.text("[data-log-view]"))
	}
	p.sees(logEnd, "End of the log")
}

// going waits until a line of the log has these words, while the run goes on.
func (p *tab) going(words string) {
	p.t.Helper()
	p.until(fmt.Sprintf(`[...document.querySelectorAll(".ln")].some((line) => line.textContent.includes(%q)) &&
		(globalThis.stateThen = document.getElementById("run-bar").dataset.state)`, words))
	if state := p.js(`() => stateThen`); state != "RUNNING" {
		p.t.Fatalf("the line %q is on the page only when the run is %s", words, state)
	}
}

// numbers answers the numbers of the lines on the page, in their order.
func (p *tab) numbers() (numbers []int) {
	p.t.Helper()
	list, ok := p.js(`() => [...document.querySelectorAll(".ln")].map((line) => Number(line.id.slice(1)))`).([]any)
	if !ok {
		p.t.Fatal("the page has no list of lines")
	}
	for _, n := range list {
		numbers = append(numbers, number(n))
	}
	return numbers
}

// everyLineOnce checks that the page has the whole log: 1, 2, … n.
func (p *tab) everyLineOnce() int {
	p.t.Helper()
	numbers := p.numbers()
	for i, n := range numbers {
		if n != i+1 {
			p.t.Fatalf("line %d of the page has number %d; all: %v", i+1, n, numbers[max(0, i-3):min(len(numbers), i+4)])
		}
	}
	// The server knows how many there are.
	id := p.URL()[strings.LastIndex(p.URL(), "/")+1:]
	response, err := p.user.context.Request().Get("/runs/" + id + "/log.txt")
	must(p.t, err)
	text, err := response.Text()
	must(p.t, err)
	if !response.Ok() {
		p.t.Fatalf("the log as text answers %d: %s", response.Status(), text)
	}
	if lines := strings.Count(text, "\n"); lines != len(numbers) || lines == 0 {
		p.t.Fatalf("the page has %d lines, the log %d", len(numbers), lines)
	}
	return len(numbers)
}

// number reads a number as the driver gives it.
func number(value any) int {
	switch n := value.(type) {
	case int:
		return n
	case float64:
		return int(n)
	}
	return -1
}

// shot takes a picture of the page.
func (p *tab) shot(path string, full bool) {
	p.t.Helper()
	_, err := p.Screenshot(playwright.PageScreenshotOptions{Path: playwright.String(path), FullPage: playwright.Bool(full)})
	must(p.t, err)
}
