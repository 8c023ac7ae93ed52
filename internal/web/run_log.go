package web

import (
	"bufio"
	"net/http"
	"regexp"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/views"
)

// runLog is a piece of a run's log: the lines before a line, or those after one
// together with where the run stands, for browsers that the stream does not reach.
func (s *site) runLog(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	page, err := s.runPage(r.Context(), user, chi.URLParam(r, "run"))
	if err != nil {
		return err
	}
	query := r.URL.Query()
	if query.Has("before") {
		slice := views.LogSlice{RunID: page.Run.ID, Steps: page.Steps}
		if slice.Lines, err = s.Store.LogBefore(r.Context(), page.Run.ID, number(query.Get("before")), views.LogWindow); err != nil {
			return err
		}
		return s.render(w, r, http.StatusOK, views.LogPiece(slice.Panel()))
	}
	if page.Lines, err = s.Store.LogAfter(r.Context(), page.Run.ID, number(query.Get("after")), views.LogWindow); err != nil {
		return err
	}
	if len(page.Lines) == views.LogWindow { // there are more; a run that looked ended would not be asked about again
		return s.render(w, r, http.StatusOK, views.LogLines(page.Lines, page.Steps))
	}
	return s.render(w, r, http.StatusOK, views.RunUpdate(page))
}

// colours are what a log line may carry beside text; the second part is what no line has.
var colours = regexp.MustCompile(`\x1b\[[0-9;:]*m|[\x00-\x08\x0b-\x1f\x7f]`)

// writeText writes when, in which step or of which deployment, and what.
func writeText(out *bufio.Writer, at time.Time, from, text string) {
	_, _ = out.WriteString(at.UTC().Format("2006-01-02T15:04:05.000Z "))
	if from != "" {
		_, _ = out.WriteString("[" + from + "] ")
	}
	_, _ = out.WriteString(colours.ReplaceAllString(text, ""))
	_ = out.WriteByte('\n') // the error stays with the writer until it is flushed
}
