package playbook

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// Many runs of one user wait for the only place to build. They are in nobody's way: what needs no
// place is done at once, and another user's deploy is next.
func TestWhoWaitsForAPlaceIsInNobodysWay(t *testing.T) {
	t.Parallel()
	const many = 100
	c := newCalm(t, func(_ context.Context, _ *calm, e *Engine) { e.slots = newSlots(1) })
	other, late, busy := c.samples[0], c.samples[1], c.samples[2]
	c.serves(t, other)
	give, err := c.engine.slots.acquire(t.Context(), busy.user.ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	waiting := make([]coderunner.Run, many)
	for i := range waiting {
		s := busy
		if s.project, err = c.platform.store.CreateProject(t.Context(), s.user.ID, fmt.Sprintf("busy %d", i), fmt.Sprintf("busy-%d", i)); err != nil {
			t.Fatal(err)
		}
		if s.bundle, err = c.newBundle(t.Context(), s.project.ID, map[string]string{"index.js": "x"}, s.plan); err != nil {
			t.Fatal(err)
		}
		waiting[i] = c.begin(t, s)
	}
	for _, run := range waiting {
		if n := c.ahead(t, run.ID); n < 1 {
			t.Fatalf("a run waits for %d", n)
		}
	}
	run, err := c.engine.StopApp(t.Context(), other.user.ID, other.project.ID, false)
	if err != nil {
		t.Fatal(err)
	}
	if run = c.ended(t, run.ID); run.State != coderunner.RunSucceeded {
		t.Errorf("the stop ended %s, %s", run.State, told(run.Failure))
	}
	run = c.begin(t, late)
	if n := c.ahead(t, run.ID); n > 2 {
		t.Errorf("%d are before a user who has waited for nothing", n)
	}
	give()
	if run = c.ended(t, run.ID); run.State != coderunner.RunSucceeded {
		t.Errorf("the late deploy ended %s, %s", run.State, told(run.Failure))
	}
}

// ahead waits until the run's install waits, and answers for how many.
func (c *calm) ahead(t *testing.T, runID string) int {
	t.Helper()
	wake, unsubscribe := c.hub.Subscribe(runID)
	defer unsubscribe()
	limit := time.After(time.Minute)
	for {
		steps, err := c.platform.store.Steps(t.Context(), runID)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range steps {
			var out built
			if step.Name != "install" || len(step.Output) == 0 {
				continue
			}
			if err := json.Unmarshal(step.Output, &out); err != nil {
				t.Fatal(err)
			}
			if out.Ahead > 0 {
				return out.Ahead
			}
		}
		select {
		case <-wake:
		case <-limit:
			t.Fatalf("the run does not wait\n%s", c.logText(t, runID))
		}
	}
}

// Waiting for others is no time that a run takes.
func TestLimitStandsStillWhileTheRunWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		over := false
		l := newLimit(time.Hour, func() { over = true })
		for range 3 {
			time.Sleep(19 * time.Minute)
			synctest.Wait()
			if over {
				t.Fatal("it is over early")
			}
			l.pause()
			time.Sleep(10 * time.Hour)
			l.resume()
		}
		time.Sleep(4 * time.Minute)
		synctest.Wait()
		if !over {
			t.Error("it is never over")
		}
	})
}
