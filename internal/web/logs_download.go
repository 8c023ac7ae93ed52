package web

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// textLines is how many lines are read at once for a download.
const textLines = 2000

// download sends lines as a file, read a page after the other. next answers the page
// after those that it answered before, empty at the end. The first page is read before
// the answer begins, so that what is wrong can still be said.
func download[L any](s *site, w http.ResponseWriter, r *http.Request, contentType, filename string, next func(context.Context) ([]L, error), write func(*bufio.Writer, L)) error {
	lines, err := next(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s"`, filename))
	control := http.NewResponseController(w)
	out := bufio.NewWriterSize(w, 64<<10)
	for len(lines) > 0 && err == nil {
		_ = control.SetWriteDeadline(time.Now().Add(s.WriteTimeout)) // a connection that has no deadlines waits
		for _, line := range lines {
			write(out, line)
		}
		if err = out.Flush(); err == nil {
			lines, err = next(r.Context())
		}
	}
	if err != nil {
		s.logger(r).Warn("a log was not sent to its end", "err", err)
		panic(http.ErrAbortHandler) // so that the file does not look complete
	}
	_ = control.SetWriteDeadline(time.Time{}) // for the connection's next request
	return nil
}

const (
	plainText = "text/plain; charset=utf-8"
	jsonLines = "application/x-ndjson"
)

// jsonLine is a line of a log in a download. It has the fields that the API's has.
type jsonLine struct {
	Seq        int64     `json:"seq"`
	At         time.Time `json:"at"`
	Stream     string    `json:"stream"`
	Step       string    `json:"step,omitempty"`       // a run's
	Deployment int       `json:"deployment,omitempty"` // number; an app's
	Text       string    `json:"text"`
}

func writeJSON(out *bufio.Writer, line jsonLine) {
	text, err := json.Marshal(line)
	if err != nil {
		return // strings and numbers can always be encoded
	}
	_, _ = out.Write(text)
	_ = out.WriteByte('\n') // the error stays with the writer until it is flushed
}

// runLogText is the whole log of a run, as far as it goes now, as text without colours.
func (s *site) runLogText(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	return s.downloadRun(w, r, user, plainText, "txt", func(out *bufio.Writer, l coderunner.LogLine) { writeText(out, l.At, l.Step, l.Text) })
}

// runLogJSON is the same as lines of JSON, with colours.
func (s *site) runLogJSON(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	return s.downloadRun(w, r, user, jsonLines, "ndjson", func(out *bufio.Writer, l coderunner.LogLine) {
		writeJSON(out, jsonLine{Seq: l.Seq, At: l.At, Stream: string(l.Stream), Step: l.Step, Text: l.Text})
	})
}

func (s *site) downloadRun(w http.ResponseWriter, r *http.Request, user coderunner.User, contentType, extension string, write func(*bufio.Writer, coderunner.LogLine)) error {
	run, err := s.Store.Run(r.Context(), user.ID, chi.URLParam(r, "run"))
	if err != nil {
		return err
	}
	after := int64(0)
	next := func(ctx context.Context) ([]coderunner.LogLine, error) {
		lines, err := s.Store.LogAfter(ctx, run.ID, after, textLines)
		if len(lines) > 0 {
			after = lines[len(lines)-1].Seq
		}
		return lines, err
	}
	return download(s, w, r, contentType, fmt.Sprintf("%s-%s.%s", run.Playbook, run.ID[:8], extension), next, write)
}

// logsText is what is chosen of a runtime log, as far as it goes now, as text without colours.
func (s *site) logsText(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	return s.downloadLogs(w, r, user, plainText, "txt", func(out *bufio.Writer, l coderunner.RuntimeLine, number int) {
		writeText(out, l.At, "#"+strconv.Itoa(number), l.Text)
	})
}

// logsJSON is the same as lines of JSON, with colours.
func (s *site) logsJSON(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	return s.downloadLogs(w, r, user, jsonLines, "ndjson", func(out *bufio.Writer, l coderunner.RuntimeLine, number int) {
		writeJSON(out, jsonLine{Seq: l.Seq, At: l.At, Stream: string(l.Stream), Deployment: number, Text: l.Text})
	})
}

func (s *site) downloadLogs(w http.ResponseWriter, r *http.Request, user coderunner.User, contentType, extension string, write func(*bufio.Writer, coderunner.RuntimeLine, int)) error {
	l, err := s.readLogs(r, user)
	if err != nil {
		return err
	}
	log, err := s.Store.RuntimeLog(r.Context(), l.project.ID)
	if err != nil {
		return err
	}
	after := int64(0)
	next := func(ctx context.Context) ([]coderunner.RuntimeLine, error) {
		if after >= log.Last { // an app that goes on printing does not make the file endless
			return nil, nil
		}
		lines, err := s.Store.RuntimeLogAfter(ctx, l.project.ID, l.filter, after, textLines)
		for len(lines) > 0 && lines[len(lines)-1].Seq > log.Last {
			lines = lines[:len(lines)-1]
		}
		if len(lines) > 0 {
			after = lines[len(lines)-1].Seq
		}
		return lines, err
	}
	return download(s, w, r, contentType, fmt.Sprintf("%s-log.%s", l.project.Slug, extension), next, func(out *bufio.Writer, line coderunner.RuntimeLine) {
		write(out, line, l.numbers[line.DeploymentID])
	})
}
