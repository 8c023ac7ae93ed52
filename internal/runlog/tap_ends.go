package runlog

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/sandbox"
)

// begun notes the start of a process, to be told before what it prints, and reports
// whether that is new.
func (t *tap) begun(status sandbox.ProcessStatus) bool {
	t.reading.Lock()
	defer t.reading.Unlock()
	t.pending = time.Time{}
	if t.in.state.Started.Equal(status.StartedAt) {
		return false
	}
	t.pending = status.StartedAt
	t.settle.Reset(settleTime)
	return true
}

func (t *tap) take(c sandbox.OutputChunk) error {
	t.reading.Lock()
	defer t.reading.Unlock()
	if !t.pending.IsZero() && !c.At.Before(t.pending) {
		if err := t.tellStart(); err != nil {
			return err
		}
	}
	t.settle.Reset(settleTime)
	return t.in.take(c)
}

// settled says, after a silence, what has not been said yet.
func (t *tap) settled() {
	t.reading.Lock()
	defer t.reading.Unlock()
	if t.tellStart() == nil {
		_ = t.in.settle() // the queue has told already why it takes nothing
	}
}

func (t *tap) tellStart() error {
	if t.pending.IsZero() {
		return nil
	}
	first := t.in.state.Started.IsZero()
	at := t.pending
	t.in.state.Started, t.pending = at, time.Time{}
	if first {
		return t.in.say(at, "Deployment #%d started.", t.number)
	}
	return t.in.say(at, "The app was started again.")
}

// finished tells the end of a process, once.
func (t *tap) finished(status sandbox.ProcessStatus) error {
	t.reading.Lock()
	defer t.reading.Unlock()
	if err := t.tellStart(); err != nil {
		return err
	}
	if err := t.in.finish(); err != nil {
		return err
	}
	if t.in.state.Ended.Equal(status.StartedAt) {
		return nil
	}
	t.in.state.Ended = status.StartedAt
	at := status.EndedAt
	if at.IsZero() { // nobody saw it
		at = time.Now()
	}
	return t.in.say(at, "%s", endOf(status.Exit))
}

// endOf says how a process ended.
func endOf(e sandbox.Exit) string {
	switch {
	case e.OOMKilled:
		return "The app was ended: it used more memory than its sandbox has."
	case e.OverDisk:
		return "The app was ended: it wrote more to its disk than it may."
	case e.Signal != 0:
		return fmt.Sprintf("The app was ended by %s.", unix.SignalName(unix.Signal(e.Signal)))
	}
	return fmt.Sprintf("The app ended with exit code %d.", e.Code)
}
