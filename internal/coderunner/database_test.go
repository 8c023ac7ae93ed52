package coderunner_test

import (
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
)

func TestDatabaseState(t *testing.T) {
	t.Parallel()
	now := time.Now()
	before := now.Add(-coderunner.SeenFor - 1)
	seen := func(state string) *coderunner.SandboxRecord {
		return &coderunner.SandboxRecord{State: state, ObservedAt: &now}
	}
	made := coderunner.Database{SandboxID: "db-1"}
	for _, test := range []struct {
		what string
		d    coderunner.DatabaseStatus
		want coderunner.DatabaseState
	}{
		{"asked for", coderunner.DatabaseStatus{}, coderunner.DatabasePending},
		{"recorded", coderunner.DatabaseStatus{Sandbox: &coderunner.SandboxRecord{State: "unknown"}}, coderunner.DatabaseStarting},
		{"booted, without its role", coderunner.DatabaseStatus{Sandbox: seen("running")}, coderunner.DatabaseStarting},
		{"made", coderunner.DatabaseStatus{Database: made, Sandbox: seen("running")}, coderunner.DatabaseRunning},
		{"its server ended", coderunner.DatabaseStatus{Database: made, Sandbox: seen("ended")}, coderunner.DatabaseCrashed},
		{"its server starts", coderunner.DatabaseStatus{Database: made, Sandbox: seen("starting")}, coderunner.DatabaseStarting},
		{"its server hangs", coderunner.DatabaseStatus{Database: made, Sandbox: seen("silent")}, coderunner.DatabaseDown},
		{"not looked at for long", coderunner.DatabaseStatus{Database: made, Sandbox: &coderunner.SandboxRecord{State: "running", ObservedAt: &before}}, coderunner.DatabaseUnknown},
		{"after a reboot", coderunner.DatabaseStatus{Database: made, Sandbox: seen("stopped")}, coderunner.DatabaseDown},
		{"gone", coderunner.DatabaseStatus{Database: made, Sandbox: seen("missing")}, coderunner.DatabaseDown},
		{"without a record", coderunner.DatabaseStatus{Database: made}, coderunner.DatabaseDown},
		{"made anew", coderunner.DatabaseStatus{Database: made, Sandbox: &coderunner.SandboxRecord{State: "unknown"}}, coderunner.DatabaseStarting},
		{"stopped", coderunner.DatabaseStatus{Database: coderunner.Database{SandboxID: "db-1", StoppedAt: &now}}, coderunner.DatabaseStopped},
	} {
		if got := test.d.State(now); got != test.want {
			t.Errorf("%s: %s, want %s", test.what, got, test.want)
		}
	}
}
