package housekeeping

import (
	"context"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// measureTime bounds one measurement: it looks at every file of every volume.
const measureTime = 5 * time.Minute

// measure answers what is stored, in all and by project, and the database's largest tables.
func (k *Keeper) measure(ctx context.Context) (all []coderunner.Stored, tables []coderunner.Table, projects map[string][]coderunner.Stored, err error) {
	ctx, cancel := context.WithTimeout(ctx, measureTime)
	defer cancel()
	all, projects, err = k.store.StoredRows(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	if tables, err = k.store.LargestTables(ctx); err != nil {
		return nil, nil, nil, err
	}
	add := func(project string, s coderunner.Stored) {
		all = append(all, s)
		if project != "" {
			projects[project] = append(projects[project], s)
		}
	}
	if err := k.measureSnapshots(ctx, add); err != nil {
		return nil, nil, nil, err
	}
	volumes, err := k.provider.ListVolumes(ctx, nil)
	if err != nil {
		return nil, nil, nil, err
	}
	for _, v := range volumes {
		bytes, err := k.provider.VolumeSize(ctx, v.Name)
		if coderunner.KindOf(err) == coderunner.NotFound { // removed meanwhile
			continue
		}
		if err != nil {
			return nil, nil, nil, err
		}
		add(k.cfg.ProjectOf(v.Labels), coderunner.Stored{Kind: coderunner.StoredVolumes, Count: 1, Bytes: bytes})
	}
	if k.cfg.Engine != nil {
		engine, err := k.cfg.Engine(ctx)
		if err != nil {
			return nil, nil, nil, err
		}
		all = append(all, engine...)
	}
	for id, list := range projects {
		projects[id] = byKind(list)
	}
	return byKind(all), tables, projects, nil
}

// measureSnapshots tells the provider's word about sizes, and ours about what is what.
func (k *Keeper) measureSnapshots(ctx context.Context, add func(project string, s coderunner.Stored)) error {
	snapshotter, ok := k.provider.(sandbox.Snapshotter)
	if !ok {
		return nil
	}
	records, err := k.store.Snapshots(ctx, k.provider.Name())
	if err != nil {
		return err
	}
	there, err := snapshotter.ListSnapshots(ctx, nil)
	if err != nil {
		return err
	}
	known := map[string]coderunner.SnapshotRecord{}
	for _, r := range records {
		known[r.Name] = r
	}
	for _, s := range there {
		r, kind := known[s.Name], coderunner.StoredDependencies
		if r.Kind == coderunner.ReleaseSnapshot {
			kind = coderunner.StoredReleases
		}
		add(r.ProjectID, coderunner.Stored{Kind: kind, Count: 1, Bytes: s.Bytes})
	}
	return nil
}
