package coderunner

import "time"

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
	DatabaseAppliance ApplianceKind = "database"
)

// Database is a database appliance that belongs to a project and outlives its deployments.
type Database struct {
	ID         string
	ProjectID  string
	Appliance  string // "postgres-15"
	Name       string // the SQL database's and role's name
	SandboxID  string // provider's sandbox name, "" until provisioned
	Volume     string // provider's volume name
	Connection *Connection
	StoppedAt  *time.Time // by its owner; it is not started again by itself
}

// Connection is how an app reaches a database. It is encrypted at rest.
type Connection struct {
	Host     string `json:"host"`
	Port     int    `json:"port"`
	User     string `json:"user"`
	Database string `json:"database"`
	Password string `json:"password"`
}
