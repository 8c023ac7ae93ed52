package playbook

import (
	"context"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// reconcile compares, again and again until ctx ends, what we believe with what
// the provider lists.
func (e *Engine) reconcile(ctx context.Context) {
	tick := time.NewTicker(e.cfg.Reconcile)
	defer tick.Stop()
	attempts := map[string]revival{}
	for {
		if err := e.reconcileOnce(ctx, attempts); err != nil && ctx.Err() == nil {
			e.log.Warn("comparing with the provider", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// reconcileOnce observes every sandbox, removes those of ours that nobody
// claims, and revives what should run. The provider is asked first: a row is
// written before its sandbox is made, so a listed sandbox without a row has no owner.
func (e *Engine) reconcileOnce(ctx context.Context, attempts map[string]revival) error {
	infos, err := e.provider.List(ctx, nil)
	if err != nil {
		return err
	}
	records, err := e.store.Sandboxes(ctx, e.provider.Name())
	if err != nil {
		return err
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
		if err := e.store.ObserveSandbox(ctx, r.ID, state); err != nil {
			return err
		}
		if err := e.revive(ctx, r, attempts); err != nil && ctx.Err() == nil {
			e.log.Warn("reviving a sandbox", "sandbox", r.ID, "err", err)
		}
	}
	for name := range listed {
		if !claimed[name] {
			e.log.Info("removing a sandbox that nobody claims", "sandbox", name)
			if err := e.provider.Destroy(ctx, name); err != nil && coderunner.KindOf(err) != coderunner.NotFound {
				return err
			}
		}
	}
	return nil
}
