package playbook

import (
	"context"
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

// reconcileOnce observes every sandbox, and begins to remove those of ours that nobody
// wants and to revive what should run. It waits for none of that, and answers how long
// the next look can wait. The provider is asked first: a row is written before its
// sandbox is made, so a listed sandbox without a row has no owner. What was being mended
// as the look began is left for the next, for its row may be from before.
func (e *Engine) reconcileOnce(ctx context.Context, m *mending) (next time.Duration, err error) {
	busy := m.atWork()
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
		if err := e.observe(ctx, r, state, busy[r.ID], m); err != nil {
			return next, err
		}
		if busy[r.ID] {
			continue
		}
		wait, err := e.mend(ctx, r, m)
		if err != nil && ctx.Err() == nil {
			e.log.Warn("looking after a sandbox", "sandbox", r.ID, "err", err)
		}
		if wait > 0 {
			next = min(next, wait)
		}
	}
	for _, i := range infos {
		if !claimed[i.Name] && !busy[i.Name] && time.Now().After(m.trouble(i.Name).again) {
			e.beside(ctx, m, i.Name, func() error { return e.removeUnclaimed(ctx, i) })
		}
	}
	m.forget(func(id string) bool { return !claimed[id] && listed[id] == "" })
	return next, nil
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

// mend begins what one sandbox needs, and answers when it wants to be looked at
// again, 0 for no time in particular. Projects with a run at work are the run's business.
func (e *Engine) mend(ctx context.Context, r coderunner.SandboxRecord, m *mending) (time.Duration, error) {
	if wait := time.Until(m.trouble(r.ID).again); wait > 0 {
		return wait, nil
	}
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
	e.beside(ctx, m, r.ID, func() error { return e.removeUnwanted(ctx, r) })
	return 0, nil
}

func (e *Engine) removeUnwanted(ctx context.Context, r coderunner.SandboxRecord) error {
	process, grace := appProcess, stopGrace
	if r.Purpose == coderunner.ForDatabase {
		process, grace = databaseProcess, databaseGrace
	}
	if err := e.provider.Stop(ctx, r.ID, process, grace); err != nil && coderunner.KindOf(err) != coderunner.NotFound {
		return err
	}
	if err := e.drainOutput(ctx, r.ID); err != nil {
		return err
	}
	if err := e.provider.Destroy(ctx, r.ID); err != nil {
		return err
	}
	if err := e.store.ForgetSandbox(ctx, r.ID); err != nil {
		return err
	}
	e.tidy(r.ProjectID) // what it was made from may be needed no more
	return nil
}
