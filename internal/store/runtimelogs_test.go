package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

// cursor is that of a new sandbox of a new deployment.
func (w world) cursor(t *testing.T) store.RuntimeCursor {
	t.Helper()
	d, _ := w.deploy(t)
	id := "app-" + d.ID
	if err := w.ExpectSandbox(t.Context(), coderunner.SandboxRecord{Purpose: coderunner.ForApp, ID: id, Provider: "test", ProjectID: w.project.ID, DeploymentID: d.ID}); err != nil {
		t.Fatal(err)
	}
	cursor, ours, err := w.ClaimRuntimeCursor(t.Context(), id, "node", false)
	if err != nil || !ours {
		t.Fatalf("claiming: %v %v", ours, err)
	}
	return cursor
}

func (w world) print(t *testing.T, c *store.RuntimeCursor, at time.Time, texts ...string) {
	t.Helper()
	var lines []coderunner.RuntimeLine
	for _, text := range texts {
		lines = append(lines, coderunner.RuntimeLine{At: at, Stream: coderunner.Stdout, Text: text})
	}
	if err := w.AppendRuntimeLog(t.Context(), *c, []byte(`{"offset": 7}`), lines); err != nil {
		t.Fatal(err)
	}
	c.Version++
}

func numbered(n int) (texts []string) {
	for i := range n {
		texts = append(texts, fmt.Sprint("line ", i+1))
	}
	return texts
}

func TestRuntimeCursorIsOneOwners(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	first := w.cursor(t)
	w.print(t, &first, time.Now(), "one")
	stale := first
	stale.Version--
	line := []coderunner.RuntimeLine{{At: time.Now(), Stream: coderunner.Stdout, Text: "ghost"}}
	if err := w.AppendRuntimeLog(ctx, stale, []byte("{}"), line); !errors.Is(err, store.ErrLeaseLost) {
		t.Errorf("the same lines twice: %v", err)
	}
	if err := w.RenewRuntimeCollector(ctx, "node", time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, ours, err := w.ClaimRuntimeCursor(ctx, first.SandboxID, "other", false); ours || err != nil {
		t.Errorf("an owner that is alive was robbed: %v %v", ours, err)
	}
	again, ours, err := w.ClaimRuntimeCursor(ctx, first.SandboxID, "node", false)
	if !ours || err != nil || again.Epoch != first.Epoch+1 || string(again.State) != `{"offset": 7}` {
		t.Errorf("after a restart the cursor is %+v (%v)", again, err)
	}
	if err := w.AppendRuntimeLog(ctx, first, []byte("{}"), line); !errors.Is(err, store.ErrLeaseLost) {
		t.Errorf("writing after a takeover: %v", err)
	}
	if _, ours, err := w.ClaimRuntimeCursor(ctx, first.SandboxID, "other", true); !ours || err != nil {
		t.Errorf("taking it away: %v %v", ours, err)
	}
	if err := w.ReleaseRuntimeCollector(ctx, "other"); err != nil {
		t.Fatal(err)
	}
	if _, ours, err := w.ClaimRuntimeCursor(ctx, first.SandboxID, "node", false); !ours || err != nil {
		t.Errorf("claiming from an owner that has gone: %v %v", ours, err)
	}
	if _, ours, err := w.ClaimRuntimeCursor(ctx, "no-such-sandbox", "node", true); ours || err != nil {
		t.Errorf("claiming what is not there: %v %v", ours, err)
	}
	// With the sandbox goes the right to write about it, not what it has printed.
	if err := w.ForgetSandbox(ctx, first.SandboxID); err != nil {
		t.Fatal(err)
	}
	if err := w.AppendRuntimeLog(ctx, again, []byte("{}"), line); !errors.Is(err, store.ErrLeaseLost) {
		t.Errorf("writing about a sandbox that is gone: %v", err)
	}
	if log, err := w.RuntimeLog(ctx, w.project.ID); err != nil || log.Last != 1 {
		t.Errorf("the log is %+v (%v)", log, err)
	}
}

func TestRuntimeLogIsTrimmed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	c := w.cursor(t)
	old := time.Now().Add(-48 * time.Hour)
	w.print(t, &c, old, numbered(50)...)
	w.print(t, &c, time.Now(), numbered(100)...)
	w.print(t, &c, time.Now(), strings.Repeat("x", 10_000))
	all := must(w.RuntimeLog(ctx, w.project.ID))(t)
	if all.First != 1 || all.Last != 151 || all.Bytes < 10_000 {
		t.Fatalf("the log is %+v", all)
	}
	none := store.RuntimeLimits{Lines: 1000, Bytes: 1 << 20, Since: old.Add(-time.Hour)}
	if ids := must(w.RuntimeLogsToTrim(ctx, none))(t); len(ids) != 0 {
		t.Errorf("a log within its limits is to be trimmed: %v", ids)
	}
	trim := func(what string, change func(*store.RuntimeLimits), first int64) {
		t.Helper()
		limits := none
		change(&limits)
		if ids := must(w.RuntimeLogsToTrim(ctx, limits))(t); !slices.Equal(ids, []string{w.project.ID}) {
			t.Errorf("%s: to be trimmed are %v", what, ids)
		}
		for must(w.TrimRuntimeLog(ctx, w.project.ID, limits, 20))(t) > 0 {
		}
		lines := must(w.RuntimeLogAfter(ctx, w.project.ID, coderunner.RuntimeFilter{}, 0, 1000))(t)
		log := must(w.RuntimeLog(ctx, w.project.ID))(t)
		size := int64(0)
		for _, l := range lines {
			size += int64(len(l.Text)) + 128
		}
		if log.First != first || len(lines) != int(151-first+1) || lines[0].Seq != first || log.Bytes != size {
			t.Errorf("%s: the log is %+v, with %d lines of %d bytes", what, log, len(lines), size)
		}
		if ids := must(w.RuntimeLogsToTrim(ctx, limits))(t); len(ids) != 0 {
			t.Errorf("%s: it is still to be trimmed", what)
		}
	}
	trim("age", func(l *store.RuntimeLimits) { l.Since = old.Add(time.Hour) }, 51)
	trim("lines", func(l *store.RuntimeLimits) { l.Lines = 80 }, 72)
	trim("bytes", func(l *store.RuntimeLimits) { l.Bytes = 10_000 + 128 + 50 }, 151)
	w.print(t, &c, time.Now(), "and on")
	if log := must(w.RuntimeLog(ctx, w.project.ID))(t); log.Last != 152 {
		t.Errorf("numbers go on at %d", log.Last)
	}
	// With the project goes its log, all of it.
	if err := w.EndProject(ctx, w.project.ID); err != nil {
		t.Fatal(err)
	}
	var left int
	if err := w.Pool().QueryRow(ctx, "SELECT (SELECT count(*) FROM runtime_logs) + (SELECT count(*) FROM runtime_log_lines)").Scan(&left); err != nil || left != 0 {
		t.Errorf("%d rows are left (%v)", left, err)
	}
}

func TestLogSearchTakesTextLiterally(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.cursor(t)
	w.print(t, &c, time.Now(), `100%`, `100 of 100`, `a_b`, `axb`, `c:\dir`, "\x1b[32mGreen\x1b[0m and plain", "ÜBER")
	for text, want := range map[string][]int64{`0%`: {1}, `a_b`: {3}, `\`: {5}, `\d`: {5}, "green and": {6}, "über": {7}, "32m": nil, "'": nil} {
		found := must(w.SearchRuntimeLog(t.Context(), w.project.ID, coderunner.RuntimeFilter{}, store.LogSearch{Text: text, Limit: 10}))(t)
		var got []int64
		for _, l := range found.Lines {
			got = append(got, l.Seq)
		}
		if !slices.Equal(got, want) || found.Looked != 1 || found.Cut {
			t.Errorf("%q is found in %v, looking from %d on", text, got, found.Looked)
		}
	}
	for range 25 {
		w.print(t, &c, time.Now(), numbered(1000)...)
	}
	found := must(w.SearchRuntimeLog(t.Context(), w.project.ID, coderunner.RuntimeFilter{}, store.LogSearch{Text: "line 500", Limit: 20}))(t)
	if len(found.Lines) != 20 || found.Looked != found.Lines[0].Seq || found.Lines[19].Seq != 24_507 {
		t.Errorf("%d lines are found, looking from %d on", len(found.Lines), found.Looked)
	}
	rest := must(w.SearchRuntimeLog(t.Context(), w.project.ID, coderunner.RuntimeFilter{}, store.LogSearch{Text: "line 500", Limit: 20, Before: found.Looked}))(t)
	if len(rest.Lines) != 5 || rest.Looked != 1 {
		t.Errorf("before that %d lines are found", len(rest.Lines))
	}
}
