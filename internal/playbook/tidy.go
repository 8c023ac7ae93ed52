package playbook

import (
	"context"
	"errors"
	"slices"
	"strings"
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
			err = e.tidyProject(ctx, id, e.cfg.KeepReleases)
			if e.cfg.Ended != nil {
				e.cfg.Ended()
			}
		case <-tick.C:
			err = errors.Join(e.dropCaches(ctx, e.cfg.PackageCache), e.tidyAll(ctx, e.cfg.SnapshotBytes))
		}
		if err != nil && ctx.Err() == nil {
			e.log.Warn("removing what need not be kept", "err", err)
		}
	}
}

// squeezedReleases is how many deployments of a project can be rolled back to
// after the disk has been short.
const squeezedReleases = 3

// Squeeze makes room: it removes all caches that no builder has, all dependencies that nothing is made from, and all
// but the newest few releases of each project. Projects with a run are left alone.
func (e *Engine) Squeeze(ctx context.Context) error {
	if err := e.dropCaches(ctx, -1); err != nil {
		return err
	}
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
		if err := e.tidyProject(ctx, s.ProjectID, min(squeezedReleases, e.cfg.KeepReleases)); err != nil {
			return err
		}
	}
	return e.tidyAll(ctx, -1) // after the releases that are made from them
}

// tidyProject lets go of all releases but the newest keep, with the variables that they ran with,
// of release snapshots that nothing refers to any more, and of records of snapshots that do not exist.
// A project with a run is looked at after that.
func (e *Engine) tidyProject(ctx context.Context, projectID string, keep int) error {
	return e.whileIdle(ctx, projectID, func(ctx context.Context) error { return e.tidyIdle(ctx, projectID, keep) })
}

// tidyTime is how long a request of a user's may be held up by what is tidied.
const tidyTime = 10 * time.Second

// whileIdle does something that no run of the project must see half done: none is open, and
// one that is asked for begins afterwards. With an open one it does nothing.
func (e *Engine) whileIdle(ctx context.Context, projectID string, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, tidyTime)
	defer cancel()
	return e.store.WhileIdle(ctx, projectID, func() error { return do(ctx) })
}

func (e *Engine) tidyIdle(ctx context.Context, projectID string, keep int) error {
	kept, err := e.store.KeptReleases(ctx, projectID)
	if err != nil {
		return err
	}
	for i, d := range kept {
		if i < keep || d.Status == coderunner.Running {
			continue
		}
		if err := e.store.SetRelease(ctx, d.ID, nil); err != nil {
			return err
		}
	}
	if err := e.store.ForgetDeploymentSecrets(ctx, projectID); err != nil {
		return err
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

// forgottenAge is how old a snapshot without a record must be: the record follows
// the snapshot.
const forgottenAge = time.Hour

// tidyAll removes snapshots that have no record, networks that have no project, and the least recently used
// dependencies until those that are left fit into limit. Releases have a limit of their
// own, their number. A project with a run may be about to use its own.
func (e *Engine) tidyAll(ctx context.Context, limit int64) error {
	there, err := e.snapshots.ListSnapshots(ctx, nil)
	if err != nil {
		return err
	}
	all, err := e.store.Snapshots(ctx, e.provider.Name())
	if err != nil {
		return err
	}
	if err := e.dropForgotten(ctx, there, all, forgottenAge); err != nil {
		return err
	}
	if err := e.dropNetworks(ctx); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, s := range all {
		if seen[s.ProjectID] {
			continue
		}
		seen[s.ProjectID] = true
		if err := e.tidyProject(ctx, s.ProjectID, e.cfg.KeepReleases); err != nil {
			return err
		}
	}
	if all, err = e.store.Snapshots(ctx, e.provider.Name()); err != nil {
		return err
	}
	var bytes int64
	size := map[string]int64{}
	for _, s := range there {
		size[s.Name] = s.Bytes
	}
	for _, s := range all {
		if s.Kind == coderunner.DependencySnapshot {
			bytes += size[s.Name]
		}
	}
	for _, s := range all {
		if bytes <= limit {
			return nil
		}
		if s.Kind != coderunner.DependencySnapshot {
			continue
		}
		err := e.whileIdle(ctx, s.ProjectID, func(ctx context.Context) error {
			gone, err := e.dropSnapshot(ctx, s)
			if gone {
				bytes -= size[s.Name]
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// dropForgotten removes snapshots of ours that were made and never recorded.
func (e *Engine) dropForgotten(ctx context.Context, there []sandbox.Snapshot, records []coderunner.SnapshotRecord, age time.Duration) error {
	recorded := map[string]bool{}
	for _, r := range records {
		recorded[r.Name] = true
	}
	for _, s := range there {
		if recorded[s.Name] || time.Since(s.CreatedAt) < age {
			continue
		}
		if err := e.snapshots.RemoveSnapshot(ctx, s.Name); err != nil && coderunner.KindOf(err) != coderunner.Conflict {
			return err
		}
	}
	return nil
}

// dropNetworks removes the networks of projects that are destroyed or not known. One that
// still has sandboxes is the reconciler's first. Volumes are never removed like that: only
// a destroy takes data.
func (e *Engine) dropNetworks(ctx context.Context) error {
	there, err := e.provider.ListNetworks(ctx) // before the rows: a project is written down before its network is made
	if err != nil {
		return err
	}
	var ids []string
	for _, network := range there {
		if id, is := strings.CutPrefix(network, projectNetwork("")); is {
			ids = append(ids, id)
		}
	}
	live, err := e.store.LiveProjects(ctx, ids)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if slices.Contains(live, id) {
			continue
		}
		if err := e.provider.RemoveNetwork(ctx, projectNetwork(id)); err != nil && coderunner.KindOf(err) != coderunner.Conflict {
			return err
		}
	}
	return nil
}
