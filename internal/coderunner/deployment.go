package coderunner

import "time"

// DeploymentStatus is where a deployment stands.
//
//	PENDING ──> PROVISIONING ──> BUILDING ──> RUNNING ──> STOPPED ──> RUNNING
//	   └────────────┴────────────────┴──────────┴──> FAILED
//	any but DESTROYED ──> DESTROYED
//
// One without databases goes from PENDING to BUILDING, and one that builds nothing
// from PROVISIONING to RUNNING. One that never served ends STOPPED when it is cancelled.
type DeploymentStatus string

const (
	Pending      DeploymentStatus = "PENDING"
	Provisioning DeploymentStatus = "PROVISIONING"
	Building     DeploymentStatus = "BUILDING"
	Running      DeploymentStatus = "RUNNING"
	Stopped      DeploymentStatus = "STOPPED"
	Failed       DeploymentStatus = "FAILED"
	Destroyed    DeploymentStatus = "DESTROYED"
)

var deploymentTransitions = map[DeploymentStatus][]DeploymentStatus{
	Pending:      {Provisioning, Building, Failed, Stopped, Destroyed},
	Provisioning: {Building, Running, Failed, Stopped, Destroyed},
	Building:     {Running, Failed, Stopped, Destroyed},
	Running:      {Stopped, Failed, Destroyed},
	Stopped:      {Running, Failed, Destroyed},
	Failed:       {Running, Stopped, Destroyed},
	Destroyed:    {},
}

// String returns the status as it is stored and shown.
func (s DeploymentStatus) String() string { return string(s) }

// CanBecome reports whether a deployment in status s may move to next. Staying
// where it is counts as legal, so that a repeated step does no harm.
func (s DeploymentStatus) CanBecome(next DeploymentStatus) bool {
	if s == next {
		return true
	}
	for _, t := range deploymentTransitions[s] {
		if t == next {
			return true
		}
	}
	return false
}

// Deployment is one attempt to run one bundle of one project.
type Deployment struct {
	ID               string
	ProjectID        string
	BundleID         string
	Number           int // 1, 2, 3 … within the project
	Origin           Origin
	FromID           string // the deployment that it repeats; "" for an upload
	Status           DeploymentStatus
	RuntimeType      string     // "nodejs", …
	Plan             Plan       // as confirmed; never changes
	Release          *Release   // nil until it is built, and once it is no longer kept
	ReleasedAt       *time.Time // when it first served; nil if it never did
	AppSandboxID     string     // provider's sandbox name, "" while none exists
	DBSandboxID      string
	AppliedDatabases []string // ids of the databases that its app was given when it was last started
	PublicURL        string   // set while its route is live
	Failure          *Failure
	ObservedAt       *time.Time // when the provider was last asked about its sandbox
	Observed         string     // what it said: one of Seen…, or a state of the sandbox itself
	CreatedAt        time.Time
	UpdatedAt        time.Time
}

// What was seen of an app or a database. Anything else is the state of a sandbox that
// does not run.
const (
	SeenRunning  = "running"
	SeenStarting = "starting" // it was started again, and has not answered since
	SeenSilent   = "silent"   // it runs, and has not answered for longer than a start may take
	SeenEnded    = "ended"    // the sandbox runs, and what ran in it has ended
)

// SeenFor is how long what was seen of an app is believed: several looks.
const SeenFor = time.Minute

// Standing is what is known of an app that should run.
type Standing string

const (
	StandingUp      Standing = "up"
	StandingDown    Standing = "down"    // it should run, does not, and is started again
	StandingSilent  Standing = "silent"  // it was started again, runs, and does not answer
	StandingUnknown Standing = "unknown" // nobody has looked for a while
)

// Standing answers how the deployment's app stands; "" when it is not to run.
func (d Deployment) Standing(now time.Time) Standing {
	switch {
	case d.Status != Running:
		return ""
	case d.ObservedAt == nil || now.Sub(*d.ObservedAt) > SeenFor:
		return StandingUnknown
	case d.Observed == SeenSilent:
		return StandingSilent
	case d.Observed != SeenRunning:
		return StandingDown
	}
	return StandingUp
}

// Origin says where a deployment's code comes from.
type Origin string

const (
	FromUpload   Origin = "upload"
	FromRedeploy Origin = "redeploy" // the same upload once more
	FromRollback Origin = "rollback" // the release of an earlier deployment
)

// Release is what a deployment's sandboxes are made from. It is kept so that a
// restart or a rollback installs and builds nothing.
type Release struct {
	Snapshot string `json:"snapshot,omitempty"` // the provider's; "" for the appliance's template
	Code     bool   `json:"code,omitempty"`     // the bundle is unpacked over it
}
