package playbook

import (
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
)

const nodePage = `require("http").createServer((q, r) => r.end(process.version + " " + require("bufferutil").mask.name)).listen(process.env.PORT);`

// TestRuntimes deploys an app on each runtime appliance: what it needs is installed, compiled
// where it has to be, and it answers with its version before and after a restart.
func TestRuntimes(t *testing.T) {
	t.Parallel()
	for appliance, c := range map[string]struct {
		files                 map[string]string
		install, start, first string
	}{
		"nodejs-20": {map[string]string{"index.js": nodePage}, "npm install --build-from-source bufferutil@4.0.9", "node index.js", "v20."},
		"nodejs-22": {map[string]string{"index.js": nodePage}, "npm install --build-from-source bufferutil@4.0.9", "node index.js", "v22."},
		"nodejs-24": {map[string]string{"index.js": nodePage}, "npm install --build-from-source bufferutil@4.0.9", "node index.js", "v24."},
		"python-3.11": {map[string]string{"main.py": `import http.server, os, sys, ext
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(f"{sys.version_info[0]}.{sys.version_info[1]} {ext.__file__} {sys.prefix}".encode())
http.server.HTTPServer(("0.0.0.0", int(os.environ["PORT"])), H).serve_forever()
`, "ext.c": `#include <Python.h>
static struct PyModuleDef m = {PyModuleDef_HEAD_INIT, "ext", 0, -1, 0};
PyMODINIT_FUNC PyInit_ext(void) { return PyModule_Create(&m); }
`, "setup.py": `from setuptools import setup, Extension
setup(name="ext", version="1", ext_modules=[Extension("ext", ["ext.c"])])
`}, "python3 -m venv .venv && pip install --no-index --no-build-isolation .", "python main.py", "3.11 /app/.venv/"},
	} {
		t.Run(appliance, func(t *testing.T) {
			p := startPlatform(t)
			p.builtTemplate(t, appliance)
			p.engine.cfg.CABundle = p.provider.CABundle()
			s, err := p.newSample(t.Context(), "run", c.files)
			if err != nil {
				t.Fatal(err)
			}
			name, version, _ := strings.Cut(appliance, "-")
			s.plan = coderunner.Plan{Type: name, Root: ".", Runtime: coderunner.Runtime{Name: name, Version: version, Appliance: appliance},
				Install: coderunner.Choice{Value: c.install}, Start: coderunner.Choice{Value: c.start}, Port: 8080}
			p.succeeds(t, s)
			for _, when := range []string{"at first", "after a restart"} {
				if status, body := p.get(t, "run", "/"); status != 200 || !strings.HasPrefix(body, c.first) {
					t.Errorf("%s it answers %d %q", when, status, body)
				}
				run, err := p.engine.RestartApp(t.Context(), s.user.ID, s.project.ID)
				if err != nil {
					t.Fatal(err)
				}
				if run = p.ended(t, run.ID); run.State != coderunner.RunSucceeded {
					t.Fatalf("a restart ends %s, %s", run.State, told(run.Failure))
				}
			}
		})
	}
}
