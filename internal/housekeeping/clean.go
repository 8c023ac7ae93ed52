package housekeeping

import (
	"context"
	"errors"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// pressedUploads is how old an upload that nothing can run must be while the disk is
// short: somebody may be looking at the plan of one that has just come.
const pressedUploads = time.Hour

// clean removes what need not be kept; pressed, for want of room, more than usual.
// What fails is logged, and keeps nothing else from being done.
func (k *Keeper) clean(ctx context.Context, pressed bool) coderunner.Cleaning {
	cleaning := coderunner.Cleaning{Pressed: pressed}
	for what, do := range map[string]func(context.Context, bool) (coderunner.Stored, error){
		"uploads": k.cleanUploads, "run logs": k.cleanRunLogs, "history": k.cleanHistory, "events": k.cleanAudit, "templates": k.cleanTemplates,
	} {
		removed, err := do(ctx, pressed)
		if err != nil && ctx.Err() == nil {
			cleaning.Failed = true
			k.log.Warn("removing what need not be kept", "what", what, "err", err)
		}
		if removed.Count > 0 || removed.Bytes > 0 {
			cleaning.Removed = append(cleaning.Removed, removed)
		}
	}
	if pressed && k.cfg.Squeeze != nil {
		if err := k.cfg.Squeeze(ctx); err != nil && ctx.Err() == nil {
			cleaning.Failed = true
			k.log.Warn("removing caches and snapshots for want of room", "err", err)
		}
	}
	cleaning.Removed, cleaning.At = byKind(cleaning.Removed), time.Now()
	return cleaning
}

// cleanUploads forgets uploads, and removes the blobs that no row has.
func (k *Keeper) cleanUploads(ctx context.Context, pressed bool) (coderunner.Stored, error) {
	age := k.cfg.Retention.Uploads
	if pressed {
		age = min(age, pressedUploads)
	}
	removed := coderunner.Stored{Kind: coderunner.StoredUploads}
	_, dropErr := k.store.DropUnneededBundles(ctx, age)
	wanted, err := k.store.BundleHashes(ctx)
	if err != nil {
		return removed, errors.Join(dropErr, err)
	}
	// A blob that was saved after the rows were read is too young to be swept.
	n, bytes, err := k.bundles.Sweep(func(sha string) bool { return wanted[sha] })
	removed.Count, removed.Bytes = int64(n), bytes
	return removed, errors.Join(dropErr, err)
}

func (k *Keeper) cleanRunLogs(ctx context.Context, _ bool) (coderunner.Stored, error) {
	_, lines, err := k.store.DropOldRunLogs(ctx, k.cfg.Retention.RunLogs, k.cfg.Retention.RunLogsOf)
	return coderunner.Stored{Kind: coderunner.StoredRunLogs, Count: lines}, err
}

func (k *Keeper) cleanHistory(ctx context.Context, _ bool) (coderunner.Stored, error) {
	runs, deployments, err := k.store.ForgetHistory(ctx, k.cfg.Retention.History, k.cfg.Retention.HistoryOf)
	return coderunner.Stored{Kind: coderunner.StoredDatabase, Count: runs + deployments}, err
}

func (k *Keeper) cleanAudit(ctx context.Context, _ bool) (coderunner.Stored, error) {
	n, err := k.store.DeleteOldAuditEvents(ctx, k.cfg.Retention.Audit)
	return coderunner.Stored{Kind: coderunner.StoredDatabase, Count: n}, err
}

func (k *Keeper) cleanTemplates(ctx context.Context, _ bool) (coderunner.Stored, error) {
	removed := coderunner.Stored{Kind: coderunner.StoredTemplates}
	if k.cfg.DropTemplates == nil {
		return removed, nil
	}
	n, err := k.cfg.DropTemplates(ctx)
	removed.Count = int64(n)
	return removed, err
}
