package playbook

import (
	"context"
	"fmt"
	"io"
	"path"

	"github.com/coderunner/coderunner/internal/appliance"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// staticAppliance serves the files of plans that have no process of their own.
const staticAppliance = "static"

// serving is what the app runs on. What it is built on is the plan's own appliance.
func (e *Engine) serving(plan coderunner.Plan) (appliance.Definition, error) {
	if plan.Static() {
		return e.catalogue.Get(staticAppliance)
	}
	return e.catalogue.Get(plan.Runtime.Appliance)
}

// staticDir is where the files of a static plan lie in the sandbox.
func staticDir(plan coderunner.Plan) string { return path.Join(appDir(plan), plan.StaticDir.Value) }

// appCommand is what runs as the app: its start command, in the sandbox's own shell, or the
// server of its files.
func (e *Engine) appCommand(plan coderunner.Plan, env map[string]string) (sandbox.Command, error) {
	if !plan.Static() {
		return sandbox.Command{Argv: []string{"/bin/sh", "-c", plan.Start.Value}, Dir: appDir(plan), Env: env}, nil
	}
	def, err := e.serving(plan)
	if err != nil {
		return sandbox.Command{}, err
	}
	env["STATIC_DIR"] = staticDir(plan)
	if plan.StaticFallback.Value != "" {
		env["STATIC_FALLBACK"] = path.Join("/", plan.StaticFallback.Value)
	}
	return sandbox.Command{Argv: def.ServeCommand, Env: env}, nil
}

// moveOver brings what a build has made into a sandbox of the appliance that serves it, at
// the same place, and answers that sandbox; where it was built is where it runs, that is the builder.
func (st *step) moveOver(ctx context.Context, builder string) (string, error) {
	plan := st.deployment.Plan
	def, err := st.e.serving(plan)
	if err != nil || def.Name == plan.Runtime.Appliance {
		return builder, err
	}
	dir := staticDir(plan)
	exit, err := st.e.provider.Exec(ctx, builder, sandbox.Command{Argv: []string{"test", "-d", dir}})
	if err != nil {
		return "", err
	}
	if exit.Code != 0 {
		return "", &coderunner.Failure{ID: "build.no_output", Blame: coderunner.Theirs, Title: fmt.Sprintf("The build ended well, but there is no folder %s to serve.", plan.StaticDir.Value),
			Detail: "The files of the app are expected where the plan says: " + plan.StaticDir.Why + ".", Next: "Look into the build's log for where it writes to, correct the folder in the plan and deploy again."}
	}
	t, err := st.template(ctx, st.Name, def)
	if err != nil {
		return "", err
	}
	name := "pack-" + st.run.ID
	err = st.builder(ctx, name, sandbox.Spec{Template: t.TemplateRef, Files: []sandbox.Archive{{Dir: dir, Tar: func() (io.ReadCloser, error) { return st.packed(ctx, builder, dir), nil }}}})
	if err != nil {
		return "", err
	}
	st.later(func(ctx context.Context) error { return st.remove(ctx, builder) })
	return name, nil
}

// packed streams a directory of a sandbox as a tar.
func (st *step) packed(ctx context.Context, name, dir string) io.ReadCloser {
	out, in := io.Pipe()
	go func() {
		exit, err := st.e.provider.Exec(ctx, name, sandbox.Command{Argv: []string{"tar", "-C", dir, "-cf", "-", "."}, Stdout: in})
		if err == nil && exit.Code != 0 {
			err = fmt.Errorf("tar ended with exit code %d", exit.Code)
		}
		in.CloseWithError(err)
	}()
	return out
}

// runReleaseCommand runs what the Procfile wants done before the new version serves, migrations
// mostly, in the app's own sandbox. The version before serves meanwhile, and goes on if it fails.
func runReleaseCommand(ctx context.Context, st *step) error {
	env, err := st.appEnv(ctx)
	if err != nil {
		return err
	}
	if err := st.e.bootApp(ctx, st.execution, st.appSandbox()); err != nil { // its machine may have stopped since it was made
		return err
	}
	return st.runCommand(ctx, st.appSandbox(), st.deployment.Plan.Processes[releaseProcess], env)
}
