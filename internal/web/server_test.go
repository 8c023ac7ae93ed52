package web_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/web"
)

func TestServerPageAndNotice(t *testing.T) {
	t.Parallel()
	now, free := time.Now(), int64(50<<30)
	w := newWorld(t, func(s *web.Services) {
		s.Disk = func() coderunner.Disk {
			return coderunner.Disk{MinFree: 10, MeasuredAt: &now, Cleaned: &coderunner.Cleaning{At: now, Pressed: true},
				Retention:   coderunner.Retention{Uploads: 24 * time.Hour, Releases: 10, DependencyBytes: 10 << 30, RunLogs: 720 * time.Hour, RunLogsOf: 50, History: 720 * time.Hour, HistoryOf: 200, Audit: 4320 * time.Hour},
				FileSystems: []coderunner.FileSystem{{Holds: "the data directory", Size: 100 << 30, Free: free}},
				Tables:      []coderunner.Table{{Name: "audit_events", Bytes: 5 << 20}, {Name: "steps", Bytes: 2 << 20}},
				Orphans:     []coderunner.Orphan{{Volume: "postgres-of-nobody", Bytes: 7 << 20}},
				Stored:      []coderunner.Stored{{Kind: coderunner.StoredDatabase, Bytes: 8 << 20}, {Kind: coderunner.StoredVolumes, Count: 1, Bytes: 3 << 20}, {Kind: coderunner.StoredRunLogs, Count: 1200, Bytes: 1 << 20}}}
		}
		s.Machine = func(context.Context) []coderunner.Part {
			return []coderunner.Part{{Name: "Linux", Version: "6.1.0"}, {Name: "runc", Version: "1.0.3", Trouble: "1.1 is the lowest that is known to work."}}
		}
		s.Sources = []coderunner.Source{{Name: "npm registry", Address: "https://npm.example.com"}}
		s.ProjectDisk = func(string) ([]coderunner.Stored, *time.Time) {
			return []coderunner.Stored{{Kind: coderunner.StoredUploads, Count: 2, Bytes: 9 << 20}}, &now
		}
	})
	page := w.ada.get("/server").want(http.StatusOK).wantText(".panel", "50.0 GB of 100.0 GB free (50 %)").wantText(".rows", "Database volumes").
		wantText(".rows", "1,200 lines").wantText(".block-head", "12.0 MB · measured").wantText(".rows", "Largest tables: audit events 5.0 MB, steps 2.0 MB.").wantText(".plain", "the newest 10 of each project").wantText(".plain", "of each project the newest 200").wantText(".panel-foot", "more than usual").
		wantText("[aria-labelledby=orphans]", "postgres-of-nobody").wantText("[aria-labelledby=orphans]", "7.0 MB").wantText("[aria-labelledby=orphans]", "never deletes them by itself")
	page.wantText("[aria-labelledby=machine] .row", "Linux6.1.0 ok").wantText("[aria-labelledby=machine] .row + .row", "runc1.1 is the lowest that is known to work.1.0.3")
	page.wantText("[aria-labelledby=sources] .row", "npm registryhttps://npm.example.com")
	if page.page().Find(".rail a[href='/server'][aria-current]").Length() != 1 || page.page().Find(".flash").Length() != 0 {
		t.Error("the rail does not mark the page, or there is a notice without need")
	}
	p, _ := w.project(w.ada, "shop")
	w.ada.get("/projects/"+p.ID+"/settings").want(http.StatusOK).wantText(".rows", "2 uploads").wantText(".rows", "9.0 MB")
	free = 7 << 30
	for _, path := range []string{"/projects", "/account", "/projects/" + p.ID} {
		w.bob.get("/projects").wantText(".flash-warn", "7 % of the disk of the data directory is free (7.0 GB of 100.0 GB)")
		w.ada.get(path).want(http.StatusOK).wantText(".flash-warn", "deploys and uploads need 10 %")
	}
	w.ada.get("/server").wantText(".panel", "Too little for a deploy")
	w.visitor().get("/server").wantRedirect("/login?next=%2Fserver")
}

// The page compares when the two events arrive; each is sent when it is due.
func TestLiveTestSendsTwoEventsASecondApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	page := w.ada.get("/server").want(http.StatusOK).wantText("[data-verdict=none]", "has not run")
	path, _ := page.page().Find("[data-live-test]").Attr("data-live-test")
	if page.page().Find("script[src$='/js/server.js']").Length() != 1 {
		t.Error("nothing runs the test")
	}
	s := w.ada.stream(path)
	if e, ok := s.next(); !ok || e.name != "first" || e.size < 2<<10 {
		t.Fatalf("the stream begins with %+v (%v)", e, ok)
	}
	began := time.Now()
	if e, ok := s.next(); !ok || e.name != "second" {
		t.Fatalf("then comes %+v (%v)", e, ok)
	}
	if after := time.Since(began); after < 700*time.Millisecond { // the first may be read late
		t.Errorf("the second event comes %s after the first", after)
	}
	if e, more := s.next(); more {
		t.Errorf("then comes %+v", e)
	}
	w.visitor().get(path, "Accept", "text/event-stream").want(http.StatusUnauthorized)
}

func TestRunWhoseLogIsNotKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, run, lease := w.deployed(w.ada, "shop")
	w.say(lease, 1, "a line of long ago")
	w.finish(lease, coderunner.RunSucceeded, nil)
	path := fmt.Sprintf("/runs/%s", run.ID)
	w.ada.get(path).wantText("#log", "a line of long ago")
	if _, err := w.store.Pool().Exec(t.Context(), "UPDATE runs SET log_dropped_at = now() WHERE id = $1", run.ID); err != nil {
		t.Fatal(err)
	}
	if a := w.ada.get(path).want(http.StatusOK).wantText("#log-end", "The log of this run is not kept any more. It went"); a.page().Find(".ln").Length() != 0 {
		t.Error("lines that are about to go are shown")
	}
	w.ada.get(path+"/log.txt").want(http.StatusNotFound).wantText("main", "is not kept any more")
}
