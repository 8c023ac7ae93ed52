package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

// exec changes what no method of the store changes, such as an age.
func (w world) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := w.Pool().Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func TestUploadsThatNothingCanRunAreDropped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	upload := func(name string) coderunner.Bundle {
		return must(w.CreateBundle(t.Context(), coderunner.Bundle{ProjectID: w.project.ID, SHA256: fmt.Sprintf("%064d", len(name)), Filename: name, SizeBytes: 10}))(t)
	}
	deployment := func(b coderunner.Bundle, released bool, release *coderunner.Release) {
		d := must(w.CreateDeployment(t.Context(), store.NewDeployment{ProjectID: w.project.ID, BundleID: b.ID, Release: release}))(t)
		w.exec(t, "UPDATE deployments SET status = 'STOPPED', released_at = CASE WHEN $2 THEN now() END WHERE id = $1", d.ID, released)
	}
	deployment(upload("kept release"), true, &coderunner.Release{Snapshot: "r"})
	deployment(upload("old release"), true, nil)
	deployment(upload("current"), true, nil)
	deployment(upload("failed"), false, nil)
	deployment(upload("newest deployment"), false, nil)
	upload("never deployed")
	w.exec(t, "UPDATE bundles SET created_at = created_at - interval '2 days'")
	upload("of today, no more the newest")
	newest := upload("newest")
	w.exec(t, "UPDATE bundles SET created_at = now() + interval '1 second' WHERE id = $1", newest.ID)

	if n, err := w.DropUnneededBundles(t.Context(), 24*time.Hour); err != nil || n != 4 { // with that of newWorld
		t.Errorf("%d were dropped, %v", n, err)
	}
	var left []string
	rows, err := w.Pool().Query(t.Context(), "SELECT filename FROM bundles ORDER BY created_at")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		left = append(left, name)
	}
	if want := []string{"kept release", "current", "newest deployment", "of today, no more the newest", "newest"}; !slices.Equal(left, want) {
		t.Errorf("left are %q, want %q", left, want)
	}
	hashes := must(w.BundleHashes(t.Context()))(t)
	if bytes := must(w.UserUploadBytes(t.Context(), w.user.ID))(t); len(hashes) != 5 || bytes != 50 {
		t.Errorf("%d blobs of %d bytes are wanted", len(hashes), bytes)
	}
	if n, err := w.DropUnneededBundles(t.Context(), 0); err != nil || n != 1 {
		t.Errorf("for want of room %d were dropped, %v", n, err)
	}
}

func TestOnlyRecentLogsOfRunsAreKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := make([]string, 4)
	for i := range ids {
		_, r := w.deploy(t)
		claimed, ok, err := w.ClaimRun(t.Context(), r.ID, "me", time.Minute)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		lease := store.Lease{RunID: r.ID, Owner: "me", Epoch: claimed.Epoch}
		if err := w.AppendLog(t.Context(), lease, 1, []coderunner.LogLine{{RunID: r.ID, Text: "one"}, {RunID: r.ID, Text: "two"}}); err != nil {
			t.Fatal(err)
		}
		if i < 3 { // the last is still at work
			if err := w.FinishRun(t.Context(), lease, coderunner.RunSucceeded, nil); err != nil {
				t.Fatal(err)
			}
		}
		ids[i] = r.ID
	}
	w.exec(t, "UPDATE runs SET created_at = created_at - interval '40 days', finished_at = finished_at - interval '40 days' WHERE id <> $1", ids[1]) // the second is of today
	_, projects, err := w.StoredRows(t.Context())
	if err != nil || lines(projects[w.project.ID]) != 8 {
		t.Errorf("before, the project has %+v (%v)", projects[w.project.ID], err)
	}
	if runs, lines, err := w.DropOldRunLogs(t.Context(), 30*24*time.Hour, 3); err != nil || runs != 1 || lines != 2 {
		t.Errorf("of four runs, three kept, %d with %d lines went, %v", runs, lines, err)
	}
	if runs, lines, err := w.DropOldRunLogs(t.Context(), 30*24*time.Hour, 0); err != nil || runs != 1 || lines != 2 {
		t.Errorf("of the rest, %d runs with %d lines went, %v", runs, lines, err)
	}
	for i, kept := range []bool{false, true, false, true} {
		run := must(w.RunByID(t.Context(), ids[i]))(t)
		seq := must(w.LastLogSeq(t.Context(), ids[i]))(t)
		if (seq == 2) != kept || (run.LogDroppedAt == nil) != kept || (run.CheckLog() == nil) != kept {
			t.Errorf("run %d has %d lines, dropped at %v, kept %v", i+1, seq, run.LogDroppedAt, kept)
		}
	}
	all, projects, err := w.StoredRows(t.Context())
	if err != nil || lines(projects[w.project.ID]) != 4 || lines(all) != 4 {
		t.Errorf("afterwards there is %+v, of the project %+v (%v)", all, projects[w.project.ID], err)
	}
}

func lines(stored []coderunner.Stored) int64 {
	for _, s := range stored {
		if s.Kind == coderunner.StoredRunLogs {
			return s.Count
		}
	}
	return 0
}

// A deletion that was cut off between the mark and the lines is done to its end, in batches.
func TestLinesOfDroppedLogsGoInBatches(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, r := w.deploy(t)
	w.exec(t, "INSERT INTO run_log_lines (run_id, seq, at, stream, step, text) SELECT $1, n, now(), 'stdout', '', 'x' FROM generate_series(1, 25000) AS n", r.ID)
	w.exec(t, "UPDATE runs SET log_dropped_at = now() WHERE id = $1", r.ID)
	if _, n, err := w.DropOldRunLogs(t.Context(), time.Hour, 50); err != nil || n != 25_000 {
		t.Errorf("%d lines went, %v", n, err)
	}
}

func TestOldEventsAreForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 3 {
		if err := w.Audit(t.Context(), store.AuditEvent{UserID: w.user.ID, Action: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	w.exec(t, "UPDATE audit_events SET at = at - interval '200 days' WHERE id IN (SELECT min(id) FROM audit_events)")
	if n, err := w.DeleteOldAuditEvents(t.Context(), 180*24*time.Hour); err != nil || n != 1 {
		t.Errorf("%d went, %v", n, err)
	}
}

func TestStoredRowsMeasuresTheDatabase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec(t, "INSERT INTO bundles (project_id, sha256, filename, size_bytes, expanded_bytes, files, plan) SELECT project_id, sha256, filename, 7, 0, 0, plan FROM bundles") // the same tree again
	w.exec(t, "UPDATE bundles SET size_bytes = 7")
	all, projects, err := w.StoredRows(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := projects[w.project.ID]; len(got) != 1 || got[0] != (coderunner.Stored{Kind: coderunner.StoredUploads, Count: 1, Bytes: 7}) {
		t.Errorf("the project stores %+v", got)
	}
	kinds := ""
	for _, s := range all {
		kinds += string(s.Kind) + " "
		if s.Kind == coderunner.StoredDatabase && s.Bytes < 1<<20 {
			t.Errorf("the database takes %d bytes", s.Bytes)
		}
	}
	if strings.TrimSpace(kinds) != "uploads run_logs app_logs database" {
		t.Errorf("measured are %s", kinds)
	}
}
