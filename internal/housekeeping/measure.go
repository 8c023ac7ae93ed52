package housekeeping

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/store"
)

// measureTime bounds one measurement: it looks at every file of every volume.
const measureTime = 5 * time.Minute

// measured is what is stored, in all and by project, the database's largest tables, and what nobody owns.
type measured struct {
	all      []coderunner.Stored
	tables   []coderunner.Table
	projects map[string][]coderunner.Stored
	orphans  []coderunner.Orphan
}

func (k *Keeper) measure(ctx context.Context) (m measured, err error) {
	ctx, cancel := context.WithTimeout(ctx, measureTime)
	defer cancel()
	all, projects, err := k.store.StoredRows(ctx)
	if err != nil {
		return m, err
	}
	if m.tables, err = k.store.LargestTables(ctx); err != nil {
		return m, err
	}
	add := func(project string, s coderunner.Stored) {
		all = append(all, s)
		if project != "" {
			projects[project] = append(projects[project], s)
		}
	}
	if err := k.measureSnapshots(ctx, add); err != nil {
		return m, err
	}
	volumes, orphans, err := Volumes(ctx, k.store, k.provider)
	if err != nil {
		return m, err
	}
	for _, v := range volumes {
		bytes, err := k.provider.VolumeSize(ctx, v.Name)
		if coderunner.KindOf(err) == coderunner.NotFound { // removed meanwhile
			continue
		}
		if err != nil {
			return m, err
		}
		kind := coderunner.StoredVolumes
		if coderunner.IsCacheVolume(v.Name) {
			kind = coderunner.StoredCaches
		}
		add(k.cfg.ProjectOf(v.Labels), coderunner.Stored{Kind: kind, Count: 1, Bytes: bytes})
		if orphans[v.Name] {
			m.orphans = append(m.orphans, coderunner.Orphan{Volume: v.Name, Bytes: bytes})
		}
	}
	if k.cfg.Engine != nil {
		engine, err := k.cfg.Engine(ctx)
		if err != nil {
			return m, err
		}
		all = append(all, engine...)
	}
	for id, list := range projects {
		projects[id] = byKind(list)
	}
	slices.SortFunc(m.orphans, func(a, b coderunner.Orphan) int { return strings.Compare(a.Volume, b.Volume) })
	m.all, m.projects = byKind(all), projects
	return m, nil
}

// Volumes lists those of the instance, and which of them no project has and no cache is. The
// provider is asked first: a database's row is written before its volume is made.
func Volumes(ctx context.Context, st *store.Store, provider sandbox.Provider) (all []sandbox.Volume, orphans map[string]bool, err error) {
	if all, err = provider.ListVolumes(ctx, nil); err != nil {
		return nil, nil, err
	}
	owned, err := st.OwnedVolumes(ctx)
	if err != nil {
		return nil, nil, err
	}
	orphans = map[string]bool{}
	for _, v := range all {
		if !owned[v.Name] && !coderunner.IsCacheVolume(v.Name) {
			orphans[v.Name] = true
		}
	}
	return all, orphans, nil
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
