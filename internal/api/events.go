package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/stream"
)

const eventsDescription = `Server-sent events. Which there are:

- ` + "`log`" + `: a line of the log as get-run-log has it; the event's id is its seq.
- ` + "`run`" + `: the run with its steps, first of all and after each change.
- ` + "`end`" + `: the run has ended and every line was sent; the data has its state. Nothing follows.
- ` + "`crowded`" + `: the user has as many streams open as the data's limit says, those of pages included, and a
  newer one took this one's place. Nothing follows; whoever reconnects takes the place of the then oldest.

The stream begins after the line that Last-Event-ID names, else after the query's; who
reconnects with it sees every line once. A comment comes every 15 seconds when nothing
else does. A stream that ends without ` + "`end`" + ` or ` + "`crowded`" + ` was cut off, by the network, by a
restart or because the access token has expired: reconnect, with a fresh one.`

func eventsOperation() huma.Operation {
	op := get("/runs/{id}/events", "follow-run", "Follow a run until it ends")
	op.Description = eventsDescription
	op.Responses["200"] = &huma.Response{
		Description: "Events",
		Content:     map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}}},
	}
	return op
}

type eventsInput struct {
	ID          string `path:"id" maxLength:"100"`
	After       int64  `query:"after" minimum:"0" doc:"Lines up to this one are left out."`
	LastEventID string `header:"Last-Event-ID" maxLength:"20" doc:"Likewise, and it goes before the query."`
}

func (s *server) runEvents(ctx context.Context, userID string, in *eventsInput) (*huma.StreamResponse, error) {
	after := in.After
	if in.LastEventID != "" {
		var err error
		if after, err = strconv.ParseInt(in.LastEventID, 10, 64); err != nil || after < 0 {
			return nil, coderunner.FieldError("Last-Event-ID", "%q is not the number of a line.", in.LastEventID)
		}
	}
	run, err := s.Store.Run(ctx, userID, in.ID)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(answer huma.Context) {
		crowded, leave := s.Streams.Enter(userID)
		defer leave()
		_, w := humachi.Unwrap(answer)
		f := follower{server: s, out: stream.Open(w, stream.Events, s.WriteTimeout), crowded: crowded, userID: userID, runID: run.ID, after: after}
		defer f.out.Close()
		s.brokeOff(ctx, f.follow(ctx))
	}}, nil
}

// brokeOff tells why a stream broke off, unless its reader has simply left.
func (s *server) brokeOff(ctx context.Context, err error) {
	if err != nil && (ctx.Err() == nil || errors.Is(err, os.ErrDeadlineExceeded)) {
		s.Log.Info("a stream broke off", "request", visitOf(ctx).id, "err", err)
	}
}

// follower is how far one reader has come. The rows are the truth; the hub only
// says when to look.
type follower struct {
	*server
	out           *stream.Writer
	crowded       <-chan struct{}
	userID, runID string
	after         int64
	told          []byte // the run as the last run event had it
}

// follow sends events until the run has ended, the reader or the server goes, or
// the access token is no longer good.
func (f *follower) follow(ctx context.Context) error {
	changed, unsubscribe := f.Hub.Subscribe(f.runID)
	defer unsubscribe()
	keepAlive := time.NewTicker(f.KeepAlive)
	defer keepAlive.Stop()
	if err := f.out.Begin("\n"); err != nil {
		return err
	}
	for {
		ended, err := f.send(ctx)
		if err != nil || ended {
			return err
		}
		select {
		case <-changed:
		case <-keepAlive.C:
			if _, err := f.Auth.VerifyAccess(ctx, visitOf(ctx).token); err != nil {
				if coderunner.KindOf(err) == coderunner.Unauthenticated {
					return nil
				}
				return err
			}
			if err := f.out.Comment("still here"); err != nil {
				return err
			}
		case <-f.crowded:
			return f.out.Crowded()
		case <-ctx.Done():
			return nil
		case <-f.Hub.Closed():
			return nil
		}
	}
}

// send sends what is new and reports whether the run has ended.
func (f *follower) send(ctx context.Context) (ended bool, err error) {
	// The run is read before its lines: an ended one writes none.
	run, err := f.Store.Run(ctx, f.userID, f.runID)
	if err != nil {
		return false, err
	}
	if !run.State.Ended() {
		if err := f.tell(ctx, run); err != nil {
			return false, err
		}
	}
	if err := f.sendLines(ctx); err != nil || !run.State.Ended() {
		return false, err
	}
	if err := f.tell(ctx, run); err != nil {
		return false, err
	}
	return true, f.event("end", "", struct {
		State string `json:"state"`
	}{run.State.String()})
}

// tell sends the run if it is not as it was told last.
func (f *follower) tell(ctx context.Context, run coderunner.Run) error {
	body, err := f.runBody(ctx, run)
	if err != nil {
		return err
	}
	now, err := json.Marshal(body)
	if err != nil || bytes.Equal(now, f.told) {
		return err
	}
	f.told = now
	return f.event("run", "", json.RawMessage(now))
}

func (f *follower) sendLines(ctx context.Context) error {
	for {
		lines, err := f.Store.LogAfter(ctx, f.runID, f.after, pageLines)
		if err != nil || len(lines) == 0 {
			return err
		}
		var page bytes.Buffer
		for _, line := range lines {
			if err := appendEvent(&page, "log", strconv.FormatInt(line.Seq, 10), lineBody(line)); err != nil {
				return err
			}
		}
		if err := f.out.Write(page.Bytes()); err != nil {
			return err
		}
		f.after = lines[len(lines)-1].Seq
	}
}

func (f *follower) event(name, id string, data any) error {
	var event bytes.Buffer
	if err := appendEvent(&event, name, id, data); err != nil {
		return err
	}
	return f.out.Write(event.Bytes())
}

// appendEvent writes one event. JSON has no line breaks of its own, so that no text
// in it can begin another.
func appendEvent(to *bytes.Buffer, name, id string, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return err
	}
	to.WriteString("event: " + name + "\n")
	if id != "" {
		to.WriteString("id: " + id + "\n")
	}
	to.WriteString("data: ")
	to.Write(text)
	to.WriteString("\n\n")
	return nil
}
