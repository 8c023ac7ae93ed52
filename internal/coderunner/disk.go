package coderunner

import (
	"fmt"
	"time"
)

// StoredKind is a kind of what a server keeps on its disks.
type StoredKind string

const (
	StoredUploads      StoredKind = "uploads"
	StoredDependencies StoredKind = "dependencies" // snapshots of what was installed
	StoredCaches       StoredKind = "caches"       // what builds have downloaded, for the next
	StoredReleases     StoredKind = "releases"     // snapshots of what was built
	StoredSandboxes    StoredKind = "sandboxes"    // what runs has written beside its volumes
	StoredTemplates    StoredKind = "templates"
	StoredVolumes      StoredKind = "volumes" // the data of databases
	StoredRunLogs      StoredKind = "run_logs"
	StoredAppLogs      StoredKind = "app_logs"
	StoredDatabase     StoredKind = "database" // the platform's own, without the logs
)

// StoredKinds are all kinds, in the order in which they are shown.
func StoredKinds() []StoredKind {
	return []StoredKind{StoredVolumes, StoredReleases, StoredDependencies, StoredCaches, StoredUploads, StoredSandboxes, StoredAppLogs, StoredRunLogs, StoredTemplates, StoredDatabase}
}

// Stored is how much there is of one kind.
type Stored struct {
	Kind  StoredKind
	Count int64 // uploads, snapshots, sandboxes, templates, volumes, log lines; 0 where nothing is counted
	Bytes int64
}

// Table is what one table of the platform's database takes, indexes included.
type Table struct {
	Name  string
	Bytes int64
}

// Orphan is a volume that no project's database has: a restored backup of the platform's
// database does not know of it, say. Nothing removes it but a person, by its name.
type Orphan struct {
	Volume string
	Bytes  int64
}

// FileSystem is the room where something is stored. Sizes are in bytes.
type FileSystem struct {
	Holds      string // in words: "the data directory"
	Size       int64  // without what is kept back for the system
	Free       int64
	Files      int64 // that it can have; 0 if it has no limit of its own
	FreeFiles  int64
	KeptBack   int64 // that only the system and the platform's database can still use
	ObservedAt time.Time
}

// FreePercent is how much is free, of bytes or of files, whichever is less.
func (f FileSystem) FreePercent() float64 {
	free := percent(f.Free, f.Size)
	if f.Files > 0 {
		free = min(free, percent(f.FreeFiles, f.Files))
	}
	return free
}

func percent(part, whole int64) float64 {
	if whole <= 0 {
		return 0
	}
	return 100 * float64(part) / float64(whole)
}

// shortage says how much is free of what there is too little of.
func (f FileSystem) shortage() string {
	if f.Files > 0 && percent(f.FreeFiles, f.Files) < percent(f.Free, f.Size) {
		return fmt.Sprintf("%.0f %% of the files that the disk of %s can have are free (%d of %d)", percent(f.FreeFiles, f.Files), f.Holds, f.FreeFiles, f.Files)
	}
	return fmt.Sprintf("%.0f %% of the disk of %s is free (%s of %s)", percent(f.Free, f.Size), f.Holds, byteText(f.Free), byteText(f.Size))
}

func byteText(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.0f MB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.0f KB", float64(n)/(1<<10))
}

// Disk is what a server stores and how much room it has, as last observed.
type Disk struct {
	FileSystems []FileSystem
	MinFree     int // percent, below which nothing that needs disk is begun
	Stored      []Stored
	Tables      []Table    // the largest of the platform's database, but for those of logs
	Orphans     []Orphan   // by name
	MeasuredAt  *time.Time // Stored, Tables and Orphans; nil before the first time
	Retention   Retention
	Cleaned     *Cleaning // nil before the first time
}

// Room refuses what needs disk while there is too little of it: Unavailable, with
// how much is free and what to do.
func (d Disk) Room() error {
	for _, f := range d.FileSystems {
		if f.FreePercent() < float64(d.MinFree) {
			return Errorf(Unavailable, "The server is short of disk: %s, and deploys and uploads need %d %%. What runs goes on, and what need not be kept is being removed. Destroy projects that are not needed, or ask whoever runs this server to make room.", f.shortage(), d.MinFree)
		}
	}
	return nil
}

// Retention is how long things are kept.
type Retention struct {
	Uploads         time.Duration // those that nothing can run any more
	Releases        int           // of each project
	DependencyBytes int64         // of all projects together
	RunLogs         time.Duration // and in any case:
	RunLogsOf       int           // the newest runs of each project
	History         time.Duration // runs, and deployments that cannot be rolled back to; and in any case:
	HistoryOf       int           // the newest of each project
	Audit           time.Duration
}

// Cleaning is one pass over what need not be kept.
type Cleaning struct {
	At      time.Time // its end
	Pressed bool      // for want of room, more than usual was removed
	Removed []Stored  // what there was any of; Bytes where they are known
	Failed  bool      // a part of it could not be done; it is tried again
}
