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
	tree     *tree
	root     string
	pkg      *packageJSON
	source   source
	warnings []string
}

// readNodeApp reads the package at root, which need not have a package.json.
func (t *tree) readNodeApp(root string) (*nodeApp, error) {
	a := &nodeApp{tree: t, root: root, pkg: &packageJSON{}}
	top, err := t.list(root)
	if err != nil {
		return nil, err
	}
	if top.hasFile("package.json") {
		if a.pkg, err = t.readPackageJSON(path.Join(root, "package.json")); err != nil {
			return nil, err
		}
	}
	if a.source, err = t.readSource(root); err != nil {
		return nil, err
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

func (a *nodeApp) warn(format string, args ...any) {
	a.warnings = append(a.warnings, fmt.Sprintf(format, args...))
}

func (a *nodeApp) hasFile(name string) bool { return a.tree.hasFile(path.Join(a.root, name)) }

// at is the place of a field of package.json, for evidence.
func (f field) at() string { return fmt.Sprintf("package.json:%d", f.line) }

func (a *nodeApp) plan() coderunner.Plan {
	a.warnings = append([]string(nil), a.pkg.notes...)
	p := coderunner.Plan{Type: nodejs, Root: a.root, TypeWhy: "package.json"}
	if !a.pkg.exists {
		p.TypeWhy = "a .js program and no package.json"
	}
	p.Framework = a.framework()
	p.Runtime = a.runtime()
	p.PackageManager, p.Install = a.install()
	p.Processes = a.processes()
	a.startAndBuild(&p)
	a.port(&p)
	p.Databases = a.databases()
	p.EnvKeys = a.source.envKeys()
	if a.source.cut != "" {
		a.warn("%s", a.source.cut)
	}
	p.Warnings = a.warnings
	return p
}

// framework is the first of the known ones among the dependencies.
func (a *nodeApp) framework() coderunner.Choice {
	for _, known := range []struct{ name, title string }{
		{"next", "Next.js"}, {"nuxt", "Nuxt"}, {"@remix-run/serve", "Remix"}, {"@react-router/serve", "React Router"},
		{"@sveltejs/kit", "SvelteKit"}, {"astro", "Astro"}, {"@strapi/strapi", "Strapi"}, {"@nestjs/core", "NestJS"},
		{"express", "Express"}, {"fastify", "Fastify"}, {"koa", "Koa"}, {"@hapi/hapi", "hapi"}, {"hono", "Hono"},
		{"gatsby", "Gatsby"}, {"@angular/core", "Angular"}, {"react-scripts", "Create React App"},
		{"@vue/cli-service", "Vue CLI"}, {"vite", "Vite"},
	} {
		if f, ok := a.pkg.dependency(known.name); ok {
			return coderunner.Choice{Value: known.title, Why: fmt.Sprintf("dependency %s in %s", known.name, f.at())}
		}
	}
	return coderunner.Choice{}
}
