package coderunner_test

import (
	"maps"
	"slices"
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

func TestConnectionHasTheKeysThatAreTold(t *testing.T) {
	t.Parallel()
	env := coderunner.Connection{Host: "10.0.0.2", Port: 5432, User: "app", Database: "app", Password: "a/b"}.Environment()
	if got, want := slices.Sorted(maps.Keys(env)), slices.Sorted(slices.Values(coderunner.DatabaseKeys())); !slices.Equal(got, want) {
		t.Errorf("set are %v, told %v", got, want)
	}
	if got, want := env["DATABASE_URL"], "postgres://app:a%2Fb@10.0.0.2:5432/app"; got != want {
		t.Errorf("the URL is %s, want %s", got, want)
	}
}
