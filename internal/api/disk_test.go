package api_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/api"
	"github.com/coderunner/coderunner/internal/coderunner"
)

func TestDiskOfTheServer(t *testing.T) {
	t.Parallel()
	now := time.Now()
	w := newWorld(t, small(), func(s *api.Services) {
		s.Disk = func() coderunner.Disk {
			return coderunner.Disk{MinFree: 10, MeasuredAt: &now, Cleaned: &coderunner.Cleaning{At: now}, Stored: []coderunner.Stored{{Kind: coderunner.StoredVolumes, Count: 2, Bytes: 77}},
				Tables:      []coderunner.Table{{Name: "steps", Bytes: 5}},
				Orphans:     []coderunner.Orphan{{Volume: "of-nobody", Bytes: 7}},
				FileSystems: []coderunner.FileSystem{{Holds: "the data directory", Size: 1000 << 20, Free: 50 << 20, ObservedAt: now}}}
		}
	})
	var d struct {
		FileSystems []struct {
			FreeBytes   int64   `json:"free_bytes"`
			FreePercent float64 `json:"free_percent"`
		} `json:"file_systems"`
		Short   string
		Stored  []coderunner.Stored
		Tables  []coderunner.Table `json:"database_tables"`
		Orphans []api.Orphan
	}
	w.ada.get("/server/disk").want(http.StatusOK).into(&d)
	if len(d.FileSystems) != 1 || d.FileSystems[0].FreeBytes != 50<<20 || d.FileSystems[0].FreePercent != 5 || !strings.Contains(d.Short, "5 % of the disk of the data directory is free") ||
		len(d.Stored) != 1 || d.Stored[0] != (coderunner.Stored{Kind: coderunner.StoredVolumes, Count: 2, Bytes: 77}) ||
		len(d.Tables) != 1 || d.Tables[0] != (coderunner.Table{Name: "steps", Bytes: 5}) ||
		len(d.Orphans) != 1 || d.Orphans[0] != (api.Orphan{Volume: "of-nobody", Bytes: 7}) {
		t.Errorf("told is %+v", d)
	}
}
