package diagnosis

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// TestLanguages has what Python, pip, Go and the system printed, shortened.
func TestLanguages(t *testing.T) {
	traceback := "Traceback (most recent call last):\n  File \"/app/main.py\", line 3, in <module>\n    import x\n"
	for name, c := range map[string]struct {
		runtime, step, log string
		want               expectation
		fixes              string // their labels
	}{
		"module": {"python-3.11", "start", traceback + "ModuleNotFoundError: No module named 'yaml'",
			expectation{id: "module.missing", title: "The module yaml is not installed.", detail: "main.py:3", next: "Add PyYAML to requirements.txt"}, ""},
		"module of uvicorn": {"python-3.11", "start", `ERROR:    Error loading ASGI app. Could not import module "server".`,
			expectation{id: "start.entry_missing", title: "no module “server”", next: "main:app"}, ""},
		"app of uvicorn": {"python-3.11", "start", `ERROR:    Error loading ASGI app. Attribute "app" not found in module "main".`,
			expectation{id: "start.entry_missing", title: "“main” has no “app”"}, ""},
		"app of gunicorn": {"python-3.11", "start", "Failed to find attribute 'app' in 'main'.", expectation{id: "start.entry_missing", title: "“main” has no “app”"}, ""},
		"script":          {"python-3.11", "start", "python: can't open file '/app/run.py': [Errno 2] No such file or directory", expectation{id: "start.entry_missing", title: "run.py, does not exist"}, ""},
		"variable": {"python-3.11", "start", traceback + "  File \"<frozen os>\", line 679, in __getitem__\nKeyError: 'STRIPE_KEY'",
			expectation{id: "variable.missing", title: "needs the variable STRIPE_KEY", detail: "main.py:3"}, "Set STRIPE_KEY, Deploy again"},
		"variable of a database": {"python-3.11", "start", traceback + "  File \"<frozen os>\", line 679, in __getitem__\nKeyError: 'DATABASE_URL'",
			expectation{id: "variable.missing", next: "Tick PostgreSQL"}, "Add PostgreSQL and deploy again, Set DATABASE_URL, Deploy again"},
		"key of another dictionary": {"python-3.11", "start", traceback + "KeyError: 'STRIPE_KEY'", expectation{id: "start.exited"}, ""},
		"variable of decouple":      {"python-3.11", "start", "decouple.UndefinedValueError: SECRET_KEY not found. Declare it as envvar or define a default value.", expectation{id: "variable.missing", title: "SECRET_KEY"}, "Set SECRET_KEY, Deploy again"},
		"database": {"python-3.11", "start", `sqlalchemy.exc.OperationalError: (psycopg2.OperationalError) connection to server at "localhost" (127.0.0.1), port 5432 failed: Connection refused`,
			expectation{id: "database.localhost", title: "PostgreSQL on localhost:5432", next: "DATABASE_URL"}, "Add PostgreSQL and deploy again"},
		"redis":        {"python-3.11", "start", "redis.exceptions.ConnectionError: Error 111 connecting to localhost:6379. Connection refused.", expectation{id: "database.localhost", title: "Redis on localhost:6379"}, "Add Redis and deploy again"},
		"mysql":        {"python-3.11", "start", `pymysql.err.OperationalError: (2003, "Can't connect to MySQL server on 'localhost' ([Errno 111] Connection refused)")`, expectation{id: "database.localhost", title: "MySQL on localhost:3306"}, "Add MySQL and deploy again"},
		"host":         {"python-3.11", "start", `psycopg2.OperationalError: could not translate host name "db" to address: Name or service not known`, expectation{id: "service.unknown_host", title: "“db”"}, "Add PostgreSQL and deploy again"},
		"login":        {"python-3.11", "start", `psycopg2.OperationalError: connection to server at "10.0.0.2", port 5432 failed: FATAL:  password authentication failed for user "me"`, expectation{id: "database.login", detail: "me"}, ""},
		"table":        {"python-3.11", "start", `psycopg2.errors.UndefinedTable: relation "users" does not exist`, expectation{id: "database.no_table", title: "users"}, ""},
		"no pg_config": {"python-3.11", "install", "Error: pg_config executable not found.", expectation{id: "native.library", title: "psycopg2", next: "psycopg2-binary"}, ""},
		"header":       {"python-3.11", "install", "src/x.c:3:10: fatal error: ffi.h: No such file or directory", expectation{id: "native.library", title: "ffi.h"}, ""},
		"python":       {"python-3.11", "install", "ERROR: Package 'shop' requires a different Python: 3.11.2 not in '>=3.13'", expectation{id: "runtime.version", title: "shop does not run", detail: ">=3.13"}, ""},
		"requirements": {"python-3.11", "install", "ERROR: Could not open requirements file: [Errno 2] No such file or directory: 'requirements.txt'", expectation{id: "plan.wrong_root", title: "no requirements.txt at the top of the upload"}, ""},
		"index": {"python-3.11", "install", "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError('<x>: Failed to establish a new connection: [Errno 111] Connection refused')': /simple/flask/\nERROR: Could not find a version that satisfies the requirement flask (from versions: none)\nERROR: No matching distribution found for flask",
			expectation{id: "install.registry_unreachable", title: "could not be reached", blame: coderunner.Upstream}, "Deploy again"},
		"package":     {"python-3.11", "install", "ERROR: Could not find a version that satisfies the requirement flaskk (from versions: none)", expectation{id: "install.unknown_package", title: "flaskk"}, ""},
		"version":     {"python-3.11", "install", "ERROR: Could not find a version that satisfies the requirement flask==99 (from versions: 0.1, 3.1.0)", expectation{id: "install.version_missing", title: "flask==99", detail: "3.1.0"}, ""},
		"conflict":    {"python-3.11", "install", "ERROR: ResolutionImpossible: for help visit https://pip.pypa.io", expectation{id: "install.conflict"}, ""},
		"port":        {"python-3.11", "start", "OSError: [Errno 98] Address already in use", expectation{id: "port.in_use"}, ""},
		"syntax":      {"python-3.11", "start", "  File \"/app/main.py\", line 7\n    def x(:\n          ^\nSyntaxError: invalid syntax", expectation{id: "python.syntax", title: "main.py:7"}, ""},
		"indentation": {"python-3.11", "start", "  File \"/app/main.py\", line 7\nIndentationError: unexpected indent", expectation{id: "python.syntax", title: "main.py:7"}, ""},
		"go module":   {"go", "build", "main.go:4:2: no required module provides package github.com/lib/pq; to add it:", expectation{id: "module.missing", title: "github.com/lib/pq", detail: "main.go:4", next: "go get"}, ""},
		"go.sum":      {"go", "build", "main.go:4:2: missing go.sum entry for module providing package github.com/lib/pq; to add:", expectation{id: "install.lockfile", title: "go.sum", next: "go mod tidy"}, ""},
		"go version":  {"go", "build", "go: go.mod requires go >= 1.99 (running go 1.22.1; GOTOOLCHAIN=local)", expectation{id: "runtime.version", detail: "1.99"}, ""},
		"go compile":  {"go", "build", "# example.com/x\n./main.go:9:2: undefined: serve", expectation{id: "go.compile", title: "main.go:9", detail: "undefined: serve"}, ""},
		"go database": {"go", "start", "2026/01/02 dial tcp 127.0.0.1:5432: connect: connection refused", expectation{id: "database.localhost", title: "PostgreSQL"}, "Add PostgreSQL and deploy again"},
		"go host":     {"go", "start", "dial tcp: lookup db on 10.0.0.1:53: no such host", expectation{id: "service.unknown_host", title: "“db”"}, "Add PostgreSQL and deploy again"},
		"go port":     {"go", "start", "listen tcp :80: bind: permission denied", expectation{id: "port.forbidden", title: ":80"}, ""},
		"library":     {"python-3.11", "start", "ImportError: libGL.so.1: cannot open shared object file: No such file or directory", expectation{id: "native.library", title: "libGL.so.1"}, ""},
		"glibc":       {"nodejs-18", "start", "Error: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required by /app/node_modules/x.node)", expectation{id: "native.library", title: "GLIBC_2.38"}, ""},
		"elf":         {"nodejs-18", "start", "Error: /app/node_modules/bcrypt/lib/bcrypt.node: invalid ELF header", expectation{id: "native.library", title: "another system", next: "Leave node_modules"}, ""},
		"prisma":      {"nodejs-18", "build", "prisma:warn Prisma failed to detect the libssl/openssl version to use", expectation{id: "native.library", title: "Prisma"}, ""},
		"browser":     {"nodejs-18", "start", "Error: Could not find Chrome (ver. 127.0.6533.88).", expectation{id: "native.browser"}, ""},
		"engine": {"nodejs-18", "install", "npm ERR! code EBADENGINE\nnpm ERR! notsup Not compatible with your version of node/npm: vite@7.0.0\nnpm ERR! notsup Required: {\"node\":\"^20.19.0 || >=22.12.0\",\"npm\":\">=10\"}",
			expectation{id: "runtime.version", title: "vite@7.0.0"}, "Run on Node.js 20"},
		"module kind": {"nodejs-18", "start", "Error [ERR_REQUIRE_ESM]: require() of ES Module /app/node_modules/a/index.js from /app/index.js not supported.", expectation{id: "node.module_kind"}, "Run on Node.js 22"},
	} {
		t.Run(name, func(t *testing.T) {
			p := plan()
			p.Runtime = coderunner.Runtime{Appliance: c.runtime}
			p.Runtime.Name, p.Runtime.Version, _ = strings.Cut(c.runtime, "-")
			ev := Evidence{Step: c.step, Command: "x", ExitCode: 1, Exited: c.step == "start", Lines: strings.Split(c.log, "\n"), Plan: p, Offered: offered}
			c.want.check(t, ev)
			if got := labels(Diagnose(ev)); got != c.fixes {
				t.Errorf("its buttons are %q", got)
			}
		})
	}
}

func labels(f coderunner.Failure) string {
	var all []string
	for _, x := range f.Fixes {
		all = append(all, x.Label)
	}
	return strings.Join(all, ", ")
}

// TestHostsThatAreRefused are known by the answer, since servers do not always print it.
func TestHostsThatAreRefused(t *testing.T) {
	static := plan()
	static.StaticDir.Value, static.Start.Value = "dist", ""
	for body, want := range map[string]struct{ title, fixes string }{
		`Blocked request. This host ("shop.example.com") is not allowed.`: {"development server", "Use the proposed plan"},
		"Invalid Host header":                      {"development server", "Use the proposed plan"},
		"<title>DisallowedHost\n at /</title>":     {"Django", "Set ALLOWED_HOSTS, Deploy again"},
		"\n<h1>Bad Request (400)</h1>\n":           {"Django", "Set ALLOWED_HOSTS, Deploy again"},
		"<h1>Blocked hosts: shop.example.com</h1>": {"Rails", ""},
	} {
		f := Diagnose(Evidence{Step: "health", Status: 400, Body: body, Plan: plan(), Proposed: &static})
		if f.ID != "health.host_refused" || !strings.Contains(f.Title, want.title) || labels(f) != want.fixes {
			t.Errorf("%q: %+v", body, f)
		}
	}
	if f := Diagnose(Evidence{Step: "health", Status: 404, Body: "not here", Plan: plan()}); f.ID == "health.host_refused" {
		t.Errorf("a page that is not there: %+v", f)
	}
}

// TestTheUploadIsLookedAt for what a line misses.
func TestTheUploadIsLookedAt(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	upload := fstest.MapFS{
		"package.json":                 file(`{"dependencies":{"express":"4"},"devDependencies":{"zod":"3","typescript":"5","express":"4"}}`),
		"src/components/header.tsx":    file(""),
		"src/Same.js":                  file(""),
		"src/same.js":                  file(""),
		"node_modules/x/Footer.js":     file(""),
		"server/requirements.txt":      file(""),
		"server/deep/requirements.txt": file(""),
		"prisma/schema.prisma":         file("model A {}"),
	}
	for line, want := range map[string]string{
		"Error: Cannot find module './components/Header'":                          "module.case",
		"Module not found: Error: Can't resolve '@/Components/Header' in '/app/x'": "module.case",
		`Could not resolve "../src/components/Header.tsx" from "src/pages/a.tsx"`:  "module.case",
		"Error: Cannot find module './Same'":                                       "module.file_missing",
		"Error: Cannot find module './footer'":                                     "module.file_missing",
		"Error: Cannot find module 'zod'":                                          "module.dev_only Install with “npm ci --include=dev”",
		"Error: Cannot find module 'express'":                                      "module.missing",
		"sh: 1: tsc: not found":                                                    "build.command_not_found Install with “npm ci --include=dev”",
		"ERROR: Could not open requirements file: [Errno 2]: 'requirements.txt'":   "plan.wrong_root Use the folder server",
		`error: relation "a" does not exist`:                                       "database.no_table Run “npx prisma migrate deploy” before it starts",
	} {
		p := plan()
		p.Install.Value = "npm ci"
		code := 1
		if strings.Contains(line, "tsc") {
			code = 127
		}
		f := Diagnose(Evidence{Step: "build", ExitCode: code, Lines: []string{line, "Require stack:", "- /app/src/index.js"}, Plan: p, Upload: upload, Offered: offered})
		if got := strings.TrimSpace(f.ID + " " + labels(f)); got != want || f.Shown != 1 {
			t.Errorf("%q: %s shown by line %d\n%+v", line, got, f.Shown, f)
		}
	}
}

func TestVersionsThatMeetARange(t *testing.T) {
	all := []string{"18", "20", "22", "24", "3.11", "3.13"}
	for wish, want := range map[string][]string{
		"^20.19.0 || >=22.12.0": {"20", "22", "24"}, ">=18 <22": {"18", "20"}, "<=20": {"18", "20"}, "22.x": {"22"}, "~24": {"24"}, ">=3.12,<4": {"3.13"}, ">=20.19": {"20", "22", "24"}, "*": nil,
		"<22.5": {"18", "20", "22"},
	} {
		var got []string
		for _, v := range all {
			if (strings.HasPrefix(wish, ">=3")) == strings.HasPrefix(v, "3.") && meets(wish, v) {
				got = append(got, v)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %v", wish, got)
		}
	}
}

func TestInstallWithoutTheLockfile(t *testing.T) {
	for install, want := range map[string]string{
		"npm ci": "npm install", "npx --yes pnpm@9 install --frozen-lockfile": "npx --yes pnpm@9 install --no-frozen-lockfile", "pnpm install": "pnpm install --no-frozen-lockfile",
		"npx --yes yarn@1.22.22 install --production=false --frozen-lockfile": "npx --yes yarn@1.22.22 install --production=false", "yarn install --immutable": "yarn install --no-immutable", "npm install": "npm install",
	} {
		if got := withoutLockfile(install); got != want {
			t.Errorf("%s: %s", install, got)
		}
	}
}
