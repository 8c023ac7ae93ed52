package playbook

import (
	"context"
	"slices"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/store"
)

// DestroyPlaybook ends a project: nothing of it is left on the machine but its history.
const DestroyPlaybook = "destroy"

func destroySteps() []coderunner.Step {
	return []coderunner.Step{
		{Name: "unroute", Title: "Take the URL offline"},
		{Name: "apps", Title: "Remove the app", After: []string{"unroute"}},
		{Name: "databases", Title: "Remove the databases", After: []string{"apps"}},
		{Name: "volumes", Title: "Delete the data", After: []string{"databases"}},
		{Name: "network", Title: "Remove the network", After: []string{"databases"}},
		{Name: "snapshots", Title: "Delete what was built", After: []string{"apps"}},
		{Name: "bundles", Title: "Delete the uploaded code", After: []string{"apps"}},
		{Name: "verify", Title: "Check that nothing is left", After: []string{"volumes", "network", "snapshots", "bundles"}},
	}
}

func destroyPlaybook() playbook {
	return playbook{
		steps: map[string]action{
			"unroute":   {do: unroute},
			"apps":      {do: removeApps},
			"databases": {do: removeDatabases},
			"volumes":   {do: removeVolumes},
			"network":   {do: removeNetwork},
			"snapshots": {do: removeSnapshots},
			"bundles":   {do: removeBundles},
			"verify":    {do: verifyNothingLeft},
		},
		succeed: func(ctx context.Context, x *execution, s *store.Store) error { return s.EndProject(ctx, x.project.ID) },
		fail:    destroyFails,
	}
}

// destroyFails writes down that the app is off once its URL is: what is left of its
// sandbox goes as well, and it can be started again, or destroyed.
func destroyFails(ctx context.Context, x *execution, s *store.Store, _ coderunner.RunState, _ *coderunner.Failure) error {
	d, err := s.CurrentDeployment(ctx, x.project.UserID, x.project.ID)
	if coderunner.KindOf(err) == coderunner.NotFound {
		return nil
	}
	if err != nil || d.Status != coderunner.Running {
		return err
	}
	routes, err := s.ProjectRoutes(ctx, x.project.ID)
	if err != nil || len(routes) > 0 {
		return err
	}
	return writeStopped(ctx, s, d)
}

func unroute(ctx context.Context, st *step) error {
	if err := st.guarded(ctx, func(s *store.Store) error { return s.DeleteProjectRoutes(ctx, st.project.ID) }); err != nil {
		return err
	}
	if err := st.e.edge.Refresh(ctx); err != nil {
		return err
	}
	host, _ := st.e.cfg.PublicURL(st.project.Slug)
	st.say("%s is offline.", host)
	return nil
}

// ProjectLabels are on everything that a provider has for a project.
func ProjectLabels(projectID string) map[string]string {
	return map[string]string{labelProject: projectID}
}

// LabelledProject is whose a thing with these labels is, "" for no project's.
func LabelledProject(labels map[string]string) string { return labels[labelProject] }

func (st *step) ours() map[string]string { return ProjectLabels(st.project.ID) }

// removeSandboxes removes those that the provider lists for the project and
// those that we believe in, as far as they match.
func (st *step) removeSandboxes(ctx context.Context, database bool, noun string) error {
	infos, err := st.e.provider.List(ctx, st.ours())
	if err != nil {
		return err
	}
	names := map[string]bool{}
	for _, i := range infos {
		if (i.Labels[labelDatabase] != "") == database {
			names[i.Name] = true
		}
	}
	records, err := st.e.store.ProjectSandboxes(ctx, st.project.ID)
	if err != nil {
		return err
	}
	for _, r := range records {
		if (r.DatabaseID != "") == database {
			names[r.ID] = true
		}
	}
	for name := range names {
		process := appProcess
		if database {
			process = databaseProcess
		}
		if err := st.e.provider.Stop(ctx, name, process, stopGrace); err != nil && coderunner.KindOf(err) != coderunner.NotFound {
			return err
		}
		if err := st.e.drainOutput(ctx, name); err != nil {
			return err
		}
		if err := st.remove(ctx, name); err != nil {
			return err
		}
	}
	st.say("Removed %s.", countNoun(len(names), noun))
	return nil
}

func removeApps(ctx context.Context, st *step) error {
	return st.removeSandboxes(ctx, false, "app sandbox")
}

func removeDatabases(ctx context.Context, st *step) error {
	return st.removeSandboxes(ctx, true, "database sandbox")
}

func removeVolumes(ctx context.Context, st *step) error {
	volumes, err := st.e.provider.ListVolumes(ctx, st.ours())
	if err != nil {
		return err
	}
	for _, v := range volumes {
		if err := st.e.provider.RemoveVolume(ctx, v.Name); err != nil {
			return err
		}
	}
	st.say("Deleted %s.", countNoun(len(volumes), "volume"))
	return nil
}

func removeNetwork(ctx context.Context, st *step) error {
	if err := st.e.provider.RemoveNetwork(ctx, projectNetwork(st.project.ID)); err != nil {
		return err
	}
	st.say("Removed the private network.")
	return nil
}

// removeSnapshots removes the newest first: those before may be what they are made from.
func removeSnapshots(ctx context.Context, st *step) error {
	kept, err := st.e.snapshots.ListSnapshots(ctx, st.ours())
	if err != nil {
		return err
	}
	slices.SortFunc(kept, func(a, b sandbox.Snapshot) int { return b.CreatedAt.Compare(a.CreatedAt) })
	for _, s := range kept {
		if err := st.e.snapshots.RemoveSnapshot(ctx, s.Name); err != nil {
			return err
		}
	}
	records, err := st.e.store.ProjectSnapshots(ctx, st.project.ID)
	if err != nil {
		return err
	}
	for _, r := range records {
		if err := st.guarded(ctx, func(s *store.Store) error { return s.ForgetSnapshot(ctx, r.Name) }); err != nil {
			return err
		}
	}
	st.say("Deleted %s.", countNoun(len(kept), "snapshot"))
	return nil
}

// bundlesLeft keeps which blobs a project had, before their rows go.
type bundlesLeft struct {
	Hashes []string `json:"hashes"`
}

func removeBundles(ctx context.Context, st *step) error {
	var left bundlesLeft
	if err := st.output(st.Name, &left); err != nil {
		return err
	}
	err := st.guarded(ctx, func(s *store.Store) error {
		hashes, err := s.DeleteProjectBundles(ctx, st.project.ID)
		if err != nil {
			return err
		}
		left.Hashes = append(left.Hashes, hashes...)
		return st.save(ctx, s, left)
	})
	if err != nil {
		return err
	}
	for _, sha := range left.Hashes {
		used, err := st.e.store.BundleReferenced(ctx, sha)
		if err != nil {
			return err
		}
		if used {
			continue
		}
		if err := st.e.bundles.Remove(sha); err != nil {
			return err
		}
	}
	st.say("Deleted %s.", countNoun(len(left.Hashes), "upload"))
	return nil
}

// verifyNothingLeft asks the provider what there still is. The answer is the
// machine's, not our memory's.
func verifyNothingLeft(ctx context.Context, st *step) error {
	var left []string
	infos, err := st.e.provider.List(ctx, st.ours())
	if err != nil {
		return err
	}
	for _, i := range infos {
		left = append(left, "sandbox "+i.Name)
	}
	volumes, err := st.e.provider.ListVolumes(ctx, st.ours())
	if err != nil {
		return err
	}
	for _, v := range volumes {
		left = append(left, "volume "+v.Name)
	}
	networks, err := st.e.provider.ListNetworks(ctx)
	if err != nil {
		return err
	}
	for _, n := range networks {
		if n == projectNetwork(st.project.ID) {
			left = append(left, "network "+n)
		}
	}
	snapshots, err := st.e.snapshots.ListSnapshots(ctx, st.ours())
	if err != nil {
		return err
	}
	for _, s := range snapshots {
		left = append(left, "snapshot "+s.Name)
	}
	if len(left) > 0 {
		return coderunner.Errorf(coderunner.Unavailable, "Still there: %s.", strings.Join(left, ", "))
	}
	st.say("Nothing is left: no sandbox, no network, no volume, no snapshot, no file.")
	return nil
}
