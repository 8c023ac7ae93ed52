package playbook

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/coderunner/coderunner/internal/appliance"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// install provides the dependencies as a snapshot: the one that is kept, when
// nothing that they depend on has changed; else the install command makes a new one.
func install(ctx context.Context, st *step) error {
	defer st.getBusy()
	if err := st.become(ctx, coderunner.Building); err != nil {
		return err
	}
	def, err := st.e.building(st.deployment.Plan)
	if err != nil {
		return err
	}
	t, err := st.template(ctx, st.Name, def)
	if err != nil {
		return err
	}
	env, err := st.buildEnv(ctx)
	if err != nil {
		return err
	}
	deps, err := st.dependencies(ctx, t.Digest)
	if err != nil {
		return err
	}
	result := built{Snapshot: "deps-" + deps.key, Whole: deps.manifests == nil}
	kept, err := st.keeps(ctx, result.Snapshot)
	if err != nil {
		return err
	}
	if kept {
		st.say("The dependencies are as they were at the last install: nothing to install.")
		return st.leave(ctx, result)
	}
	release, err := st.slot(ctx, result)
	if err != nil {
		return err
	}
	defer release()
	record := coderunner.SnapshotRecord{Name: result.Snapshot, Kind: coderunner.DependencySnapshot, Basis: deps.basis}
	done, err := st.installOnTop(ctx, deps, env, record)
	if err != nil {
		return err
	}
	if !done {
		if err := st.installAfresh(ctx, def, deps, env, record); err != nil {
			return err
		}
	}
	return st.leave(ctx, result)
}

// dependencies looks at what the install depends on.
func (st *step) dependencies(ctx context.Context, template string) (dependencies, error) {
	bundle, tree, err := st.upload(ctx)
	if err != nil {
		return dependencies{}, err
	}
	defer tree.Close()
	return readDependencies(tree, bundle.SHA256, st.deployment.Plan, bundle.Plan.Install.Value, template, st.project.ID, st.variables.Environment(coderunner.BuildScope))
}

// keeps reports whether a snapshot is there, in our rows and at the provider.
func (st *step) keeps(ctx context.Context, name string) (bool, error) {
	recorded, err := st.e.store.UseSnapshot(ctx, name)
	if err != nil || !recorded {
		return false, err
	}
	there, err := st.e.snapshots.ListSnapshots(ctx, st.ours())
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(there, func(s sandbox.Snapshot) bool { return s.Name == name }), nil
}

// installAfresh runs the install command in a builder made from the template.
func (st *step) installAfresh(ctx context.Context, def appliance.Definition, deps dependencies, env map[string]string, record coderunner.SnapshotRecord) error {
	name := "install-" + st.run.ID
	files := st.code()
	if deps.manifests != nil {
		files = []sandbox.Archive{{Dir: "/app", Tar: func() (io.ReadCloser, error) { return manifestsTar(deps.manifests) }}}
	}
	files = append(st.exactNode(ctx, st.Name, def), files...)
	if err := st.builder(ctx, name, sandbox.Spec{Template: def.Template().TemplateRef, Files: files}); err != nil {
		return err
	}
	if err := st.runInstall(ctx, name, deps.proposed, env); err != nil {
		return err
	}
	return st.keep(ctx, name, record)
}

// runInstall runs the install command. Where it is the proposed one and fails because the lockfile is
// out of step, what the manifest asks for is installed, and the log says so. Whoever wrote a
// command of their own wants that one.
func (st *step) runInstall(ctx context.Context, name string, proposed bool, env map[string]string) error {
	err := st.runCommand(ctx, name, st.deployment.Plan.Install.Value, env)
	var failed *coderunner.Failure
	if !proposed || !errors.As(err, &failed) || failed.ID != "install.lockfile" {
		return err
	}
	i := slices.IndexFunc(failed.Fixes, func(f coderunner.Fix) bool { return f.Kind == coderunner.FixInstall })
	if i < 0 {
		return err
	}
	st.say("Warning: %s %s What package.json asks for is installed instead, in versions that may not be those on your computer. Install there and upload both files.", failed.Title, failed.Detail)
	return st.runCommand(ctx, name, failed.Fixes[i].Value, env)
}

// maxDepth is how many installs may lie on top of each other before a clean one.
const maxDepth = 4

// installOnTop changes the dependencies that the project had before into those
// that it wants now, which costs a fraction of a clean install, and compares the
// result with the lockfile. It answers false when that cannot be done or came out
// otherwise; nothing of it is kept then.
func (st *step) installOnTop(ctx context.Context, deps dependencies, env map[string]string, record coderunner.SnapshotRecord) (bool, error) {
	if deps.basis == "" {
		return false, nil
	}
	before, err := st.e.store.LatestDependencies(ctx, st.project.ID, st.e.provider.Name(), deps.basis)
	if err != nil || before == nil || before.Depth >= maxDepth {
		return false, err
	}
	name := "change-" + st.run.ID
	files := []sandbox.Archive{{Dir: "/app", Tar: func() (io.ReadCloser, error) { return manifestsTar(deps.manifests) }}}
	err = st.builder(ctx, name, sandbox.Spec{Snapshot: before.Name, Files: files})
	if coderunner.KindOf(err) == coderunner.NotFound {
		return false, st.e.store.ForgetSnapshot(ctx, before.Name)
	}
	if err != nil {
		return false, err
	}
	st.say("The dependencies have changed. Changing those of the last install.")
	var failed *coderunner.Failure
	err = st.runCommand(ctx, name, "npm install --no-save", env)
	if err == nil {
		err = st.installed(ctx, name, deps.lockfile)
		if err == nil {
			record.Depth = before.Depth + 1
			return true, st.keep(ctx, name, record)
		}
		st.say("The result is not what the lockfile says (%s). Installing afresh.", err)
	} else if errors.As(err, &failed) {
		st.say("That did not work. Installing afresh.")
	} else {
		return false, err
	}
	return false, st.remove(ctx, name)
}

// installed compares what is installed in a builder with the lockfile.
func (st *step) installed(ctx context.Context, name string, lockfile []byte) error {
	file, err := st.e.provider.ReadFile(ctx, name, appDir(st.deployment.Plan)+"/node_modules/.package-lock.json", maxManifest)
	if err != nil {
		return err
	}
	defer file.Close()
	record, err := io.ReadAll(file)
	if err != nil {
		return err
	}
	return installedAsLocked(lockfile, record)
}
