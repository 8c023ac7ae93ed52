package diagnosis

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/coderunner/coderunner/internal/coderunner"
)

const (
	shownLines  = 20   // lines of the log that go with a failure
	shownBefore = 6    // of them before the one that shows the cause
	readBytes   = 4096 // of each line; no tool says in longer ones why it gives up
	shownText   = 240  // characters of the user's text in one sentence
)

// evidenceCase is the evidence under examination.
type evidenceCase struct {
	ev      Evidence
	plain   []string // ev.Lines without escape sequences
	shownBy int      // the line that shows the cause, -1 for the last ones
}

func newCase(ev Evidence) *evidenceCase {
	c := &evidenceCase{ev: ev, shownBy: -1, plain: make([]string, len(ev.Lines))}
	for i, line := range ev.Lines {
		c.plain[i] = plainText(line[:min(len(line), readBytes)])
	}
	return c
}

// last finds the last line that matches: what a program says at its end counts
// more than what it said on the way. at is -1 if there is none.
func (c *evidenceCase) last(re *regexp.Regexp) (at int, groups []string) {
	for i := len(c.plain) - 1; i >= 0; i-- {
		if m := re.FindStringSubmatch(c.plain[i]); m != nil {
			return i, m
		}
	}
	return -1, nil
}

// show takes the last line that matches as the one that shows the cause, if there is any, and
// answers its first group.
func (c *evidenceCase) show(re *regexp.Regexp) string {
	at, m := c.last(re)
	if at >= 0 {
		c.shownBy = at
	}
	return firstOf(m)
}

// group is the first non-empty group of the last line that matches, "" if none does.
func (c *evidenceCase) group(re *regexp.Regexp) string {
	_, m := c.last(re)
	return firstOf(m)
}

// firstOf is the first group that took part in the match.
func firstOf(groups []string) string {
	for i, g := range groups {
		if i > 0 && g != "" {
			return g
		}
	}
	return ""
}

// subject is the step as the subject of a sentence.
func (c *evidenceCase) subject() string {
	switch c.ev.Step {
	case "install":
		return "The install command"
	case "build":
		return "The build command"
	case "release":
		return "The release command"
	}
	return "The app"
}

// bytes says a limit as whoever runs the server has set it.
func bytes(n int64) string {
	size, unit := float64(n), 0
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB"}
	for size >= 1024 && unit < len(units)-1 {
		size, unit = size/1024, unit+1
	}
	return fmt.Sprintf("%.4g %s", size, units[unit])
}

// file is a path of the sandbox as the user knows it: relative to what was uploaded.
func (c *evidenceCase) file(name string) string {
	name = strings.TrimPrefix(name, "file://")
	if inApp, ok := strings.CutPrefix(name, "/app/"); ok {
		name = inApp
	}
	if root := path.Clean(c.ev.Plan.Root); root != "." && root != "/" {
		name = strings.TrimPrefix(name, root+"/")
	}
	return cut(name)
}

var escape = regexp.MustCompile(`\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)`)

// plainText is a line without escape sequences and control characters. Of a
// line that was written over, the last state remains.
func plainText(line string) string {
	line = strings.TrimRight(escape.ReplaceAllString(strings.ToValidUTF8(line, "\uFFFD"), ""), "\r\n")
	if i := strings.LastIndexByte(line, '\r'); i >= 0 {
		line = line[i+1:]
	}
	return strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, line)
}

// excerpt is what is shown with a failure: the last lines, or, when the one
// that shows the cause came earlier, those from just before it; never many before that one. shown is which of
// them it is, counted from 1; 0 for none.
func excerpt(lines []string, at int) (part []string, shown int) {
	end := len(lines)
	for end > 0 && strings.TrimSpace(plainText(lines[end-1])) == "" {
		end--
	}
	begin := max(0, end-shownLines)
	switch {
	case at >= 0 && at < begin:
		begin = max(0, at-2)
		end = min(end, begin+shownLines)
	case at < end:
		begin = max(begin, at-shownBefore) // not far down, where one would have to scroll for it
	}
	if begin == end {
		return nil, 0
	}
	if at >= begin && at < end {
		shown = at - begin + 1
	}
	return append([]string(nil), lines[begin:end]...), shown
}

// cut bounds a piece of the user's text.
func cut(text string) string {
	text = strings.TrimSpace(text)
	if runes := []rune(text); len(runes) > shownText {
		return strings.TrimSpace(string(runes[:shownText])) + "…"
	}
	return text
}

// quote is a piece of the user's text within a sentence.
func quote(text string) string {
	if text = cut(plainText(strings.ReplaceAll(text, "\n", " "))); text == "" {
		return "(empty)"
	}
	return "“" + text + "”"
}

// spell is a duration as one says it.
func spell(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second && d%time.Second != 0:
		return fmt.Sprintf("%.1f seconds", d.Seconds())
	case d < 2*time.Minute:
		return plural(int(d.Round(time.Second)/time.Second), "second")
	}
	return plural(int(d.Round(time.Minute)/time.Minute), "minute")
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// rule recognises one cause by a line that a tool prints when it gives up.
type rule struct {
	line *regexp.Regexp
	// tell says what the line means, or declines it.
	tell func(c *evidenceCase, groups []string) (coderunner.Failure, bool)
}

// read goes through the rules, from the most specific to the most general.
func (c *evidenceCase) read() (coderunner.Failure, bool) {
	lists := [][]rule{npmRules, pythonRules, goRules, systemRules, nodeRules}
	if c.ev.Step == "start" || c.ev.Step == "health" {
		lists = [][]rule{pythonRules, goRules, systemRules, nodeRules, npmRules}
	}
	for _, rules := range lists {
		for _, r := range rules {
			for at := len(c.plain) - 1; at >= 0; at-- {
				groups := r.line.FindStringSubmatch(c.plain[at])
				if groups == nil {
					continue
				}
				c.shownBy = at
				if f, ok := r.tell(c, groups); ok {
					return f, true
				}
			}
		}
	}
	c.shownBy = -1
	return coderunner.Failure{}, false
}

// says makes the rule's answer.
func says(id, title, detail, next string) (coderunner.Failure, bool) {
	return coderunner.Failure{ID: id, Title: title, Detail: detail, Next: next}, true
}
