package views

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// LogFirst is how many of the newest lines the run's page is first sent with.
const LogFirst = 500

// LogWindow is how many lines "Load earlier" adds, and how many come at once when a
// page polls.
const LogWindow = 2000

// RunPage is one execution of a playbook, live.
type RunPage struct {
	Frame
	Project    coderunner.Project
	Run        coderunner.Run
	Deployment *coderunner.Deployment // nil for playbooks about the project as a whole
	Ahead      *coderunner.Run        // the one at work that a queued run waits for
	Serving    *coderunner.Deployment // the version that serves in spite of a run that came to nothing
	Steps      []coderunner.Step
	Lines      []coderunner.LogLine // the newest, oldest first, at most LogFirst
	Newest     bool                 // of a run that came to nothing: nothing was deployed since
	URL        string               // where the app answers; shown when a deploy succeeded
	Found      *FoundLog            // instead of the log, when something was searched for
}

// panel is the run's log.
func (p RunPage) panel() LogPanel {
	panel := LogSlice{RunID: p.Run.ID, Steps: p.Steps, Lines: p.Lines}.Panel()
	panel.Path, panel.TextAt, panel.LinesAt = runPath(p.Run.ID), downloadPath(p.Run.ID), "/runs/"+p.Run.ID+"/log.ndjson"
	panel.Ended, panel.Empty, panel.End = p.Run.State.Ended(), "The run printed nothing.", "Waiting for the next line…"
	if panel.Ended {
		panel.End = "End of the log"
	}
	if at := p.Run.LogDroppedAt; at != nil {
		panel.End = "The log of this run is not kept any more. It went on " + exact(*at) + "."
		panel.Empty = panel.End
	}
	return panel
}

// againPath is where a run that came to nothing is asked for once more as it is,
// "" for playbooks whose plan can be changed first.
func againPath(p RunPage) string {
	switch p.Run.Playbook {
	case "restart", "start", "stop":
		return actPath(p.Project.ID, p.Run.Playbook)
	case "rollback":
		if p.Deployment != nil && p.Deployment.FromID != "" {
			return rollbackPath(p.Deployment.FromID)
		}
	}
	return ""
}

// aboutDatabase reports whether the run attaches, detaches or deletes a database.
func (p RunPage) aboutDatabase() bool {
	return p.Run.Playbook == "attach" || p.Run.Playbook == "detach" || p.Run.Playbook == "delete_database"
}

// databaseOutcome is what such a run that succeeded means for the app.
func (p RunPage) databaseOutcome() string {
	restarted := slices.ContainsFunc(p.Steps, func(s coderunner.Step) bool { return s.Name == "start" })
	switch {
	case p.Run.Playbook == "delete_database":
		return "Its data is gone. A new one can be attached whenever you like."
	case p.Run.Playbook == "attach" && restarted:
		return "The app was started again, and has its variables."
	case p.Run.Playbook == "attach":
		return "The app has its variables when it is started the next time."
	case restarted:
		return "The app was started again, without its variables. Its data is kept."
	}
	return "Its data is kept. Whatever is started from now on does not get its variables."
}

// stepAhead is how many other runs a step waits for, 0 if it does not wait.
func stepAhead(step coderunner.Step) int {
	var output struct {
		Ahead int `json:"ahead"`
	}
	if step.State != coderunner.StepRunning || json.Unmarshal(step.Output, &output) != nil {
		return 0
	}
	return output.Ahead
}

// LogSlice is a piece of a run's log as a fragment: the answer of
// GET /runs/{id}/log with before=SEQ.
type LogSlice struct {
	RunID string
	Steps []coderunner.Step // for the headings
	Lines []coderunner.LogLine
}

// Panel is what the fragment shows.
func (s LogSlice) Panel() LogPanel {
	return LogPanel{Lines: s.Lines, Titles: stepTitles(s.Steps), More: first(s.Lines) > 1, EarlierAt: "/runs/" + s.RunID + "/log?before="}
}

// RunFound is what a search of a run's log has found.
func RunFound(run coderunner.Run, steps []coderunner.Step, text string, lines []coderunner.LogLine, looked int64, cut bool) *FoundLog {
	found := &FoundLog{Text: text, Lines: lines, Titles: stepTitles(steps), Cut: cut, Looked: looked, WholeAt: runPath(run.ID)}
	if looked > 1 {
		found.Older = withQuery(runPath(run.ID), url.Values{"q": {text}}, "before", strconv.FormatInt(looked, 10))
	}
	return found
}

// first answers the first line's number, 0 without lines.
func first(lines []coderunner.LogLine) int64 {
	if len(lines) == 0 {
		return 0
	}
	return lines[0].Seq
}

// last answers the last line's number, 0 without lines.
func last(lines []coderunner.LogLine) int64 {
	if len(lines) == 0 {
		return 0
	}
	return lines[len(lines)-1].Seq
}

// began answers when a run started, or was queued if it has not.
func began(run coderunner.Run) time.Time {
	if run.StartedAt != nil {
		return *run.StartedAt
	}
	return run.CreatedAt
}

// RunTitle is the document's title while the run stands as it does.
func RunTitle(project coderunner.Project, run coderunner.Run) string {
	words := wordsOf(run.Playbook)
	state := words.during
	switch run.State {
	case coderunner.RunQueued:
		state = "Queued"
	case coderunner.RunCancelling:
		state = "Cancelling"
	case coderunner.RunSucceeded:
		state = words.succeeded
	case coderunner.RunFailed:
		state = "Failed"
	case coderunner.RunCancelled:
		state = "Cancelled"
	}
	return state + " · " + project.Name
}

// failureOf answers why the run failed, in general words if nobody said.
func failureOf(run coderunner.Run) coderunner.Failure {
	if run.Failure != nil {
		return *run.Failure
	}
	return coderunner.Failure{Title: wordsOf(run.Playbook).failed + ".", Detail: "The log below has its last lines."}
}

// fixes are the buttons under a failure. One that something newer has followed has none.
func (p RunPage) fixes(failure coderunner.Failure) []coderunner.Fix {
	if !p.Newest || p.Project.DestroyedAt != nil {
		return nil
	}
	return failure.Fixes
}

// blameWords say whose fault a failure is.
func blameWords(b coderunner.Blame) string {
	switch b {
	case coderunner.Theirs:
		return "In your code or its settings"
	case coderunner.Ours:
		return "Not your fault: CodeRunner or its machine"
	case coderunner.Upstream:
		return "Not your fault: a service elsewhere"
	}
	return ""
}

// barState is the state in the run's bar. A deploy says PROVISIONING, BUILDING
// and RUNNING as its deployment does; one that was followed by others only how it ended.
func barState(p RunPage) state {
	switch {
	case !p.Run.State.Ended():
		return openRun(p.Run, p.Deployment)
	case p.Run.State == coderunner.RunSucceeded && p.Deployment != nil && (p.URL != "" || p.Run.Playbook == "stop" && p.Deployment.Status == coderunner.Stopped):
		return p.appState(*p.Deployment)
	}
	return runState(p.Run.State)
}
