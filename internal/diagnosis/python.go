package diagnosis

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

var (
	pyPlace   = regexp.MustCompile(`^ *File "(/app/[^"]+)", line (\d+)`)
	pyEnviron = regexp.MustCompile(`os\.environ|<frozen os>|/os\.py"`)
	pyNetwork = regexp.MustCompile(`NewConnectionError|Failed to establish a new connection|Name or service not known|ConnectTimeoutError|ReadTimeoutError|Connection refused`)
	pyIndex   = regexp.MustCompile(`host='([^']+)'`)
)

// pythonRules are what Python, pip and the servers of web frameworks say.
var pythonRules = []rule{
	{regexp.MustCompile(`ERROR: Could not open requirements file: .*'([^']+)'`), func(c *evidenceCase, m []string) (coderunner.Failure, bool) {
		return c.wrongRoot(m[1], "requirements.txt", "pyproject.toml")
	}},
	{regexp.MustCompile(`ERROR: Package '?([^' ]+)'? requires a different Python: (\S+) not in '([^']+)'|(?:project's|project) Python requirement.*?(>=?\S+)|requires-python.*?(>=?[\d.]+)`), tellPythonVersion},
	{regexp.MustCompile(`pg_config executable not found|mysql_config(?:: | )not found|Can not find valid pkg-config name`), tellPythonHeaders},
	{regexp.MustCompile(`fatal error: (\S+): No such file or directory`), tellPythonHeader},
	{regexp.MustCompile(`ERROR: Could not find a version that satisfies the requirement (\S+)(?: \(from .*?\))? \(from versions: (.*)\)`), tellNoDistribution},
	{regexp.MustCompile(`ERROR: ResolutionImpossible|conflicting dependencies`), func(*evidenceCase, []string) (coderunner.Failure, bool) {
		return says("install.conflict", "The dependencies contradict each other (ResolutionImpossible).", "Two packages ask for versions of a third that exclude each other; the lines below name them.", "Loosen or change one of the versions, and upload again.")
	}},
	{regexp.MustCompile(`ModuleNotFoundError: No module named '([^']+)'|^ERROR: +Error loading ASGI app\. Could not import module "([^"]+)"`), tellPythonModule},
	{regexp.MustCompile(`Error loading ASGI app\. Attribute "([^"]+)" not found in module "([^"]+)"|Failed to find attribute '([^']+)' in '([^']+)'`), func(c *evidenceCase, m []string) (coderunner.Failure, bool) {
		return says("start.entry_missing", fmt.Sprintf("The module %s has no %s to serve.", quote(m[2]+m[4]), quote(m[1]+m[3])), "The command was: "+quote(c.ev.Command)+".", "Name the module and its variable in the start command, as in main:app.")
	}},
	{regexp.MustCompile(`python[\d.]*: can't open file '([^']+)'`), func(c *evidenceCase, m []string) (coderunner.Failure, bool) { return c.missingEntry(m[1]) }},
	{regexp.MustCompile(`^KeyError: '([A-Z][A-Z0-9_]*)'`), tellEnviron},
	{regexp.MustCompile(`UndefinedValueError: (\w+) not found|ImproperlyConfigured: Set the (\w+) environment variable`), func(c *evidenceCase, m []string) (coderunner.Failure, bool) {
		return c.missingVariable(firstOf(m))
	}},
	{regexp.MustCompile(`connection to server at "(localhost|127[.\d]+|::1)"(?: \([^)]*\))?, port (\d+) failed: Connection refused|Can't connect to (?:local )?(?:MySQL )?server (?:on|at) '(localhost|127[.\d]+)(?::(\d+))?'|Error (?:\d+|while) connecting to (localhost|127[.\d]+):(\d+)`), tellPythonService},
	{regexp.MustCompile(`could not translate host name "([^"]+)" to address|Error -[23] connecting to ([^\s:]+):`), func(c *evidenceCase, m []string) (coderunner.Failure, bool) {
		return tellUnknownHost(c, []string{"", firstOf(m)})
	}},
	{regexp.MustCompile(`FATAL: +(?:password authentication failed for user "([^"]*)"|(?:role|database) "([^"]*)" does not exist)`), refusedLogin(coderunner.PostgreSQL)},
	{regexp.MustCompile(`OSError: \[Errno 98\] (Address already in use)|\[Errno 98\] error while attempting to bind on address \('[^']+', (\d+)\)`), tellAddressInUse},
	{regexp.MustCompile(`^((?:Syntax|Indentation|Tab)Error: .+)$`), tellPythonSyntax},
}

// distributions are packages whose name differs from what is imported.
var distributions = map[string]string{
	"cv2": "opencv-python-headless", "PIL": "Pillow", "yaml": "PyYAML", "dotenv": "python-dotenv", "bs4": "beautifulsoup4", "sklearn": "scikit-learn",
	"psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient", "jwt": "PyJWT", "dateutil": "python-dateutil", "google": "google-api-python-client", "rest_framework": "djangorestframework",
}

// pythonPlace is the last line of the user's own code in the traceback above a line.
func (c *evidenceCase) pythonPlace(at int) string {
	for i := at; i >= 0 && i >= at-40; i-- {
		if m := pyPlace.FindStringSubmatch(c.plain[i]); m != nil && !strings.Contains(m[1], "/.venv/") {
			return c.file(m[1]) + ":" + m[2]
		}
	}
	return ""
}

func tellPythonModule(c *evidenceCase, m []string) (coderunner.Failure, bool) {
	module := cut(firstOf(m))
	by := ""
	if place := c.pythonPlace(c.shownBy); place != "" {
		by = "It is imported in " + place + "."
	}
	if other := c.otherCase(strings.ReplaceAll(module, ".", "/")); other != "" {
		return c.caseDiffers(module, other, by)
	}
	if m[2] != "" { // a server that was given a module which is not there
		return says("start.entry_missing", fmt.Sprintf("There is no module %s to start.", quote(module)), "The command was: "+quote(c.ev.Command)+".", "Name the module and its variable in the start command, as in main:app; folders count from "+root(c.ev.Plan)+".")
	}
	name, _, _ := strings.Cut(module, ".")
	pkg := name
	if d := distributions[name]; d != "" {
		pkg = d
	}
	next := "Add " + pkg + " to requirements.txt and upload it again."
	if c.uploaded("requirements.txt") == nil && c.uploaded("pyproject.toml") != nil {
		next = "Add " + pkg + " to the dependencies in pyproject.toml and upload it again."
	}
	f, ok := says("module.missing", fmt.Sprintf("The module %s is not installed.", name), strings.TrimSpace(by+" It was looked for among the files of the upload and in what was installed."), next)
	if c.ev.Plan.Install.Value == "" && strings.Contains(strings.ToLower(string(c.uploaded("requirements.txt"))), strings.ToLower(pkg)) {
		f.Fixes = change(coderunner.FixInstall, c.ev.Plan.Install, "python3 -m venv .venv && pip install -r requirements.txt")
	}
	return f, ok
}

func tellEnviron(c *evidenceCase, m []string) (coderunner.Failure, bool) {
	for i := c.shownBy - 1; i >= max(0, c.shownBy-8); i-- {
		if pyEnviron.MatchString(c.plain[i]) {
			return c.missingVariable(m[1])
		}
	}
	return coderunner.Failure{}, false // of another dictionary
}

// missingVariable is about a variable that the code cannot do without.
func (c *evidenceCase) missingVariable(key string) (coderunner.Failure, bool) {
	detail := "It said: " + quote(c.plain[c.shownBy]) + "."
	where := c.pythonPlace(c.shownBy)
	if i := slices.IndexFunc(c.ev.Plan.EnvKeys, func(k coderunner.EnvKey) bool { return k.Key == key }); where == "" && i >= 0 {
		where = cut(c.ev.Plan.EnvKeys[i].Why)
	}
	if where != "" {
		detail += " The variable is read in " + where + "."
	}
	f, ok := says("variable.missing", fmt.Sprintf("The app needs the variable %s.", cut(key)), detail, fmt.Sprintf("Set %s on the project's Variables page and deploy again.", cut(key)))
	for _, p := range coderunner.Protocols() {
		if slices.Contains(p.Keys(coderunner.PostgreSQL), key) {
			if f.Fixes = c.database(p); f.Fixes != nil {
				f.Next = fmt.Sprintf("Tick %s in the plan, which sets %s, and deploy again.", p.Title(), key)
			}
		}
	}
	if coderunner.CheckVariable(key, "") == nil {
		f.Fixes = append(f.Fixes, coderunner.NewFix(coderunner.FixVariable, key), coderunner.NewFix(coderunner.FixAgain, ""))
	}
	return f, ok
}

func tellPythonService(c *evidenceCase, m []string) (coderunner.Failure, bool) {
	switch {
	case m[1] != "":
		return tellLocalService(c, []string{"", m[1], m[2]})
	case m[3] != "":
		port := m[4]
		if port == "" {
			port = "3306"
		}
		return tellLocalService(c, []string{"", m[3], port})
	}
	return tellLocalService(c, []string{"", m[5], m[6]})
}

func tellPythonSyntax(c *evidenceCase, m []string) (coderunner.Failure, bool) {
	if !c.runs("python") {
		return coderunner.Failure{}, false
	}
	title := "The code has a syntax error."
	if place := c.pythonPlace(c.shownBy); place != "" {
		title = "The code has a syntax error in " + place + "."
	}
	return says("python.syntax", title, cut(m[1]), "Correct it and upload again. If it runs on your computer, its Python is newer than "+c.ev.Plan.Runtime.Version+" here.")
}

func tellPythonVersion(c *evidenceCase, m []string) (coderunner.Failure, bool) {
	want := cut(m[3] + m[4] + m[5])
	title := "The project asks for another version of Python."
	if m[1] != "" {
		title = fmt.Sprintf("%s does not run on this version of Python.", path.Base(strings.TrimPrefix(cut(m[1]), "file://")))
	}
	f, ok := says("runtime.version", title, fmt.Sprintf("The app runs on Python %s. Wanted: %s.", c.ev.Plan.Runtime.Version, want), "Choose another runtime in the plan if there is one that fits, or lower requires-python where the code allows it.")
	f.Fixes = c.runtime(func(version string) bool { return meets(want, version) })
	return f, ok
}

func tellPythonHeaders(c *evidenceCase, _ []string) (coderunner.Failure, bool) {
	line := c.plain[c.shownBy]
	if strings.Contains(line, "pg_config") {
		return says("native.library", "psycopg2 could not be compiled: it needs the headers of PostgreSQL.", "pg_config, which tells where they are, is not in this appliance.", "Write psycopg2-binary instead of psycopg2 in requirements.txt: it brings its own compiled files.")
	}
	return says("native.library", "mysqlclient could not be compiled: it needs the headers of MySQL.", "They are not in this appliance.", "Use PyMySQL (import pymysql; pymysql.install_as_MySQLdb()), which needs no compiler.")
}

func tellPythonHeader(c *evidenceCase, m []string) (coderunner.Failure, bool) {
	if !c.runs("python") || c.ev.Step == "start" || c.ev.Step == "health" {
		return coderunner.Failure{}, false
	}
	return says("native.library", "A package could not be compiled: "+cut(m[1])+" is missing.", "It needs a system library whose headers this appliance does not have.", "Take a version of the package that brings its own compiled files (a wheel), or another package.")
}

func tellNoDistribution(c *evidenceCase, m []string) (coderunner.Failure, bool) {
	name := cut(m[1])
	if m[2] != "none" {
		return says("install.version_missing", fmt.Sprintf("The package index has no version %s.", name), "It has: "+quote(m[2])+".", "Ask for a version that exists and that runs on Python "+c.ev.Plan.Runtime.Version+", and upload again.")
	}
	if at, _ := c.last(pyNetwork); at >= 0 {
		c.shownBy = at
		return c.unreachable(c.group(pyIndex), "")
	}
	return says("install.unknown_package", fmt.Sprintf("The package index does not know %s.", name), "Its name is misspelt, or it is a module of Python itself, or private.", "Correct the name in requirements.txt and upload again.")
}

// runs reports whether the app's runtime is the named one.
func (c *evidenceCase) runs(name string) bool { return c.ev.Plan.Runtime.Name == name }
