package views

import (
	"fmt"
	"strings"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// ServerPage is what the machine stores in all, and its room.
type ServerPage struct {
	Frame
	Disk    coderunner.Disk
	Machine []coderunner.Part
	Sources []coderunner.Source // of packages, where somebody has chosen them
}

// storedWords are what people call a kind, what it is, and the noun that is counted.
type storedWords struct{ icon, name, what, noun string }

func wordsOfStored(kind coderunner.StoredKind) storedWords {
	switch kind {
	case coderunner.StoredUploads:
		return storedWords{"archive", "Uploads", "The code that was uploaded, compressed.", "upload"}
	case coderunner.StoredDependencies:
		return storedWords{"package", "Installed dependencies", "Kept so that the next deploy installs nothing.", "snapshot"}
	case coderunner.StoredCaches:
		return storedWords{"package", "Package caches", "What builds have downloaded, kept for the next of the same user.", "cache"}
	case coderunner.StoredReleases:
		return storedWords{"layers", "Releases", "What was built, for restarts and rollbacks.", "release"}
	case coderunner.StoredSandboxes:
		return storedWords{"server", "Sandboxes", "What apps wrote beside their databases.", "sandbox"}
	case coderunner.StoredTemplates:
		return storedWords{"boxes", "Templates", "The prepared systems that sandboxes are made from.", "template"}
	case coderunner.StoredVolumes:
		return storedWords{"database", "Database volumes", "The data of the projects' databases.", "volume"}
	case coderunner.StoredRunLogs:
		return storedWords{"terminal", "Logs of runs", "What deploys and other runs printed.", "line"}
	case coderunner.StoredAppLogs:
		return storedWords{"terminal", "Logs of apps", "What apps printed.", "line"}
	}
	return storedWords{"hard-drive", "The platform's own database", "Projects, deployments, runs, accounts.", "row"}
}

// largest names the tables that take most of the platform's database.
func largest(tables []coderunner.Table) string {
	parts := make([]string, len(tables))
	for i, t := range tables {
		parts[i] = strings.ReplaceAll(t.Name, "_", " ") + " " + size(t.Bytes)
	}
	return "Largest tables: " + strings.Join(parts, ", ") + "."
}

// storedCount says how many there are, "" where nothing is counted.
func storedCount(s coderunner.Stored) string {
	if s.Count == 0 {
		return ""
	}
	if s.Kind == coderunner.StoredSandboxes && s.Count != 1 {
		return thousands(int(s.Count)) + " sandboxes"
	}
	return count(int(s.Count), wordsOfStored(s.Kind).noun)
}

// sum is what all of it takes.
func sum(list []coderunner.Stored) (bytes int64) {
	for _, s := range list {
		bytes += s.Bytes
	}
	return bytes
}

// used is how much of a file system is taken, in percent, for its bar.
func used(f coderunner.FileSystem) string { return fmt.Sprintf("%.0f", 100-f.FreePercent()) }

// room says how much is free.
func room(f coderunner.FileSystem) string {
	return fmt.Sprintf("%s of %s free (%.0f %%)", size(f.Free), size(f.Size), f.FreePercent())
}

// days says a time in whole days, and a shorter one in hours.
func days(d time.Duration) string {
	if d < 48*time.Hour {
		return count(int(d/time.Hour), "hour")
	}
	return count(int(d/(24*time.Hour)), "day")
}

// keptFor lists what is kept, for how long.
func keptFor(r coderunner.Retention) []string {
	return []string{
		"Releases: the newest " + thousands(r.Releases) + " of each project; those are what can be rolled back to.",
		"Installed dependencies: " + size(r.DependencyBytes) + " in all; what was not used for the longest goes first, and nothing that is in use.",
		"Uploads: each project's newest, and those that a kept release was made from; others for " + days(r.Uploads) + ".",
		"Logs of runs: those of the last " + days(r.RunLogs) + ", and of each project's newest " + thousands(r.RunLogsOf) + " runs.",
		"Runs, and deployments that cannot be rolled back to: those of the last " + days(r.History) + ", and of each project the newest " + thousands(r.HistoryOf) + "; those of destroyed projects for " + days(r.History) + ".",
		"The record of who did what: " + days(r.Audit) + ".",
		"Databases: until their project is destroyed. Nothing is removed by itself.",
	}
}
