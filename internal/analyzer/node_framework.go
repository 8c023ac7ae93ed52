package analyzer

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// production is how a framework is built and run for others than its developer.
type production struct {
	build  string // what builds it, unless a script does
	start  string // the program that serves; "" for a site
	dir    string // where the built site is
	single bool   // index.html answers the site's unknown paths
	after  string // what has to follow any build
	why    string // "dependency vite in package.json:4", with the setting that decides
	// instead says of scripts.start, which is no development server, that it does not go with the settings.
	instead func(start string) bool
}

// frameworkProductions are asked in this order; the first whose package is there answers.
var frameworkProductions = []struct {
	name string // of the package
	how  func(a *nodeApp) production
}{
	{"next", nextProduction},
	{"nuxt", nuxtProduction},
	{"@remix-run/serve", remixProduction},
	{"@react-router/dev", reactRouterProduction},
	{"@sveltejs/kit", svelteProduction},
	{"@tanstack/react-start", func(*nodeApp) production {
		return production{build: "vite build", start: "node .output/server/index.mjs"}
	}},
	{"astro", astroProduction},
	{"@strapi/strapi", func(*nodeApp) production { return production{build: "strapi build", start: "strapi start"} }},
	{"@nestjs/core", func(*nodeApp) production { return production{build: "nest build", start: "node dist/main"} }},
	{"@angular/core", angularProduction},
	{"gatsby", siteProduction("gatsby build", "public", false)},
	{"@docusaurus/core", siteProduction("docusaurus build", "build", false)},
	{"vitepress", vitepressProduction},
	{"@11ty/eleventy", siteProduction("eleventy", "_site", false)},
	{"react-scripts", siteProduction("react-scripts build", "build", true)},
	{"@vue/cli-service", siteProduction("vue-cli-service build", "dist", true)},
	{"expo", siteProduction("expo export -p web", "dist", true)},
	{"vite", viteProduction},
	{"parcel", siteProduction("", "dist", true)},
}

// production answers how the package's framework is run; ok is false without a known one.
func (a *nodeApp) production() (p production, ok bool) {
	if a.how == nil {
		how := a.findProduction()
		a.how = &how
	}
	return *a.how, a.how.start != "" || a.how.dir != ""
}

func (a *nodeApp) findProduction() production {
	for _, known := range frameworkProductions {
		f, ok := a.pkg.dependency(known.name)
		if !ok {
			continue
		}
		p := known.how(a)
		p.why = strings.TrimSuffix(fmt.Sprintf("dependency %s in %s; %s", known.name, f.at(), p.why), "; ")
		return p
	}
	return production{}
}

func siteProduction(build, dir string, single bool) func(*nodeApp) production {
	return func(*nodeApp) production { return production{build: build, dir: dir, single: single} }
}

// setting looks for a setting in the first of the framework's configuration files that exists;
// value is the expression's first group, where is its place.
func (a *nodeApp) setting(stem string, expression *regexp.Regexp) (value, where string) {
	for _, ext := range []string{".ts", ".mjs", ".js", ".cjs", ".mts"} {
		data := a.head(stem+ext, maxSourceFile)
		for _, m := range expression.FindAllSubmatchIndex(data, 10) {
			if javascript.inComment(data, m[0]) {
				continue
			}
			if len(m) > 2 && m[2] >= 0 {
				value = string(data[m[2]:m[3]])
			}
			return value, place(stem+ext, 1+strings.Count(string(data[:m[0]]), "\n"))
		}
	}
	return "", ""
}

var (
	nextOutput   = regexp.MustCompile(`\boutput\s*:\s*["'](standalone|export)["']`)
	distDir      = regexp.MustCompile(`\bdistDir\s*:\s*["']([\w./-]{1,100})["']`)
	ssrOff       = regexp.MustCompile(`\bssr\s*:\s*(false)`)
	buildDir     = regexp.MustCompile(`\bbuildDirectory\s*:\s*["']([\w./-]{1,100})["']`)
	viteOutDir   = regexp.MustCompile(`\boutDir\s*:\s*["']([\w./-]{1,100})["']`)
	astroOutput  = regexp.MustCompile(`\boutput\s*:\s*["'](server|hybrid)["']`)
	astroAdapter = regexp.MustCompile(`\badapter\s*:\s*(\w{1,60})\(`)
	svelteAuto   = regexp.MustCompile(`["']@sveltejs/(adapter-\w{1,40})["']`)
	fallback     = regexp.MustCompile(`\bfallback\s*:\s*["']([\w.-]{1,60})["']`)
)

// inTree is a folder that a setting names, or what is usual where it leaves the project.
func inTree(dir, usual string) string {
	dir = path.Clean(dir)
	if dir == "." || strings.HasPrefix(dir, "..") || strings.HasPrefix(dir, "/") {
		return usual
	}
	return dir
}

func nextProduction(a *nodeApp) production {
	output, where := a.setting("next.config", nextOutput)
	switch {
	case output == "export":
		dir, _ := a.setting("next.config", distDir)
		return production{build: "next build", dir: inTree(dir, "out"), why: `output "export" in ` + where,
			instead: func(start string) bool { return usesProgram(start, "next") }}
	case output == "standalone" && !a.inWorkspace():
		// The build leaves the files that browsers ask for to whoever copies it elsewhere.
		after := "cp -r .next/static .next/standalone/.next/"
		if a.hasDir("public") {
			after += " && cp -r public .next/standalone/"
		}
		return production{build: "next build", start: "node .next/standalone/server.js", after: after, why: `output "standalone" in ` + where,
			instead: func(start string) bool { return usesProgram(start, "next") }}
	}
	return production{build: "next build", start: "next start"}
}

func nuxtProduction(a *nodeApp) production {
	if build := a.build().Value; usesProgram(build, "nuxt") && strings.Contains(build, "generate") || usesProgram(build, "nuxi") && strings.Contains(build, "generate") {
		return production{build: build, dir: ".output/public", why: "nuxt generate in scripts.build"}
	}
	return production{build: "nuxt build", start: "node .output/server/index.mjs"}
}

func remixProduction(a *nodeApp) production {
	if _, vite := a.pkg.dependency("vite"); vite {
		return production{build: "remix vite:build", start: "remix-serve ./build/server/index.js"}
	}
	return production{build: "remix build", start: "remix-serve ./build/index.js"}
}

func reactRouterProduction(a *nodeApp) production {
	dir, _ := a.setting("react-router.config", buildDir)
	dir = inTree(dir, "build")
	if _, where := a.setting("react-router.config", ssrOff); where != "" {
		return production{build: "react-router build", dir: dir + "/client", single: true, why: "ssr false in " + where,
			instead: func(start string) bool {
				return usesProgram(start, "react-router-serve") || usesProgram(start, "react-router")
			}}
	}
	return production{build: "react-router build", start: "react-router-serve ./" + dir + "/server/index.js"}
}

func svelteProduction(a *nodeApp) production {
	adapter, where := a.setting("svelte.config", svelteAuto)
	why := ""
	if adapter != "" {
		why = adapter + " in " + where
	}
	// Behind a proxy the adapter has to be told how browsers asked, or forms are refused.
	const serve = "PROTOCOL_HEADER=x-forwarded-proto node build"
	switch adapter {
	case "adapter-node":
		return production{build: "vite build", start: serve, why: why}
	case "adapter-static":
		name, _ := a.setting("svelte.config", fallback)
		return production{build: "vite build", dir: "build", single: name == "index.html", why: why}
	case "adapter-auto", "":
		a.warn("SvelteKit's adapter-auto knows no platform here; the build is told to use adapter-node, which it fetches. Add @sveltejs/adapter-node to the project to choose its version.")
		return production{build: "vite build", start: serve, why: why}
	}
	a.warn("SvelteKit's %s is for another platform. Use @sveltejs/adapter-node.", adapter)
	return production{}
}

func astroProduction(a *nodeApp) production {
	output, where := a.setting("astro.config", astroOutput)
	adapter, adapterAt := a.setting("astro.config", astroAdapter)
	if output == "" && adapter == "" {
		return production{build: "astro build", dir: "dist"}
	}
	if _, node := a.pkg.dependency("@astrojs/node"); !node {
		a.warn("Astro renders pages on the server (%s), for which the adapter of another platform is set. Use @astrojs/node.", orElse(adapterAt, where))
		return production{}
	}
	return production{build: "astro build", start: "node ./dist/server/entry.mjs", why: "the adapter in " + orElse(adapterAt, where)}
}

func vitepressProduction(a *nodeApp) production {
	if a.hasDir("docs/.vitepress") {
		return production{build: "vitepress build docs", dir: "docs/.vitepress/dist"}
	}
	return production{build: "vitepress build", dir: ".vitepress/dist"}
}

// viteProduction is for sites: a package that has Vite as a tool beside a server is no site.
func viteProduction(a *nodeApp) production {
	build := a.build()
	_, where := a.setting("vite.config", regexp.MustCompile(`defineConfig|export default`))
	if !a.hasFile("index.html") && where == "" && !usesProgram(build.Value, "vite") {
		return production{}
	}
	p := production{build: "vite build", dir: "dist", single: true}
	if dir, where := a.setting("vite.config", viteOutDir); where != "" {
		if dir = inTree(dir, ""); dir == "" {
			a.warn("outDir in %s lies outside the project. Type the folder to serve into the start command.", where)
			return production{}
		}
		p.dir, p.why = dir, "outDir in "+where
	}
	return p
}

func (a *app) hasDir(name string) bool { return a.tree.hasDir(path.Join(a.root, name)) }

// inWorkspace reports whether a folder above installs this package together with others.
func (a *nodeApp) inWorkspace() bool {
	for dir := a.root; dir != "."; {
		dir = path.Dir(dir)
		if a.tree.isWorkspace(dir) {
			return true
		}
	}
	return false
}
