package views

import (
	"bytes"
	"context"
	"io"
	"strconv"

	"github.com/a-h/templ"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// chunkLines is how many lines stand in one block of the page. Browsers skip the
// layout of blocks that are out of sight.
const chunkLines = 100

// LogLines shows lines, a section for each stretch of one step with the step's
// title as its heading. It is the data of a "lines" event and part of the run's
// page; static/js/log.js joins a section to the one before it when both are of
// the same step, and drops lines that are there already.
//
//	<section class="seg" data-step="install">
//	  <button class="seg-head" …>Install dependencies</button>
//	  <div class="seg-body"><div class="chunk">
//	    <div class="ln" id="L12"><a href="#L12" title="…">12</a><span>…</span></div>
//
// It is written by hand, not by templ: a page may have thousands of lines.
func LogLines(lines []coderunner.LogLine, steps []coderunner.Step) templ.Component {
	return logLines(lines, stepTitles(steps), false)
}

// RuntimeLogLines is the same for a runtime log, whose sections are of deployments.
func RuntimeLogLines(lines []coderunner.RuntimeLine, titles map[string]string) templ.Component {
	return logLines(RuntimeLines(lines), titles, true)
}

func stepTitles(steps []coderunner.Step) map[string]string {
	titles := make(map[string]string, len(steps))
	for _, step := range steps {
		titles[step.Name] = step.Title
	}
	return titles
}

func logLines(lines []coderunner.LogLine, titles map[string]string, dates bool) templ.Component {
	return templ.ComponentFunc(func(_ context.Context, w io.Writer) error {
		var page bytes.Buffer
		page.Grow(160 * len(lines))
		for i := 0; i < len(lines); {
			end := i + 1
			for end < len(lines) && lines[end].Step == lines[i].Step {
				end++
			}
			writeSection(&page, lines[i:end], titles, dates)
			i = end
		}
		_, err := w.Write(page.Bytes())
		return err
	})
}

func writeSection(page *bytes.Buffer, lines []coderunner.LogLine, titles map[string]string, dates bool) {
	step := lines[0].Step
	title := titles[step]
	if title == "" {
		title = step
	}
	if title == "" {
		title = "CodeRunner"
	}
	page.WriteString(`<section class="seg" data-step="`)
	page.WriteString(templ.EscapeString(step))
	page.WriteString(`"><button type="button" class="seg-head" aria-expanded="true"><svg class="icon" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">`)
	page.WriteString(iconShapes("chevron-down"))
	page.WriteString(`</svg><span>`)
	page.WriteString(templ.EscapeString(title))
	page.WriteString(`</span></button><div class="seg-body">`)
	for i, line := range lines {
		if i%chunkLines == 0 {
			if i > 0 {
				page.WriteString(`</div>`)
			}
			page.WriteString(`<div class="chunk">`)
		}
		writeLine(page, line, dates)
	}
	page.WriteString("</div></div></section>\n")
}

func writeLine(page *bytes.Buffer, line coderunner.LogLine, dates bool) {
	number := strconv.FormatInt(line.Seq, 10)
	page.WriteString(`<div class="ln`)
	switch line.Stream {
	case coderunner.Stderr:
		page.WriteString(" err")
	case coderunner.System:
		page.WriteString(" sys")
	}
	page.WriteString(`" id="L` + number + `"><a href="#L` + number + `" title="`)
	page.WriteString(lineTime(line.At, dates))
	page.WriteString(`">` + number + `</a><span>`)
	writeText(page, line.Text)
	page.WriteString(`</span></div>`)
}

// writeText writes a line's text with its colours.
func writeText(page *bytes.Buffer, text string) {
	for _, span := range ansi(text) {
		if span.class == "" {
			page.WriteString(templ.EscapeString(span.text))
			continue
		}
		page.WriteString(`<i class="` + span.class + `">`)
		page.WriteString(templ.EscapeString(span.text))
		page.WriteString(`</i>`)
	}
}

// logText shows one line's text by itself, as evidence on a card.
func logText(text string) templ.Component {
	return templ.ComponentFunc(func(_ context.Context, w io.Writer) error {
		var page bytes.Buffer
		writeText(&page, text)
		_, err := w.Write(page.Bytes())
		return err
	})
}
