package project

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// DotEnv is what a .env file says.
type DotEnv struct {
	Variables []DotEnvVariable // each key once, in the order of the file
	Notes     []string         // what was read otherwise than one might think, with its line
	Problems  []string         // lines that say nothing, or something that cannot be set
}

// DotEnvVariable is a variable and the line that it begins in, from 1.
type DotEnvVariable struct {
	Key, Value string
	Line       int
}

// maxDotEnvProblems bounds what is said about a file that is none.
const maxDotEnvProblems = 20

var dotEnvHead = regexp.MustCompile(`^[ \t]*(?:export[ \t]+)?([^=\s#]+)[ \t]*=[ \t]*`)

// ParseDotEnv reads a .env file as static/js/env.js does: "export", comments, single,
// double and backtick quotes, values over several lines, and \n, \r, \t, \" and \\
// within double quotes. Of a key that comes twice the last value counts, in the first
// one's place. A quote that does not end takes its line, not the file. References
// such as ${OTHER} stay as they are. Lines may end in CR LF; within a value that
// becomes LF. No problem repeats a value.
func ParseDotEnv(text string) DotEnv {
	r := dotEnvReader{text: strings.ReplaceAll(strings.ReplaceAll(strings.TrimPrefix(text, "\uFEFF"), "\r\n", "\n"), "\r", "\n"), line: 1}
	for r.at < len(r.text) {
		r.next()
	}
	if more := len(r.found.Problems) - maxDotEnvProblems; more > 0 {
		r.found.Problems = append(r.found.Problems[:maxDotEnvProblems], fmt.Sprintf("%d more lines like these.", more))
	}
	return r.found
}

type dotEnvReader struct {
	text  string
	at    int
	line  int // of at
	found DotEnv
}

// next reads one line, or the lines of one value.
func (r *dotEnvReader) next() {
	begin, number := r.at, r.line
	line := r.text[begin:lineEnd(r.text, begin)]
	head := dotEnvHead.FindStringSubmatchIndex(line)
	if head == nil {
		if trimmed := strings.TrimSpace(line); trimmed != "" && !strings.HasPrefix(trimmed, "#") {
			r.problem(number, "this is no NAME=value")
		}
		r.goTo(begin + len(line) + 1)
		return
	}
	key := line[head[2]:head[3]]
	value, end := r.value(begin + head[1])
	r.goTo(end)
	if err := coderunner.CheckVariable(key, value); err != nil {
		r.problem(number, coderunner.Sentence(err))
		return
	}
	r.add(DotEnvVariable{Key: key, Value: value, Line: number})
}

func (r *dotEnvReader) add(v DotEnvVariable) {
	i := slices.IndexFunc(r.found.Variables, func(o DotEnvVariable) bool { return o.Key == v.Key })
	if i < 0 {
		r.found.Variables = append(r.found.Variables, v)
		return
	}
	r.found.Notes = append(r.found.Notes, fmt.Sprintf("%s is there twice, in lines %d and %d; the last one counts.", v.Key, r.found.Variables[i].Line, v.Line))
	r.found.Variables[i] = v
}

func (r *dotEnvReader) problem(line int, sentence string) {
	r.found.Problems = append(r.found.Problems, fmt.Sprintf("Line %d: %s", line, strings.TrimSuffix(sentence, ".")+"."))
}

// goTo moves to the beginning of a later line.
func (r *dotEnvReader) goTo(next int) {
	next = min(next, len(r.text))
	r.line += strings.Count(r.text[r.at:next], "\n")
	r.at = next
}

// value answers the value that begins at, and where the next line begins.
func (r *dotEnvReader) value(at int) (string, int) {
	if at < len(r.text) && strings.IndexByte("\"'`", r.text[at]) >= 0 {
		if end := closingQuote(r.text, at); end > 0 {
			inside := r.text[at+1 : end]
			if r.text[at] == '"' {
				inside = unescape(inside)
			}
			return inside, lineEnd(r.text, end) + 1
		}
	}
	end := lineEnd(r.text, at)
	return strings.TrimSpace(withoutComment(r.text[at:end])), end + 1
}

func lineEnd(text string, at int) int {
	if i := strings.IndexByte(text[at:], '\n'); i >= 0 {
		return at + i
	}
	return len(text)
}

var commentOnly = regexp.MustCompile(`^[ \t]*(#.*)?$`)

// closingQuote answers where the quote that opens at ends, 0 if it does not. What
// follows it may only be a comment.
func closingQuote(text string, at int) int {
	quote := text[at]
	for i := at + 1; i < len(text); i++ {
		switch {
		case text[i] == '\\' && quote == '"':
			i++
		case text[i] == quote:
			if commentOnly.MatchString(text[i+1 : lineEnd(text, i)]) {
				return i
			}
			return 0
		}
	}
	return 0
}

// withoutComment cuts a comment off: a # at the beginning or after a space.
func withoutComment(text string) string {
	for i := range len(text) {
		if text[i] == '#' && (i == 0 || text[i-1] == ' ' || text[i-1] == '\t') {
			return text[:i]
		}
	}
	return text
}

// unescape does what a backslash means within double quotes. One before any other
// character stays.
func unescape(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) {
			if meaning := strings.IndexByte(`nrt"\`, text[i+1]); meaning >= 0 {
				b.WriteByte("\n\r\t\"\\"[meaning])
				i++
				continue
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}
