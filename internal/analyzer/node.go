package analyzer

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

const nodejs = "nodejs"

// entryNames are the programs that are started when nothing names one.
var entryNames = []string{"server.js", "index.js", "app.js", "main.js"}

// serverFrameworks are packages whose presence means that a package serves HTTP.
var serverFrameworks = []string{"express", "fastify", "koa", "@hapi/hapi", "hono", "@nestjs/core", "restify", "polka", "next", "nuxt"}

// nodeApp is one Node.js package while its plan is made.
type nodeApp struct {
	app
	pkg *packageJSON
	how *production // nil until asked for
}

// lookNode recognises a package.json, or a program in JavaScript without one.
func lookNode(t *tree, root string, top listing) (*project, error) {
	evidence := "package.json"
	if !top.hasFile(evidence) {
		var err error
		if evidence, err = t.lonelyEntry(root, top); err != nil || evidence == "" {
			return nil, err
		}
	}
	a, err := t.readNodeApp(root)
	if err != nil {
		return nil, err
	}
	p := &project{plan: a.plan(), evidence: evidence, node: a}
	p.rank = a.rank(p.plan)
	return p, nil
}

// rank says how plain it is that the package is what is to be run.
func (a *nodeApp) rank(plan coderunner.Plan) rank {
	switch {
	case !plan.Starts():
		return nothing
	case strings.HasPrefix(plan.Start.Why, "Procfile"):
		return declared
	case plan.StaticDir.Value != "":
		return site
	case strings.HasPrefix(plan.Start.Why, "scripts."), plan.Framework.Value != "" && strings.HasPrefix(plan.Start.Why, "dependency "):
		return server
	}
	if a.servesItself() {
		return server
	}
	if _, listens := a.source.first(func(f finding) bool { return f.kind == listensOn }); listens {
		return server
	}
	return program
}

// readNodeApp reads the package at root, which need not have a package.json.
func (t *tree) readNodeApp(root string) (*nodeApp, error) {
	base, err := t.readApp(root, javascript)
	if err != nil {
		return nil, err
	}
	a := &nodeApp{app: base, pkg: &packageJSON{}}
	if a.top.hasFile("package.json") {
		if a.pkg, err = t.readPackageJSON(path.Join(root, "package.json")); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// lonelyEntry returns the program of a directory without a package.json, or "".
// Beside an index.html a script may well be the browser's, so that it must look like a server.
func (t *tree) lonelyEntry(root string, top listing) (string, error) {
	for _, name := range []string{"index.js", "server.js", "app.js", "main.js", "index.mjs", "server.mjs", "app.mjs", "index.cjs", "server.cjs"} {
		if !top.hasFile(name) {
			continue
		}
		if !top.hasFile("index.html") {
			return name, nil
		}
		data, err := t.read(path.Join(root, name), maxSourceFile)
		if errors.Is(err, errTooLarge) {
			continue
		}
		if err != nil {
			return "", err
		}
		if text := string(data); strings.Contains(text, ".listen(") || strings.Contains(text, "createServer(") {
			return name, nil
		}
	}
	return "", nil
}

// at is the place of a field of package.json, for evidence.
func (f field) at() string { return fmt.Sprintf("package.json:%d", f.line) }

func (a *nodeApp) plan() coderunner.Plan {
	a.warnings, a.how = append([]string(nil), a.pkg.notes...), nil
	p := coderunner.Plan{Type: nodejs, Root: a.root, TypeWhy: "package.json"}
	if !a.pkg.exists {
		p.TypeWhy = "a .js program and no package.json"
	}
	p.Framework = a.framework()
	p.Runtime = a.runtime()
	p.PackageManager, p.Install = a.install()
	p.Processes = a.processes()
	a.migrations(&p)
	a.startAndBuild(&p)
	a.port(&p)
	p.Databases = a.databases(a.databaseUses())
	a.finish(&p)
	return p
}

// migrations offers what brings Prisma's database up to date before a new version serves.
func (a *nodeApp) migrations(p *coderunner.Plan) {
	if _, ok := a.pkg.dependency("prisma"); !ok || p.Processes["release"] != "" || !a.hasDir("prisma/migrations") {
		return
	}
	if p.Processes == nil {
		p.Processes = map[string]string{}
	}
	p.Processes["release"] = "prisma migrate deploy"
}

// framework is the first of the known ones among the dependencies.
func (a *nodeApp) framework() coderunner.Choice {
	for _, known := range []struct{ name, title string }{
		{"next", "Next.js"}, {"nuxt", "Nuxt"}, {"@remix-run/serve", "Remix"}, {"@react-router/serve", "React Router"}, {"@react-router/dev", "React Router"},
		{"@tanstack/react-start", "TanStack Start"}, {"@sveltejs/kit", "SvelteKit"}, {"astro", "Astro"}, {"@strapi/strapi", "Strapi"}, {"@nestjs/core", "NestJS"},
		{"express", "Express"}, {"fastify", "Fastify"}, {"koa", "Koa"}, {"@hapi/hapi", "hapi"}, {"hono", "Hono"},
		{"gatsby", "Gatsby"}, {"@angular/core", "Angular"}, {"react-scripts", "Create React App"},
		{"@docusaurus/core", "Docusaurus"}, {"vitepress", "VitePress"}, {"@11ty/eleventy", "Eleventy"}, {"expo", "Expo"},
		{"@vue/cli-service", "Vue CLI"}, {"vite", "Vite"},
	} {
		if f, ok := a.pkg.dependency(known.name); ok {
			return coderunner.Choice{Value: known.title, Why: fmt.Sprintf("dependency %s in %s", known.name, f.at())}
		}
	}
	return coderunner.Choice{}
}
