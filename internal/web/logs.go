package web

import (
	"context"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
	"github.com/coderunner/coderunner/views"
)

// maxSearch is how long a text may be that is searched for, in bytes.
const maxSearch = 400

// runtimeLog is what a request wants to see of a project's runtime log.
type runtimeLog struct {
	project coderunner.Project
	choice  views.LogChoice
	filter  coderunner.RuntimeFilter
	numbers map[string]int // of the deployments, by id
	newest  []int          // the same, newest first
}

// readLogs reads the project and the filter of a request.
func (s *site) readLogs(r *http.Request, user coderunner.User) (l runtimeLog, err error) {
	if l.project, err = s.Store.Project(r.Context(), user.ID, chi.URLParam(r, "project")); err != nil {
		return l, err
	}
	deployments, err := s.Store.ProjectDeployments(r.Context(), user.ID, l.project.ID, math.MaxInt32, 0)
	if err != nil {
		return l, err
	}
	l.numbers = make(map[string]int, len(deployments))
	for _, d := range deployments {
		l.numbers[d.ID] = d.Number
		l.newest = append(l.newest, d.Number)
	}
	query := r.URL.Query()
	l.choice = views.LogChoice{Stream: query.Get("stream"), Range: query.Get("range"), From: query.Get("from"), To: query.Get("to"), Search: searched(query)}
	if text := query.Get("deployment"); text != "" {
		l.choice.Deployment, _ = strconv.Atoi(text) // what is no number is no deployment either
		for id, number := range l.numbers {
			if number == l.choice.Deployment {
				l.filter.DeploymentID = id
			}
		}
		if l.filter.DeploymentID == "" {
			return l, coderunner.Errorf(coderunner.NotFound, "This project has no deployment %q.", text)
		}
	}
	return l, l.readFilter(time.Now())
}

// searched is the text that a query asks to be found.
func searched(query url.Values) string {
	text := strings.TrimSpace(query.Get("q"))
	return strings.ToValidUTF8(strings.ReplaceAll(text[:min(len(text), maxSearch)], "\x00", ""), "")
}

// readFilter makes the filter of what was chosen.
func (l *runtimeLog) readFilter(now time.Time) error {
	switch stream := coderunner.Stream(l.choice.Stream); stream {
	case "", coderunner.Stdout, coderunner.Stderr, coderunner.System:
		l.filter.Stream = stream
	default:
		return coderunner.FieldError("stream", "%q is not a stream. Choose stdout, stderr or system.", l.choice.Stream)
	}
	switch l.choice.Range {
	case "":
	case "1h":
		l.filter.Since = now.Add(-time.Hour)
	case "24h":
		l.filter.Since = now.Add(-24 * time.Hour)
	case "custom":
		for _, end := range []struct {
			field, text string
			at          *time.Time
		}{{"from", l.choice.From, &l.filter.Since}, {"to", l.choice.To, &l.filter.Until}} {
			at, err := fieldTime(end.text)
			if err != nil {
				return coderunner.FieldError(end.field, "%q is not a time. Write it like 2026-01-31T13:45.", end.text)
			}
			*end.at = at
		}
	default:
		return coderunner.FieldError("range", "%q is not a range of time. Choose 1h, 24h or custom.", l.choice.Range)
	}
	return nil
}

// fieldTime reads what a field for date and time sends, UTC; no time for "".
func fieldTime(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse("2006-01-02T15:04", text)
	if err != nil {
		at, err = time.Parse("2006-01-02T15:04:05", text)
	}
	return at, err
}

// path is an address of the runtime log with the filter, and one more value at its end.
func (l *runtimeLog) path(part, key, value string) string {
	query := l.choice.Query().Encode()
	if query != "" && key != "" {
		query += "&"
	}
	if key != "" {
		query += key + "=" + value
	}
	path := views.LogsPath(l.project.ID) + part
	if query == "" {
		return path
	}
	return path + "?" + query
}

// logs is the page of a project's runtime log: the newest lines, those around one, or
// those that a search has found.
func (s *site) logs(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	l, err := s.readLogs(r, user)
	if err != nil {
		return err
	}
	page := views.LogsPage{ProjectPage: views.ProjectPage{Frame: s.frame("Logs · "+l.project.Name, views.SectionProjects, user), Project: l.project, Tab: views.TabLogs},
		Numbers: l.newest, Filter: l.choice}
	if page.Live, err = s.liveOf(r.Context(), user, l.project.ID, nil); err != nil {
		return err
	}
	if page.Live != nil {
		page.URL = page.Live.PublicURL
	}
	query := r.URL.Query()
	switch {
	case l.choice.Search != "":
		err = s.findLogs(r.Context(), &page, l, number(query.Get("before")))
	case number(query.Get("at")) > 0:
		err = s.logsAround(r.Context(), &page, l, number(query.Get("at")))
	default:
		err = s.newestLogs(r.Context(), &page, l)
	}
	if err != nil {
		return err
	}
	return s.render(w, r, http.StatusOK, views.Logs(page))
}

// newestLogs shows the end of the log, and what is added to it.
func (s *site) newestLogs(ctx context.Context, page *views.LogsPage, l runtimeLog) error {
	// The extent is read first: what is added since is in the lines or follows them.
	log, err := s.Store.RuntimeLog(ctx, l.project.ID)
	if err != nil {
		return err
	}
	lines, err := s.Store.RuntimeLogBefore(ctx, l.project.ID, l.filter, math.MaxInt64, views.RuntimeWindow)
	if err != nil {
		return err
	}
	after := log.Last
	if len(lines) > 0 {
		after = max(after, lines[len(lines)-1].Seq)
	}
	page.Panel = l.panel(lines)
	page.Panel.End = "Waiting for the next line…"
	page.Gaps = l.filter != (coderunner.RuntimeFilter{})
	if l.project.DestroyedAt != nil || !l.filter.Until.IsZero() && l.filter.Until.Before(time.Now()) {
		page.Panel.Ended, page.Panel.End = true, "End of the lines that were chosen"
		return nil
	}
	page.EventsAt = l.path("/events", "after", strconv.FormatInt(after, 10))
	page.PollAt = l.path("/lines", "after", "")
	return nil
}

// logsAround shows the lines before and after one.
func (s *site) logsAround(ctx context.Context, page *views.LogsPage, l runtimeLog, at int64) error {
	earlier, err := s.Store.RuntimeLogBefore(ctx, l.project.ID, l.filter, at+1, views.RuntimeWindow/2)
	if err != nil {
		return err
	}
	later, err := s.Store.RuntimeLogAfter(ctx, l.project.ID, l.filter, at, views.RuntimeWindow/2)
	if err != nil {
		return err
	}
	page.Panel = l.panel(append(earlier, later...))
	page.Panel.More = len(earlier) == views.RuntimeWindow/2
	page.Panel.Ended, page.Panel.End = true, "There are newer lines"
	if len(later) == views.RuntimeWindow/2 {
		last := strconv.FormatInt(later[len(later)-1].Seq, 10)
		page.LaterAt = l.path("", "at", last) + "#L" + last
	} else {
		page.Panel.End = "These were the newest lines when the page was loaded"
	}
	page.NewestAt = l.path("", "", "")
	return nil
}

// findLogs shows the lines that a search has found.
func (s *site) findLogs(ctx context.Context, page *views.LogsPage, l runtimeLog, before int64) error {
	found, err := s.Store.SearchRuntimeLog(ctx, l.project.ID, l.filter, store.LogSearch{Text: l.choice.Search, Before: before, Limit: views.FoundLimit})
	if err != nil {
		return err
	}
	log, err := s.Store.RuntimeLog(ctx, l.project.ID)
	if err != nil {
		return err
	}
	page.Found = &views.FoundLog{Text: l.choice.Search, Lines: views.RuntimeLines(found.Lines), Dates: true, Titles: views.RuntimeTitles(l.numbers), Around: true,
		Cut: found.Cut, Looked: found.Looked, WholeAt: l.path("", "", "")}
	if found.Looked > log.First {
		page.Found.Older = l.path("", "q", url.QueryEscape(l.choice.Search)+"&before="+strconv.FormatInt(found.Looked, 10))
	}
	return nil
}

// panel is the log with some of its lines.
func (l *runtimeLog) panel(lines []coderunner.RuntimeLine) views.LogPanel {
	empty := "The app has printed nothing yet. What it prints from its first start on is kept here."
	if l.choice.Filtered() {
		empty = "No line is like what was chosen."
	}
	return views.LogPanel{Path: views.LogsPath(l.project.ID), Query: l.choice.Query(), Lines: views.RuntimeLines(lines), Titles: views.RuntimeTitles(l.numbers), Dates: true,
		More: len(lines) == views.RuntimeWindow, EarlierAt: l.path("/lines", "before", ""), TextAt: l.path(".txt", "", ""), LinesAt: l.path(".ndjson", "", ""), Empty: empty}
}

// logLines is a piece of the runtime log: the lines before a line, or those after
// one for browsers that the stream does not reach.
func (s *site) logLines(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	l, err := s.readLogs(r, user)
	if err != nil {
		return err
	}
	if query := r.URL.Query(); query.Has("before") {
		lines, err := s.Store.RuntimeLogBefore(r.Context(), l.project.ID, l.filter, number(query.Get("before")), views.RuntimeWindow)
		if err != nil {
			return err
		}
		return s.render(w, r, http.StatusOK, views.LogPiece(l.panel(lines)))
	}
	lines, err := s.Store.RuntimeLogAfter(r.Context(), l.project.ID, l.filter, number(r.URL.Query().Get("after")), views.RuntimeWindow)
	if err != nil {
		return err
	}
	return s.render(w, r, http.StatusOK, views.RuntimeLogLines(lines, views.RuntimeTitles(l.numbers)))
}
