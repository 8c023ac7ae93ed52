// Package diagnosis turns what was observed of a command or an app that failed
// into a sentence for its owner: what happened, what shows it, what to do next.
//
// It is a pure function of the evidence. What it looks at, in this order:
//
//	the limits    out of disk, out of memory, out of time
//	the sockets   (health) listens at the wrong place; answers 5xx
//	the answer    (health) refuses its own public address
//	the lines     what the tools print when they give up: npm, pip, go, node, bundlers
//	the upload    whether what a line misses is there, under which name, declared how
//	the end       command not found, signal, exit code
//
// docs/FAILURES.md lists the causes that a test deploys for real. Failure.ID is
// "<about>.<cause>", whatever language it is told in; "<step>.<cause>" for what is the step's own.
package diagnosis

import (
	"io/fs"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// Evidence is what was observed of a step that failed. Zero values mean "not observed".
type Evidence struct {
	Step    string // "install", "build", "release", "start" or "health"
	Command string

	ExitCode  int
	Signal    int // 0 if none
	OOMKilled bool
	OverDisk  int64 // how many bytes the sandbox may write, when it was ended because it wrote more
	TimedOut  bool
	Timeout   time.Duration // the bound that passed; health: how long was waited
	Exited    bool          // start: the process ended
	Uptime    time.Duration // start: how long it ran

	Sockets    []sandbox.Socket // health: what listens in the sandbox
	Status     int              // health: the last HTTP status, 0 for none
	HealthPath string

	Body string // health: how the last answer below 500 that was no success begins

	Lines []string // the last lines of the step's log, oldest first; may carry ANSI sequences
	Plan  coderunner.Plan

	Memory    int64            // bytes that the sandbox may use
	Upload    fs.FS            // what was uploaded
	Proposed  *coderunner.Plan // the analyzer's for it
	Databases []string         // the appliances of the project's databases
	Offered   []string         // the appliances that there are
}

// Diagnose says why the step failed. Title, Next and ID are never empty.
func Diagnose(ev Evidence) coderunner.Failure {
	c := newCase(ev)
	f := c.failure()
	if f.Blame == "" {
		f.Blame = coderunner.Theirs
	}
	if !ev.TimedOut && ev.Step != "health" {
		code := ev.ExitCode
		f.ExitCode = &code
	}
	f.Lines, f.Shown = excerpt(ev.Lines, c.shownBy)
	return f
}

// failure tries what is most certain first.
func (c *evidenceCase) failure() coderunner.Failure {
	if f, ok := c.limits(); ok {
		return f
	}
	if f, ok := c.hostRefused(); ok {
		return f
	}
	c.shownBy = -1
	if c.ev.Step == "health" {
		return c.health()
	}
	if f, ok := c.read(); ok {
		return f
	}
	return c.end()
}

// limits is about commands that were ended because they took too much.
func (c *evidenceCase) limits() (coderunner.Failure, bool) {
	if c.ev.OverDisk > 0 {
		return c.overDisk(), true
	}
	const less = "Make it use less memory, or ask whoever runs this server for a larger limit."
	if at, _ := c.last(heapExhausted); c.ev.OOMKilled || at >= 0 {
		c.shownBy = at
		f := coderunner.Failure{ID: c.ev.Step + ".out_of_memory", Title: c.subject() + " ran out of memory and was killed.",
			Detail: "It needed more than the memory limit of its sandbox" + c.memory() + ".", Next: less}
		switch {
		case !c.ev.OOMKilled:
			f.Title = c.subject() + " ran out of memory."
			f.Detail = "Node.js reached the limit of its own heap (JavaScript heap out of memory)."
			f.Next = "Make it keep less in memory, or set the variable NODE_OPTIONS to --max-old-space-size=400 or another number of megabytes that fits the sandbox."
		case c.ev.Step == "build":
			f.Next = "Build on your own computer and upload the result with an empty build command, or ask whoever runs this server for a larger limit."
		}
		return f, true
	}
	if c.ev.TimedOut {
		return coderunner.Failure{ID: c.ev.Step + ".timed_out", Title: c.subject() + " did not finish within " + spell(c.ev.Timeout) + " and was ended.",
			Detail: "It was: " + quote(c.ev.Command) + ".",
			Next:   "Check whether it waits for input or starts a server: an install or build command has to end by itself. What runs for ever belongs in the start command."}, true
	}
	return coderunner.Failure{}, false
}

// memory says the sandbox's limit, if it is known.
func (c *evidenceCase) memory() string {
	if c.ev.Memory <= 0 {
		return ""
	}
	return ", " + bytes(c.ev.Memory)
}

// overDisk is about a sandbox that was ended with all that ran in it.
func (c *evidenceCase) overDisk() coderunner.Failure {
	may := bytes(c.ev.OverDisk)
	f := coderunner.Failure{ID: c.ev.Step + ".over_disk", Title: c.subject() + " wrote more than " + may + " to its disk and was ended.",
		Detail: "The command was: " + quote(c.ev.Command) + ".",
		Next:   "Check whether it downloads or generates more than it needs, or writes without an end, and clean up what it leaves; or ask whoever runs this server for a larger limit (--app-disk)."}
	if c.ev.Step != "install" && c.ev.Step != "build" {
		f.Detail = c.ranFor() + "What an app writes to its own files is lost with each deploy and restart, and may take " + may + "."
		f.Next = "Look for logs, uploads or caches that grow without an end. Print logs to the output instead, delete temporary files, keep data in a database; or ask whoever runs this server for a larger limit (--app-disk)."
	}
	return f
}
