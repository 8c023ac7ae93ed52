package coderunner_test

import (
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
)

func TestStanding(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)
	at := func(ago time.Duration) *time.Time { seen := now.Add(-ago); return &seen }
	for what, c := range map[string]struct {
		d    coderunner.Deployment
		want coderunner.Standing
	}{
		"seen just now":     {coderunner.Deployment{Status: coderunner.Running, ObservedAt: at(0), Observed: "running"}, coderunner.StandingUp},
		"seen a while ago":  {coderunner.Deployment{Status: coderunner.Running, ObservedAt: at(coderunner.SeenFor), Observed: "running"}, coderunner.StandingUp},
		"not seen":          {coderunner.Deployment{Status: coderunner.Running}, coderunner.StandingUnknown},
		"seen long ago":     {coderunner.Deployment{Status: coderunner.Running, ObservedAt: at(coderunner.SeenFor + 1), Observed: "running"}, coderunner.StandingUnknown},
		"ended":             {coderunner.Deployment{Status: coderunner.Running, ObservedAt: at(0), Observed: "ended"}, coderunner.StandingDown},
		"not answering yet": {coderunner.Deployment{Status: coderunner.Running, ObservedAt: at(0), Observed: "starting"}, coderunner.StandingDown},
		"not answering":     {coderunner.Deployment{Status: coderunner.Running, ObservedAt: at(0), Observed: "silent"}, coderunner.StandingSilent},
		"sandbox gone":      {coderunner.Deployment{Status: coderunner.Running, ObservedAt: at(0), Observed: "missing"}, coderunner.StandingDown},
		"not to run at all": {coderunner.Deployment{Status: coderunner.Stopped, ObservedAt: at(0), Observed: "running"}, ""},
	} {
		if got := c.d.Standing(now); got != c.want {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
	}
}
