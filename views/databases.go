package views

import (
	"slices"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// DatabasesPage tells what a project's databases are and how its app reaches them.
type DatabasesPage struct {
	ProjectPage                        // Databases and Variables, which may stand in for a database's, among it
	Items       []DatabaseItem         // the attached ones, then those that are detached
	Offered     []coderunner.Appliance // of which the project has none; one of them can be attached
	BundleID    string                 // of the newest upload, whose plan can be opened; "" without one
}

// DatabaseItem is one database of the page.
type DatabaseItem struct {
	coderunner.DatabaseStatus
	Title     string // of its appliance: "PostgreSQL 15"
	SizeBytes int64  // of its volume on disk; -1 if unknown
}

// DeleteDatabasePage asks for the name of a detached database before its data is deleted.
type DeleteDatabasePage struct {
	Frame
	Project  coderunner.Project
	Database DatabaseItem
	Mistyped bool // the name posted was not its appliance's
}

// running reports whether there is an app that can be started again.
func (p ProjectPage) running() bool {
	return p.Live != nil && p.Live.ReleasedAt != nil && p.Live.Status != coderunner.Stopped && p.Project.DestroyedAt == nil
}

// notGiven reports whether the app that runs was started before a database was attached.
func (p ProjectPage) notGiven(d coderunner.Database) bool {
	return p.Live != nil && p.Live.Status == coderunner.Running && p.Live.ReleasedAt != nil && !slices.Contains(p.Live.AppliedDatabases, d.ID)
}

func databaseState(s coderunner.DatabaseState) state {
	switch s {
	case coderunner.DatabasePending:
		return state{"Not made yet", "circle-dashed", toneQuiet}
	case coderunner.DatabaseStarting:
		return state{"Starting", "loader-circle", toneBusy}
	case coderunner.DatabaseRunning:
		return state{"Running", "circle-check", toneGood}
	case coderunner.DatabaseStopped:
		return state{"Stopped", "circle-pause", toneQuiet}
	case coderunner.DatabaseDetached:
		return state{"Detached", "unplug", toneQuiet}
	case coderunner.DatabaseCrashed:
		return state{"Crashed", "circle-x", toneBad}
	case coderunner.DatabaseDown:
		return state{"Not running", "circle-x", toneBad}
	}
	return state{"Unknown", "circle-dashed", toneQuiet}
}

// own finds the project's own variable that stands in for a database's.
func (p DatabasesPage) own(key string) (coderunner.Variable, bool) {
	for _, v := range p.Variables {
		if v.Key == key {
			return v, true
		}
	}
	return coderunner.Variable{}, false
}

// keys are the variables that the app gets from a database.
func (p DatabasesPage) keys(d DatabaseItem) []string { return d.Protocol().Keys(p.Protocols()...) }

// secretKeys are those of them that have the password.
func (p DatabasesPage) secretKeys(d DatabaseItem) (keys []string) {
	for _, key := range p.keys(d) {
		if key == d.Protocol().URLKey() || key == d.Protocol().PasswordKey() || key == "DATABASE_URL" {
			keys = append(keys, key)
		}
	}
	return keys
}

// ownKeys are the variables of a database that the project sets itself.
func (p DatabasesPage) ownKeys(d DatabaseItem) (own []coderunner.Variable) {
	for _, key := range p.keys(d) {
		if v, set := p.own(key); set {
			own = append(own, v)
		}
	}
	return own
}

// lossName is a database in the list of what is lost.
func lossName(d coderunner.Database) string {
	name := d.Appliance + " · " + d.Name
	if d.DetachedAt != nil {
		name += ", detached"
	}
	return name
}

// everything is what is lost with a database.
func everything(d coderunner.Database) string {
	if d.Protocol() == coderunner.Redis {
		return "every key"
	}
	return "every table and row"
}

// scopeWho is who is given a variable of a scope.
func scopeWho(scope coderunner.VariableScope) string {
	switch scope {
	case coderunner.BuildScope:
		return "the build"
	case coderunner.RunScope:
		return "the app"
	}
	return "each of the two"
}
