package coderunner

import "time"

// Database is a database appliance that belongs to a project and outlives its deployments.
type Database struct {
	ID         string
	ProjectID  string
	Appliance  string // "postgres-15"
	Name       string // within its server; of the role too, where there are roles
	SandboxID  string // provider's sandbox name, "" until provisioned
	Volume     string // provider's volume name
	Connection *Connection
	StoppedAt  *time.Time // by its owner; it is not started again by itself
	DetachedAt *time.Time // since when the app is not given it any more; its data stays
}

// Protocol is what its server speaks.
func (d Database) Protocol() Protocol { return ProtocolOf(d.Appliance) }

// Connection is how an app reaches a database. It is encrypted at rest.
type Connection struct {
	Host     string `json:"host"`
	Port     int    `json:"port"`
	User     string `json:"user"`
	Database string `json:"database"`
	Password string `json:"password"`
}

// DatabaseState is how a database is, as far as it was observed.
type DatabaseState string

const (
	DatabasePending  DatabaseState = "PENDING"  // no deploy has made it yet
	DatabaseStarting DatabaseState = "STARTING" // it is being made or started, and does not answer yet
	DatabaseRunning  DatabaseState = "RUNNING"
	DatabaseStopped  DatabaseState = "STOPPED" // by its owner
	DatabaseDetached DatabaseState = "DETACHED"
	DatabaseCrashed  DatabaseState = "CRASHED" // its server has ended by itself, and is started again
	DatabaseDown     DatabaseState = "DOWN"    // it should run, and was seen not to, or not to answer
	DatabaseUnknown  DatabaseState = "UNKNOWN" // nobody has looked for a while
)

// DatabaseStatus is a database as its owner sees it: the connection has no password,
// and is nil until it was provisioned.
type DatabaseStatus struct {
	Database
	Sandbox    *SandboxRecord // nil while it has none
	Unreadable bool           // there is a connection that this server cannot decrypt
	Pending    bool           // the app that runs has been attached to it, or detached, since it was started
}

// State is what follows from what was observed of its server.
func (d DatabaseStatus) State(now time.Time) DatabaseState {
	switch {
	case d.DetachedAt != nil:
		return DatabaseDetached
	case d.StoppedAt != nil:
		return DatabaseStopped
	case d.Sandbox == nil && d.SandboxID == "":
		return DatabasePending
	case d.Sandbox == nil:
		return DatabaseDown
	case d.SandboxID == "" || d.Sandbox.ObservedAt == nil:
		return DatabaseStarting
	case now.Sub(*d.Sandbox.ObservedAt) > SeenFor:
		return DatabaseUnknown
	case d.Sandbox.State == SeenRunning:
		return DatabaseRunning
	case d.Sandbox.State == SeenStarting:
		return DatabaseStarting
	case d.Sandbox.State == SeenEnded:
		return DatabaseCrashed
	}
	return DatabaseDown
}

// ObservedAt is when its server was asked last, nil for never.
func (d DatabaseStatus) ObservedAt() *time.Time {
	if d.Sandbox == nil {
		return nil
	}
	return d.Sandbox.ObservedAt
}
