package views

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// RuntimeWindow is how many lines the runtime log's page is first sent with, and how
// many "Load earlier" adds.
const RuntimeWindow = 500

// FoundLimit is how many found lines are shown at once.
const FoundLimit = 200

// LogPanel is a log with its tools, the run's and the runtime log alike.
type LogPanel struct {
	Path      string     // of the page that it is on
	Query     url.Values // of what is shown, kept by a search; nil for all
	Lines     []coderunner.LogLine
	Titles    map[string]string // of sections, by step
	Dates     bool              // whether lines are of many days
	More      bool              // whether there are earlier lines
	EarlierAt string            // the address of earlier lines, without the number at its end
	TextAt    string            // downloads
	LinesAt   string
	Search    string // what is searched for
	End       string // what the last line says; what it says later is up to the script
	Empty     string // what it says without lines
	Ended     bool
}

// FoundLog are the lines of a log that a search has found.
type FoundLog struct {
	Text    string
	Lines   []coderunner.LogLine
	Dates   bool
	Titles  map[string]string
	Around  bool   // whether the log's page can show what is around a line
	Older   string // where the search goes on, "" at the log's beginning
	Cut     bool   // it took too long
	Looked  int64  // lines from this one on were looked at
	WholeAt string // the address of the log itself
}

// at is the address of a line within its log.
func (f FoundLog) at(seq int64) string {
	number := strconv.FormatInt(seq, 10)
	path, _, _ := strings.Cut(f.WholeAt, "?")
	if f.Around {
		path += "?at=" + number
	}
	return path + "#L" + number
}

// LogsPage is what a project's apps have printed.
type LogsPage struct {
	ProjectPage
	Panel    LogPanel
	EventsAt string // "" when what is shown does not grow
	PollAt   string // without the number at its end
	Gaps     bool   // whether a filter leaves lines out
	Numbers  []int  // of the deployments, newest first
	Filter   LogChoice
	Found    *FoundLog // nil without a search
	NewestAt string    // the address of the newest lines, when others are shown
	LaterAt  string    // of the lines after those shown
}

// LogChoice is the filter as the form has it.
type LogChoice struct {
	Deployment int    // number, 0 for all
	Stream     string // "" for all
	Range      string // "", "1h", "24h" or "custom"
	From, To   string // of a custom range, as the form's fields have them, UTC
	Search     string
}

// Query is the choice as a page's query, without what is not chosen.
func (c LogChoice) Query() url.Values {
	q := url.Values{}
	if c.Deployment > 0 {
		q.Set("deployment", strconv.Itoa(c.Deployment))
	}
	for key, value := range map[string]string{"stream": c.Stream, "range": c.Range} {
		if value != "" {
			q.Set(key, value)
		}
	}
	if c.Range == "custom" {
		for key, value := range map[string]string{"from": c.From, "to": c.To} {
			if value != "" {
				q.Set(key, value)
			}
		}
	}
	return q
}

// Filtered reports whether anything but a search is chosen.
func (c LogChoice) Filtered() bool { return len(c.Query()) > 0 }

// RuntimeLines are lines of a runtime log as the log shows them: a section for each
// stretch of one deployment.
func RuntimeLines(lines []coderunner.RuntimeLine) []coderunner.LogLine {
	out := make([]coderunner.LogLine, len(lines))
	for i, l := range lines {
		out[i] = coderunner.LogLine{Seq: l.Seq, At: l.At, Stream: l.Stream, Step: l.DeploymentID, Text: l.Text}
	}
	return out
}

// RuntimeTitles are the headings of a runtime log's sections.
func RuntimeTitles(numbers map[string]int) map[string]string {
	titles := make(map[string]string, len(numbers))
	for id, number := range numbers {
		titles[id] = "Deployment #" + strconv.Itoa(number)
	}
	return titles
}

// withQuery is a path with a query and one more value, which comes last.
func withQuery(path string, query url.Values, key, value string) string {
	text := query.Encode()
	if text != "" {
		text += "&"
	}
	return path + "?" + text + url.QueryEscape(key) + "=" + value
}

// LogsPath is the page of a project's runtime log.
func LogsPath(project string) string { return tabPath(project, TabLogs) }

// lineTime is when a line was printed.
func lineTime(at time.Time, dates bool) string {
	if dates {
		return at.UTC().Format("2006-01-02 15:04:05.000 UTC")
	}
	return at.UTC().Format("15:04:05.000 UTC")
}
