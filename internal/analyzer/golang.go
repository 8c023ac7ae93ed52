package analyzer

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

const golang = "go"

// goApp is one Go module while its plan is made.
type goApp struct {
	app
	module   string
	version  field
	requires map[string]field // module path without its major version, to the version
}

// lookGo recognises a go.mod.
func lookGo(t *tree, root string, top listing) (*project, error) {
	if !top.hasFile("go.mod") {
		return nil, nil
	}
	base, err := t.readApp(root, goCode)
	if err != nil {
		return nil, err
	}
	a := &goApp{app: base}
	data, err := a.read("go.mod")
	if err != nil {
		return nil, err
	}
	a.readGoMod(data)
	p := &project{plan: a.plan(), evidence: "go.mod"}
	_, http := a.source.imports("net/http")
	switch {
	case p.plan.Start.Value == "":
	case strings.HasPrefix(p.plan.Start.Why, "Procfile"):
		p.rank = declared
	case http || p.plan.Framework.Value != "":
		p.rank = server
	default:
		p.rank = program
	}
	return p, nil
}

var majorVersion = regexp.MustCompile(`/v\d+$`)

// readGoMod reads the lines of a go.mod that a plan needs. What go itself would
// refuse is left to go.
func (a *goApp) readGoMod(data []byte) {
	a.requires = map[string]field{}
	block, number := "", 0
	for line := range strings.Lines(strings.ToValidUTF8(string(data), "\uFFFD")) {
		number++
		line, comment, _ := strings.Cut(line, "//")
		words := strings.Fields(line)
		if len(words) == 0 || len(a.requires) > maxRequirements {
			continue
		}
		switch {
		case words[0] == ")":
			block = ""
			continue
		case len(words) == 2 && words[1] == "(":
			block = words[0]
			continue
		case block != "":
			words = append([]string{block}, words...)
		}
		switch {
		case words[0] == "module" && len(words) == 2:
			a.module = strings.Trim(words[1], `"`)
		case words[0] == "go" && len(words) == 2:
			a.version = field{value: words[1], line: number}
		case words[0] == "require" && len(words) == 3 && strings.TrimSpace(comment) != "indirect":
			a.requires[majorVersion.ReplaceAllString(words[1], "")] = field{value: words[2], line: number}
		}
	}
}

var goFrameworks = []struct{ path, title string }{
	{"github.com/gin-gonic/gin", "Gin"}, {"github.com/labstack/echo", "Echo"}, {"github.com/gofiber/fiber", "Fiber"},
	{"github.com/go-chi/chi", "chi"}, {"github.com/gorilla/mux", "gorilla/mux"}, {"github.com/danielgtaylor/huma", "Huma"},
}

func (a *goApp) plan() coderunner.Plan {
	p := coderunner.Plan{Type: golang, Root: a.root, TypeWhy: "go.mod",
		Runtime:        coderunner.Runtime{Name: golang, Appliance: "go", Why: "go.mod"},
		PackageManager: coderunner.Choice{Value: "go", Why: "go.mod"},
	}
	if a.version.line > 0 && goVersion.MatchString(a.version.value) {
		p.Runtime.Version, p.Runtime.Why = a.version.value, fmt.Sprintf("go %s in go.mod:%d", a.version.value, a.version.line)
	}
	for _, known := range goFrameworks {
		if f, ok := a.requires[known.path]; ok {
			p.Framework = coderunner.Choice{Value: known.title, Why: fmt.Sprintf("require %s in go.mod:%d", known.path, f.line)}
			break
		}
	}
	switch {
	case a.hasFile("vendor/modules.txt"):
		p.Install.Why = "vendor/modules.txt: the dependencies are in the upload"
	case len(a.requires) == 0:
		p.Install.Why = "go.mod requires nothing"
	default:
		p.Install = coderunner.Choice{Value: "go mod download", Why: "go.mod"}
		if !a.hasFile("go.sum") {
			p.Install = coderunner.Choice{Value: "go mod tidy", Why: "no go.sum"}
			a.warn("There is no go.sum, so that go mod tidy makes one at each deployment. Run go mod tidy and upload it too.")
		}
	}
	p.Processes = a.processes()
	a.startAndBuild(&p)
	a.port(&p)
	p.Databases = a.databases(a.databaseUses())
	a.finish(&p)
	return p
}

var goVersion = regexp.MustCompile(`^1\.\d{1,3}(\.\d{1,3})?((rc|beta)\d{1,2})?$`)

// startAndBuild builds the program into bin/ and starts it there.
func (a *goApp) startAndBuild(p *coderunner.Plan) {
	for _, line := range a.procfileLines() {
		if line.name == "web" {
			p.Build = coderunner.Choice{Value: "go build -o bin/ ./...", Why: fmt.Sprintf("Procfile:%d, which starts a built program", line.number)}
			p.Start = coderunner.Choice{Value: line.command, Why: fmt.Sprintf("Procfile:%d", line.number)}
			return
		}
	}
	mains := a.mains()
	if len(mains) == 0 {
		a.warn("Nothing to start was found. Looked for package main in the .go files at the top level and in the folders of cmd/; found at the top level: %s. "+
			"Choose the folder of the program, or type the build and start commands here.", a.top.describe())
		return
	}
	main := mains[0]
	if len(mains) > 1 {
		names := make([]string, len(mains))
		for i, m := range mains {
			names[i] = printable(m.dir)
		}
		a.warn("The module has %d programs (%s). %s is built and started; change both commands if that is wrong.", len(mains), strings.Join(names, ", "), printable(main.dir))
	}
	target := "."
	if main.dir != "." {
		target = shellQuote("./" + main.dir)
	}
	p.Build = coderunner.Choice{Value: "go build -o bin/app " + target, Why: "package main in " + main.at}
	p.Start = coderunner.Choice{Value: "./bin/app", Why: "package main in " + main.at}
}

// goMain is a program of the module.
type goMain struct{ dir, at string }

// mains are the module's programs, the likeliest first: the top level, then those
// of cmd/ that are named like the module or like a server.
func (a *goApp) mains() []goMain {
	var all []goMain
	dirs := []string{"."}
	if l, err := a.tree.list(path.Join(a.root, "cmd")); err == nil && slices.Contains(a.top.dirs, "cmd") {
		dirs = append(dirs, "cmd")
		for _, name := range l.dirs[:min(len(l.dirs), 50)] {
			dirs = append(dirs, "cmd/"+name)
		}
	}
	for _, dir := range dirs {
		if at := a.packageMain(dir); at != "" {
			all = append(all, goMain{dir, at})
		}
	}
	rank := func(m goMain) int {
		switch name := path.Base(m.dir); name {
		case ".", path.Base(a.module):
			return 0
		case "server", "api", "web", "app", "serve", "http":
			return 1
		}
		return 2
	}
	slices.SortStableFunc(all, func(x, y goMain) int { return rank(x) - rank(y) })
	return all
}

// packageMain is the file and line that make a folder a program, "" if it is none.
func (a *goApp) packageMain(dir string) string {
	l, err := a.tree.list(path.Join(a.root, dir))
	if err != nil {
		return ""
	}
	looked := 0
	for _, name := range l.files {
		if languageOf(name) != goCode {
			continue
		}
		if looked++; looked > 50 {
			return ""
		}
		file := path.Join(dir, name)
		head := a.head(file, 16<<10)
		if at := packageMainLine.FindIndex(head); at != nil && !bytes.Contains(head[:at[0]], []byte("//go:build ignore")) {
			return place(file, 1+bytes.Count(head[:at[0]], []byte("\n")))
		}
	}
	return ""
}

var packageMainLine = regexp.MustCompile(`(?m)^package main\b`)

// port is what the app is told, unless it plainly listens on another one.
func (a *goApp) port(p *coderunner.Plan) {
	p.Port, p.PortWhy = defaultPort, "the default, given to the app as PORT"
	if f, ok := a.source.first(func(f finding) bool { return f.kind == listensOn && isLoopback(f.text) }); ok {
		a.warn("%s listens on %s, which is only reachable from inside the sandbox. Listen on \":\" + os.Getenv(\"PORT\").", f.at(), printable(f.text))
	}
	for _, text := range []*regexp.Regexp{portAssigned, portFlag} {
		if m := text.FindStringSubmatch(p.Start.Value); m != nil {
			a.fixedPort(p, m[1], "the start command sets it")
			return
		}
	}
	if f, ok := a.source.reads("PORT"); ok {
		p.PortWhy = "PORT read in " + f.at()
		return
	}
	f, ok := a.source.first(func(f finding) bool { return f.kind == listensOn && f.port > 0 })
	if !ok {
		return
	}
	a.fixedPort(p, fmt.Sprint(f.port), f.at()+" listens on it and nothing reads PORT")
	if p.Port == f.port {
		a.warn("%s listens on port %d whatever PORT says. It is used as it is; os.Getenv(\"PORT\") would be safer.", f.at(), f.port)
	}
}
