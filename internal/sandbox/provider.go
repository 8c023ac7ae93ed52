// Package sandbox is the contract between the orchestrator and the places where
// sandboxes live. Each provider is a package below this one; all pass the same
// conformance suite (sandboxtest).
package sandbox

import (
	"context"
	"io"
	"io/fs"
	"time"
)

// Provider creates sandboxes from templates and works in them.
//
// Order of calls: a template must exist before Create names it; every other call
// about a sandbox needs Create to have returned. Destroy may come at any time,
// also while another call on the same sandbox is under way; that call then
// fails with a NotFound error.
//
// Concurrency: all methods are safe for concurrent use. Create, Start and Stop on one
// sandbox are serialised by the provider.
//
// Twice: Create, Start, Stop, Destroy, RemoveVolume and RemoveNetwork may be
// repeated with the same arguments; the second call finds the work done and
// answers as the first did. Exec and Upload do their work again.
//
// Errors are *coderunner.Error: NotFound for a sandbox, process, template or volume that
// does not exist, Unavailable when the provider cannot be reached, Invalid for
// arguments that can never work, Conflict for a name taken with another spec,
// and Internal for the rest. Context errors come back unchanged (errors.Is).
type Provider interface {
	// Name is the provider's stable name, e.g. "containerd".
	Name() string

	// Capabilities tells what the playbooks may ask for.
	Capabilities() Capabilities

	// Create makes a sandbox from a template or a snapshot, unpacks spec.Files into its
	// root and boots it; nothing of the user's runs yet. When it returns, Exec works.
	// A sandbox with the same name that this instance created is adopted (and booted
	// if its machine had stopped). Its files are left as they are then, and spec.Files
	// is not compared with what it was made with; only one whose Create was
	// cut off before all files were there is made anew, and one that was ended for
	// what it had written (Limits.DiskBytes). What that one's processes printed stays.
	Create(ctx context.Context, spec Spec) (Info, error)

	// Get observes one sandbox.
	Get(ctx context.Context, name string) (Info, error)

	// List observes all sandboxes of this instance whose labels include all of labels.
	List(ctx context.Context, labels map[string]string) ([]Info, error)

	// Destroy ends every process of the sandbox and removes it with its root and its address.
	// Volumes and networks stay. A sandbox that does not exist is success.
	Destroy(ctx context.Context, name string) error

	// Exec runs a command and waits for it. Output is written to cmd.Stdout and
	// cmd.Stderr as it comes and is complete when Exec returns. A command that ran
	// and failed is not an error: see Exit. When ctx ends or cmd.Timeout passes, the
	// whole process tree is dead before Exec returns (SIGKILL, within 5 s), children that left
	// the session included; the error is then ctx's, or none with Exit.TimedOut.
	// A second Exec with the same non-empty cmd.ID first kills what an
	// earlier one, perhaps of a process of ours that died, left behind.
	Exec(ctx context.Context, name string, cmd Command) (Exit, error)

	// Start runs a long-lived process whose output is kept by the provider while
	// nobody reads it, also while CodeRunner is down. A process with that name
	// already running is success.
	Start(ctx context.Context, name, process string, cmd Command) error

	// Process observes a process made by Start.
	Process(ctx context.Context, name, process string) (ProcessStatus, error)

	// Wait blocks until the process made by Start has ended, or ctx.
	Wait(ctx context.Context, name, process string) (ProcessStatus, error)

	// Stop ends a process made by Start and its whole tree: SIGTERM, and SIGKILL
	// after grace. It returns when all are dead. No such process is success.
	Stop(ctx context.Context, name, process string, grace time.Duration) error

	// Output reads the kept output of a process made by Start, from the byte
	// offset given, oldest first. With follow it waits for more until
	// the process has ended and all is read, or ctx ends. Each record is delivered to
	// yield with the offset to continue from; yield's error ends the call. Output
	// older than the provider's retention is skipped: the next From tells.
	Output(ctx context.Context, name, process string, from int64, follow bool, yield func(OutputChunk) error) error

	// Upload unpacks a tar stream under dir as Create does with Spec.Files. It is
	// Invalid for an archive that is damaged or that has an entry which cannot be unpacked;
	// what came before that entry stays.
	Upload(ctx context.Context, name, dir string, tar io.Reader) error

	// ReadFile opens one regular file of the sandbox; at most limit bytes are read.
	ReadFile(ctx context.Context, name, path string, limit int64) (io.ReadCloser, error)

	// Address tells how to reach a TCP port of the sandbox.
	Address(ctx context.Context, name string, port int) (Address, error)

	// Listening lists the TCP sockets in LISTEN state inside the sandbox.
	Listening(ctx context.Context, name string) ([]Socket, error)

	// Stats measures the sandbox's present use.
	Stats(ctx context.Context, name string) (Stats, error)

	// ListVolumes names the volumes of this instance whose labels include all of labels.
	ListVolumes(ctx context.Context, labels map[string]string) ([]Volume, error)

	// VolumeSize measures how many bytes of disk a volume's data takes now. It looks at
	// every file, which may take a while: ctx bounds it.
	VolumeSize(ctx context.Context, name string) (int64, error)

	// RemoveVolume deletes a volume and its data for good. It fails with Conflict while a sandbox uses it.
	RemoveVolume(ctx context.Context, name string) error

	// ListNetworks names the private networks of this instance that exist.
	ListNetworks(ctx context.Context) ([]string, error)

	// RemoveNetwork removes a project's private network once no sandbox is in it (else Conflict).
	RemoveNetwork(ctx context.Context, name string) error

	// HasTemplate reports whether the template is ready for Create.
	HasTemplate(ctx context.Context, ref TemplateRef) (bool, error)

	// BuildTemplate makes the template, telling its progress in lines on out.
	// Two builds of one template at once do the work once; both get its output
	// from then on. A template that exists is success. A failure is Unavailable if its
	// reason may pass (the network, the disk), and Invalid if another try would end alike.
	BuildTemplate(ctx context.Context, t Template, out io.Writer) error

	// Check tries the provider end to end without changing anything, and says what is wrong.
	Check(ctx context.Context) error

	// Close lets go of connections. Sandboxes go on running.
	Close() error
}

// Snapshotter is implemented by providers with Capabilities.Snapshots.
//
// A snapshot belongs to the instance, like a volume: it stays until
// RemoveSnapshot, whatever becomes of the sandbox it was taken of, of the engine
// and of the template, also of a template that is defined anew. It keeps what its
// sandboxes need of that template (user, environment, working directory).
//
// All calls may be repeated, also after one that was cut off at any point.
type Snapshotter interface {
	// Snapshot keeps the sandbox's root (not its volumes, not its memory) under
	// a name that Spec.Snapshot can ask for; [a-z0-9-], at most 63 bytes. It ends whatever
	// runs in the sandbox and takes its root: afterwards the sandbox is
	// good for nothing but Destroy, and Create with its name is a Conflict until then.
	// A snapshot of that name is success; sandbox and snapshot are left as they are then.
	Snapshot(ctx context.Context, name, snapshot string, labels map[string]string) error

	// ListSnapshots observes the snapshots whose labels include all of labels, by name.
	ListSnapshots(ctx context.Context, labels map[string]string) ([]Snapshot, error)

	// RemoveSnapshot deletes a snapshot. It fails with Conflict while a sandbox
	// or another snapshot is made from it. No such snapshot is success.
	RemoveSnapshot(ctx context.Context, snapshot string) error
}

// Pauser is implemented by providers with Capabilities.Pause.
type Pauser interface {
	Pause(ctx context.Context, name string) error
	Resume(ctx context.Context, name string) error
}

// Capabilities are what a provider offers beyond the contract. They are asked
// for, never assumed.
type Capabilities struct {
	PrivateNetwork bool // sandboxes of one network reach each other by Address.Sibling
	Snapshots      bool // implements Snapshotter
	Pause          bool // implements Pauser
	DurableVolumes bool // volumes outlive sandboxes and reboots
}

// Spec says what sandbox to make.
type Spec struct {
	Name     string            // unique in the instance; [a-z0-9-], at most 63 bytes; derived from run and step
	Template TemplateRef       // what its root is made from
	Snapshot string            // or, if not "", a snapshot; Template is then the zero value or has the name of the snapshot's
	Files    []Archive         `json:"-"` // put into the root before the sandbox boots, in this order; not part of what specs are compared by
	Labels   map[string]string // for List
	Env      map[string]string // for every process of the sandbox
	Network  string            // private network, one for each project; "" for none but the internet
	Hostname string            // "" for the name
	Limits   Limits
	Volumes  []Mount
	// Settings are small text files, by their absolute paths, that every process may read and none
	// changes. They are no part of snapshots, and specs are not compared by them.
	Settings map[string]string `json:"-"`
	// Yields is for how long after its making it takes only what processor time others
	// leave, where the provider can tell: others are waited for. Specs are not compared by it.
	Yields time.Duration `json:"-"`
}

// Archive is a tar stream that is unpacked under Dir.
//
// Dir is absolute, is made if absent, and is not reached through an absolute link.
// Everything is written as the sandbox's own user, with that user's rights, and with
// the time when it is written. No entry leaves Dir, by its name or through a
// link, whether from the archive or there before: one that would makes the call
// Invalid, as does a device or a pipe. Existing files are replaced, directories kept.
// Of a mode only the permissions count, and nobody else than the user may write.
type Archive struct {
	Dir string
	Tar func() (io.ReadCloser, error) // may be called again by another Create
}

// TemplateRef names a template by definition, so that a changed definition is another template.
type TemplateRef struct {
	Name   string // "nodejs-18"
	Digest string // lower-case hex, at least 16 characters
}

// Template is how a template is made.
type Template struct {
	TemplateRef
	Suite     string            // Debian suite: "bookworm"
	Packages  []string          // Debian packages installed over the base
	Downloads []Download        `json:",omitempty"` // unpacked into the root before Files
	Files     fs.FS             // copied to the root, may be nil; mode and path as in Files
	Setup     string            // script file within Files run once as root inside the new root ("" for none)
	User      User              // made if absent; processes run as it unless told otherwise
	Env       map[string]string // for every process of its sandboxes
	WorkDir   string            // made, owned by User
}

// Download is a package of an npm registry or a module of a Go proxy, whatever its content. It is what
// the template was written with, or there is no template. {arch} in Package and Version is
// the registry's word for the machine's architecture: x64 or arm64 for npm, amd64 or arm64 for Go.
type Download struct {
	Package   string            // npm's: "npm", "node-linux-{arch}"; or
	Module    string            `json:",omitempty"` // Go's: "golang.org/toolchain"
	Version   string            // exact
	Integrity map[string]string // by architecture, "any" for all: "sha512-" and base64 for npm, "h1:" and base64 as in a go.sum
	Into      string            // absolute; the archive's files become this folder's
	Only      string            `json:",omitempty"` // the one architecture that wants it, in npm's word; "" for all
}

// User is the account that processes run as inside a sandbox.
type User struct {
	Name string
	UID  uint32
	GID  uint32
	Home string
}

// Limits bound what a sandbox may take; zero means the provider's default.
type Limits struct {
	MemoryBytes int64
	CPUs        float64 // 1.5 is one and a half cores
	PIDs        int64
	// DiskBytes bounds what it has written to its root, beside what the root was made from and
	// volumes. A sandbox that is found over it, within some seconds, is ended with all that
	// runs in it, see Exit.OverDisk; it is stopped then, and Create makes it anew.
	DiskBytes int64
}

// Mount puts a volume into the sandbox. The volume is made at first use, as a copy of
// what the spec's template has at Path, and kept until RemoveVolume. It is empty
// and belongs to the template's user when nothing is there, or the spec has a snapshot.
type Mount struct {
	Volume string            // unique in the instance; [a-z0-9-]
	Path   string            // absolute, inside the sandbox
	Labels map[string]string // for ListVolumes
	// Room is how many bytes are the volume's own. What it has beyond counts as written to the root of each
	// sandbox that it is in (Limits.DiskBytes); 0 counts nothing.
	Room int64 `json:",omitempty"`
}

// State is what was observed of a sandbox.
type State string

const (
	StateRunning State = "running"
	StateStopped State = "stopped" // exists, but its processes are gone (a reboot, a kill)
	StatePaused  State = "paused"
)

// Info is one observation of a sandbox.
type Info struct {
	Name       string
	State      State
	Template   TemplateRef
	Labels     map[string]string
	Network    string
	CreatedAt  time.Time
	ObservedAt time.Time
}

// Command is one program to run. Argv is executed as it is, without a shell.
type Command struct {
	ID      string // optional; names the execution, so that a repeat finds and kills it
	Argv    []string
	Env     map[string]string // over the sandbox's own
	Dir     string            // "" for the template's WorkDir
	User    string            // "" for the template's User; "root" is uid 0 without capabilities beyond the sandbox's
	Stdin   io.Reader         // nil for none; Start accepts none or a small, finite one (at most 64 KiB)
	Stdout  io.Writer         // Exec only; nil discards
	Stderr  io.Writer         // Exec only; nil discards
	Timeout time.Duration     // Exec only; zero for none
}

// Exit is how a command ended.
type Exit struct {
	Code      int  // 0…255; 128+n when signal n ended it
	Signal    int  // 0 if none
	OOMKilled bool // the sandbox's memory limit killed something while it ran
	OverDisk  bool // the sandbox wrote more than its disk limit, and was ended with all that ran in it
	TimedOut  bool
}

// ProcessStatus is one observation of a long-lived process.
type ProcessStatus struct {
	Running   bool
	PID       int  // on the provider's side, 0 if unknown
	Exit      Exit // when not running
	StartedAt time.Time
	EndedAt   time.Time
}

// OutputChunk is a piece of kept output.
type OutputChunk struct {
	Stream string // "stdout" or "stderr"
	At     time.Time
	Data   []byte // valid until yield returns; may end within a line
	From   int64  // offset to read it again from: the one asked for or the last Next, or more when output between is not kept
	Next   int64  // offset to continue from
}

// Address is how to reach a port; a field is "" where there is no such way.
type Address struct {
	Proxy   string // host:port for our edge
	Sibling string // host:port for another sandbox of the same network
	Public  string // host:port or URL for the world
}

// Socket is one listening socket of a sandbox.
type Socket struct {
	IP   string // "0.0.0.0", "::", "127.0.0.1", "::1" …
	Port int
}

// Loopback reports whether only the sandbox itself can reach the socket.
func (s Socket) Loopback() bool { return s.IP == "::1" || len(s.IP) > 4 && s.IP[:4] == "127." }

// Stats is one measurement. Bytes, and CPU time since boot of the sandbox.
type Stats struct {
	MemoryBytes      int64
	MemoryLimitBytes int64
	CPUTime          time.Duration
	PIDs             int64
	OOMKills         int64
	ObservedAt       time.Time
}

// Volume is a directory that outlives sandboxes.
type Volume struct {
	Name   string
	Labels map[string]string
}

// Snapshot is a kept root.
type Snapshot struct {
	Name      string
	Template  TemplateRef // as it was when the sandbox was made
	Labels    map[string]string
	Bytes     int64 // what it has beyond the template or snapshot that it was made from
	CreatedAt time.Time
}
