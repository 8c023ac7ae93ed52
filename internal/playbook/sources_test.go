package playbook

import (
	"slices"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox/containerd"
	"github.com/coderunner/coderunner/internal/testdb"
	"github.com/coderunner/coderunner/internal/testupstream"
)

// withSources is a platform whose packages come from there.
func withSources(t *testing.T, sources coderunner.Sources) *platform {
	t.Helper()
	return startPlatformIn(t, t.TempDir(), testdb.New(t), func(p *platform) {
		p.engine.cfg.Sources, p.engine.cfg.LocalNetworks = sources, containerd.Networks()
	})
}

// packaged are the files of a Node.js project that answers what the package answers, with a lockfile of npm's own registry.
func packaged(u *testupstream.Upstream, from string) map[string]string {
	return map[string]string{
		"package.json": `{"name":"app","version":"1.0.0","dependencies":{"` + from + `":"` + testupstream.Version + `"}}`, "package-lock.json": u.Lockfile(from),
		"index.js": `require("node:http").createServer((q, r) => r.end(q.url === "/env" ? JSON.stringify(process.env) : require("` + from + `"))).listen(process.env.PORT);`,
	}
}

// newPackaged is such a project.
func (p *platform) newPackaged(t *testing.T, u *testupstream.Upstream, name, from string) sample {
	t.Helper()
	s, err := p.newSample(t.Context(), name, packaged(u, from))
	if err != nil {
		t.Fatal(err)
	}
	s.plan.Install.Value, s.plan.Build.Value, s.plan.Start.Value = "npm ci", "", "node index.js"
	return s
}

// pythonPackaged are the files of a Python project that answers what the package answers.
func pythonPackaged(from string) map[string]string {
	return map[string]string{"requirements.txt": from + "\n", "main.py": `import http.server, os, ` + from + `
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(` + from + `.name.encode())
http.server.HTTPServer(("0.0.0.0", int(os.environ["PORT"])), H).serve_forever()
`}
}

// newPython is such a project.
func (p *platform) newPython(t *testing.T, name, from string) sample {
	t.Helper()
	p.builtTemplate(t, "python-3.11")
	s, err := p.newSample(t.Context(), name, pythonPackaged(from))
	if err != nil {
		t.Fatal(err)
	}
	s.plan = coderunner.Plan{Type: "python", Root: ".", Runtime: coderunner.Runtime{Name: "python", Version: "3.11", Appliance: "python-3.11"},
		Install: coderunner.Choice{Value: "python3 -m venv .venv && pip install -r requirements.txt"}, Start: coderunner.Choice{Value: "python main.py"}, Port: 8080}
	return s
}

// TestPackagesComeFromTheSources and from nowhere else: whatever npm and pip ask for over http or
// https would come to the proxy, and only the registry and the index are asked.
func TestPackagesComeFromTheSources(t *testing.T) {
	t.Parallel()
	u := testupstream.New(t, "leftish")
	p := withSources(t, coderunner.Sources{NPMRegistry: "http://packages.invalid", PythonIndex: "http://packages.invalid/simple", HTTPProxy: u.URL, HTTPSProxy: u.URL})
	p.succeeds(t, p.newPackaged(t, u, "node", "leftish"))
	if status, body := p.get(t, "node", "/"); status != 200 || body != "leftish" {
		t.Errorf("the app of Node.js answers %d %s", status, body)
	}
	if n := u.Requests("http://packages.invalid/leftish/-/leftish-1.0.0.tgz"); n != 1 {
		t.Errorf("the tarball was asked for %d times", n)
	}
	p.succeeds(t, p.newPython(t, "python", "leftish"))
	if status, body := p.get(t, "python", "/"); status != 200 || body != "leftish" {
		t.Errorf("the app of Python answers %d %s", status, body)
	}
	if n := u.Requests("http://packages.invalid/wheels/leftish"); n == 0 {
		t.Error("the wheel was not asked for")
	}
	if all, theirs := u.Requests(""), u.Requests("http://packages.invalid/"); all != theirs {
		t.Errorf("%d of %d requests were for something else", all-theirs, all)
	}
	env := p.env(t, "node", "/env")
	for name, want := range map[string]string{"npm_config_registry": "http://packages.invalid", "HTTP_PROXY": u.URL, "https_proxy": u.URL, "NO_PROXY": "localhost,127.0.0.1,::1," + containerd.Networks()} {
		if env[name] != want {
			t.Errorf("the app has %s = %q, want %q", name, env[name], want)
		}
	}
}

// TestSourcesWithCredentials: npm and pip have them, no log does, and neither does what is kept of a build.
func TestSourcesWithCredentials(t *testing.T) {
	t.Parallel()
	u := testupstream.New(t, "leftish")
	u.User, u.Password = "ann", "hunter2home"
	p := withSources(t, coderunner.Sources{NPMRegistry: u.WithCredentials(), PythonIndex: u.WithCredentials() + "/simple"})
	s := p.newPackaged(t, u, "node", "leftish")
	s.plan.Build.Value = `env; cat "$npm_config_userconfig"`
	run := p.succeeds(t, s)
	if status, body := p.get(t, "node", "/"); status != 200 || body != "leftish" {
		t.Errorf("the app of Node.js answers %d %s", status, body)
	}
	if u.Requests(".tgz") != 1 {
		t.Errorf("the tarball was asked for %d times", u.Requests(".tgz"))
	}
	log := p.logText(t, run.ID)
	if !strings.Contains(log, "BUN_CONFIG_REGISTRY=") || !strings.Contains(log, ":_auth=") || strings.Contains(log, u.Password) || strings.Contains(log, "YW5uOmh1bnRlcjJob21l") {
		t.Errorf("the log is\n%s", log)
	}
	secrets, err := p.engine.Secrets(t.Context(), s.project.ID, run.DeploymentID)
	if err != nil || !slices.Contains(secrets, u.Password) {
		t.Errorf("what apps print is not looked through for the password: %v, %v", secrets, err)
	}
	python := p.newPython(t, "python", "leftish")
	if log := p.logText(t, p.succeeds(t, python).ID); strings.Contains(log, u.Password) {
		t.Errorf("the log is\n%s", log)
	}
}

// TestOwnVariablesWinOverSources, in whichever case a tool reads them.
func TestOwnVariablesWinOverSources(t *testing.T) {
	t.Parallel()
	u := testupstream.New(t, "leftish")
	p := withSources(t, coderunner.Sources{NPMRegistry: "http://packages.invalid", GoProxy: "https://go.invalid", HTTPProxy: "http://proxy.invalid:3128"})
	s := p.newPackaged(t, u, "node", "leftish")
	p.set(t, s, coderunner.Variable{Key: "NPM_CONFIG_REGISTRY", Value: u.URL}, coderunner.Variable{Key: "http_proxy", Value: ""})
	p.succeeds(t, s)
	if u.Requests(".tgz") != 1 {
		t.Errorf("the tarball was asked for %d times", u.Requests(".tgz"))
	}
	env := p.env(t, "node", "/env")
	if env["npm_config_registry"] != "" || env["HTTP_PROXY"] != "" || env["GOPROXY"] != "https://go.invalid" {
		t.Errorf("the app has %v", env)
	}
}
