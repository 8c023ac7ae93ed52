package playbook

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
)

func npmPlan() coderunner.Plan {
	return coderunner.Plan{Type: "nodejs", Root: ".", Runtime: coderunner.Runtime{Name: "nodejs", Version: "18", Appliance: "nodejs-18"},
		Install: coderunner.Choice{Value: "npm ci"}, Start: coderunner.Choice{Value: "node index.js"}, Port: 3000}
}

// TestWhatDependenciesDependOn changes one thing at a time.
func TestWhatDependenciesDependOn(t *testing.T) {
	t.Parallel()
	const manifest = `{"name": "a", "scripts": {"start": "node index.js"}, "dependencies": {"ms": "2.1.3"}}`
	read := func(change func(fstest.MapFS, *coderunner.Plan, map[string]string)) dependencies {
		t.Helper()
		tree := fstest.MapFS{"package.json": {Data: []byte(manifest)}, "package-lock.json": {Data: []byte(`{"packages": {}}`)}, "index.js": {Data: []byte("1")}}
		plan, env := npmPlan(), map[string]string{"TOKEN": "x"}
		if change != nil {
			change(tree, &plan, env)
		}
		d, err := readDependencies(tree, "sha of "+string(tree["index.js"].Data), plan, "npm ci", "template", "project", env)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	set := func(name, text string) func(fstest.MapFS, *coderunner.Plan, map[string]string) {
		return func(tree fstest.MapFS, _ *coderunner.Plan, _ map[string]string) {
			tree[name] = &fstest.MapFile{Data: []byte(text)}
		}
	}
	before := read(nil)
	if before.manifests == nil || before.basis == "" || len(before.manifests) != 2 {
		t.Fatalf("the manifests are %v on the basis %q", before.manifests, before.basis)
	}
	for name, c := range map[string]struct {
		change    func(fstest.MapFS, *coderunner.Plan, map[string]string)
		key       bool // changes
		basis     bool // changes
		wholeCode bool
	}{
		"code":            {change: set("index.js", "2")},
		"a script":        {change: set("package.json", strings.Replace(manifest, "node index.js", "node .", 1))},
		"a dependency":    {change: set("package.json", strings.Replace(manifest, "2.1.3", "2.1.2", 1)), key: true},
		"the lockfile":    {change: set("package-lock.json", `{"packages": {"": {}}}`), key: true},
		"the registry":    {change: set(".npmrc", "save=false"), key: true},
		"a variable":      {change: func(_ fstest.MapFS, _ *coderunner.Plan, env map[string]string) { env["TOKEN"] = "y" }, key: true, basis: true},
		"the Node.js":     {change: func(_ fstest.MapFS, p *coderunner.Plan, _ map[string]string) { p.Runtime.Version = "18.19.0" }, key: true, basis: true},
		"the command":     {change: func(_ fstest.MapFS, p *coderunner.Plan, _ map[string]string) { p.Install.Value = "npm ci --omit=dev" }, key: true, basis: true, wholeCode: true},
		"a hook":          {change: set("package.json", strings.Replace(manifest, `"start"`, `"postinstall": "x", "start"`, 1)), key: true, basis: true, wholeCode: true},
		"a local package": {change: set("package.json", strings.Replace(manifest, "2.1.3", "file:./ms", 1)), key: true, basis: true, wholeCode: true},
		"workspaces":      {change: set("package.json", strings.Replace(manifest, `{"name"`, `{"workspaces": ["a"], "name"`, 1)), key: true, basis: true, wholeCode: true},
		"native code":     {change: set("binding.gyp", "{}"), key: true, basis: true, wholeCode: true},
		"not JSON":        {change: set("package.json", "{"), key: true, basis: true, wholeCode: true},
	} {
		after := read(c.change)
		if (after.key != before.key) != c.key || (after.basis != before.basis) != c.basis || (after.manifests == nil) != c.wholeCode {
			t.Errorf("%s: key changed %v, basis changed %v, whole code %v", name, after.key != before.key, after.basis != before.basis, after.manifests == nil)
		}
	}
	// What may read the code is installed for each upload.
	hook := set("package.json", strings.Replace(manifest, `"start"`, `"postinstall": "x", "start"`, 1))
	other := func(tree fstest.MapFS, plan *coderunner.Plan, env map[string]string) {
		hook(tree, plan, env)
		set("index.js", "2")(tree, plan, env)
	}
	if read(hook).key == read(other).key {
		t.Error("two uploads whose install runs their own scripts share dependencies")
	}
}

func TestInstalledAsLocked(t *testing.T) {
	t.Parallel()
	const lock = `{"packages": {"": {"name": "a"}, "node_modules/ms": {"version": "2.1.3", "integrity": "sha512-a"}, "node_modules/fsevents": {"version": "1.0.0", "optional": true},
		"node_modules/g": {"version": "1.0.0", "resolved": "git+ssh://x#1"}}}`
	const good = `{"packages": {"node_modules/ms": {"version": "2.1.3", "integrity": "sha512-a", "resolved": "https://registry.test/ms"}, "node_modules/g": {"version": "1.0.0", "resolved": "git+ssh://x#1"}}}`
	for name, c := range map[string]struct{ record, want string }{
		"as locked":       {good, ""},
		"another version": {strings.Replace(good, "2.1.3", "2.1.2", 1), `node_modules/ms is installed in version "2.1.2"`},
		"other content":   {strings.Replace(good, "sha512-a", "sha512-b", 1), "other content"},
		"another place":   {strings.Replace(good, "#1", "#2", 1), "another place"},
		"one too few":     {strings.Replace(good, "node_modules/ms", "node_modules/other", 1), "node_modules/ms is not installed"},
		"one too many":    {strings.Replace(good, `"packages": {`, `"packages": {"node_modules/x": {"version": "1.0.0"}, `, 1), "node_modules/x is installed and not in the lockfile"},
		"no JSON":         {"{", "record"},
	} {
		err := installedAsLocked([]byte(lock), []byte(c.record))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if err := installedAsLocked([]byte(`{"lockfileVersion": 1, "dependencies": {}}`), []byte(good)); err == nil {
		t.Error("a lockfile without a list of packages is as good as any")
	}
}

// TestDependenciesAreKept installs for real: once, then not again, then only what has changed.
func TestDependenciesAreKept(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	p.engine.cfg.CABundle = p.provider.CABundle()
	files := func(version string) map[string]string {
		all := map[string]string{"index.js": `require("node:http").createServer((q, r) => r.end(require("ms/package.json").version)).listen(process.env.PORT)`}
		for _, name := range []string{"package.json", "package-lock.json"} {
			text, err := os.ReadFile(filepath.Join("testdata", version, name))
			if err != nil {
				t.Fatal(err)
			}
			all[name] = string(text)
		}
		return all
	}
	s, err := p.newSample(t.Context(), "deps", files("one"))
	if err != nil {
		t.Fatal(err)
	}
	s.plan = npmPlan()
	s.bundle.Plan = s.plan
	with := func(version string) sample {
		b, err := p.newSample(t.Context(), fmt.Sprintf("deps-%s-%d", version, time.Now().UnixNano()), files(version))
		if err != nil {
			t.Fatal(err)
		}
		next := s
		if next.bundle, err = p.store.CreateBundle(t.Context(), coderunner.Bundle{ProjectID: s.project.ID, SHA256: b.bundle.SHA256, Filename: version + ".tar", Files: 3, Plan: npmPlan()}); err != nil {
			t.Fatal(err)
		}
		return next
	}
	for _, c := range []struct{ version, answer, says, saysNot string }{
		{"one", "2.1.3", "$ npm ci", "nothing to install"},
		{"one", "2.1.3", "nothing to install", "$ npm"},
		{"two", "2.1.2", "Changing those of the last install", "Installing afresh"},
		{"one", "2.1.3", "nothing to install", "$ npm"},
	} {
		run := p.succeeds(t, with(c.version))
		text := p.logText(t, run.ID)
		if !strings.Contains(text, c.says) || strings.Contains(text, c.saysNot) {
			t.Errorf("version %s: the log should say %q and not %q:\n%s", c.version, c.says, c.saysNot, text)
		}
		if status, body := p.get(t, "deps", "/"); status != 200 || body != c.answer {
			t.Errorf("version %s answers %d %q, want %q", c.version, status, body, c.answer)
		}
	}
}

// TestAnAppThatDoesNotStayUpIsShownAsCrashed once it has ended too often in a row.
func TestAnAppThatDoesNotStayUpIsShownAsCrashed(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	s := p.upload(t, "crashing", versioned("one")+`
process.on("exit", () => console.error("the last words of this app"));`)
	s.plan.Install.Value, s.plan.Build.Value, s.plan.Start.Value = "", "", "node index.js"
	run := p.succeeds(t, s)
	// As long as it waits for its next start it is not said to run.
	if _, err := p.store.Pool().Exec(t.Context(), "UPDATE sandboxes SET restarts = 3, restart_at = now() + interval '1 hour' WHERE id = $1", appSandbox(run.ID)); err != nil {
		t.Fatal(err)
	}
	p.get(t, "crashing", "/die")
	for deadline := time.Now().Add(30 * time.Second); ; {
		d := p.current(t, s)
		if d.Status == coderunner.Running && d.Observed == coderunner.SeenEnded && d.Standing(time.Now()) == coderunner.StandingDown {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("while it waits the app is said to be %s, seen %s", d.Status, d.Observed)
		}
	}
	if _, err := p.store.Pool().Exec(t.Context(), "UPDATE sandboxes SET restarts = 0, restart_at = now() WHERE id = $1", appSandbox(run.ID)); err != nil {
		t.Fatal(err)
	}
	p.engine.Nudge()
	for deadline := time.Now().Add(30 * time.Second); ; {
		if status, _ := p.get(t, "crashing", "/"); status == 200 && p.current(t, s).Observed == coderunner.SeenRunning {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the app does not come back")
		}
	}
	if _, err := p.store.Pool().Exec(t.Context(), "UPDATE sandboxes SET restarts = $2 WHERE id = $1", appSandbox(run.ID), maxRevivals); err != nil {
		t.Fatal(err)
	}
	p.get(t, "crashing", "/die")
	d := p.current(t, s)
	for deadline := time.Now().Add(30 * time.Second); d.Status == coderunner.Running; d = p.current(t, s) {
		if time.Now().After(deadline) {
			t.Fatal("the app is still said to run")
		}
	}
	if d.Status != coderunner.Failed || d.Failure == nil || d.Failure.ID != coderunner.Crashed || d.Failure.ExitCode == nil || *d.Failure.ExitCode != 3 || d.Failure.Next == "" ||
		!strings.Contains(strings.Join(d.Failure.Lines, "\n"), "the last words of this app") {
		t.Errorf("the deployment is %s: %+v", d.Status, d.Failure)
	}
	// Restarted by hand it is as good as new.
	run, err := p.engine.RestartApp(t.Context(), s.user.ID, s.project.ID)
	p.succeeded(t, run, err)
	if a := p.version(t, "crashing"); a.Version != "one" {
		t.Errorf("after the restart it answers %+v", a)
	}
	if d := p.current(t, s); d.Status != coderunner.Running || d.Failure != nil {
		t.Errorf("after the restart it is %s: %+v", d.Status, d.Failure)
	}
}
