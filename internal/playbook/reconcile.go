package playbook

import (
	"context"
	"maps"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// reconcile compares, again and again until ctx ends, what we believe with what
// the provider lists: every Reconcile, when somebody nudges, and when a sandbox's
// next try is due.
func (e *Engine) reconcile(ctx context.Context) {
	m := newMending()
	for {
		next, err := e.reconcileOnce(ctx, m)
		if err != nil && ctx.Err() == nil {
			e.log.Warn("comparing with the provider", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-e.nudged:
		case <-time.After(next):
		}
	}
}

// Nudge has the provider looked at now: a process has ended.
func (e *Engine) Nudge() {
	select {
	case e.nudged <- struct{}{}:
	default: // it will be anyway
	}
}

// reconcileOnce observes every sandbox, removes those of ours that nobody wants,
// and revives what should run. It answers how long the next look can wait. The
// provider is asked first: a row is written before its sandbox is made, so a
// listed sandbox without a row has no owner.
func (e *Engine) reconcileOnce(ctx context.Context, m *mending) (next time.Duration, err error) {
	next = e.cfg.Reconcile
	infos, err := e.provider.List(ctx, nil)
	if err != nil {
		return next, err
	}
	records, err := e.store.Sandboxes(ctx, e.provider.Name())
	if err != nil {
		return next, err
	}
	listed := map[string]string{}
	for _, i := range infos {
		listed[i.Name] = string(i.State)
	}
	claimed := map[string]bool{}
	for _, r := range records {
		claimed[r.ID] = true
		state, exists := listed[r.ID]
		if !exists {
			state = "missing"
		}
		if e.endedInside(ctx, r, state, m) {
			state = coderunner.SeenEnded
		}
		if err := e.store.ObserveSandbox(ctx, r.ID, state); err != nil {
			return next, err
		}
		wait := m.waits(r.ID)
		if wait == 0 {
			var err error
			if wait, err = e.mend(ctx, r, m); err != nil && ctx.Err() == nil {
				e.log.Warn("mending a sandbox", "sandbox", r.ID, "err", err)
			}
			wait = max(wait, m.ended(r.ID, err))
		}
		if wait > 0 {
			next = min(next, wait)
		}
	}
	maps.DeleteFunc(m.failed, func(id string, _ failed) bool { return !claimed[id] })
	for _, i := range infos {
		if !claimed[i.Name] {
			if err := e.removeUnclaimed(ctx, i); err != nil {
				return next, err
			}
		}
	}
	return next, nil
}

// endedInside reports whether an app has ended whose sandbox runs. Only those are
// looked into that have ended a while ago: with the others that is about to be noticed.
func (e *Engine) endedInside(ctx context.Context, r coderunner.SandboxRecord, state string, m *mending) bool {
	waits := r.RestartAt != nil && time.Now().Before(*r.RestartAt) || m.failed[r.ID].tries > 0
	if state != coderunner.SeenRunning || r.Purpose != coderunner.ForApp || !waits {
		return false
	}
	status, err := e.provider.Process(ctx, r.ID, appProcess)
	return err == nil && !status.Running
}

// removeUnclaimed removes a sandbox, unless one of its name is expected meanwhile: a
// database that was stopped may have been started again since we looked.
func (e *Engine) removeUnclaimed(ctx context.Context, i sandbox.Info) error {
	remove := func() error {
		e.log.Info("removing a sandbox that nobody claims", "sandbox", i.Name)
		return e.provider.Destroy(ctx, i.Name)
	}
	project := i.Labels[labelProject]
	if _, err := e.store.ProjectByID(ctx, project); coderunner.KindOf(err) == coderunner.NotFound {
		return remove()
	} else if err != nil {
		return err
	}
	return e.store.IfUnclaimed(ctx, project, i.Name, remove)
}

// mend does what one sandbox needs, and answers when it wants to be looked at
// again, 0 for no time in particular. Projects with a run at work are the run's business.
func (e *Engine) mend(ctx context.Context, r coderunner.SandboxRecord, m *mending) (time.Duration, error) {
	open, err := e.store.OpenRuns(ctx, r.ProjectID)
	if err != nil {
		return 0, err
	}
	for _, run := range open {
		if run.State != coderunner.RunQueued {
			return 0, nil
		}
	}
	if r.UnwantedAt == nil && r.Purpose != coderunner.ForBuild {
		return e.revive(ctx, r, m)
	}
	if err := e.provider.Stop(ctx, r.ID, appProcess, stopGrace); err != nil && coderunner.KindOf(err) != coderunner.NotFound {
		return 0, err
	}
	if err := e.drainOutput(ctx, r.ID); err != nil {
		return 0, err
	}
	if err := e.provider.Destroy(ctx, r.ID); err != nil {
		return 0, err
	}
	if err := e.store.ForgetSandbox(ctx, r.ID); err != nil {
		return 0, err
	}
	e.tidy(r.ProjectID) // what it was made from may be needed no more
	return 0, nil
}
