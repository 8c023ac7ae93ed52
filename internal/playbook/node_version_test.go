package playbook

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/fetch"
)

// TestExactNode: a project that asks for exactly one version of Node.js gets that for its install and its app, also after
// a restart, and with or without an install; for a version that does not exist it is told what runs instead.
func TestExactNode(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	p.builtTemplate(t, "nodejs-20")
	p.engine.cfg.CABundle = p.provider.CABundle()
	p.engine.cfg.NodeJS = fetch.NodeJS{Dir: filepath.Join(t.TempDir(), "nodejs")}.Tar
	const page = `require("http").createServer((q, r) => r.end(process.version)).listen(process.env.PORT);`
	for _, c := range []struct{ name, version, install, runs, says string }{
		{"native", "20.11.1", "npm install --build-from-source bufferutil@4.0.9 && node -e 'require(\"bufferutil\")' && node --version", "v20.11.1", "Node.js 20.11.1 is put into the sandbox"},
		{"plain", "20.11.1", "", "v20.11.1", "Node.js 20.11.1 is put into the sandbox"},
		{"older", "18.19.0", "", "v18.19.0", "Node.js 18.19.0 is put into the sandbox"},
		{"absent", "20.99.1", "", "v20.20.2", "There is no Node.js 20.99.1, which the project asks for. Node.js 20 is used instead."},
	} {
		s, err := p.newSample(t.Context(), c.name, map[string]string{"index.js": page})
		if err != nil {
			t.Fatal(err)
		}
		s.plan = coderunner.Plan{Type: "nodejs", Root: ".", Runtime: coderunner.Runtime{Name: "nodejs", Version: c.version, Appliance: "nodejs-20"},
			Install: coderunner.Choice{Value: c.install}, Start: coderunner.Choice{Value: "node index.js"}, Port: 8080}
		run := p.succeeds(t, s)
		if log := p.logText(t, run.ID); strings.Count(log, c.says) != 1 || c.install != "" && !strings.Contains(log, "stdout "+c.runs) {
			t.Errorf("%s: the log is\n%s", c.name, log)
		}
		for _, when := range []string{"at first", "after a restart"} {
			if status, body := p.get(t, c.name, "/"); status != 200 || body != c.runs {
				t.Errorf("%s: %s it answers %d %q", c.name, when, status, body)
			}
			if run, err = p.engine.RestartApp(t.Context(), s.user.ID, s.project.ID); err != nil {
				t.Fatal(err)
			}
			if run = p.ended(t, run.ID); run.State != coderunner.RunSucceeded {
				t.Fatalf("%s: a restart ends %s, %s", c.name, run.State, told(run.Failure))
			}
		}
	}
}
