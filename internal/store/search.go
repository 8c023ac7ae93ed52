package store

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store/sqlc"
)

// LogSearch is a question to a log. The text is taken literally, upper and lower case
// alike; colours within a line do not part it.
type LogSearch struct {
	Text   string
	Before int64 // only lines below this number
	Limit  int   // how many lines are wanted, the newest first
}

// FoundLines answer a LogSearch.
type FoundLines[L any] struct {
	Lines  []L   // oldest first
	Looked int64 // lines from this number on, up to the search's, were looked at
	Cut    bool  // whether the search ended because it took too long
}

// A search looks at so many lines at a time, and begins no other such step after
// searchTime.
const (
	searchLines = 10_000
	searchTime  = 2 * time.Second
)

// SearchRuntimeLog looks for text in a project's runtime log, from the newest line back.
func (s *Store) SearchRuntimeLog(ctx context.Context, projectID string, f coderunner.RuntimeFilter, q LogSearch) (FoundLines[coderunner.RuntimeLine], error) {
	log, err := s.RuntimeLog(ctx, projectID)
	if err != nil {
		return FoundLines[coderunner.RuntimeLine]{}, err
	}
	return search(ctx, q, log.First, log.Last, func(ctx context.Context, first, before int64, pattern string, limit int) ([]coderunner.RuntimeLine, error) {
		rows, err := s.q.SearchRuntimeLog(ctx, sqlc.SearchRuntimeLogParams{ProjectID: projectID, First: first, Before: before, DeploymentID: pointer(f.DeploymentID),
			Stream: string(f.Stream), Since: timeOrNil(f.Since), Until: timeOrNil(f.Until), Pattern: pattern, PageSize: int32(limit)})
		return each(rows, runtimeLine), translate(err, "deployment")
	}, func(l coderunner.RuntimeLine) int64 { return l.Seq })
}

// SearchRunLog looks for text in a run's log, from the newest line back.
func (s *Store) SearchRunLog(ctx context.Context, runID string, q LogSearch) (FoundLines[coderunner.LogLine], error) {
	last, err := s.LastLogSeq(ctx, runID)
	if err != nil {
		return FoundLines[coderunner.LogLine]{}, err
	}
	return search(ctx, q, 1, last, func(ctx context.Context, first, before int64, pattern string, limit int) ([]coderunner.LogLine, error) {
		rows, err := s.q.SearchRunLog(ctx, sqlc.SearchRunLogParams{RunID: runID, First: first, Before: before, Pattern: pattern, PageSize: int32(limit)})
		return each(rows, logLine), translate(err, "run")
	}, func(l coderunner.LogLine) int64 { return l.Seq })
}

// search looks at lines from the newest back, a part at a time, until it has enough,
// has seen all or has taken too long.
func search[L any](ctx context.Context, q LogSearch, first, last int64, part func(ctx context.Context, first, before int64, pattern string, limit int) ([]L, error), seq func(L) int64) (FoundLines[L], error) {
	pattern := "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(q.Text) + "%"
	before := last + 1
	if q.Before > 0 {
		before = min(before, q.Before)
	}
	found := FoundLines[L]{Looked: max(before, first)}
	limited, cancel := context.WithTimeout(ctx, searchTime)
	defer cancel()
	for found.Looked > first && len(found.Lines) < q.Limit {
		from := max(first, found.Looked-searchLines)
		lines, err := part(limited, from, found.Looked, pattern, q.Limit-len(found.Lines))
		if ctx.Err() == nil && (errors.Is(err, context.DeadlineExceeded) || limited.Err() != nil) {
			found.Cut = true
			break
		}
		if err != nil {
			return found, err
		}
		found.Lines = append(found.Lines, lines...)
		found.Looked = from
		if len(found.Lines) == q.Limit {
			found.Looked = seq(lines[len(lines)-1])
		}
	}
	slices.Reverse(found.Lines)
	return found, nil
}
