package inside

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/sandbox"
)

// Record is what is remembered of a long-lived process. Its keeper writes
// down how it ended.
type Record struct {
	PID       int           `json:"pid"` // as the host counts
	StartedAt time.Time     `json:"started_at"`
	OOMKills  int64         `json:"oom_kills"` // of the sandbox, when it started
	EndedAt   time.Time     `json:"ended_at"`
	Exit      *sandbox.Exit `json:"exit,omitempty"`
}

// lost is the end of a process that nobody saw: its sandbox was cut off.
var lost = sandbox.Exit{Code: 128 + int(unix.SIGKILL), Signal: int(unix.SIGKILL)}

// Status is that of a process that has ended.
func (r Record) Status() sandbox.ProcessStatus {
	status := sandbox.ProcessStatus{StartedAt: r.StartedAt, EndedAt: r.EndedAt, Exit: lost}
	if r.Exit != nil {
		status.Exit = *r.Exit
	}
	return status
}

// WriteJSON replaces the file in one step.
func WriteJSON(path string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(text); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
