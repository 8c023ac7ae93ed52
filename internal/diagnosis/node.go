package diagnosis

import (
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

var (
	heapExhausted = regexp.MustCompile(`(?:Reached heap limit|Ineffective mark-compacts near heap limit|CALL_AND_RETRY_LAST).*|FATAL ERROR: .*JavaScript heap out of memory`)
	codePlace     = regexp.MustCompile(`^((?:file://)?/[^\s:][^:]*):(\d+)$`)
	esmRefused    = regexp.MustCompile(`^(Error \[ERR_REQUIRE_ESM\]: .+)$`)
	requiredBy    = regexp.MustCompile(`^- (/.+)$`)
	importedFrom  = regexp.MustCompile(` imported from (/.+)$`)
)

// nodeRules are what Node.js and bundlers say, from the most specific to the most general.
var nodeRules = []rule{
	{regexp.MustCompile(`listen EADDRINUSE: address already in use (\S+)`), tellAddressInUse},
	{regexp.MustCompile(`listen EACCES: permission denied (\S+)`), tellLowPort},
	{regexp.MustCompile(`connect ECONNREFUSED (127\.[\d.]+|::1|localhost):(\d+)`), tellLocalService},
	{regexp.MustCompile(`Can't reach database server at \W?(localhost|127\.0\.0\.1|::1)\W{1,3}(\d+)`), tellLocalService},
	{regexp.MustCompile(`Error: getaddrinfo (?:ENOTFOUND|EAI_AGAIN) ([^\s:]+)`), tellUnknownHost},
	{regexp.MustCompile(`error: password authentication failed for user "([^"]*)"|error: (?:role|database) "([^"]*)" does not exist`), refusedLogin(coderunner.PostgreSQL)},
	{regexp.MustCompile(`Access denied for user '([^']*)'@|ER_BAD_DB_ERROR: Unknown database '([^']*)'`), refusedLogin(coderunner.MySQL)},
	{regexp.MustCompile(`\b(WRONGPASS) invalid username-password pair|\b(NOAUTH) Authentication required`), refusedLogin(coderunner.Redis)},
	{regexp.MustCompile(`relation "([^"]+)" does not exist|Table '[^'.]+\.([^']+)' doesn't exist|The table .(\S+?). does not exist in the current database|no such table: (\S+)`), func(c *evidenceCase, m []string) (coderunner.Failure, bool) {
		return c.noTable(firstOf(m))
	}},
	{regexp.MustCompile(`No such built-in module: (\S+)`), func(c *evidenceCase, m []string) (coderunner.Failure, bool) {
		f, ok := says("runtime.version", fmt.Sprintf("This version of Node.js (%s) has no module %s.", c.ev.Plan.Runtime.Version, cut(m[1])), "Newer versions have it.", "Choose a newer runtime in the plan if there is one, or use a package from the registry instead.")
		f.Fixes = c.runtime(func(version string) bool { return newer(version, "20") })
		return f, ok
	}},
	{regexp.MustCompile(`(?:Cannot find module|Cannot find package|Can't resolve|Could not resolve(?: entry module)?|[Ff]ailed to resolve import) ['"‘]([^'"’]+)['"’]`), tellMissingModule},
	{regexp.MustCompile(`ERR_REQUIRE_ESM|require\(\) of ES Module (\S+)|require is not defined in ES module scope|Cannot use import statement outside a module|__dirname is not defined in ES module scope|^SyntaxError: Unexpected token 'export'`), tellModuleKind},
	{regexp.MustCompile(`SyntaxError: Error parsing (\S+\.json): (.+)|SyntaxError: (/\S+\.json): (.+ JSON.*)`), func(c *evidenceCase, m []string) (coderunner.Failure, bool) {
		name := m[1] + m[3]
		return says("node.json", c.file(name)+" is not valid JSON.", cut(m[2]+m[4])+".", "Correct it (no comments, no comma after the last entry) and upload again.")
	}},
	{regexp.MustCompile(`^(?:\S+: )?(?:\[\S+\] )?(?:.*\b)?SyntaxError: (.+)$`), tellSyntax},
	{regexp.MustCompile(`(?i)\b(?:not set|not defined|undefined|unset|required|missing|must be set|not provided|no value|empty)\b`), tellVariable},
}

func tellAddressInUse(c *evidenceCase, m []string) (coderunner.Failure, bool) {
	return says("port.in_use", fmt.Sprintf("The app listens on the same port twice: %s is already in use (EADDRINUSE).", cut(m[1])),
		"Its sandbox is its own, so that nothing else can have taken the port.", "Look for a second listen() with the same port, a start command that starts the server twice, or a second process (concurrently, cluster) that uses PORT too.")
}

func tellLowPort(c *evidenceCase, m []string) (coderunner.Failure, bool) {
	return says("port.forbidden", fmt.Sprintf("The app may not listen on %s (EACCES).", cut(m[1])), "Ports below 1024 are for the system only; apps run as an ordinary user.", fmt.Sprintf("Listen on process.env.PORT, which is %d. The public address has the usual port all the same.", c.ev.Plan.Port))
}

// refusedLogin is about a database that does not know the app.
func refusedLogin(p coderunner.Protocol) func(*evidenceCase, []string) (coderunner.Failure, bool) {
	return func(_ *evidenceCase, m []string) (coderunner.Failure, bool) {
		return says("database.login", "The database refused the app's login.", "The app logged in with a name or a password of its own: "+quote(firstOf(m))+".",
			fmt.Sprintf("Use the variable %s as it is; it has the right name, password and database.", p.URLKey()))
	}
}

// localServices are what usually listens on a port, and is no database that is offered.
var localServices = map[int]string{27017: "MongoDB", 9200: "Elasticsearch", 5672: "RabbitMQ"}

func tellLocalService(c *evidenceCase, m []string) (coderunner.Failure, bool) {
	port, _ := strconv.Atoi(m[2])
	if port == c.ev.Plan.Port {
		return coderunner.Failure{}, false
	}
	at := m[1] + ":" + m[2]
	for _, p := range coderunner.Protocols() {
		if p.Port() == port {
			keys := p.Keys(coderunner.PostgreSQL)
			f, ok := says("database.localhost", fmt.Sprintf("The app looks for %s on %s, in its own sandbox, instead of at %s.", p.Title(), at, p.URLKey()),
				"Nothing listens there: the database has a sandbox and an address of its own.",
				fmt.Sprintf("Connect with the variable %s (or %s, %s …) instead of localhost. If the project has no such database yet, tick %s in the plan and deploy again.", keys[0], keys[1], keys[2], p.Title()))
			f.Fixes = c.database(p)
			return f, ok
		}
	}
	what := localServices[port]
	if what == "" {
		what = "a service"
	}
	return says("service.localhost", fmt.Sprintf("The app looks for %s on %s, in its own sandbox, where nothing listens.", what, at),
		"In a sandbox, localhost is the app itself and nothing else.", "Set the address of a "+strings.TrimPrefix(what, "a ")+" that can be reached as a variable of the project, and read that in the code.")
}

func tellUnknownHost(c *evidenceCase, m []string) (coderunner.Failure, bool) {
	if c.ev.Step != "start" && c.ev.Step != "health" {
		return coderunner.Failure{}, false // package managers tell it better
	}
	next, fixes := "Check the variable or the setting that names this host.", []coderunner.Fix(nil)
	if !strings.Contains(m[1], ".") {
		database := coderunner.PostgreSQL
		for _, p := range []coderunner.Protocol{coderunner.MySQL, coderunner.Redis} {
			if strings.Contains(strings.ToLower(m[1]), string(p)) {
				database = p
			}
		}
		next = fmt.Sprintf("A name such as db or redis is a container of docker-compose. Connect with the variable %s instead, or set the address as a variable of the project.", database.URLKey())
		fixes = c.database(database)
	}
	f, ok := says("service.unknown_host", fmt.Sprintf("The app looks for a host %s that does not exist.", quote(m[1])), "No address is known for that name.", next)
	f.Fixes = fixes
	return f, ok
}

func tellMissingModule(c *evidenceCase, m []string) (coderunner.Failure, bool) {
	name := m[1]
	from := c.group(importedFrom)
	if from == "" {
		from = c.first(requiredBy)
	}
	by := ""
	if from != "" {
		by = "It is loaded by " + c.file(from) + "."
	}
	if other := c.otherCase(c.file(name)); other != "" {
		return c.caseDiffers(c.file(name), other, by)
	}
	switch {
	case strings.HasPrefix(name, "/") && from == "":
		return c.missingEntry(name)
	case strings.HasPrefix(name, "/"), strings.HasPrefix(name, "."), strings.HasPrefix(name, "~"), strings.HasPrefix(name, "@/"):
		return says("module.file_missing", fmt.Sprintf("The file %s does not exist.", quote(c.file(name))), by, "Check that it was uploaded and is not made by a build that did not run, and that its name has the same capital letters as in the code: on Linux, Header.js and header.js are two files.")
	}
	pkg := cut(packageOf(name))
	if c.devOnly(pkg) {
		f, ok := says("module.dev_only", fmt.Sprintf("The package %s is not installed: package.json has it among devDependencies.", pkg), strings.TrimSpace(by+" The install command was: "+quote(c.ev.Plan.Install.Value)+", and left them out."),
			fmt.Sprintf("Move %s to dependencies in package.json (npm install --save-prod %s), and upload package.json and package-lock.json.", pkg, pkg))
		f.Fixes = change(coderunner.FixInstall, c.ev.Plan.Install, withDev(c.ev.Plan.Install.Value))
		return f, ok
	}
	next := fmt.Sprintf("Add %s to dependencies in package.json (npm install %s), and upload package.json and package-lock.json.", pkg, pkg)
	if c.ev.Plan.Install.Value == "" && c.ev.Step != "install" {
		next = fmt.Sprintf("The plan has no install command, so that nothing was installed. Add %s to dependencies in package.json (npm install %s), upload both files, and set the install command.", pkg, pkg)
	} else if c.ev.Step == "start" || c.ev.Step == "health" {
		next += " If it is among devDependencies, move it."
	}
	f, ok := says("module.missing", fmt.Sprintf("The package %s is not installed.", pkg), by, next)
	if _, declared := c.packageJSON().Dependencies[pkg]; declared && c.ev.Plan.Install.Value == "" {
		f.Fixes = change(coderunner.FixInstall, c.ev.Plan.Install, "npm install")
	}
	return f, ok
}

// missingEntry is about the file that the start command names.
func (c *evidenceCase) missingEntry(name string) (coderunner.Failure, bool) {
	file := c.file(name)
	next := "Name the file that starts the app in the start command; directories count from " + root(c.ev.Plan) + "."
	switch top, _, _ := strings.Cut(file, "/"); top {
	case "dist", "build", "out", ".next", ".output":
		next = fmt.Sprintf("It looks like the result of a build. Set the build command of the plan (npm run build), and check that it writes to %s.", top)
	}
	return says("start.entry_missing", fmt.Sprintf("The file to start, %s, does not exist.", file), "The command was: "+quote(c.ev.Command)+".", next)
}

func root(p coderunner.Plan) string {
	if r := path.Clean(p.Root); r != "." {
		return cut(r)
	}
	return "the top of the upload"
}

// place is the file and line that Node.js prints above an error.
func (c *evidenceCase) place(at int) string {
	for i := at; i >= 0 && i >= at-12; i-- {
		if m := codePlace.FindStringSubmatch(c.plain[i]); m != nil {
			return c.file(m[1]) + ":" + m[2]
		}
	}
	return ""
}

func tellModuleKind(c *evidenceCase, _ []string) (coderunner.Failure, bool) {
	c.show(esmRefused)
	line := c.plain[c.shownBy]
	where := ""
	if p := c.place(c.shownBy); p != "" {
		where = " in " + p
	}
	switch {
	case strings.Contains(line, "outside a module"), strings.Contains(line, "'export'"):
		return says("node.module_kind", "The code uses import or export"+where+", but Node.js reads it as CommonJS.", cut(line), "Add \"type\": \"module\" to package.json, or name the file .mjs.")
	case strings.Contains(line, "in ES module scope"):
		return says("node.module_kind", "The code uses require or __dirname"+where+", but Node.js reads it as an ES module.", cut(line), "Use import, or name the file .cjs, or remove \"type\": \"module\" from package.json.")
	}
	f, ok := says("node.module_kind", "The code loads an ES module with require()"+where+".", cut(line), "Load it with import() instead, take the last version of the package that still is CommonJS, or run on Node.js 22 or newer, which can.")
	f.Fixes = c.runtime(func(version string) bool { return newer(version, "21") })
	return f, ok
}

func tellSyntax(c *evidenceCase, m []string) (coderunner.Failure, bool) {
	if strings.Contains(m[1], "JSON") {
		return coderunner.Failure{}, false // data that the program read, not its code
	}
	title := "The code has a syntax error."
	if p := c.place(c.shownBy); p != "" {
		title = "The code has a syntax error in " + p + "."
	}
	next := "Correct it and upload again."
	if v := c.ev.Plan.Runtime.Version; v != "" {
		next = "Correct it and upload again. If it runs on your computer, its Node.js is newer than " + v + " here: use older syntax, or choose a newer runtime in the plan if there is one."
	}
	return says("node.syntax", title, cut(m[1]), next)
}

// tellVariable is about a variable that the code reads and that the error names.
func tellVariable(c *evidenceCase, _ []string) (coderunner.Failure, bool) {
	if c.ev.ExitCode == 0 {
		return coderunner.Failure{}, false
	}
	line := c.plain[c.shownBy]
	for _, k := range c.ev.Plan.EnvKeys {
		if len(k.Key) < 3 || !containsWord(line, k.Key) {
			continue
		}
		return c.missingVariable(k.Key)
	}
	return coderunner.Failure{}, false
}

// noTable is about a database that nothing has been made in yet.
func (c *evidenceCase) noTable(name string) (coderunner.Failure, bool) {
	f, ok := says("database.no_table", fmt.Sprintf("The database has no table %s yet.", cut(name)), "The app asks for it, and nothing has made it.",
		"Run the migrations before the server starts: as the release command of the plan, or a line release: in a Procfile.")
	f.Fixes = change(coderunner.FixRelease, coderunner.Choice{Value: c.ev.Plan.Processes[coderunner.ReleaseProcess]}, c.migration())
	return f, ok
}

func containsWord(line, word string) bool {
	for rest, from := line, 0; ; {
		i := strings.Index(rest[from:], word)
		if i < 0 {
			return false
		}
		begin, end := from+i, from+i+len(word)
		if (begin == 0 || !wordByte(rest[begin-1])) && (end == len(rest) || !wordByte(rest[end])) {
			return true
		}
		from = end
	}
}

func wordByte(b byte) bool {
	return b == '_' || b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}
