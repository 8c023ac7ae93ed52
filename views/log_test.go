package views_test

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/views"
)

var steps = []coderunner.Step{{Name: "install", Title: "Install dependencies"}, {Name: "start", Title: "Start"}}

// sections reads the log on a page as the page's script does: for each section its
// step, its heading and its lines.
func sections(t *testing.T, page string) (found []string) {
	t.Helper()
	for _, n := range parse(t, page) {
		switch {
		case n.Type == html.ElementNode && n.Data == "section" && attribute(n, "class") == "seg":
			found = append(found, "# "+attribute(n, "data-step"))
		case n.Type == html.ElementNode && attribute(n, "class") == "seg-head":
			found = append(found, "## "+textOf(n))
		case n.Type == html.ElementNode && strings.HasPrefix(attribute(n, "id"), "L"):
			link := n.FirstChild
			if link.Data != "a" || attribute(link, "href") != "#"+attribute(n, "id") || "L"+textOf(link) != attribute(n, "id") {
				t.Errorf("line %s links %q as %q", attribute(n, "id"), attribute(link, "href"), textOf(link))
			}
			found = append(found, attribute(n, "class")+" "+attribute(n, "id")+" "+textOf(link.NextSibling))
		}
	}
	return found
}

func TestLogLines(t *testing.T) {
	t.Parallel()
	lines := []coderunner.LogLine{
		{Seq: 11, At: now, Stream: coderunner.System, Text: "Deploying."},
		{Seq: 12, At: now, Stream: coderunner.Stdout, Step: "install", Text: "added \x1b[32m7\x1b[0m packages"},
		{Seq: 13, At: now, Stream: coderunner.Stderr, Step: "install", Text: "npm <b>warn</b>"},
		{Seq: 14, At: now, Stream: coderunner.Stdout, Step: "start", Text: ""},
		{Seq: 15, At: now, Stream: coderunner.Stdout, Step: "install", Text: "late"},
		{Seq: 16, At: now, Stream: coderunner.Stdout, Step: "gone", Text: "of a step that is not listed"},
	}
	page := render(t, views.LogLines(lines, steps))
	want := []string{
		"# ", "## CodeRunner", "ln sys L11 Deploying.",
		"# install", "## Install dependencies", "ln L12 added 7 packages", "ln err L13 npm <b>warn</b>",
		"# start", "## Start", "ln L14 ",
		"# install", "## Install dependencies", "ln L15 late",
		"# gone", "## gone", "ln L16 of a step that is not listed",
	}
	if got := sections(t, page); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the log reads\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if !strings.Contains(page, `title="12:00:00.000 UTC"`) || !strings.Contains(page, `added <i class="f2">7</i> packages`) {
		t.Errorf("times and colours are missing in %s", page)
	}
	if empty := render(t, views.LogLines(nil, steps)); empty != "" {
		t.Errorf("no lines are %q", empty)
	}
}

func TestLogLinesStandInChunks(t *testing.T) {
	t.Parallel()
	var lines []coderunner.LogLine
	for i := range 250 {
		lines = append(lines, coderunner.LogLine{Seq: int64(i + 1), At: now, Step: "install", Text: fmt.Sprint(i)})
	}
	var sizes []int
	for _, n := range parse(t, render(t, views.LogLines(lines, steps))) {
		if attribute(n, "class") == "chunk" {
			count := 0
			for range n.ChildNodes() {
				count++
			}
			sizes = append(sizes, count)
		}
	}
	if fmt.Sprint(sizes) != "[100 100 50]" {
		t.Errorf("the chunks have %v lines", sizes)
	}
}

// The page continues where its last line ends, and offers what precedes its first.
func TestRunPageContinuesItsLog(t *testing.T) {
	t.Parallel()
	page := views.RunPage{Run: coderunner.Run{ID: id, Playbook: "deploy", State: coderunner.RunRunning}, Steps: steps,
		Lines: []coderunner.LogLine{{Seq: 41, At: now}, {Seq: 42, At: now}}}
	var connect, earlier string
	find := func(text string) {
		connect, earlier = "", ""
		for _, n := range parse(t, text) {
			connect += attribute(n, "hx-sse:connect")
			if attribute(n, "id") == "log-earlier" {
				earlier += attribute(n, "hx-get")
			}
		}
	}
	if find(render(t, views.Run(page))); connect != "/runs/"+id+"/events?after=42" || earlier != "/runs/"+id+"/log?before=41" {
		t.Errorf("it follows %q and offers %q", connect, earlier)
	}
	page.Lines[0].Seq = 1
	if find(render(t, views.Run(page))); earlier != "" {
		t.Errorf("with the first line it offers %q", earlier)
	}
	page.Lines = nil
	if find(render(t, views.Run(page))); connect != "/runs/"+id+"/events?after=0" || earlier != "" {
		t.Errorf("without lines it follows %q and offers %q", connect, earlier)
	}
	page.Run.State = coderunner.RunFailed
	if find(render(t, views.Run(page))); connect != "" {
		t.Errorf("an ended run is followed at %q", connect)
	}
}
