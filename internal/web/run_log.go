package web

import (
	"bufio"
	"fmt"
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
		return s.render(w, r, http.StatusOK, views.LogEarlier(slice))
	}
	if page.Lines, err = s.Store.LogAfter(r.Context(), page.Run.ID, number(query.Get("after")), views.LogWindow); err != nil {
		return err
	}
	if len(page.Lines) == views.LogWindow { // there are more; a run that looked ended would not be asked about again
		return s.render(w, r, http.StatusOK, views.LogLines(page.Lines, page.Steps))
	}
	return s.render(w, r, http.StatusOK, views.RunUpdate(page))
}

// textLines is how many lines are read at once for the download.
const textLines = 2000

// runLogText is the whole log, as far as it goes now, as text without colours.
func (s *site) runLogText(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	run, err := s.Store.Run(r.Context(), user.ID, chi.URLParam(r, "run"))
	if err == nil {
		err = run.CheckLog()
	}
	if err != nil {
		return err
	}
	lines, err := s.Store.LogAfter(r.Context(), run.ID, 0, textLines)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s-%s.txt"`, run.Playbook, run.ID[:8]))
	control := http.NewResponseController(w)
	out := bufio.NewWriterSize(w, 64<<10)
	for len(lines) > 0 && err == nil {
		_ = control.SetWriteDeadline(time.Now().Add(s.WriteTimeout)) // a connection that has no deadlines waits
		for _, line := range lines {
			writeText(out, line)
		}
		if err = out.Flush(); err == nil {
			lines, err = s.Store.LogAfter(r.Context(), run.ID, lines[len(lines)-1].Seq, textLines)
		}
	}
	if err != nil {
		s.logger(r).Warn("a log was not sent to its end", "err", err)
		panic(http.ErrAbortHandler) // so that the file does not look complete
	}
	_ = control.SetWriteDeadline(time.Time{}) // for the connection's next request
	return nil
}

// colours are what a log line may carry beside text; the second part is what no line has.
var colours = regexp.MustCompile(`\x1b\[[0-9;:]*m|[\x00-\x08\x0b-\x1f\x7f]`)

// writeText writes when, in which step, and what.
func writeText(out *bufio.Writer, line coderunner.LogLine) {
	_, _ = out.WriteString(line.At.UTC().Format("2006-01-02T15:04:05.000Z "))
	if line.Step != "" {
		_, _ = out.WriteString("[" + line.Step + "] ")
	}
	_, _ = out.WriteString(colours.ReplaceAllString(line.Text, ""))
	_ = out.WriteByte('\n') // the error stays with the writer until it is flushed
}
