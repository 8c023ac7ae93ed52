package web_test

import (
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
				Retention:   coderunner.Retention{Uploads: 24 * time.Hour, Releases: 10, DependencyBytes: 10 << 30, RunLogs: 720 * time.Hour, RunLogsOf: 50, Audit: 4320 * time.Hour},
				FileSystems: []coderunner.FileSystem{{Holds: "the data directory", Size: 100 << 30, Free: free}},
				Orphans:     []coderunner.Orphan{{Volume: "postgres-of-nobody", Bytes: 7 << 20}},
				Stored:      []coderunner.Stored{{Kind: coderunner.StoredVolumes, Count: 1, Bytes: 3 << 20}, {Kind: coderunner.StoredRunLogs, Count: 1200, Bytes: 1 << 20}}}
		}
		s.ProjectDisk = func(string) ([]coderunner.Stored, *time.Time) {
			return []coderunner.Stored{{Kind: coderunner.StoredUploads, Count: 2, Bytes: 9 << 20}}, &now
		}
	})
	page := w.ada.get("/server").want(http.StatusOK).wantText(".panel", "50.0 GB of 100.0 GB free (50 %)").wantText(".rows", "Database volumes").
		wantText(".rows", "1,200 lines").wantText(".block-head", "4.0 MB · measured").wantText(".plain", "the newest 10 of each project").wantText(".panel-foot", "more than usual").
		wantText("[aria-labelledby=orphans]", "postgres-of-nobody").wantText("[aria-labelledby=orphans]", "7.0 MB").wantText("[aria-labelledby=orphans]", "never deletes them by itself")
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
