package playbook

import (
	"context"
	"slices"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// tidy looks in the background at what a project keeps, after each of its runs.
func (e *Engine) tidy(projectID string) {
	select {
	case e.untidy <- projectID:
	default: // the next look at all projects finds it
	}
}

// keepTidy removes what is kept for too long, until ctx ends: of the projects that
// tidy names at once, of all now and then.
func (e *Engine) keepTidy(ctx context.Context) {
	tick := time.NewTicker(e.cfg.Tidy)
	defer tick.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case id := <-e.untidy:
			err = e.tidyProject(ctx, id)
		case <-tick.C:
			err = e.tidyAll(ctx)
		}
		if err != nil && ctx.Err() == nil {
			e.log.Warn("removing what need not be kept", "err", err)
		}
	}
}

// tidyProject lets go of all releases but the newest KeepReleases, of snapshots that
// nothing refers to any more, and of records of those that do not exist.
func (e *Engine) tidyProject(ctx context.Context, projectID string) error {
	open, err := e.store.OpenRuns(ctx, projectID)
	if err != nil || len(open) > 0 {
		return err // it will be looked at after them
	}
	kept, err := e.store.KeptReleases(ctx, projectID)
	if err != nil {
		return err
	}
	for i, d := range kept {
		if i < e.cfg.KeepReleases || d.Status == coderunner.Running {
			continue
		}
		if err := e.store.SetRelease(ctx, d.ID, nil); err != nil {
			return err
		}
	}
	snapshots, err := e.store.ProjectSnapshots(ctx, projectID)
	if err != nil {
		return err
	}
	there, err := e.snapshots.ListSnapshots(ctx, ProjectLabels(projectID))
	if err != nil {
		return err
	}
	slices.Reverse(snapshots) // the newest first: those before may be what they are made from
	for _, s := range snapshots {
		if !slices.ContainsFunc(there, func(t sandbox.Snapshot) bool { return t.Name == s.Name }) { // never made, or gone
			if err := e.store.ForgetSnapshot(ctx, s.Name); err != nil {
				return err
			}
			continue
		}
		if s.Kind != coderunner.ReleaseSnapshot {
			continue
		}
		if _, err := e.dropSnapshot(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// dropSnapshot removes a snapshot that no kept release and no sandbox is made
// from, and reports whether it is gone.
func (e *Engine) dropSnapshot(ctx context.Context, s coderunner.SnapshotRecord) (bool, error) {
	used, err := e.store.SnapshotReleased(ctx, s.Name)
	if err != nil || used {
		return false, err
	}
	err = e.snapshots.RemoveSnapshot(ctx, s.Name)
	if coderunner.KindOf(err) == coderunner.Conflict {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, e.store.ForgetSnapshot(ctx, s.Name)
}

// tidyAll looks at every project that keeps something, and removes the least recently
// used dependencies until those that are left fit into SnapshotBytes.
func (e *Engine) tidyAll(ctx context.Context) error {
	all, err := e.store.Snapshots(ctx, e.provider.Name())
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, s := range all {
		if seen[s.ProjectID] {
			continue
		}
		seen[s.ProjectID] = true
		if err := e.tidyProject(ctx, s.ProjectID); err != nil {
			return err
		}
	}
	if all, err = e.store.Snapshots(ctx, e.provider.Name()); err != nil {
		return err
	}
	var bytes int64
	for _, s := range all {
		bytes += s.Bytes
	}
	for _, s := range all {
		if bytes <= e.cfg.SnapshotBytes {
			return nil
		}
		if s.Kind != coderunner.DependencySnapshot {
			continue
		}
		gone, err := e.dropSnapshot(ctx, s)
		if err != nil {
			return err
		}
		if gone {
			bytes -= s.Bytes
		}
	}
	return nil
}
