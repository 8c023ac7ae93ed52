package coderunner_test

import (
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// state is one of the domain's that knows where it may go.
type state[S any] interface {
	comparable
	CanBecome(S) bool
}

// wantTransitions wants exactly those in legal, and that every state may stay.
func wantTransitions[S state[S]](t *testing.T, all []S, legal map[S][]S) {
	t.Helper()
	for _, from := range all {
		may := map[S]bool{from: true}
		for _, to := range legal[from] {
			may[to] = true
		}
		for _, to := range all {
			if from.CanBecome(to) != may[to] {
				t.Errorf("%v can become %v: %v, want %v", from, to, from.CanBecome(to), may[to])
			}
		}
	}
}

func TestRunTransitions(t *testing.T) {
	t.Parallel()
	const queued, running, cancelling = coderunner.RunQueued, coderunner.RunRunning, coderunner.RunCancelling
	const succeeded, failed, cancelled = coderunner.RunSucceeded, coderunner.RunFailed, coderunner.RunCancelled
	all := []coderunner.RunState{queued, running, cancelling, succeeded, failed, cancelled}
	wantTransitions(t, all, map[coderunner.RunState][]coderunner.RunState{
		queued: {running, cancelled}, running: {cancelling, succeeded, failed}, cancelling: {cancelled, succeeded, failed},
	})
	for _, s := range all {
		if s.Ended() != (s == succeeded || s == failed || s == cancelled) {
			t.Errorf("%s has ended: %v", s, s.Ended())
		}
	}
}

func TestStepTransitions(t *testing.T) {
	t.Parallel()
	const pending, running, done, failed = coderunner.StepPending, coderunner.StepRunning, coderunner.StepDone, coderunner.StepFailed
	const errored, cancelled, skipped = coderunner.StepErrored, coderunner.StepCancelled, coderunner.StepSkipped
	wantTransitions(t, []coderunner.StepState{pending, running, done, failed, errored, cancelled, skipped}, map[coderunner.StepState][]coderunner.StepState{
		pending: {running, skipped}, running: {done, failed, errored, cancelled},
	})
}

func TestDeploymentTransitions(t *testing.T) {
	t.Parallel()
	const pending, provisioning, building, running = coderunner.Pending, coderunner.Provisioning, coderunner.Building, coderunner.Running
	const stopped, failed, destroyed = coderunner.Stopped, coderunner.Failed, coderunner.Destroyed
	wantTransitions(t, []coderunner.DeploymentStatus{pending, provisioning, building, running, stopped, failed, destroyed}, map[coderunner.DeploymentStatus][]coderunner.DeploymentStatus{
		pending: {provisioning, building, failed, stopped, destroyed}, provisioning: {building, running, failed, stopped, destroyed}, building: {running, failed, stopped, destroyed},
		running: {stopped, failed, destroyed}, stopped: {running, failed, destroyed}, failed: {running, stopped, destroyed},
	})
}
