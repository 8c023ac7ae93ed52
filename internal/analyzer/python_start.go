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

// start fills the plan's framework, build and start commands and the processes that
// the framework offers. The order: Procfile, Django, an application object,
// Streamlit, Gradio, a program with a usual name.
func (a *pythonApp) start(p *coderunner.Plan) {
	find := []func(*coderunner.Plan) bool{a.django, a.object, a.streamlit, a.gradio, a.program, a.module}
	for _, f := range find {
		if f(p) {
			break
		}
	}
	a.migrations(p)
	for _, line := range a.procfileLines() {
		if line.name != "web" {
			continue
		}
		p.Start = coderunner.Choice{Value: line.command, Why: fmt.Sprintf("Procfile:%d", line.number)}
		a.needs = nil
		for _, dev := range []string{"manage.py runserver", "flask run", "--reload"} {
			if strings.Contains(line.command, dev) {
				a.warn("Procfile:%d runs a development server (%s). Use gunicorn or uvicorn for what others visit.", line.number, strings.TrimPrefix(dev, "manage.py "))
			}
		}
	}
}

// runWith asks for a package that the start command needs.
func (a *pythonApp) runWith(name string) {
	if !a.has(name, name+"[standard]") && (name != "uvicorn" || !a.has("fastapi[standard]", "fastapi[all]")) {
		a.needs = append(a.needs, name)
	}
}

// inDir is a command run in a folder of the project.
func inDir(dir, command string) string {
	if dir == "." || dir == "" {
		return command
	}
	return "cd " + shellQuote(dir) + " && " + command
}

var (
	identifierPath    = regexp.MustCompile(`^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$`)
	pythonFrameworks  = []struct{ name, title string }{{"fastapi", "FastAPI"}, {"litestar", "Litestar"}, {"quart", "Quart"}, {"starlette", "Starlette"}, {"dash", "Dash"}, {"flask", "Flask"}}
	objectFiles       = []string{"main.py", "app.py", "server.py", "wsgi.py", "asgi.py", "api.py", "run.py", "index.py", "__init__.py"}
	asgiFrameworks    = []string{"FastAPI", "Starlette", "Quart", "Litestar"}
	dashServer        = regexp.MustCompile(`(?m)^([A-Za-z_]\w{0,60})\s*=\s*([A-Za-z_]\w{0,60})\.server\b`)
	frameworkPackages = map[string]string{"FastAPI": "fastapi", "Flask": "flask", "Starlette": "starlette", "Quart": "quart", "Litestar": "litestar", "Dash": "dash"}
)

// object starts the application object of a file with a server.
func (a *pythonApp) object(p *coderunner.Plan) bool {
	var found []finding
	for _, f := range a.source.findings {
		if f.kind == makesApp {
			found = append(found, f)
		}
	}
	rank := func(f finding) int {
		score := strings.Count(f.file, "/") * 20
		if i := slices.Index(objectFiles, path.Base(f.file)); i >= 0 {
			score += i
		} else {
			score += len(objectFiles)
		}
		switch f.more {
		case "made":
			score += 200
		case "factory":
			score += 400
		}
		return score
	}
	slices.SortStableFunc(found, func(x, y finding) int { return rank(x) - rank(y) })
	for _, f := range found {
		framework := f.more
		if f.more == "made" || f.more == "factory" {
			framework = a.requiredFramework()
		}
		dir, module := a.moduleOf(f.file)
		if framework == "" || !identifierPath.MatchString(module) {
			continue
		}
		p.Framework = coderunner.Choice{Value: framework, Why: a.frameworkWhy(framework, f)}
		p.Start = coderunner.Choice{Value: a.serve(dir, module, framework, f), Why: fmt.Sprintf("the %s application %s in %s", framework, f.text, f.at())}
		return true
	}
	return false
}

func (a *pythonApp) frameworkWhy(framework string, f finding) string {
	if r, ok := a.requirement(frameworkPackages[framework]); ok {
		return fmt.Sprintf("dependency %s in %s", r.name, r.at())
	}
	return f.at()
}

// requiredFramework is the first of the known ones that the project asks for.
func (a *pythonApp) requiredFramework() string {
	for _, known := range pythonFrameworks {
		if a.has(known.name) || a.has(known.name+"[standard]") || a.has(known.name+"[all]") {
			return known.title
		}
	}
	return ""
}

// serve is the command that answers requests with an application object.
func (a *pythonApp) serve(dir, module, framework string, f finding) string {
	object, factory := strings.CutSuffix(f.text, "()")
	if framework == "Dash" {
		m := dashServer.FindSubmatch(a.head(f.file, maxSourceFile))
		if m == nil || string(m[2]) != object {
			return inDir(dir, "python3 "+shellQuote(relative(dir, f.file))) // it reads HOST and PORT
		}
		object = string(m[1])
	}
	appDir := ""
	if path.Base(dir) == "src" { // programs in src/ are run from the folder above it
		appDir, dir = "src", path.Dir(dir)
	}
	if slices.Contains(asgiFrameworks, framework) {
		a.runWith("uvicorn")
		command := "uvicorn " + module + ":" + object + " --host 0.0.0.0 --port $PORT"
		if factory {
			command += " --factory"
		}
		if appDir != "" {
			command += " --app-dir " + appDir
		}
		return inDir(dir, command)
	}
	a.runWith("gunicorn")
	command := "gunicorn " + shellQuote(module+":"+f.text) + " --bind 0.0.0.0:$PORT"
	if framework == "Dash" {
		command = "gunicorn " + module + ":" + object + " --bind 0.0.0.0:$PORT"
	}
	if appDir != "" {
		command += " --pythonpath " + appDir
	}
	return inDir(dir, command)
}

// relative is the name of a file seen from a folder above it.
func relative(dir, file string) string { return strings.TrimPrefix(file, dir+"/") }

// moduleOf is how a file is imported, and from which folder. Folders with an
// __init__.py are packages; of others the imports of the file tell.
func (a *pythonApp) moduleOf(file string) (dir, module string) {
	dotted := func(name string) string {
		return strings.ReplaceAll(strings.TrimSuffix(strings.TrimSuffix(name, ".py"), "/__init__"), "/", ".")
	}
	dir = path.Dir(file)
	if dir == "." {
		return dir, dotted(file)
	}
	if !a.hasFile(dir + "/__init__.py") {
		top, _, _ := strings.Cut(file, "/")
		own, ok := a.source.first(func(f finding) bool { return f.file == file && f.kind == imports && f.text == top })
		data := a.head(file, maxSourceFile)
		if ok && own.text != "src" || bytes.HasPrefix(data, []byte("from .")) || bytes.Contains(data, []byte("\nfrom .")) {
			return ".", dotted(file)
		}
		return dir, dotted(path.Base(file))
	}
	for dir != "." && a.hasFile(dir+"/__init__.py") {
		dir = path.Dir(dir)
	}
	return dir, dotted(relative(dir, file))
}

// streamlit and gradio bring their own server and are told where to listen.
func (a *pythonApp) streamlit(p *coderunner.Plan) bool {
	file, why, ok := a.importer("streamlit", "streamlit_app.py", "Home.py", "app.py", "main.py")
	if !ok {
		return false
	}
	a.runWith("streamlit")
	p.Framework = coderunner.Choice{Value: "Streamlit", Why: why}
	p.Start = coderunner.Choice{Value: "streamlit run " + shellQuote(file) + " --server.address 0.0.0.0 --server.port $PORT --server.headless true", Why: why}
	p.HealthPath = coderunner.Choice{Value: "/_stcore/health", Why: "Streamlit answers it when it is ready"}
	return true
}

func (a *pythonApp) gradio(p *coderunner.Plan) bool {
	file, why, ok := a.importer("gradio", "app.py", "main.py", "demo.py")
	if !ok {
		return false
	}
	a.runWith("gradio")
	p.Framework = coderunner.Choice{Value: "Gradio", Why: why}
	p.Start = coderunner.Choice{Value: "GRADIO_SERVER_NAME=0.0.0.0 GRADIO_SERVER_PORT=$PORT python3 " + shellQuote(file), Why: why}
	return true
}

// importer is the first file that imports a module, those with the given names before others.
func (a *pythonApp) importer(module string, names ...string) (file, why string, ok bool) {
	best := len(names) + 1
	for _, f := range a.source.findings {
		if f.kind != imports || f.text != module {
			continue
		}
		i := slices.Index(names, f.file)
		if i < 0 {
			i = len(names)
		}
		if i < best {
			best, file, why, ok = i, f.file, module+" imported in "+f.at(), true
		}
	}
	return file, why, ok
}

// program starts a file with a usual name.
func (a *pythonApp) program(p *coderunner.Plan) bool {
	for _, dir := range []string{"", "src/"} {
		for _, name := range pythonPrograms {
			if a.hasFile(dir + name) {
				p.Start = coderunner.Choice{Value: "python3 " + dir + name, Why: "the file " + dir + name}
				return true
			}
		}
	}
	return false
}

// module starts a package that can be run, or the one script that the project installs.
func (a *pythonApp) module(p *coderunner.Plan) bool {
	for _, name := range a.top.dirs {
		if identifierPath.MatchString(name) && a.hasFile(name+"/__main__.py") {
			p.Start = coderunner.Choice{Value: "python3 -m " + name, Why: "the file " + name + "/__main__.py"}
			return true
		}
	}
	if a.pyproject == nil || len(a.pyproject.Project.Scripts) != 1 || !a.isPackage() {
		return false
	}
	for name := range a.pyproject.Project.Scripts {
		line := linesOfKeys(a.head("pyproject.toml", maxManifestFile))[name]
		p.Start = coderunner.Choice{Value: shellQuote(name), Why: "project.scripts in " + place("pyproject.toml", line)}
	}
	return true
}

// port chooses the port: what the app is told, unless a program plainly listens on another one.
func (a *pythonApp) port(p *coderunner.Plan) {
	p.Port, p.PortWhy = defaultPort, "the default, given to the app as PORT"
	if strings.Contains(p.Start.Value, "$PORT") || strings.Contains(p.Start.Value, "${PORT") {
		p.PortWhy = "the default; the start command listens on $PORT"
		return
	}
	for _, text := range []*regexp.Regexp{portAssigned, portFlag, portBound} {
		if m := text.FindStringSubmatch(p.Start.Value); m != nil {
			a.fixedPort(p, m[1], "the start command sets it")
			return
		}
	}
	if !strings.HasPrefix(p.Start.Value, "python3 ") || p.Framework.Value == "Dash" {
		return
	}
	for _, f := range a.source.findings {
		if f.kind == listensOn && (isLoopback(f.text) || f.text == hostOmitted) {
			a.warn("%s listens on localhost, which is only reachable from inside the sandbox. Listen on host=\"0.0.0.0\".", f.at())
			break
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
		a.warn("%s listens on port %d whatever PORT says. It is used as it is; int(os.environ[\"PORT\"]) would be safer.", f.at(), f.port)
	}
}

var portBound = regexp.MustCompile(`\s(?:-b|--bind)[ =](?:[\w.]*|\[::\]):(\d{2,5})(?:[\s;&)]|$)`)
