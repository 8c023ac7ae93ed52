package views

import "github.com/coderunner/coderunner/internal/coderunner"

// DatabasesPage tells what a project's databases are and how its app reaches them.
type DatabasesPage struct {
	ProjectPage // Databases and Variables, which may stand in for a database's, among it
	Items       []DatabaseItem
	BundleID    string // of the newest upload, whose plan can be opened; "" without one
}

// DatabaseItem is one database of the page.
type DatabaseItem struct {
	coderunner.DatabaseStatus
	Title     string // of its appliance: "PostgreSQL 15"
	SizeBytes int64  // of its volume on disk; -1 if unknown
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
