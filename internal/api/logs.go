package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/runlog"
	"github.com/coderunner/coderunner/internal/store"
	"github.com/coderunner/coderunner/internal/stream"
)

// RuntimeLine is one line that an app printed.
type RuntimeLine struct {
	Seq          int64     `json:"seq" doc:"1, 2, 3 … without gaps within the project. The oldest lines are removed after a while."`
	At           time.Time `json:"at" doc:"When it was printed."`
	Stream       string    `json:"stream" enum:"stdout,stderr,system" doc:"system is what the platform says: starts, ends, what was dropped."`
	DeploymentID string    `json:"deployment_id" format:"uuid"`
	Text         string    `json:"text" doc:"It may have ANSI colour sequences."`
}

func runtimeLineBody(l coderunner.RuntimeLine) RuntimeLine {
	return RuntimeLine{Seq: l.Seq, At: l.At, Stream: string(l.Stream), DeploymentID: l.DeploymentID, Text: l.Text}
}

func runtimeLogOperation(api huma.API) huma.Operation {
	op := get("/projects/{id}/logs", "get-runtime-log", "Get what a project's apps have printed")
	op.Description = "One JSON object on each line, as far as the log goes now. To read on later, give the last line's seq as after; to follow the log, use its events. With q only lines that have the text, upper and lower case alike, the newest 1,000; that many are looked for from before back."
	op.Responses["200"] = &huma.Response{
		Description: "Lines of JSON",
		Content:     map[string]*huma.MediaType{"application/x-ndjson": {Schema: api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[RuntimeLine](), true, "RuntimeLine")}},
		Headers:     searchHeaders(),
	}
	return op
}

func searchHeaders() map[string]*huma.Param {
	return map[string]*huma.Param{searchedHeader: {
		Description: "After a search: lines from this number on were looked at. If it is more than the first line's, search on with it as before.",
		Schema:      &huma.Schema{Type: huma.TypeInteger},
	}}
}

// searchedHeader says how far back a search has looked.
const searchedHeader = "X-Searched-From"

// searchLimit is how many lines a search answers.
const searchLimit = 1000

// RuntimeFilter chooses lines of a runtime log. Embedded parameters have to be exported.
type RuntimeFilter struct {
	ID         string    `path:"id" maxLength:"100"`
	Deployment int       `query:"deployment" minimum:"0" doc:"Only lines of the deployment with this number."`
	Stream     string    `query:"stream" enum:"stdout,stderr,system" doc:"Only lines of this stream."`
	Since      time.Time `query:"since" doc:"Only lines from this time on."`
	Until      time.Time `query:"until" doc:"Only lines before this time."`
}

// filter answers the project, which must be the user's, and the filter.
func (s *server) filter(ctx context.Context, userID string, in RuntimeFilter) (coderunner.Project, coderunner.RuntimeFilter, error) {
	filter := coderunner.RuntimeFilter{Stream: coderunner.Stream(in.Stream), Since: in.Since, Until: in.Until}
	project, err := s.Store.Project(ctx, userID, in.ID)
	if err != nil || in.Deployment == 0 {
		return project, filter, err
	}
	deployment, err := s.Store.DeploymentByNumber(ctx, userID, project.ID, in.Deployment)
	filter.DeploymentID = deployment.ID
	return project, filter, err
}

type runtimeLogInput struct {
	RuntimeFilter
	After  int64  `query:"after" minimum:"0" doc:"Lines up to this one are left out."`
	Search string `query:"q" maxLength:"400" doc:"Only lines that have this text."`
	Before int64  `query:"before" minimum:"0" doc:"With q: only lines below this one."`
}

// runtimeLog sends the lines that there are at this moment.
func (s *server) runtimeLog(ctx context.Context, userID string, in *runtimeLogInput) (*huma.StreamResponse, error) {
	project, filter, err := s.filter(ctx, userID, in.RuntimeFilter)
	if err != nil {
		return nil, err
	}
	if in.Search != "" {
		return s.searchRuntimeLog(ctx, project, filter, in)
	}
	log, err := s.Store.RuntimeLog(ctx, project.ID)
	if err != nil {
		return nil, err
	}
	leave, err := s.downloads.enter(userID)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(answer huma.Context) {
		defer leave()
		_, w := humachi.Unwrap(answer)
		out := stream.Open(w, "application/x-ndjson", s.WriteTimeout)
		defer out.Close()
		if err := s.sendRuntimeLog(ctx, out, project.ID, filter, in.After, log.Last); err != nil {
			s.brokeOff(ctx, err)
			panic(http.ErrAbortHandler) // the answer is cut off rather than ended as if it were whole
		}
	}}, nil
}

// sendRuntimeLog sends the lines after one up to another.
func (s *server) sendRuntimeLog(ctx context.Context, out *stream.Writer, projectID string, filter coderunner.RuntimeFilter, after, newest int64) error {
	for after < newest {
		lines, err := s.Store.RuntimeLogAfter(ctx, projectID, filter, after, pageLines)
		for len(lines) > 0 && lines[len(lines)-1].Seq > newest {
			lines = lines[:len(lines)-1]
		}
		if err != nil || len(lines) == 0 {
			return err
		}
		page, err := runtimeJSON(lines)
		if err != nil {
			return err
		}
		if err := out.Write(page); err != nil {
			return err
		}
		after = lines[len(lines)-1].Seq
	}
	return nil
}

func runtimeJSON(lines []coderunner.RuntimeLine) ([]byte, error) {
	var page bytes.Buffer
	encoder := json.NewEncoder(&page)
	for _, line := range lines {
		if err := encoder.Encode(runtimeLineBody(line)); err != nil {
			return nil, err
		}
	}
	return page.Bytes(), nil
}

func (s *server) searchRuntimeLog(ctx context.Context, project coderunner.Project, filter coderunner.RuntimeFilter, in *runtimeLogInput) (*huma.StreamResponse, error) {
	found, err := s.Store.SearchRuntimeLog(ctx, project.ID, filter, store.LogSearch{Text: in.Search, Before: in.Before, Limit: searchLimit})
	if err != nil {
		return nil, err
	}
	page, err := runtimeJSON(found.Lines)
	if err != nil {
		return nil, err
	}
	return s.found(ctx, page, found.Looked), nil
}

func runtimeEventsOperation() huma.Operation {
	op := get("/projects/{id}/logs/events", "follow-runtime-log", "Follow what a project's apps print")
	op.Description = `Server-sent events named ` + "`log`" + `: a line as get-runtime-log has it; the event's id is its seq.

The stream begins after the line that Last-Event-ID names, else after the query's; who
reconnects with it sees every line once. Without either it begins with what is printed
from now on. A comment comes every 15 seconds when nothing else does. The stream has no
end of its own: one that ends was cut off, by the network, by a restart or because the
access token has expired: reconnect, with a fresh one. Only after an event ` + "`crowded`" + `, which
tells that a newer one of the user's streams took its place, should it not do so by itself.`
	op.Responses["200"] = &huma.Response{
		Description: "Events",
		Content:     map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}}},
	}
	return op
}

type runtimeEventsInput struct {
	RuntimeFilter
	After       int64  `query:"after" minimum:"-1" default:"-1" doc:"Lines up to this one are left out; 0 begins with the oldest."`
	LastEventID string `header:"Last-Event-ID" maxLength:"20" doc:"Likewise, and it goes before the query."`
}

func (s *server) runtimeEvents(ctx context.Context, userID string, in *runtimeEventsInput) (*huma.StreamResponse, error) {
	after := in.After
	if in.LastEventID != "" {
		var err error
		if after, err = strconv.ParseInt(in.LastEventID, 10, 64); err != nil || after < 0 {
			return nil, coderunner.FieldError("Last-Event-ID", "%q is not the number of a line.", in.LastEventID)
		}
	}
	project, filter, err := s.filter(ctx, userID, in.RuntimeFilter)
	if err != nil {
		return nil, err
	}
	if after < 0 {
		log, err := s.Store.RuntimeLog(ctx, project.ID)
		if err != nil {
			return nil, err
		}
		after = log.Last
	}
	return &huma.StreamResponse{Body: func(answer huma.Context) {
		crowded, leave := s.Streams.Enter(userID)
		defer leave()
		_, w := humachi.Unwrap(answer)
		f := runtimeFollower{server: s, out: stream.Open(w, stream.Events, s.WriteTimeout), crowded: crowded, reader: s.Hub.ReadRuntime(project.ID), filter: filter, after: after}
		defer f.reader.Close()
		defer f.out.Close()
		s.brokeOff(ctx, f.follow(ctx))
	}}, nil
}

// runtimeFollower is how far one reader of a runtime log has come.
type runtimeFollower struct {
	*server
	out     *stream.Writer
	crowded <-chan struct{}
	reader  *runlog.RuntimeReader
	filter  coderunner.RuntimeFilter
	after   int64
}

// follow sends events until the reader or the server goes, or the access token is no
// longer good.
func (f *runtimeFollower) follow(ctx context.Context) error {
	keepAlive := time.NewTicker(f.KeepAlive)
	defer keepAlive.Stop()
	if err := f.out.Begin("\n"); err != nil {
		return err
	}
	for {
		if err := f.send(ctx); err != nil {
			return err
		}
		select {
		case <-f.reader.News():
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

// send sends what is new: the same bytes to all who see the same lines.
func (f *runtimeFollower) send(ctx context.Context) error {
	for {
		page, last, err := f.reader.Next(ctx, f.filter, f.after)
		if err != nil || page == nil {
			return err
		}
		events, err := page.Render("json", func(lines []coderunner.RuntimeLine) ([]byte, error) {
			var events bytes.Buffer
			for _, line := range lines {
				if err := appendEvent(&events, "log", strconv.FormatInt(line.Seq, 10), runtimeLineBody(line)); err != nil {
					return nil, err
				}
			}
			return events.Bytes(), nil
		})
		if err != nil {
			return err
		}
		if err := f.out.Write(events); err != nil {
			return err
		}
		f.after = last
	}
}
