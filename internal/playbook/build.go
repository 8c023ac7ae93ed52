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
