package analyzer

import (
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
)

func TestNodePlans(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		tree []string
		want coderunner.Plan
	}{
		"express with postgres": {
			tree: []string{
				"package.json", `{
  "name": "guestbook",
  "scripts": {
    "start": "node index.js",
    "test": "node --test"
  },
  "engines": {"node": ">=18"},
  "dependencies": {
    "express": "^5.1.0",
    "pg": "^8.16.0"
  }
}`,
				"package-lock.json", `{"lockfileVersion": 3}`,
				"index.js", "const { Pool } = require('pg');\n\nconst pool = new Pool({ connectionString: process.env.DATABASE_URL });\napp.listen(process.env.PORT || 3000);\n",
			},
			want: node24(func(p *coderunner.Plan) {
				p.Framework = coderunner.Choice{Value: "Express", Why: "dependency express in package.json:9"}
				p.Runtime.Why = "engines.node >=18 in package.json:7"
				p.PackageManager.Why = "package-lock.json"
				p.Install = coderunner.Choice{Value: "npm ci", Why: "package-lock.json"}
				p.Start = coderunner.Choice{Value: "node index.js", Why: "scripts.start in package.json:4"}
				p.PortWhy = "process.env.PORT read in index.js:4"
				p.Databases = []coderunner.DatabaseNeed{{Appliance: "postgres-15", Why: "dependency pg in package.json:10; DATABASE_URL read in index.js:3"}}
				p.EnvKeys = []coderunner.EnvKey{{Key: "DATABASE_URL", Why: "index.js:3"}}
			}),
		},
		"TypeScript built, hooks honoured": {
			tree: []string{
				"package.json", `{
  "scripts": {
    "prebuild": "rm -rf dist",
    "build": "tsc",
    "prestart": "node migrate.js",
    "start": "NODE_ENV=production node dist/main.js"
  },
  "devDependencies": {"typescript": "^5"}
}`,
				"package-lock.json", "{}",
				"src/main.ts", "createServer(handle).listen(+process.env.PORT!)\n",
			},
			want: node24(func(p *coderunner.Plan) {
				p.PackageManager.Why = "package-lock.json"
				p.Install = coderunner.Choice{Value: "npm ci", Why: "package-lock.json"}
				p.Build = coderunner.Choice{Value: "rm -rf dist && tsc", Why: "scripts.build in package.json:4"}
				p.Start = coderunner.Choice{Value: "node migrate.js && NODE_ENV=production node dist/main.js", Why: "scripts.start in package.json:6"}
				p.PortWhy = "process.env.PORT read in src/main.ts:1"
			}),
		},
		"no package.json": {
			tree: []string{"app.js", "require('http').createServer().listen(8090)\n"},
			want: node24(func(p *coderunner.Plan) {
				p.TypeWhy = "a .js program and no package.json"
				p.PackageManager = coderunner.Choice{}
				p.Install.Why = "no package.json"
				p.Start = coderunner.Choice{Value: "node app.js", Why: "the file app.js"}
				p.Port, p.PortWhy = 8090, "app.js:1 listens on it and nothing reads PORT"
				p.Warnings = []string{"app.js:1 listens on port 8090 whatever PORT says. It is used as it is; process.env.PORT would be safer."}
			}),
		},
		"main that exists": {
			tree: []string{"package.json", `{"main": "lib/server"}`, "lib/server.js", "", "index.js", ""},
			want: node24(func(p *coderunner.Plan) {
				p.Start = coderunner.Choice{Value: "node lib/server.js", Why: "main in package.json:1"}
			}),
		},
		"main that does not exist": {
			tree: []string{"package.json", "{\n\"main\": \"gone.js\"}", "src/index.mjs", ""},
			want: node24(func(p *coderunner.Plan) {
				p.Start = coderunner.Choice{Value: "node src/index.mjs", Why: "the file src/index.mjs"}
				p.Warnings = []string{`main in package.json:2 names "gone.js", which does not exist.`}
			}),
		},
		"main that the build makes": {
			tree: []string{"package.json", `{"main": "dist/index.js", "scripts": {"build": "tsc"}}`, "src/index.ts", ""},
			want: node24(func(p *coderunner.Plan) {
				p.Build = coderunner.Choice{Value: "tsc", Why: "scripts.build in package.json:1"}
				p.Start = coderunner.Choice{Value: "node dist/index.js", Why: "main in package.json:1, which the build makes"}
			}),
		},
		"main with a name that a shell would take apart": {
			tree: []string{"package.json", `{"main": "my $(app)'s.js"}`, "my $(app)'s.js", ""},
			want: node24(func(p *coderunner.Plan) {
				p.Start = coderunner.Choice{Value: `node 'my $(app)'\''s.js'`, Why: "main in package.json:1"}
			}),
		},
		"nothing to start": {
			tree: []string{"package.json", `{"scripts": {"test": "jest"}}`, "README.md", "", "lib/parse.js", ""},
			want: node24(func(p *coderunner.Plan) {
				p.Warnings = []string{"Nothing to start was found. Looked for a Procfile with web:, scripts.start and main in package.json, " +
					"server.js, index.js, app.js, main.js, and the same in src/; found at the top level: lib/, README.md, package.json. " +
					"Add \"start\" to the scripts in package.json, or type the start command here."}
			}),
		},
		"Procfile before scripts.start": {
			tree: []string{
				"package.json", `{"scripts": {"start": "node a.js", "serve": "node b.js --title 'a: b'"}}`,
				"Procfile", "# processes\nworker: node worker.js\nweb: npm run serve\n",
			},
			want: node24(func(p *coderunner.Plan) {
				p.Start = coderunner.Choice{Value: "node b.js --title 'a: b'", Why: "Procfile:3, scripts.serve in package.json:1"}
				p.Processes = map[string]string{"worker": "node worker.js", "web": "npm run serve"}
			}),
		},
		"Next.js with a development start": {
			tree: []string{"package.json", `{
"scripts": {"start": "next dev"},
"dependencies": {"next": "14"}}`, "package-lock.json", "{}"},
			want: node24(func(p *coderunner.Plan) {
				p.Framework = coderunner.Choice{Value: "Next.js", Why: "dependency next in package.json:3"}
				p.PackageManager.Why = "package-lock.json"
				p.Install = coderunner.Choice{Value: "npm ci", Why: "package-lock.json"}
				p.Build = coderunner.Choice{Value: "next build", Why: "what next dev in scripts.start needs for production"}
				p.Start = coderunner.Choice{Value: "next start", Why: "scripts.start in package.json:2, without next dev"}
				p.Warnings = []string{`scripts.start runs next dev, which is for development; "next start" is started instead.`}
			}),
		},
		"Vite site": {
			tree: []string{"package.json", `{
"scripts": {"start": "vite", "build": "vite build --outDir public/site", "serve": "vite preview"},
"devDependencies": {"vite": "5"}}`, "package-lock.json", "{}", "index.html", ""},
			want: node24(func(p *coderunner.Plan) {
				p.Framework = coderunner.Choice{Value: "Vite", Why: "dependency vite in package.json:3"}
				p.PackageManager.Why = "package-lock.json"
				p.Install = coderunner.Choice{Value: "npm ci", Why: "package-lock.json"}
				p.Build = coderunner.Choice{Value: "vite build --outDir public/site", Why: "scripts.build in package.json:2"}
				p.StaticDir = coderunner.Choice{Value: "public/site", Why: "scripts.build in package.json:2"}
				p.StaticFallback = coderunner.Choice{Value: "index.html", Why: "scripts.start in package.json:2 runs vite, a development server"}
				p.Start = coderunner.Choice{Why: "scripts.start in package.json:2 runs vite, a development server; the folder is served"}
				p.Warnings = []string{"scripts.start runs vite, a development server. The site is built instead, and the folder public/site is served."}
			}),
		},
		"odd package.json": {
			tree: []string{"package.json", "\ufeff{\"scripts\": {\"start\": \"node a.js\",\n\"start\": \"node b.js\", \"build\": 7}, \"main\": []}"},
			want: node24(func(p *coderunner.Plan) {
				p.Start = coderunner.Choice{Value: "node b.js", Why: "scripts.start in package.json:2"}
				p.Warnings = []string{
					"package.json has scripts.start twice; the second, in line 2, counts.",
					"scripts.build in package.json:2 is not text and is ignored.",
					"main in package.json:2 is not text and is ignored.",
				}
			}),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checkPlan(t, files(test.tree...), test.want)
		})
	}
}

func TestRuntimeVersions(t *testing.T) {
	t.Parallel()
	for wish, want := range map[string]struct{ version, why, warning string }{
		">=18":                       {"24", "engines.node >=18 in package.json:1", ""},
		"18.x || >=20":               {"24", "engines.node 18.x || >=20 in package.json:1", ""},
		"^20.19.0 || >=22.12.0":      {"24", "engines.node ^20.19.0 || >=22.12.0 in package.json:1", ""},
		"18 || 20 || 22":             {"22", "engines.node 18 || 20 || 22 in package.json:1", ""},
		"^18":                        {"18", "engines.node ^18 in package.json:1", ""},
		"20.x":                       {"20", "engines.node 20.x in package.json:1", ""},
		"22.x":                       {"22", "engines.node 22.x in package.json:1", ""},
		"18.20.4":                    {"18", "engines.node 18.20.4 in package.json:1", ""},
		"16":                         {"18", "the nearest to engines.node 16 in package.json:1", "than those that there are"},
		"21.x":                       {"22", "the nearest to engines.node 21.x in package.json:1", "It may fail on 22."},
		"latest":                     {"24", "engines.node latest in package.json:1", ""},
		">=26":                       {"24", "the nearest to engines.node >=26 in package.json:1", "(engines.node >=26 in package.json:1) than those that there are: 18, 20, 22 and 24"},
		"not a version":              {"24", "the default", "is not understood; Node.js 24 is used."},
		"<script>\u202e\u0000x</b>9": {"24", "the default", "<script>��x</b>9"},
	} {
		plan, err := Analyze(files("package.json", `{"engines": {"node": `+quoted(wish)+`}}`, "index.js", ""))
		if err != nil {
			t.Fatal(err)
		}
		if plan.Runtime.Why != want.why || plan.Runtime.Appliance != "nodejs-"+want.version {
			t.Errorf("%q: runtime %+v, want %+v", wish, plan.Runtime, want)
		}
		checkOneWarning(t, wish, plan.Warnings, want.warning)
	}
	plan, err := Analyze(files("index.js", "", ".nvmrc", "# ours\nlts/iron\n"))
	if err != nil {
		t.Fatal(err)
	}
	if plan.Runtime.Appliance != "nodejs-20" || plan.Runtime.Why != "lts/iron in .nvmrc:2" || len(plan.Warnings) > 0 {
		t.Errorf(".nvmrc: runtime %+v, warnings %q", plan.Runtime, plan.Warnings)
	}
}

// TestExactRuntimes: one version and no other is fetched, into a sandbox of the nearest appliance.
func TestExactRuntimes(t *testing.T) {
	t.Parallel()
	for wish, want := range map[string]struct{ version, appliance string }{
		"20.11.1": {"20.11.1", "nodejs-20"}, "v22.3.0": {"22.3.0", "nodejs-22"}, "=24.1.0": {"24.1.0", "nodejs-24"}, "18.19.0": {"18.19.0", "nodejs-20"},
		"19.9.0": {"19.9.0", "nodejs-20"}, "21.7.3": {"21.7.3", "nodejs-22"}, "25.1.0": {"25.1.0", "nodejs-24"},
		"20.20.2": {"20", "nodejs-20"}, "20.11": {"20", "nodejs-20"}, "^20.11.1": {"20", "nodejs-20"}, "16.20.2": {"18", "nodejs-18"}, "20.11.1-rc.1": {"20", "nodejs-20"},
	} {
		plan, err := Analyze(files("index.js", "", ".nvmrc", wish))
		if err != nil {
			t.Fatal(err)
		}
		if r := plan.Runtime; r.Version != want.version || r.Appliance != want.appliance || !strings.Contains(r.Why, wish+" in .nvmrc:1") {
			t.Errorf("%s: %+v, want %+v", wish, r, want)
		}
		if fetched := plan.Runtime.ExactNode() != ""; fetched != strings.Contains(plan.Runtime.Why, "fetched") {
			t.Errorf("%s: %+v", wish, plan.Runtime)
		}
	}
	plan, err := Analyze(files("package.json", `{"engines": {"node": "20.11.1"}, "dependencies": {"a": "1"}}`, "index.js", "",
		"package-lock.json", `{"packages": {"node_modules/a": {"version": "1.0.0", "engines": {"node": ">=20.19"}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	checkOneWarning(t, "a package that needs a newer one", plan.Warnings, "Packages of the lockfile that ask for another Node.js than 20.11.1, which is used: 1, such as a 1.0.0")
}

func TestSatisfies(t *testing.T) {
	t.Parallel()
	for wish, want := range map[string]bool{
		"18": true, "v18.12.1": true, "18.x": true, "18.*": true, "=18.0.0": true, "^18.0.0": true, "~18.20": true, "~18.19": false,
		">=18 <19": true, ">= 18.0.0 < 21": true, "16 - 20": true, "14 - 16": false, "<18": false, "<=18": true, ">18": false,
		">18.19": true, "*": true, "x": true, "": true, "latest": true, "lts/*": true, "lts/hydrogen": true, "lts/jod": false,
		"^16 || ^18": true, "20": false, "20.11.1": false, ">=20": false, ">=18.21": false, "^18.21 || ^20.9": false, "18.20.4-rc.1": true,
	} {
		got, understood := satisfies(wish, version{18, 20, 4})
		if !understood || got != want {
			t.Errorf("satisfies(%q) = %v, understood %v; want %v", wish, got, understood, want)
		}
	}
	for _, wish := range []string{"eighteen", "18.2.3.4", ">=>18", "18 || $(x)", "lts/unknown"} {
		if _, understood := satisfies(wish, version{18, 20, 4}); understood {
			t.Errorf("satisfies(%q) claims to understand", wish)
		}
	}
}
