package playbook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// databasesTrue: a run attaches, detaches or deletes the project's database, or leaves it as it was.
func databasesTrue(run coderunner.Run, succeeded bool, before, now standing) error {
	count, detached := len(now.databases), len(now.databases) == 1 && now.databases[0].DetachedAt != nil
	if count == 1 && now.databases[0].Pending {
		return fmt.Errorf("the app has not what is attached: %+v", now.databases[0])
	}
	var right bool
	switch {
	case !succeeded && len(before.databases) == 1:
		right = count == 1 && detached == (before.databases[0].DetachedAt != nil)
	case !succeeded:
		right = true
	case run.Playbook == AttachPlaybook:
		right = count == 1 && !detached
	case run.Playbook == DetachPlaybook:
		right = detached
	case run.Playbook == DeleteDatabasePlaybook:
		right = count == 0
	default:
		right = count == 1 && !detached
	}
	if !right {
		return fmt.Errorf("after the %s, which ended %s, the databases are %+v; they were %+v", run.Playbook, run.State, now.databases, before.databases)
	}
	return nil
}

// keptTrue: volumes are those of the databases, snapshots those of which there are
// rows, and of releases only those that can be run again.
func (l *lane) keptTrue(ctx context.Context) error {
	labels := ProjectLabels(l.sample.project.ID)
	volumes, err := l.provider.ListVolumes(ctx, labels)
	if err != nil {
		return err
	}
	databases, err := l.store.AllDatabases(ctx, l.sample.project.ID)
	if err != nil {
		return err
	}
	for _, v := range volumes {
		if len(databases) != 1 || databases[0].Volume != v.Name {
			return fmt.Errorf("the volume %s is of no database: %+v", v.Name, databases)
		}
	}
	snapshots, err := l.provider.ListSnapshots(ctx, labels)
	if err != nil {
		return err
	}
	records, err := l.store.ProjectSnapshots(ctx, l.sample.project.ID)
	if err != nil {
		return err
	}
	releases, err := l.store.KeptReleases(ctx, l.sample.project.ID)
	if err != nil {
		return err
	}
	var there, recorded []string
	for _, s := range snapshots {
		there = append(there, s.Name)
	}
	for _, r := range records {
		recorded = append(recorded, r.Name)
		kept := slices.ContainsFunc(releases, func(d coderunner.Deployment) bool { return d.Release.Snapshot == r.Name })
		if r.Kind == coderunner.ReleaseSnapshot && !kept {
			return fmt.Errorf("the snapshot %s is of no release that is kept", r.Name)
		}
	}
	slices.Sort(there)
	slices.Sort(recorded)
	if !slices.Equal(there, recorded) {
		return fmt.Errorf("the provider has the snapshots %q, the rows say %q", there, recorded)
	}
	return nil
}

// rowsThere: the project's database has all that was ever written to it.
func (l *lane) rowsThere(ctx context.Context) error {
	if l.rows == 0 {
		return nil
	}
	text, err := l.psql(ctx, "select count(*) from kept")
	if errors.Is(err, errNoDatabase) {
		databases, listErr := l.store.AllDatabases(ctx, l.sample.project.ID)
		if listErr == nil && len(databases) == 1 && databases[0].StoppedAt != nil {
			return nil // it is looked at once it runs
		}
	}
	if err == nil && text != strconv.Itoa(l.rows) {
		err = fmt.Errorf("the project's database has %s rows of %d", text, l.rows)
	}
	return err
}
