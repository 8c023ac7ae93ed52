package playbook

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/coderunner/coderunner/internal/appliance"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// staticAppliance serves the files of plans that have no process of their own.
const staticAppliance = "static"

// building is what the plan's install and build commands run on: the plan's own appliance, or its builder.
func (e *Engine) building(plan coderunner.Plan) (appliance.Definition, error) {
	def, err := e.catalogue.Get(plan.Runtime.Appliance)
	if err != nil || def.Builder == "" {
		return def, err
	}
	return e.catalogue.Get(def.Builder)
}

// serving is what the app runs on. One that is not built, such as go run, runs where it would be.
func (e *Engine) serving(plan coderunner.Plan) (appliance.Definition, error) {
	switch {
	case plan.Static():
		return e.catalogue.Get(staticAppliance)
	case plan.Build.Value == "":
		return e.building(plan)
	}
	return e.catalogue.Get(plan.Runtime.Appliance)
}

// staticDir is where the files of a static plan lie in the sandbox.
func staticDir(plan coderunner.Plan) string { return path.Join(appDir(plan), plan.StaticDir.Value) }

// appCommand is what runs as the app: its start command, in the sandbox's own shell, or the
// server of its files.
func (e *Engine) appCommand(plan coderunner.Plan, env map[string]string) (sandbox.Command, error) {
	if !plan.Static() {
		return sandbox.Command{Argv: append([]string{"/bin/sh", "-c"}, startWith(plan)...), Dir: appDir(plan), Env: env}, nil
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

// beside runs the commands that come as pairs of a name and a command beside the first one,
// in the sandbox's own shell. Each line of theirs begins with the name; one that ends is started
// again. All end with the first one (see sandbox.Provider.Start).
const beside = `web=$1
shift
while [ $# -gt 1 ]; do
	(
		while :; do
			status=0
			/bin/sh -c "$2" || status=$?
			echo "ended with exit code $status, starting it again in 2 s"
			sleep 2
		done 2>&1 | while IFS= read -r line || [ -n "$line" ]; do printf '[%s] %s\n' "$1" "$line"; done
	) &
	shift 2
done
exec /bin/sh -c "$web"`

// startWith is what the shell that starts the app is given: its start command, and the Procfile's other
// processes beside it.
func startWith(plan coderunner.Plan) []string {
	args := []string{beside, "sh", plan.Start.Value}
	for _, name := range slices.Sorted(maps.Keys(plan.Processes)) {
		if coderunner.RunsBeside(name) {
			args = append(args, name, plan.Processes[name])
		}
	}
	if len(args) == 3 {
		return []string{plan.Start.Value}
	}
	return args
}

// moveOver brings what a build has made into a sandbox of the appliance that serves it, at
// the same place, and answers that sandbox; where it was built is where it runs, that is the builder.
// Of a site that is the folder to serve, of a program all of /app: it may read its templates there.
func (st *step) moveOver(ctx context.Context, builder string) (string, error) {
	plan := st.deployment.Plan
	def, err := st.e.serving(plan)
	if err != nil {
		return "", err
	}
	if from, err := st.e.building(plan); err != nil || from.Name == def.Name {
		return builder, err
	}
	dir := "/app"
	if plan.Static() {
		dir = staticDir(plan)
	}
	first, err := st.find(ctx, builder, dir, "-mindepth", "1", "-maxdepth", "1", "-print", "-quit")
	if err != nil {
		return "", err
	}
	if len(first) == 0 {
		return "", st.noOutput(ctx, builder)
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

// find answers what find(1) prints about a directory of a sandbox, nothing where there is no such directory.
func (st *step) find(ctx context.Context, name, dir string, expression ...string) ([]string, error) {
	var out strings.Builder
	_, err := st.e.provider.Exec(ctx, name, sandbox.Command{Argv: append([]string{"find", dir}, expression...), Stdout: &out})
	return strings.FieldsFunc(out.String(), func(r rune) bool { return r == '\n' }), err
}

// noOutput is the failure of a build that has not made the files to serve, with the folder where it
// has made some.
func (st *step) noOutput(ctx context.Context, builder string) error {
	plan := st.deployment.Plan
	f := coderunner.Failure{ID: "build.no_output", Blame: coderunner.Theirs, Title: fmt.Sprintf("The build ended well, but there is nothing in the folder %s to serve.", plan.StaticDir.Value),
		Detail: "The files of the app are expected there.", Next: "Look into the build's log for where it writes to, correct the folder in the plan and deploy again."}
	if plan.StaticDir.Why != "" {
		f.Detail = "The files of the app are expected there, because of " + plan.StaticDir.Why + "."
	}
	root := appDir(plan)
	pages, err := st.find(ctx, builder, root, "-maxdepth", "4", "-name", "node_modules", "-prune", "-o", "-name", "index.html", "-print")
	if err != nil {
		return err
	}
	_, upload, err := st.upload(ctx)
	if err != nil {
		return err
	}
	defer upload.Close()
	for _, page := range pages {
		_, err := fs.Stat(upload, strings.TrimPrefix(page, "/app/"))
		if folder, within := strings.CutPrefix(path.Dir(page), root+"/"); within && err != nil { // made by the build
			f.Detail += fmt.Sprintf(" The build has written %s/index.html.", folder)
			f.Next = fmt.Sprintf("Serve the folder %s instead: change it in the plan and deploy again.", folder)
			f.Fixes = []coderunner.Fix{coderunner.NewFix(coderunner.FixStaticDir, folder)}
			break
		}
	}
	return &f
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
	return st.runCommand(ctx, st.appSandbox(), st.deployment.Plan.Processes[coderunner.ReleaseProcess], env)
}
