package playbook

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/coderunner/coderunner/internal/appliance"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/diagnosis"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/store"
)

// buildTime bounds one install or build command.
const buildTime = 30 * time.Minute

// built is what the install and build steps leave: the snapshot that comes of
// them. While they wait for their turn, Ahead is how many are before them.
type built struct {
	Snapshot string `json:"snapshot,omitempty"`
	Whole    bool   `json:"whole,omitempty"` // the snapshot has the code as well
	Ahead    int    `json:"ahead,omitempty"`
}

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
	if err := st.runCommand(ctx, name, st.deployment.Plan.Install.Value, env); err != nil {
		return err
	}
	return st.keep(ctx, name, record)
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

// build runs the build command over the code and the dependencies, and keeps the
// result as the deployment's release.
func build(ctx context.Context, st *step) error {
	if err := st.become(ctx, coderunner.Building); err != nil {
		return err
	}
	name, snapshot := "build-"+st.run.ID, "release-"+st.deployment.ID
	kept, err := st.keeps(ctx, snapshot)
	if err != nil {
		return err
	}
	if kept { // by an attempt that was cut off
		return st.leave(ctx, built{Snapshot: snapshot, Whole: true})
	}
	before, err := st.release()
	if err != nil {
		return err
	}
	def, err := st.e.building(st.deployment.Plan)
	if err != nil {
		return err
	}
	from, err := st.rootFrom(ctx, before, def)
	if err != nil {
		return err
	}
	env, err := st.buildEnv(ctx)
	if err != nil {
		return err
	}
	release, err := st.slot(ctx, built{})
	if err != nil {
		return err
	}
	defer release()
	if err := st.builder(ctx, name, from); err != nil {
		return err
	}
	if err := st.runCommand(ctx, name, st.deployment.Plan.Build.Value, env); err != nil {
		return err
	}
	if name, err = st.moveOver(ctx, name); err != nil {
		return err
	}
	if err := st.keep(ctx, name, coderunner.SnapshotRecord{Name: snapshot, Kind: coderunner.ReleaseSnapshot}); err != nil {
		return err
	}
	return st.leave(ctx, built{Snapshot: snapshot, Whole: true})
}

// rootFrom says how a sandbox is made from a release, or from the appliance's template where nothing was made yet.
func (x *execution) rootFrom(ctx context.Context, r coderunner.Release, def appliance.Definition) (spec sandbox.Spec, err error) {
	spec.Snapshot = r.Snapshot
	if r.Snapshot == "" {
		t, err := x.template(ctx, "sandbox", def)
		if err != nil {
			return spec, err
		}
		spec.Template, spec.Files = t.TemplateRef, x.exactNode(ctx, "sandbox", def)
	}
	if r.Code {
		spec.Files = append(spec.Files, x.code()...)
	}
	return spec, nil
}

// code is the deployment's upload, as files of a new sandbox.
func (x *execution) code() []sandbox.Archive {
	return []sandbox.Archive{{Dir: "/app", Tar: func() (io.ReadCloser, error) {
		bundle, err := x.e.store.BundleByID(context.Background(), x.deployment.BundleID)
		if err != nil {
			return nil, err
		}
		return x.e.bundles.Open(bundle.SHA256)
	}}}
}

// builder makes a sandbox for one command of the plan.
func (st *step) builder(ctx context.Context, name string, spec sandbox.Spec) error {
	spec.Name, spec.Network, spec.Hostname, spec.Limits = name, projectNetwork(st.project.ID), st.project.Slug, st.e.cfg.AppLimits
	spec.Volumes = st.e.cacheMounts(st.project.UserID)
	use := st.e.cacheUse(coderunner.CacheVolume(st.project.UserID))
	use.RLock()
	defer use.RUnlock()
	spec.Labels, spec.Settings = map[string]string{labelProject: st.project.ID}, st.e.cfg.Sources.Files()
	record := coderunner.SandboxRecord{Purpose: coderunner.ForBuild, RunID: st.run.ID, Appliance: st.deployment.Plan.Runtime.Appliance}
	err := st.create(ctx, record, spec)
	if coderunner.KindOf(err) != coderunner.Conflict {
		return err
	}
	// An owner that was cut off has made a snapshot of it and not written that down.
	if err := st.remove(ctx, name); err != nil {
		return err
	}
	return st.create(ctx, record, spec)
}

// keep turns a builder into a snapshot. What is left of the builder is removed
// while the run goes on.
func (st *step) keep(ctx context.Context, name string, record coderunner.SnapshotRecord) error {
	record.Provider, record.ProjectID = st.e.provider.Name(), st.project.ID
	kept := func() error {
		return st.guarded(ctx, func(s *store.Store) error { return s.KeepSnapshot(ctx, record) })
	}
	// Recorded before it exists, so that none is ever forgotten; and once more, because
	// until then it may be taken for one that is gone.
	if err := kept(); err != nil {
		return err
	}
	if err := st.e.snapshots.Snapshot(ctx, name, record.Name, st.ours()); err != nil {
		return err
	}
	if err := kept(); err != nil {
		return err
	}
	st.later(func(ctx context.Context) error { return st.remove(ctx, name) })
	return nil
}

// slot waits for this node's turn to install or build, telling how many are ahead.
func (st *step) slot(ctx context.Context, result built) (release func(), err error) {
	waited := false
	defer func() {
		if waited {
			st.limit.resume()
		}
	}()
	release, err = st.e.slots.acquire(ctx, st.project.UserID, func(ahead int) error {
		if !waited {
			st.limit.pause()
			st.say("All places to build are taken; %s before this one.", countNoun(ahead+1, "run"))
		}
		waited = true
		waiting := result
		waiting.Ahead = ahead + 1
		return st.leave(ctx, waiting)
	})
	if err == nil && waited {
		st.say("It is our turn.")
		err = st.leave(ctx, built{})
		if err != nil {
			release()
		}
	}
	return release, err
}

// builders are the kinds of sandboxes that a run makes beside the app's: two of the install, two of the build.
var builders = []string{"install", "change", "build", "pack"}

// removeBuilders takes away what install and build made beside their snapshots.
func removeBuilders(ctx context.Context, st *step) error {
	for _, kind := range builders {
		name := kind + "-" + st.run.ID
		made, err := st.recorded(ctx, name)
		if err != nil {
			return err
		}
		if err := st.remove(ctx, name); err != nil {
			return err
		}
		if made {
			st.say("Removed the sandbox of the %s.", kind)
		}
	}
	return nil
}

// leaveBuilders: the reconciler removes every builder without a run.
func leaveBuilders(ctx context.Context, st *step) error {
	for _, kind := range builders {
		if made, err := st.recorded(ctx, kind+"-"+st.run.ID); err != nil {
			return err
		} else if made && slices.Contains(builders[2:], kind) == (st.Name == "build") {
			st.say("The sandbox of the %s could not be removed now; it will be as soon as that is possible.", kind)
		}
	}
	return nil
}

// runCommand runs one of the plan's commands in the sandbox's own shell, as the sandbox's user.
func (st *step) runCommand(ctx context.Context, name, command string, env map[string]string) error {
	st.say("$ %s", command)
	st.getBusy()
	stdout, stderr := st.log.Stream(st.Name, coderunner.Stdout), st.log.Stream(st.Name, coderunner.Stderr)
	exit, err := st.e.provider.Exec(ctx, name, sandbox.Command{ID: st.Name, Argv: []string{"/bin/sh", "-c", command}, Dir: appDir(st.deployment.Plan), Env: env,
		Stdout: stdout, Stderr: stderr, Timeout: buildTime})
	stdout.Close()
	stderr.Close()
	if err == nil && exit.Code == 0 {
		return nil
	}
	if err == nil || coderunner.KindOf(err) == coderunner.NotFound {
		outside, lookErr := st.endedWithSandbox(ctx, name, exit)
		if lookErr != nil {
			return lookErr
		}
		if outside { // another try begins with a sandbox that nothing was done in
			return errors.Join(sandboxEnded(), st.remove(ctx, name))
		}
	}
	if err != nil {
		return err
	}
	return st.diagnose(ctx, diagnosis.Evidence{Step: st.Name, Command: command, ExitCode: exit.Code, Signal: exit.Signal, OOMKilled: exit.OOMKilled, OverDisk: st.overDisk(exit), TimedOut: exit.TimedOut, Timeout: buildTime})
}
