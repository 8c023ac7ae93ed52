package coderunner

import (
	"encoding/json"
	"slices"
	"time"
)

// RunState is where one execution of a playbook stands.
//
//	QUEUED ──> RUNNING ──> SUCCEEDED | FAILED
//	   │          └──> CANCELLING ──> CANCELLED | SUCCEEDED | FAILED
//	   └──> CANCELLED
//
// A run that is asked to cancel succeeds if what it is for has happened already, and
// fails if a step did before it could be stopped.
type RunState string

const (
	RunQueued     RunState = "QUEUED"
	RunRunning    RunState = "RUNNING"
	RunCancelling RunState = "CANCELLING"
	RunSucceeded  RunState = "SUCCEEDED"
	RunFailed     RunState = "FAILED"
	RunCancelled  RunState = "CANCELLED"
)

var runTransitions = map[RunState][]RunState{
	RunQueued:     {RunRunning, RunCancelled},
	RunRunning:    {RunCancelling, RunSucceeded, RunFailed},
	RunCancelling: {RunCancelled, RunSucceeded, RunFailed},
}

// String returns the state as it is stored and shown.
func (s RunState) String() string { return string(s) }

// CanBecome reports whether a run in state s may move to next, or stays where it is.
func (s RunState) CanBecome(next RunState) bool {
	return s == next || slices.Contains(runTransitions[s], next)
}

// Ended reports whether nothing more will happen to the run.
func (s RunState) Ended() bool {
	return s == RunSucceeded || s == RunFailed || s == RunCancelled
}

// Run is one execution of a playbook; it owns its steps and its log.
type Run struct {
	ID                string
	ProjectID         string
	DeploymentID      string // "" for playbooks about the project as a whole
	Playbook          string // "deploy", "destroy", …
	State             RunState
	Owner             string // the process that holds the lease
	Epoch             int64  // grows by one at each claim; every write of the owner carries it
	LeaseExpiresAt    *time.Time
	CancelRequestedAt *time.Time
	ReplacedBy        string // the run that took its place while it waited; "" for none
	Options           RunOptions
	Failure           *Failure
	CreatedAt         time.Time
	StartedAt         *time.Time
	FinishedAt        *time.Time
	LogDroppedAt      *time.Time // when its log had been kept for long enough; nil while it is kept
}

// CheckLog answers NotFound, with the reason, when the run's log is not kept any more.
func (r Run) CheckLog() error {
	if r.LogDroppedAt == nil {
		return nil
	}
	return Errorf(NotFound, "The log of this run is not kept any more. What the run did is still known; its lines went on %s.", r.LogDroppedAt.UTC().Format("2 January 2006"))
}

// RunOptions are what was asked for beside the playbook itself.
type RunOptions struct {
	Databases bool     `json:"databases,omitempty"` // of a stop: the project's databases as well
	Attach    []string `json:"attach,omitempty"`    // the detached databases that the run attaches, by id
	Detach    string   `json:"detach,omitempty"`    // the database that is detached, or deleted, by id
}

// StepState is where one step of a run stands.
//
//	PENDING ──> RUNNING ──> DONE | FAILED (theirs) | ERRORED (ours) | CANCELLED
//	   └──> SKIPPED (the run ended before its turn)
//
// Another try, of whoever, is no change: the step is RUNNING until its end is known.
type StepState string

const (
	StepPending   StepState = "PENDING"
	StepRunning   StepState = "RUNNING"
	StepDone      StepState = "DONE"
	StepFailed    StepState = "FAILED"
	StepErrored   StepState = "ERRORED"
	StepCancelled StepState = "CANCELLED"
	StepSkipped   StepState = "SKIPPED"
)

var stepTransitions = map[StepState][]StepState{
	StepPending: {StepRunning, StepSkipped},
	StepRunning: {StepDone, StepFailed, StepErrored, StepCancelled},
}

// String returns the state as it is stored and shown.
func (s StepState) String() string { return string(s) }

// CanBecome reports whether a step in state s may move to next, or stays where it is.
func (s StepState) CanBecome(next StepState) bool {
	return s == next || slices.Contains(stepTransitions[s], next)
}

// Step is one idempotent action of a run.
type Step struct {
	RunID      string
	Position   int      // 0, 1, 2 … in the order shown
	Name       string   // stable, e.g. "install"
	Title      string   // "Install dependencies"
	After      []string // names of the steps that must be done before it
	State      StepState
	Attempts   int
	StartedAt  *time.Time
	FinishedAt *time.Time
	Output     json.RawMessage // what the step leaves for later ones; never a secret
	Error      string
}

// Stream says where a log line came from.
type Stream string

const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
	System Stream = "system" // said by CodeRunner itself
)

// LogLine is one line of a run's log. Text is valid UTF-8, redacted, without its
// newline, and may carry ANSI colour sequences (SGR) and no other control bytes.
type LogLine struct {
	RunID  string
	Seq    int64 // 1, 2, 3 … without gaps within the run
	At     time.Time
	Stream Stream
	Step   string // the step's name
	Text   string
}

// RuntimeLine is one line that an app printed, or that CodeRunner said about it.
// Text is as a LogLine's.
type RuntimeLine struct {
	ProjectID    string
	Seq          int64     // 1, 2, 3 … without gaps within the project; the oldest are removed after a while
	At           time.Time // when it was printed
	Stream       Stream
	DeploymentID string
	SandboxID    string
	Text         string
}

// RuntimeLog is the extent of a project's runtime log.
type RuntimeLog struct {
	First, Last int64 // numbers of its first and its last line; Last is less than First when there is none
	Bytes       int64 // about what it takes on the disk
}

// Empty reports whether there is no line.
func (l RuntimeLog) Empty() bool { return l.Last < l.First }

// RuntimeFilter chooses lines of a runtime log; the zero value is all of them.
type RuntimeFilter struct {
	DeploymentID string    // "" for every one
	Stream       Stream    // "" for all
	Since, Until time.Time // the first is included, the second is not; zero for no limit
}

// Matches reports whether the filter lets a line through.
func (f RuntimeFilter) Matches(l RuntimeLine) bool {
	return (f.DeploymentID == "" || f.DeploymentID == l.DeploymentID) && (f.Stream == "" || f.Stream == l.Stream) &&
		(f.Since.IsZero() || !l.At.Before(f.Since)) && (f.Until.IsZero() || l.At.Before(f.Until))
}

// Route maps a host name to a port of a sandbox. It moves only after the new
// sandbox answered.
type Route struct {
	Host         string
	ProjectID    string
	DeploymentID string
	SandboxID    string
	Target       string // host:port that the edge dials
	Stopped      bool   // the app is stopped: visitors are told so, and Target is not dialled
	UpdatedAt    time.Time
}

// SandboxRecord is what we believe about one sandbox of a provider.
type SandboxRecord struct {
	ID           string // the provider's sandbox name
	Provider     string
	ProjectID    string
	Purpose      Purpose
	DeploymentID string // of an app's
	DatabaseID   string // of a database's
	RunID        string // that made it, "" once that is forgotten
	Appliance    string
	State        string
	ObservedAt   *time.Time
	UnwantedAt   *time.Time // when it was replaced or stopped; it is removed as soon as that can be done
	Restarts     int        // of its process, in a row
	RestartAt    *time.Time // it is not started again before
	LastExit     *LastExit
	CreatedAt    time.Time
}

// Purpose is what a sandbox is for.
type Purpose string

const (
	ForApp      Purpose = "app"
	ForBuild    Purpose = "build" // gone when its run has ended
	ForDatabase Purpose = "database"
)

// LastExit is how a sandbox's process ended by itself the last time.
type LastExit struct {
	Code      int       `json:"code"`
	Signal    int       `json:"signal,omitempty"`
	OOMKilled bool      `json:"oom_killed,omitempty"`
	OverDisk  bool      `json:"over_disk,omitempty"` // its sandbox had written more than it may
	At        time.Time `json:"at"`
}

// SnapshotRecord is a root that was kept at a provider.
type SnapshotRecord struct {
	Name       string // the provider's
	Provider   string
	ProjectID  string
	Kind       SnapshotKind
	Basis      string // what has to be equal for an install on top of it
	Depth      int    // how many installs lie on top of each other in it
	Bytes      int64
	CreatedAt  time.Time
	LastUsedAt time.Time
}

// SnapshotKind is what was kept.
type SnapshotKind string

const (
	DependencySnapshot SnapshotKind = "dependencies"
	ReleaseSnapshot    SnapshotKind = "release"
)
