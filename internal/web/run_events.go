package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/a-h/templ"
	"github.com/go-chi/chi/v5"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/stream"
	"github.com/coderunner/coderunner/views"
)

// eventLines is how many lines go into one event, and maxBatches how many such events
// go out before it is said again where the run stands.
const (
	eventLines = 500
	maxBatches = 20
)

// runEvents follows a run from a line on, as an event stream:
//
//	event: began    nothing yet, but the stream gets through
//	event: lines    lines as HTML; the id is the last one's number
//	(unnamed)       what stands beside the log, after each change of it
//	event: end      the run has ended and every line was sent; the last one's number
//	event: crowded  a newer stream of the user's took this one's place; see stream.Places
//
// It begins after the line that Last-Event-ID names, else after the query's. Who
// reconnects sees every line once. The rows are the truth; the hub only says when
// to look. A reader that does not take what it is sent is dropped, and so is one
// whose session ends.
func (s *site) runEvents(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	id := chi.URLParam(r, "run")
	run, err := s.Store.Run(r.Context(), user.ID, id)
	if err != nil {
		return err
	}
	after := number(r.URL.Query().Get("after"))
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		after = number(last)
	}
	changed, unsubscribe := s.Hub.Subscribe(run.ID)
	defer unsubscribe()
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
	follow := follower{site: s, out: out, user: user, run: run.ID, after: after}
	keepAlive := time.NewTicker(s.KeepAlive)
	defer keepAlive.Stop()
	for {
		more, err := follow.send(r.Context())
		if err != nil || follow.over {
			s.logStream(r, err)
			return nil // the answer has begun: the reader comes back with its last id
		}
		if more {
			continue
		}
		select {
		case <-changed:
		case <-keepAlive.C:
			if s.loggedOut(r) {
				return nil
			}
			err = out.Comment("still here")
		case <-crowded:
			_ = out.Crowded() // whoever has gone does not need it
			return nil
		case <-r.Context().Done():
			return nil
		case <-s.Hub.Closed():
			return nil
		}
		if err != nil {
			return nil
		}
	}
}

// loggedOut reports whether the session that a long answer began with has ended. It
// is asked for anew: what is kept with the request is as old as the request.
func (s *site) loggedOut(r *http.Request) bool {
	ctx, cancel := context.WithTimeout(context.Background(), s.WriteTimeout)
	defer cancel()
	_, err := s.Auth.CurrentUser(r.WithContext(ctx))
	return coderunner.KindOf(err) == coderunner.Unauthenticated
}

// logStream tells why a stream broke off, unless its reader has simply left.
func (s *site) logStream(r *http.Request, err error) {
	if err != nil && (r.Context().Err() == nil || errors.Is(err, os.ErrDeadlineExceeded)) {
		s.logger(r).Info("a stream broke off", "err", err)
	}
}

// follower is how far one reader has come.
type follower struct {
	site     *site
	out      *stream.Writer
	user     coderunner.User
	run      string
	after    int64
	progress []byte // what the last unnamed event told
	over     bool
}

// send sends what is new and reports whether there is more to send at once.
func (f *follower) send(ctx context.Context) (more bool, err error) {
	// Where the run stands is read before its lines: an ended one writes none.
	page, err := f.site.runPage(ctx, f.user, f.run)
	if err != nil {
		return false, err
	}
	if more, err = f.sendLines(ctx, page.Steps); err != nil {
		return false, err
	}
	if state := stateOf(page); !bytes.Equal(state, f.progress) && (!more || !page.Run.State.Ended()) {
		if err := f.event(ctx, "", "", views.RunProgress(page)); err != nil {
			return false, err
		}
		f.progress = state
	}
	if !more && page.Run.State.Ended() {
		f.over = true
		return false, f.event(ctx, "end", "", templ.Raw(strconv.FormatInt(f.after, 10)))
	}
	return more, nil
}

func (f *follower) sendLines(ctx context.Context, steps []coderunner.Step) (more bool, err error) {
	for range maxBatches {
		lines, err := f.site.Store.LogAfter(ctx, f.run, f.after, eventLines)
		if err != nil || len(lines) == 0 {
			return false, err
		}
		last := lines[len(lines)-1].Seq
		if err := f.event(ctx, "lines", strconv.FormatInt(last, 10), views.LogLines(lines, steps)); err != nil {
			return false, err
		}
		f.after = last
	}
	return true, nil
}

// event sends one event; name and id may be "".
func (f *follower) event(ctx context.Context, name, id string, data templ.Component) error {
	event, err := eventOf(ctx, name, id, data)
	if err != nil {
		return err
	}
	return f.out.Write(event)
}

// stateOf is all that the unnamed event shows but the time that passes.
func stateOf(page views.RunPage) []byte {
	page.Run.LeaseExpiresAt, page.Run.Owner, page.Run.Epoch = nil, "", 0 // kept alive every few seconds
	var status coderunner.DeploymentStatus
	if page.Deployment != nil {
		status = page.Deployment.Status
	}
	state, err := json.Marshal([]any{page.Run, page.Steps, status, page.URL, page.Project.Name})
	if err != nil {
		return nil
	}
	return state
}

// began is a page's first event: the stream gets through, and goes on after this line.
func began(after int64) string {
	return "event: began\nid: " + strconv.FormatInt(after, 10) + "\n\n"
}

// eventOf is one event as it is sent.
func eventOf(ctx context.Context, name, id string, data templ.Component) ([]byte, error) {
	var body, event bytes.Buffer
	if err := data.Render(ctx, &body); err != nil {
		return nil, err
	}
	if name != "" {
		event.WriteString("event: " + name + "\n")
	}
	if id != "" {
		event.WriteString("id: " + id + "\n")
	}
	for line := range bytes.Lines(append(bytes.TrimRight(body.Bytes(), "\r\n"), '\n')) {
		event.WriteString("data: ")
		event.Write(bytes.ReplaceAll(bytes.TrimRight(line, "\r\n"), []byte("\r"), nil))
		event.WriteByte('\n')
	}
	event.WriteByte('\n')
	return event.Bytes(), nil
}
