package playbook

import (
	"context"
	"fmt"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/store"
)

// createAppSandbox makes the sandbox that the deployment will live in from its release.
func createAppSandbox(ctx context.Context, st *step) error {
	if err := st.become(ctx, coderunner.Provisioning); err != nil {
		return err
	}
	release := st.deployment.Release
	if release == nil {
		if st.deployment.ReleasedAt != nil || st.run.Playbook == RollbackPlaybook {
			return noRelease(st.deployment)
		}
		made, err := st.release()
		if err != nil {
			return err
		}
		release = &made
	}
	def, err := st.e.serving(st.deployment.Plan)
	if err != nil {
		return err
	}
	root, err := st.rootFrom(ctx, *release, def)
	if err != nil {
		return err
	}
	begin := time.Now()
	spec, err := st.appSpec(ctx, st.appSandbox(), root)
	if err != nil {
		return err
	}
	err = st.create(ctx, coderunner.SandboxRecord{Purpose: coderunner.ForApp, DeploymentID: st.deployment.ID, RunID: st.run.ID, Appliance: def.Name}, spec)
	if coderunner.KindOf(err) == coderunner.NotFound && root.Snapshot != "" {
		return noRelease(st.deployment)
	}
	if err != nil {
		return err
	}
	what := "Sandbox"
	if release.Code {
		what = "Sandbox with the code"
	}
	st.say("%s made in %d ms.", what, time.Since(begin).Milliseconds())
	for _, v := range spec.Volumes {
		st.say("What it keeps in %s is on the project's volume %s. A version that serves meanwhile uses it too.", v.Path, v.Volume)
	}
	if err := st.e.store.GuardedSoon(ctx, st.lease, func(s *store.Store) error { return s.SetRelease(ctx, st.deployment.ID, release) }); err != nil {
		return err
	}
	st.deployment.Release = release // for the steps that come after
	return nil
}

// release says what comes of the steps before.
func (st *step) release() (coderunner.Release, error) {
	var from built
	for _, name := range []string{"install", "build"} {
		if st.has(name) {
			if err := st.output(name, &from); err != nil {
				return coderunner.Release{}, err
			}
		}
	}
	return coderunner.Release{Snapshot: from.Snapshot, Code: !from.Whole}, nil
}

// noRelease is the end of a run whose version is not kept any more.
func noRelease(d coderunner.Deployment) error {
	return &coderunner.Failure{ID: "release.missing", Blame: coderunner.Ours, Title: fmt.Sprintf("What was built for deployment %d is not on this machine any more.", d.Number),
		Detail: "A restart, a start and a rollback use the files that were kept when it was deployed.", Next: "Redeploy: it installs and builds the same code again."}
}

func (x *execution) appSpec(ctx context.Context, name string, root sandbox.Spec) (spec sandbox.Spec, err error) {
	root.Name, root.Network, root.Hostname, root.Limits = name, projectNetwork(x.project.ID), x.project.Slug, x.e.cfg.AppLimits
	root.Labels = map[string]string{labelProject: x.project.ID, labelDeployment: x.deployment.ID}
	root.Settings = x.e.cfg.Sources.Files()
	root.Volumes, err = x.appVolumes(ctx)
	return root, err
}

// removeAppSandbox takes back what the run made. The database stays: it is the project's.
func removeAppSandbox(ctx context.Context, st *step) error {
	made, err := st.recorded(ctx, st.appSandbox())
	if err != nil {
		return err
	}
	if err := st.removeApp(ctx, st.appSandbox(), undoGrace); err != nil {
		return err
	}
	if made {
		st.say("Removed the sandbox again.")
	}
	return nil
}

// abandonAppSandbox has the reconciler remove it.
func abandonAppSandbox(ctx context.Context, st *step) error {
	st.say("The sandbox could not be removed now; it will be as soon as that is possible.")
	return st.guarded(ctx, func(s *store.Store) error { return s.AbandonSandbox(ctx, st.appSandbox()) })
}
