package analyzer

import (
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// TestPlansByLockfile compares whole plans of one small app.
func TestPlansByLockfile(t *testing.T) {
	t.Parallel()
	const manifest = `{"main": "app.js", "dependencies": {"ms": "^2"}}`
	npx := func(program, version, more string) string {
		return "The project uses " + program + ", which the appliances for Node.js do not have: npx fetches " + program + " " + version + " for the installation." + more
	}
	for name, test := range map[string]struct {
		tree     []string // beside package.json and app.js
		manager  string
		install  string
		warnings []string
	}{
		"npm 1 to 6":      {[]string{"package-lock.json", `{"lockfileVersion": 1, "requires": true, "dependencies": {"ms": {"version": "2.1.3"}}}`}, "npm", "npm ci", nil},
		"npm 7 and 8":     {[]string{"package-lock.json", `{"lockfileVersion": 2, "packages": {}, "dependencies": {}}`}, "npm", "npm ci", nil},
		"npm from 9":      {[]string{"package-lock.json", `{"lockfileVersion": 3, "packages": {}}`}, "npm", "npm ci", nil},
		"shrinkwrap":      {[]string{"npm-shrinkwrap.json", `{"lockfileVersion": 3}`}, "npm", "npm ci", nil},
		"yarn 1":          {[]string{"yarn.lock", "# yarn lockfile v1\n"}, "yarn", "npx --yes yarn@1.22.22 install --production=false --frozen-lockfile", []string{npx("yarn", "1.22.22", "")}},
		"yarn 4":          {[]string{"yarn.lock", "__metadata:\n  version: 8\n"}, "yarn", "YARN_NODE_LINKER=node-modules npx --yes @yarnpkg/cli-dist@4 install --immutable", []string{npx("yarn", "4", " Its packages go to node_modules, whatever .yarnrc.yml says.")}},
		"pnpm 6":          {[]string{"pnpm-lock.yaml", "lockfileVersion: 5.3\n"}, "pnpm", "npx --yes pnpm@7 install --prod=false --frozen-lockfile", []string{npx("pnpm", "7", "")}},
		"pnpm 8":          {[]string{"pnpm-lock.yaml", "lockfileVersion: '6.0'\n"}, "pnpm", "npx --yes pnpm@8 install --prod=false --frozen-lockfile", []string{npx("pnpm", "8", "")}},
		"pnpm 9":          {[]string{"pnpm-lock.yaml", "lockfileVersion: '9.0'\n"}, "pnpm", "npx --yes pnpm@9 install --prod=false --frozen-lockfile", []string{npx("pnpm", "9", "")}},
		"bun":             {[]string{"bun.lock", "{}"}, "bun", "npx --yes bun@1 install --frozen-lockfile", []string{"The project uses bun, which the appliances for Node.js do not have: npx fetches bun 1 for the installation, and node runs the app."}},
		"none":            {nil, "npm", "npm install", []string{"There is no lockfile, so that each deployment may install other versions. Run npm install and upload its lockfile too."}},
		"yarn beside npm": {[]string{"package-lock.json", "{}", "yarn.lock", ""}, "yarn", "npx --yes yarn@1.22.22 install --production=false --frozen-lockfile", []string{"There are lockfiles of several package managers (yarn.lock, package-lock.json); yarn.lock is used. Remove the others.", npx("yarn", "1.22.22", "")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checkPlan(t, files(append([]string{"package.json", manifest, "app.js", "listen(process.env.PORT)"}, test.tree...)...), node24(func(p *coderunner.Plan) {
				lockfile := "no lockfile"
				p.PackageManager = coderunner.Choice{Value: test.manager, Why: "the default"}
				if len(test.tree) > 0 {
					lockfile = test.tree[len(test.tree)-2]
					p.PackageManager.Why = lockfile
				}
				p.Install = coderunner.Choice{Value: test.install, Why: lockfile}
				p.Start = coderunner.Choice{Value: "node app.js", Why: "main in package.json:1"}
				p.PortWhy = "process.env.PORT read in app.js:1"
				p.Warnings = test.warnings
			}))
		})
	}
}

// TestPlansOfFewWords: the least that is a project, and what engines say beside it.
func TestPlansOfFewWords(t *testing.T) {
	t.Parallel()
	server := func(change func(*coderunner.Plan)) coderunner.Plan {
		return node24(func(p *coderunner.Plan) {
			p.Start = coderunner.Choice{Value: "node server.js", Why: "the file server.js"}
			change(p)
		})
	}
	for name, test := range map[string]struct {
		tree []string
		want coderunner.Plan
	}{
		"server.js and nothing else": {[]string{"server.js", ""}, server(func(p *coderunner.Plan) {
			p.TypeWhy, p.PackageManager, p.Install.Why = "a .js program and no package.json", coderunner.Choice{}, "no package.json"
		})},
		"server.js before index.js": {[]string{"package.json", "{}", "index.js", "", "server.js", ""}, server(func(*coderunner.Plan) {})},
		"main before server.js": {[]string{"package.json", `{"main": "x.js"}`, "server.js", "", "x.js", ""}, node24(func(p *coderunner.Plan) {
			p.Start = coderunner.Choice{Value: "node x.js", Why: "main in package.json:1"}
		})},
		"engines that only 18 fits": {[]string{"package.json", `{"engines": {"node": "16 || 18"}}`, "server.js", ""}, server(func(p *coderunner.Plan) {
			p.Runtime = coderunner.Runtime{Name: "nodejs", Version: "18", Appliance: "nodejs-18", Why: "engines.node 16 || 18 in package.json:1"}
		})},
		"engines that 18 does not fit": {[]string{"package.json", `{"engines": {"node": ">=20"}}`, "server.js", ""}, server(func(p *coderunner.Plan) {
			p.Runtime = coderunner.Runtime{Name: "nodejs", Version: "24", Appliance: "nodejs-24", Why: "engines.node >=20 in package.json:1"}
		})},
		"engines of another kind": {[]string{"package.json", `{"engines": {"vscode": "^1.80.0"}}`, "server.js", ""}, server(func(*coderunner.Plan) {})},
		"engines that ask for a manager": {[]string{"package.json", `{"engines": {"pnpm": ">=8"}}`, "server.js", ""}, server(func(p *coderunner.Plan) {
			p.PackageManager = coderunner.Choice{Value: "pnpm", Why: "engines.pnpm in package.json:1"}
			p.Install = coderunner.Choice{Value: "npx --yes pnpm@9 install --prod=false", Why: "no lockfile"}
			p.Warnings = []string{"There is no lockfile, so that each deployment may install other versions. Run pnpm install and upload its lockfile too.",
				"The project uses pnpm, which the appliances for Node.js do not have: npx fetches pnpm 9 for the installation."}
		})},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checkPlan(t, files(test.tree...), test.want)
		})
	}
}
