package coderunner

// Appliance is a catalogue entry: a template and how it is prepared, started,
// checked and stopped.
type Appliance struct {
	Name        string // "nodejs-18"
	Title       string // "Node.js 18"
	Kind        ApplianceKind
	Description string
	Digest      string // of the definition; names the template built from it
}

// ApplianceKind tells what an appliance is for.
type ApplianceKind string

const (
	RuntimeAppliance  ApplianceKind = "runtime"
	BuilderAppliance  ApplianceKind = "builder" // installs and builds for a runtime, and runs nothing
	DatabaseAppliance ApplianceKind = "database"
)
