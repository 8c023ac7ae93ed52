package analyzer

import (
	"fmt"
	"slices"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

const python = "python"

// pythonManifests are files that say that a folder is a Python project.
var pythonManifests = append([]string{"manage.py", "pyproject.toml", "Pipfile", "setup.py"}, requirementsNames...)

// pythonPrograms are started when nothing else says what to start.
var pythonPrograms = []string{"main.py", "app.py", "server.py", "start.py", "run.py", "bot.py", "hello.py"}

// pythonApp is one Python project while its plan is made.
type pythonApp struct {
	app
	requires  []requirement
	pyproject *pyproject
	wishes    []versionWish // for the version of Python, the first counts
	manager   string
	lockfile  string
	needs     []string // packages that the plan needs and nobody asked for
}

// versionWish is a version that the project asks for, where, and under which name; name ends in a space.
type versionWish struct{ text, name, where string }

func (a *pythonApp) wish(text, name, where string) {
	a.wishes = append(a.wishes, versionWish{strings.TrimSpace(text), name, where})
}

// lookPython recognises what Python projects say of themselves, or a program with a usual name.
func lookPython(t *tree, root string, top listing) (*project, error) {
	names := slices.Concat(pythonManifests, []string{"wsgi.py", "asgi.py"}, pythonPrograms)
	at := slices.IndexFunc(names, top.hasFile)
	if at < 0 {
		return nil, nil
	}
	base, err := t.readApp(root, pythonCode)
	if err != nil {
		return nil, err
	}
	a := &pythonApp{app: base}
	if err := a.readManifests(); err != nil {
		return nil, err
	}
	plan := coderunner.Plan{Type: python, Root: root, TypeWhy: names[at]}
	a.plan(&plan)
	return &project{plan: plan, evidence: names[at], rank: a.rank(plan)}, nil
}

// rank says how plain it is that the project is what is to be run.
func (a *pythonApp) rank(plan coderunner.Plan) rank {
	_, listens := a.source.first(func(f finding) bool { return f.kind == listensOn || f.kind == serves })
	switch {
	case plan.Start.Value == "":
		return nothing
	case strings.HasPrefix(plan.Start.Why, "Procfile"):
		return declared
	case plan.Framework.Value != "" || listens:
		return server
	}
	return program
}

// readManifests reads every file that says what the project needs.
func (a *pythonApp) readManifests() error {
	for _, file := range []string{".python-version", "runtime.txt"} {
		if text, line := a.firstLine(file); text != "" {
			a.wish(strings.TrimPrefix(text, "python-"), "", place(file, line))
		}
	}
	if text, where := a.toolVersion(python); text != "" {
		a.wish(text, "python ", where)
	}
	for _, name := range requirementsNames {
		if a.hasFile(name) {
			if err := a.readRequirements(name); err != nil {
				return err
			}
			break
		}
	}
	for _, read := range []func() error{a.readPyproject, a.readPipfile, a.readSetup} {
		if err := read(); err != nil {
			return err
		}
	}
	return nil
}

func (a *pythonApp) plan(p *coderunner.Plan) {
	p.Runtime = a.runtime()
	a.start(p)
	p.PackageManager, p.Install = a.install()
	a.port(p)
	p.Databases = a.databases(a.databaseUses())
	for name, command := range a.processes() {
		if p.Processes == nil {
			p.Processes = map[string]string{}
		}
		p.Processes[name] = command
	}
	a.finish(p)
	if p.Start.Value == "" {
		p.Warnings = append(p.Warnings, fmt.Sprintf("Nothing to start was found. Looked for a Procfile with web:, manage.py, an application of FastAPI, Flask or Starlette "+
			"at the left margin of a .py file, and %s; found at the top level: %s. Add a Procfile, or type the start command here.",
			strings.Join(pythonPrograms, ", "), a.top.describe()))
	}
}

// The Python of the appliance python-3.11.
var appliance311 = version{3, 11, 2}

// runtime is always Python 3.11, the one that there is; a wish for another becomes a warning.
func (a *pythonApp) runtime() coderunner.Runtime {
	r := coderunner.Runtime{Name: python, Version: "3.11", Appliance: "python-3.11", Why: "the default"}
	if len(a.wishes) == 0 {
		return r
	}
	w := a.wishes[0]
	asked := w.name + printable(w.text)
	satisfied, understood := satisfiesPython(w.text, appliance311)
	switch {
	case !understood:
		a.warn("The Python version %s in %s is not understood; Python 3.11 is used.", asked, w.where)
	case !satisfied:
		a.warn("The project asks for another Python (%s in %s), but only 3.11 is available yet. It runs on 3.11 and may fail there.", asked, w.where)
	default:
		r.Why = fmt.Sprintf("%s in %s", asked, w.where)
	}
	return r
}

// satisfiesPython reports whether v is in the range, written as PEP 440 or Poetry do. An
// exact version asks for its minor version alone: nobody means the patch.
func satisfiesPython(wish string, v version) (satisfied, understood bool) {
	wish = strings.TrimPrefix(strings.ToLower(strings.TrimSpace(wish)), "cpython-")
	if len(wish) > 256 {
		return false, false
	}
	for alternative := range strings.SplitSeq(wish, "||") {
		all, known := true, false
		for part := range strings.FieldsFuncSeq(alternative, func(r rune) bool { return r == ',' }) {
			part = strings.ReplaceAll(strings.TrimSpace(part), " ", "")
			operand := strings.TrimLeft(part, "<>=^~!")
			operator := part[:len(part)-len(operand)]
			w, parts, ok := parseVersion(operand)
			if !ok {
				return false, false
			}
			known = true
			var holds bool
			switch operator {
			case "", "=", "==", "===":
				holds = v.compare(version{w[0], w[1]}) >= 0 && v.compare(ceiling(w, min(parts, 2))) < 0
			case "!=":
				holds = parts == 3 || v.compare(w) < 0 || v.compare(ceiling(w, parts)) >= 0
			case "~=":
				holds = v.compare(w) >= 0 && v.compare(ceiling(w, max(parts-1, 1))) < 0
			default:
				if holds, ok = satisfiesAll(operator+operand, v); !ok {
					return false, false
				}
			}
			all = all && holds
		}
		if !known {
			return false, false
		}
		satisfied = satisfied || all
	}
	return satisfied, true
}

// pythonDrivers are the packages that talk to a database.
var pythonDrivers = []driver{
	{"psycopg", postgres}, {"psycopg2", postgres}, {"psycopg2-binary", postgres}, {"psycopg-binary", postgres}, {"asyncpg", postgres},
	{"pg8000", postgres}, {"aiopg", postgres}, {"databases[postgresql]", postgres}, {"databases[asyncpg]", postgres}, {"tortoise-orm[asyncpg]", postgres},
	{"sqlalchemy[postgresql]", postgres}, {"sqlalchemy[asyncpg]", postgres},
	{"mysqlclient", mysql}, {"pymysql", mysql}, {"aiomysql", mysql}, {"mysql-connector-python", mysql},
	{"pymongo", mongo}, {"motor", mongo}, {"mongoengine", mongo}, {"beanie", mongo},
	{"redis", redis}, {"celery[redis]", redis}, {"rq", redis}, {"django-redis", redis}, {"channels-redis", redis}, {"arq", redis},
	{"aiosqlite", sqlite},
}

// pythonModules are the drivers whose modules have another name than the package.
var pythonModules = map[string]string{"psycopg2-binary": "psycopg2", "psycopg-binary": "psycopg", "mysqlclient": "MySQLdb", "mysql-connector-python": "mysql"}

// databaseUses lists each kind at most once, in the order of the drivers.
func (a *pythonApp) databaseUses() []use {
	var uses []use
	seen := map[string]int{}
	for _, driver := range pythonDrivers {
		r, ok := a.requirement(driver.name)
		if !ok {
			continue
		}
		_, imported := a.source.imports(orElse(pythonModules[driver.name], driver.name))
		if i, known := seen[driver.kind]; known {
			uses[i].imported = uses[i].imported || imported
			continue
		}
		seen[driver.kind] = len(uses)
		uses = append(uses, use{kind: driver.kind, why: fmt.Sprintf("dependency %s in %s", driver.name, r.at()), imported: imported})
	}
	if _, known := seen[sqlite]; !known {
		if f, ok := a.source.imports("sqlite3"); ok {
			uses = append(uses, use{kind: sqlite, why: "sqlite3 imported in " + f.at(), imported: true})
		}
	}
	return uses
}
