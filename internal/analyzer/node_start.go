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
	if p.Start.Value != "" {
		a.dropSecondBuild(p)
		for _, manager := range []string{"yarn", "pnpm", "bun"} {
			if usesProgram(p.Start.Value, manager) || usesProgram(p.Build.Value, manager) {
				a.warn("The scripts call %s, which the appliance nodejs-18 does not have. Call the program itself, or use npm run.", manager)
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
		for _, name := range productionScripts[:4] {
			if text, f, ok := a.pkg.script(name); ok {
				if _, isDev := findDevServer(text, mainFile); !isDev {
					return coderunner.Choice{Value: text, Why: scriptWhy(name, f)}
				}
			}
		}
		if mainFile == "" {
			return coderunner.Choice{}
		}
		return coderunner.Choice{Value: nodeCommand(a, mainFile), Why: mainWhy}
	}
	why := scriptWhy("start", f)
	dev, isDev := findDevServer(text, mainFile)
	if !isDev {
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

// replaceDevServer is the production counterpart of a start script that runs a development server.
func (a *nodeApp) replaceDevServer(p *coderunner.Plan, dev devServer, text, why string) coderunner.Choice {
	if (dev.command != "" || dev.staticDir != "") && dev.build != "" && p.Build.Value == "" {
		p.Build = coderunner.Choice{Value: dev.build, Why: "what " + dev.tool + " in scripts.start needs for production"}
	}
	switch {
	case dev.staticDir != "":
		p.StaticDir = coderunner.Choice{Value: dev.staticDir, Why: "where " + dev.build + " writes by default"}
		if own := outDir(p.Build.Value); own != "" {
			p.StaticDir = coderunner.Choice{Value: own, Why: p.Build.Why}
		}
		single := ""
		if dev.oneFile {
			single = "--single "
		}
		a.warn("scripts.start runs %s, a development server. The site is built instead, and the folder %s is served by the package serve, which npx fetches.",
			dev.tool, printable(p.StaticDir.Value))
		return coderunner.Choice{
			Value: "npx --yes serve@14 " + single + shellQuote(p.StaticDir.Value) + " --listen tcp://0.0.0.0:$PORT",
			Why:   fmt.Sprintf("%s runs %s, a development server", why, dev.tool),
		}
	case dev.command != "":
		a.warn("scripts.start runs %s, which is for development; %q is started instead.", dev.tool, printable(dev.command))
		return coderunner.Choice{Value: dev.command, Why: fmt.Sprintf("%s, without %s", why, dev.tool)}
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

// workspacePlan is the plan of a workspace whose member does the work: it is
// installed at the top, where the lockfile is, and the member's commands run in its folder.
func (a *nodeApp) workspacePlan(member *project) coderunner.Plan {
	plan := a.plan()
	dir := member.root
	if rel, ok := strings.CutPrefix(dir, a.root+"/"); ok {
		dir = rel
	}
	in := func(choice coderunner.Choice) coderunner.Choice {
		if choice.Value == "" {
			return coderunner.Choice{}
		}
		return coderunner.Choice{Value: "cd " + shellQuote(dir) + " && " + choice.Value, Why: inFolder(dir, choice.Why)}
	}
	plan.Framework = member.plan.Framework
	plan.Start = in(member.plan.Start)
	if plan.Build.Value == "" {
		plan.Build = in(member.plan.Build)
	}
	if member.plan.StaticDir.Value != "" {
		plan.StaticDir = coderunner.Choice{Value: path.Join(dir, member.plan.StaticDir.Value), Why: member.plan.StaticDir.Why}
	}
	plan.Databases = member.plan.Databases
	plan.Warnings = member.plan.Warnings
	return plan
}
