package api

import (
	"context"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// Disk is what the server stores in all, and its room.
type Disk struct {
	FileSystems []FileSystem `json:"file_systems" nullable:"false"`
	MinFree     int          `json:"min_free_percent" doc:"Below it, deploys and uploads are refused."`
	Short       string       `json:"short,omitempty" doc:"Why they are refused now."`
	Stored      []Stored     `json:"stored" nullable:"false"`
	Tables      []Table      `json:"database_tables" nullable:"false" doc:"The largest of the platform's database; those of logs are kinds of their own."`
	Orphans     []Orphan     `json:"orphans" nullable:"false" doc:"Volumes that no project has. They are never removed but by whoever runs the server, with coderunner volume remove."`
	MeasuredAt  *time.Time   `json:"measured_at,omitempty"`
	CleanedAt   *time.Time   `json:"cleaned_at,omitempty" doc:"When what need not be kept was last removed."`
}

// FileSystem is where something is stored.
type FileSystem struct {
	Holds       string    `json:"holds"`
	SizeBytes   int64     `json:"size_bytes"`
	FreeBytes   int64     `json:"free_bytes"`
	Files       int64     `json:"files" doc:"That it can have; 0 if it has no limit of its own."`
	FreeFiles   int64     `json:"free_files"`
	FreePercent float64   `json:"free_percent" doc:"Of bytes or of files, whichever is less."`
	ObservedAt  time.Time `json:"observed_at"`
}

// Stored is how much there is of one kind.
type Stored struct {
	Kind  coderunner.StoredKind `json:"kind" enum:"uploads,dependencies,caches,releases,sandboxes,templates,volumes,run_logs,app_logs,database"`
	Count int64                 `json:"count" doc:"0 where nothing is counted."`
	Bytes int64                 `json:"bytes"`
}

// Table is what one table takes, indexes included.
type Table struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// Orphan is a volume that no project has.
type Orphan struct {
	Volume string `json:"volume"`
	Bytes  int64  `json:"bytes"`
}

type diskOutput struct{ Body Disk }

func (s *server) disk(_ context.Context, _ string, _ *struct{}) (*diskOutput, error) {
	if s.Disk == nil {
		return nil, coderunner.Errorf(coderunner.Unavailable, "This server does not measure its disk.")
	}
	d := s.Disk()
	body := Disk{FileSystems: []FileSystem{}, MinFree: d.MinFree, Stored: []Stored{}, Tables: []Table{}, Orphans: []Orphan{}, MeasuredAt: d.MeasuredAt}
	for _, f := range d.FileSystems {
		body.FileSystems = append(body.FileSystems, FileSystem{Holds: f.Holds, SizeBytes: f.Size, FreeBytes: f.Free, Files: f.Files, FreeFiles: f.FreeFiles, FreePercent: f.FreePercent(), ObservedAt: f.ObservedAt})
	}
	for _, stored := range d.Stored {
		body.Stored = append(body.Stored, Stored(stored))
	}
	for _, t := range d.Tables {
		body.Tables = append(body.Tables, Table(t))
	}
	for _, o := range d.Orphans {
		body.Orphans = append(body.Orphans, Orphan(o))
	}
	if err := d.Room(); err != nil {
		body.Short = coderunner.Sentence(err)
	}
	if d.Cleaned != nil {
		body.CleanedAt = &d.Cleaned.At
	}
	return &diskOutput{Body: body}, nil
}
