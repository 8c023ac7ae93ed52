package web

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/runlog"
	"github.com/coderunner/coderunner/internal/stream"
	"github.com/coderunner/coderunner/views"
)

// logEvents follows a runtime log from a line on, as an event stream of "lines" events
// like runEvents. It has no end: the log goes on. Only a reader that is dropped, one
// whose session ends or whose place is taken, and the server's own end close it.
func (s *site) logEvents(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	l, err := s.readLogs(r, user)
	if err != nil {
		return err
	}
	after := number(r.URL.Query().Get("after"))
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		after = number(last)
	}
	reader := s.Hub.ReadRuntime(l.project.ID)
	defer reader.Close()
	out := stream.Open(w, stream.Events, s.WriteTimeout)
	defer out.Close()
	if r.Method == http.MethodHead {
		return nil
	}
	crowded, leave := s.Streams.Enter(user.ID)
	defer leave()
	if err := out.Begin(began(after)); err != nil {
		return nil
	}
	follow := logFollower{site: s, out: out, reader: reader, user: user, log: l, after: after}
	keepAlive := time.NewTicker(s.KeepAlive)
	defer keepAlive.Stop()
	for {
		if err := follow.send(r.Context()); err != nil {
			s.logStream(r, err)
			return nil // the answer has begun: the reader comes back with its last id
		}
		select {
		case <-reader.News():
		case <-keepAlive.C:
			if s.loggedOut(r) {
				return nil
			}
			if err := out.Comment("still here"); err != nil {
				return nil
			}
		case <-crowded:
			_ = out.Crowded() // whoever has gone does not need it
			return nil
		case <-r.Context().Done():
			return nil
		case <-s.Hub.Closed():
			return nil
		}
	}
}

// logFollower is how far one reader has come.
type logFollower struct {
	site   *site
	out    *stream.Writer
	reader *runlog.RuntimeReader
	user   coderunner.User
	log    runtimeLog
	after  int64
}

// send sends what is new.
func (f *logFollower) send(ctx context.Context) error {
	for {
		page, last, err := f.reader.Next(ctx, f.log.filter, f.after)
		if err != nil || page == nil {
			return err
		}
		f.after = last
		if len(page.Lines) == 0 {
			continue
		}
		if err := f.know(ctx, page.Lines); err != nil {
			return err
		}
		// The same bytes for all who see the same lines.
		event, err := page.Render("html", func(lines []coderunner.RuntimeLine) ([]byte, error) {
			return eventOf(ctx, "lines", strconv.FormatInt(lines[len(lines)-1].Seq, 10), views.RuntimeLogLines(lines, views.RuntimeTitles(f.log.numbers)))
		})
		if err != nil {
			return err
		}
		if err := f.out.Write(event); err != nil {
			return err
		}
	}
}

// know looks up deployments that are newer than the page.
func (f *logFollower) know(ctx context.Context, lines []coderunner.RuntimeLine) error {
	for _, line := range lines {
		if _, known := f.log.numbers[line.DeploymentID]; known {
			continue
		}
		deployment, err := f.site.Store.Deployment(ctx, f.user.ID, line.DeploymentID)
		if err != nil {
			return err
		}
		f.log.numbers[line.DeploymentID] = deployment.Number
	}
	return nil
}
