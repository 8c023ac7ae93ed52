package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"github.com/coderunner/coderunner/internal/store"
	"github.com/coderunner/coderunner/internal/stream"
)

// pageLines is how many lines are read and sent at once.
const pageLines = 200

func logOperation(api huma.API) huma.Operation {
	op := get("/runs/{id}/log", "get-run-log", "Get a run's log as far as it goes")
	op.Description = "One JSON object on each line. To read on later, give the last line's seq as after; to follow the run, use its events. With q only lines that have the text, upper and lower case alike, the newest 1,000; that many are looked for from before back."
	op.Responses["200"] = &huma.Response{
		Description: "Lines of JSON",
		Content:     map[string]*huma.MediaType{"application/x-ndjson": {Schema: api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[LogLine](), true, "LogLine")}},
		Headers:     searchHeaders(),
	}
	return op
}

type logInput struct {
	ID    string `path:"id" maxLength:"100"`
	After int64  `query:"after" minimum:"0" doc:"Lines up to this one are left out."`

	Search string `query:"q" maxLength:"400" doc:"Only lines that have this text."`
	Before int64  `query:"before" minimum:"0" doc:"With q: only lines below this one."`
}

// runLog sends the lines that there are at this moment.
func (s *server) runLog(ctx context.Context, userID string, in *logInput) (*huma.StreamResponse, error) {
	run, err := s.Store.Run(ctx, userID, in.ID)
	if err == nil {
		err = run.CheckLog()
	}
	if err != nil {
		return nil, err
	}
	if in.Search != "" {
		return s.searchLog(ctx, run.ID, in)
	}
	newest, err := s.Store.LastLogSeq(ctx, run.ID)
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
		if err := s.sendLog(ctx, out, run.ID, in.After, newest); err != nil {
			s.brokeOff(ctx, err)
			panic(http.ErrAbortHandler) // the answer is cut off rather than ended as if it were whole
		}
	}}, nil
}

func (s *server) searchLog(ctx context.Context, runID string, in *logInput) (*huma.StreamResponse, error) {
	found, err := s.Store.SearchRunLog(ctx, runID, store.LogSearch{Text: in.Search, Before: in.Before, Limit: searchLimit})
	if err != nil {
		return nil, err
	}
	var page bytes.Buffer
	encoder := json.NewEncoder(&page)
	for _, line := range found.Lines {
		if err := encoder.Encode(lineBody(line)); err != nil {
			return nil, err
		}
	}
	return s.found(ctx, page.Bytes(), found.Looked), nil
}

// found answers lines that a search has found, and how far back it has looked.
func (s *server) found(ctx context.Context, page []byte, looked int64) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(answer huma.Context) {
		_, w := humachi.Unwrap(answer)
		w.Header().Set(searchedHeader, strconv.FormatInt(looked, 10))
		out := stream.Open(w, "application/x-ndjson", s.WriteTimeout)
		defer out.Close()
		s.brokeOff(ctx, out.Write(page))
	}}
}

// sendLog sends the lines after one up to another.
func (s *server) sendLog(ctx context.Context, out *stream.Writer, runID string, after, newest int64) error {
	for after < newest {
		lines, err := s.Store.LogAfter(ctx, runID, after, int(min(pageLines, newest-after)))
		if err != nil || len(lines) == 0 {
			return err
		}
		var page bytes.Buffer
		encoder := json.NewEncoder(&page)
		for _, line := range lines {
			if err := encoder.Encode(lineBody(line)); err != nil {
				return err
			}
		}
		if err := out.Write(page.Bytes()); err != nil {
			return err
		}
		after = lines[len(lines)-1].Seq
	}
	return nil
}
