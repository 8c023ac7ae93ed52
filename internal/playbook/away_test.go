package playbook

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// TestProviderStaysAway: the provider goes away as a deploy asks for one thing or another
// and is not back when that has been tried long enough. The deploy ends as failed and
// says what to do, the version before serves, and what was begun is removed later.
func TestProviderStaysAway(t *testing.T) {
	t.Parallel()
	const sentence = "containerd, which runs the sandboxes, does not answer. Start it."
	away := coderunner.Wrap(errors.New("rpc error: code = Unavailable"), coderunner.Unavailable, sentence)
	c := newCalm(t, func(_ context.Context, _ *calm, e *Engine) { e.cfg.RetryFor = 600 * time.Millisecond })
	s := c.samples[0]
	c.serves(t, s, "postgres-15")
	first, err := c.platform.store.CurrentDeployment(t.Context(), s.user.ID, s.project.ID)
	if err != nil {
		t.Fatal(err)
	}
	serves := func(when string) {
		t.Helper()
		if by, status, err := c.probe(t.Context(), "p0.apps.test"); by != first.AppSandboxID || status != http.StatusOK || err != nil {
			t.Errorf("%s, the URL is answered %d by %q (%v)", when, status, by, err)
		}
	}
	for i, call := range []string{"create app-", "exec in build-", "snapshot ", "start in app-"} {
		s.plan.Build.Value = "build " + call // another build, so that none of them is found already done
		var gone atomic.Bool
		c.breaks(func(_ context.Context, asked string) error {
			if strings.HasPrefix(asked, call) {
				gone.Store(true)
			}
			if gone.Load() {
				return away
			}
			return nil
		})
		run := c.begin(t, s, "postgres-15")
		run = c.ended(t, run.ID)
		if run.State != coderunner.RunFailed || run.Failure == nil || run.Failure.ID != "platform.unavailable" || run.Failure.Blame != coderunner.Ours || run.Failure.Title != sentence || run.Failure.Next == "" {
			t.Errorf("away from %q on, the deploy ended %s, %s: %+v\n%s", call, run.State, told(run.Failure), run.Failure, c.logText(t, run.ID))
		}
		text := c.logText(t, run.ID)
		for _, want := range []string{sentence + " Trying again in ", "Failed: " + sentence + " Start the run again;", "could not be removed now; it will be as soon as that is possible.", "Version 1 is still serving."} {
			if !strings.Contains(text, want) {
				t.Errorf("away from %q on, the log lacks %q\n%s", call, want, text)
			}
		}
		if strings.Contains(text, "rpc error") {
			t.Errorf("the log shows how we speak to the provider\n%s", text)
		}
		steps, err := c.platform.store.Steps(t.Context(), run.ID)
		if err != nil {
			t.Fatal(err)
		}
		errored := 0
		for _, st := range steps {
			if st.State == coderunner.StepErrored {
				errored++
			}
		}
		if errored == 0 {
			t.Errorf("away from %q on, no step errored: %+v", call, steps)
		}
		serves("away from " + call + " on")
		if d, err := c.platform.store.DeploymentByID(t.Context(), run.DeploymentID); err != nil || d.Status != coderunner.Failed || d.Number != i+2 {
			t.Errorf("away from %q on, deployment %d is %s (%v)", call, d.Number, d.Status, err)
		}

		// It is back: the reconciler removes what the run had begun, and forgets it.
		c.on.Store(nil)
		within, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		for err := c.settled(within); err != nil; err = c.settled(within) {
			if within.Err() != nil {
				t.Fatalf("away from %q on, then back: %v", call, err)
			}
			c.engine.Nudge()
		}
		cancel()
		serves("back again")
	}
	c.serves(t, s, "postgres-15")
}
