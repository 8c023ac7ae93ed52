package analyzer

import (
	"fmt"
	"path"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// productionScripts are looked at when scripts.start is absent or a development server.
var productionScripts = []string{"start:prod", "start:production", "prod", "production", "serve:prod", "serve", "server"}

// startAndBuild fills the plan's start and build commands. The order: Procfile,
// scripts.start, another production script, main, a program with a usual name.
func (a *nodeApp) startAndBuild(p *coderunner.Plan) {
	p.Build = a.build()
	p.Start = a.start(p)
	if p.Starts() {
		a.dropSecondBuild(p)
		for _, manager := range []string{"yarn", "pnpm", "bun"} {
			if usesProgram(p.Start.Value, manager) || usesProgram(p.Build.Value, manager) {
				a.warn("The scripts call %s, which the appliances for Node.js do not have. Call the program itself, or use npm run.", manager)
			}
		}
		return
	}
	top, _ := a.tree.list(a.root)
	looked := []string{"a Procfile with web:"}
	if a.pkg.exists {
		looked = append(looked, "scripts.start and main in package.json")
	}
	looked = append(looked, entryNames...)
	a.warn("Nothing to start was found. Looked for %s, and the same in src/; found at the top level: %s. "+
		"Add \"start\" to the scripts in package.json, or type the start command here.", strings.Join(looked, ", "), top.describe())
}

func (a *nodeApp) build() coderunner.Choice {
	for _, name := range []string{"build", "heroku-postbuild", "gcp-build"} {
		if text, f, ok := a.pkg.script(name); ok {
			return coderunner.Choice{Value: text, Why: scriptWhy(name, f)}
		}
	}
	return coderunner.Choice{}
}

func scriptWhy(name string, f field) string {
	return fmt.Sprintf("scripts.%s in %s", printable(name), f.at())
}

func (a *nodeApp) start(p *coderunner.Plan) coderunner.Choice {
	if command := a.procfile("web"); command.Value != "" {
		return command
	}
	mainFile, mainWhy := a.program(p)
	text, f, ok := a.pkg.script("start")
	if !ok {
		return a.startWithoutScript(p, mainFile, mainWhy)
	}
	why := scriptWhy("start", f)
	dev, isDev := findDevServer(text, mainFile)
	if !isDev {
		how, known := a.production()
		if known && how.instead != nil && how.instead(text) {
			a.warn("%s does not go with the settings (%s); what they ask for is started instead.", why, how.why)
			return a.produce(p, how, why+", as its settings ask")
		}
		if known {
			a.prepare(p, how)
		}
		return coderunner.Choice{Value: text, Why: why}
	}
	for _, name := range productionScripts {
		text, f, ok := a.pkg.script(name)
		if !ok {
			continue
		}
		if _, isDev := findDevServer(text, mainFile); !isDev {
			a.warn("scripts.start runs %s, a development server; scripts.%s is started instead.", dev.tool, name)
			return coderunner.Choice{Value: text, Why: fmt.Sprintf("%s, because scripts.start runs %s", scriptWhy(name, f), dev.tool)}
		}
	}
	return a.replaceDevServer(p, dev, text, why)
}

// startWithoutScript is for packages without scripts.start: another script, the
// framework's own way, main, or a program with a usual name. A program beside a site
// that is built is what serves it, if it can.
func (a *nodeApp) startWithoutScript(p *coderunner.Plan, mainFile, mainWhy string) coderunner.Choice {
	for _, name := range productionScripts[:4] {
		if text, f, ok := a.pkg.script(name); ok {
			if _, isDev := findDevServer(text, mainFile); !isDev {
				return coderunner.Choice{Value: text, Why: scriptWhy(name, f)}
			}
		}
	}
	how, known := a.production()
	if known && (mainFile == "" || how.start != "" || !a.servesItself()) && (how.start != "" || p.Build.Value != "" || how.build != "") {
		return a.produce(p, how, how.why)
	}
	if mainFile == "" {
		return coderunner.Choice{}
	}
	return coderunner.Choice{Value: nodeCommand(a, mainFile), Why: mainWhy}
}

// servesItself reports whether the package asks for something that answers requests.
func (a *nodeApp) servesItself() bool {
	for _, name := range serverFrameworks {
		if _, ok := a.pkg.dependencies.get(name); ok {
			return true
		}
	}
	return false
}

// prepare completes the build of a framework that is started by a script of the project's own.
func (a *nodeApp) prepare(p *coderunner.Plan, how production) {
	if p.Build.Value == "" && how.build != "" && how.start != "" {
		p.Build = coderunner.Choice{Value: how.build, Why: how.why}
	}
	if how.after != "" && p.Build.Value != "" && !strings.Contains(p.Build.Value, "standalone") {
		p.Build.Value = grouped(p.Build.Value) + " && " + how.after
		p.Build.Why += ", and what its output leaves to do"
	}
	if usesProgram(p.Build.Value, "vite") && strings.HasPrefix(how.start, "PROTOCOL_HEADER=") && !strings.Contains(how.why, "adapter-node") {
		p.Build.Value = "export GCP_BUILDPACKS=true && " + p.Build.Value // what adapter-auto takes adapter-node for
	}
}

// produce builds and starts a package as its framework wants it, whatever scripts.start says.
func (a *nodeApp) produce(p *coderunner.Plan, how production, why string) coderunner.Choice {
	if p.Build.Value == "" {
		p.Build = coderunner.Choice{Value: how.build, Why: how.why}
	}
	a.prepare(p, how)
	if how.start != "" {
		return coderunner.Choice{Value: how.start, Why: why}
	}
	return a.serveSite(p, how, why)
}

// serveSite serves the folder that the build fills.
func (a *nodeApp) serveSite(p *coderunner.Plan, how production, why string) coderunner.Choice {
	p.StaticDir = coderunner.Choice{Value: how.dir, Why: "where " + orElse(how.build, "the build") + " writes by default"}
	if strings.Contains(how.why, "; ") {
		_, setting, _ := strings.Cut(how.why, "; ")
		p.StaticDir.Why = setting
	}
	if own := outDir(p.Build.Value); own != "" {
		p.StaticDir = coderunner.Choice{Value: own, Why: p.Build.Why}
	}
	if how.single {
		p.StaticFallback = coderunner.Choice{Value: "index.html", Why: why}
	}
	return coderunner.Choice{Why: why + "; the folder is served"}
}

// replaceDevServer is the production counterpart of a start script that runs a development server.
func (a *nodeApp) replaceDevServer(p *coderunner.Plan, dev devServer, text, why string) coderunner.Choice {
	how, known := a.production()
	if !known {
		how = production{build: dev.build, start: dev.command, dir: dev.staticDir, single: dev.oneFile}
	} else if how.start != "" && dev.command != "" {
		how.start = dev.command // with what stands before it in the script
		if other, _ := a.production(); other.instead != nil {
			how.start = other.start
		}
	}
	if p.Build.Value == "" && how.build != "" && (how.start != "" || how.dir != "") {
		p.Build = coderunner.Choice{Value: how.build, Why: "what " + dev.tool + " in scripts.start needs for production"}
	}
	a.prepare(p, how)
	switch {
	case how.start != "":
		a.warn("scripts.start runs %s, which is for development; %q is started instead.", dev.tool, printable(how.start))
		return coderunner.Choice{Value: how.start, Why: fmt.Sprintf("%s, without %s", why, dev.tool)}
	case how.dir != "":
		choice := a.serveSite(p, how, fmt.Sprintf("%s runs %s, a development server", why, dev.tool))
		a.warn("scripts.start runs %s, a development server. The site is built instead, and the folder %s is served.",
			dev.tool, printable(p.StaticDir.Value))
		return choice
	}
	a.warn("scripts.start runs %s, a development server. Add a script that starts the built app, or type the start command here.", dev.tool)
	return coderunner.Choice{Value: text, Why: why}
}

// outDir is the folder that a build command names, or "".
func outDir(build string) string {
	words := strings.Fields(build)
	for i, word := range words {
		value, given := strings.CutPrefix(word, "--outDir=")
		if !given && word == "--outDir" && i+1 < len(words) {
			value, given = words[i+1], true
		}
		if value = path.Clean(value); given && value != "." && !strings.HasPrefix(value, "..") && !strings.HasPrefix(value, "/") {
			return value
		}
	}
	return ""
}

// dropSecondBuild takes the build out of a start command that begins with it,
// because the build step has done it.
func (a *nodeApp) dropSecondBuild(p *coderunner.Plan) {
	if p.Build.Value == "" {
		return
	}
	if rest, ok := strings.CutPrefix(p.Start.Value, grouped(p.Build.Value)+" && "); ok {
		p.Start.Value = rest
		p.Start.Why += ", without the build, which is done before"
	}
}

// usesProgram reports whether a command begins with, or goes on to, the program.
func usesProgram(command, program string) bool {
	for _, part := range strings.FieldsFunc(command, func(r rune) bool { return strings.ContainsRune("&|;()\n", r) }) {
		words := strings.Fields(part)
		for len(words) > 0 && words[0] != "npx" && isPrefixWord(words[0]) {
			words = words[1:]
		}
		if len(words) > 0 && words[0] == program {
			return true
		}
	}
	return false
}

// program finds the file to run: main if it exists, or one with a usual name.
func (a *nodeApp) program(p *coderunner.Plan) (name, why string) {
	if main := strings.TrimPrefix(path.Clean(strings.ReplaceAll(a.pkg.main.value, `\`, "/")), "./"); a.pkg.main.value != "" {
		why := "main in " + a.pkg.main.at()
		for _, name := range []string{main, main + ".js", main + ".cjs", path.Join(main, "index.js")} {
			if a.runnable(name) {
				return name, why
			}
		}
		first, _, _ := strings.Cut(main, "/")
		if isOutside(first) && first != "node_modules" && !strings.HasPrefix(first, ".") && p.Build.Value != "" && main != first {
			if path.Ext(main) == "" {
				main += ".js"
			}
			return main, why + ", which the build makes"
		}
		if !a.hasFile(main) {
			a.warn("main in %s names %q, which does not exist.", a.pkg.main.at(), printable(a.pkg.main.value))
		}
	}
	for _, dir := range []string{"", "src/"} {
		for _, entry := range entryNames {
			stem := strings.TrimSuffix(entry, ".js")
			for _, ext := range []string{".js", ".mjs", ".cjs", ".ts"} {
				if name := dir + stem + ext; a.runnable(name) {
					return name, "the file " + name
				}
			}
		}
	}
	return "", ""
}

// runnable reports whether a file exists that node runs, or tsx or ts-node where the project has one.
func (a *nodeApp) runnable(name string) bool {
	if !a.hasFile(name) {
		return false
	}
	switch path.Ext(name) {
	case ".js", ".mjs", ".cjs":
		return true
	case ".ts":
		return a.typeScriptRunner() != ""
	}
	return false
}

func (a *nodeApp) typeScriptRunner() string {
	for _, runner := range []string{"tsx", "ts-node"} {
		if _, ok := a.pkg.dependency(runner); ok {
			return runner
		}
	}
	return ""
}

func nodeCommand(a *nodeApp, name string) string {
	program := "node"
	if path.Ext(name) == ".ts" {
		program = a.typeScriptRunner()
	}
	if strings.HasPrefix(name, "-") {
		name = "./" + name
	}
	return program + " " + shellQuote(name)
}
