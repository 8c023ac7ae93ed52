package diagnosis

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// npmSays begins what npm prints when it gives up: npm 9 and before, npm 10 and after.
const npmSays = `^npm (?:ERR!|error) `

var (
	gypFailed     = regexp.MustCompile(`^(?:npm (?:ERR!|error) )?gyp ERR! (?:build error|configure error|not ok|stack )`)
	gypPackage    = regexp.MustCompile(npmSays + `path (?:\S*/)?node_modules/(\S+)$|gyp ERR! cwd \S*/node_modules/(\S+)$`)
	gypHeader     = regexp.MustCompile(`fatal error: (\S+): No such file or directory`)
	gypTool       = regexp.MustCompile(`gyp ERR! (?:stack )?(?:Error: )?not found: (\S+)|gyp ERR! find (Python)\b`)
	gypDownload   = regexp.MustCompile(`gyp ERR! stack .*(?:getaddrinfo|ETIMEDOUT|ECONNREFUSED|ECONNRESET|certificate)`)
	lockMissing   = regexp.MustCompile(npmSays + `(?:Missing|Invalid): (.+)$`)
	noLock        = regexp.MustCompile(`can only install with an existing package-lock\.json`)
	askedURL      = regexp.MustCompile(`\b(https?://[^\s,'"]+)`)
	engineWanted  = regexp.MustCompile(npmSays + `(?:notsup|engine) Required: (.+)$|The engine "node" is incompatible with this module\. Expected version "([^"]+)"`)
	requestFailed = regexp.MustCompile(npmSays + `(?:network |FetchError: )?(request to \S+) failed`)
	nodeWanted    = regexp.MustCompile(`"node": ?"([^"]+)"`)
	engineOf      = regexp.MustCompile(npmSays + `notsup Not compatible with your version of node/npm: (\S+)$|^error (\S+): The engine "node" is incompatible`)
	conflictWho   = regexp.MustCompile(npmSays + `(?:Could not resolve dependency:|Found: (.+))$`)
	conflictPeer  = regexp.MustCompile(npmSays + `(peer .+)$`)
)

// npmRules are what package managers say, from the most specific to the most general.
var npmRules = []rule{
	{regexp.MustCompile(`ENOSPC: System limit for number of file watchers`), tellWatchers},
	{regexp.MustCompile(`\bENOSPC\b|[Nn]o space left on device`), tellDiskFull},
	{regexp.MustCompile(npmSays + `code EJSONPARSE|npm (?:ERR!|error) (?:JSON\.parse )?(?:Invalid|Failed to parse) package\.json`), tellPackageJSON},
	{regexp.MustCompile(npmSays + `(?:enoent )?(?:ENOENT: no such file or directory, open|Could not read package\.json: .*open) '([^']*)/package\.json'|ERR_PNPM_NO_(?:PKG|IMPORTER)_MANIFEST`), func(c *evidenceCase, _ []string) (coderunner.Failure, bool) {
		return c.wrongRoot("package.json")
	}},
	{regexp.MustCompile(npmSays + `Missing script: ["']?([^"']+?)["']?$|Couldn't find a script named "([^"]+)"|Command "([^"]+)" not found\.$|ERR_PNPM_NO_SCRIPT\S* +Missing script: (\S+)`), tellScript},
	{regexp.MustCompile(npmSays + `.*(?:can only install packages when your package\.json and package-lock|can only install with an existing package-lock|from lock file$|lock file's \S+ does not satisfy)|ERR_PNPM_(?:OUTDATED|NO)_LOCKFILE|lockfile needs to be updated|lockfile had changes, but lockfile is frozen|The lockfile would have been modified|` + npmSays + `(?:Run "npm help ci"|Clean install a project)`), tellLockfile},
	{regexp.MustCompile(npmSays + `code ERESOLVE|ERESOLVE unable to resolve dependency tree`), tellConflict},
	{regexp.MustCompile(npmSays + `code EBADENGINE|The engine "node" is incompatible with this module|ERR_PNPM_UNSUPPORTED_ENGINE`), tellEngine},
	{regexp.MustCompile(npmSays + `notarget No matching version found for (\S+?)\.?$`), func(c *evidenceCase, m []string) (coderunner.Failure, bool) {
		return says("install.version_missing", fmt.Sprintf("The registry has no version %s.", cut(m[1])), "package.json, or a package that it needs, asks for it.", "Ask for a version that exists (npm view "+packageOf(m[1])+" versions lists them), run npm install, and upload package.json with package-lock.json.")
	}},
	{regexp.MustCompile(npmSays + `(?:404 Not Found - GET|404 +'[^']+' is not in|code E404)`), tellUnknownPackage},
	{regexp.MustCompile(npmSays + `code (E401|E403|ENEEDAUTH)`), func(c *evidenceCase, m []string) (coderunner.Failure, bool) {
		return says("install.refused", fmt.Sprintf("The package registry%s refused the request (%s).", c.registryName(), m[1]), "A private package needs a token that was not given, or the one given is not valid.", "Set the token as a variable of the project (NPM_TOKEN), name it in .npmrc as ${NPM_TOKEN}, and upload that file.")
	}},
	{regexp.MustCompile(`SELF_SIGNED_CERT_IN_CHAIN|DEPTH_ZERO_SELF_SIGNED_CERT|UNABLE_TO_GET_ISSUER_CERT(?:_LOCALLY)?|UNABLE_TO_VERIFY_LEAF_SIGNATURE|CERT_HAS_EXPIRED|self[- ]signed certificate|unable to (?:get local issuer|verify the first) certificate`), tellCertificate},
	{gypFailed, tellGyp},
	{regexp.MustCompile(npmSays + `(?:code|errno) (ENOTFOUND|EAI_AGAIN|ETIMEDOUT|ESOCKETTIMEDOUT|ERR_SOCKET_TIMEOUT|ECONNRESET|ECONNREFUSED|ENETUNREACH|EHOSTUNREACH|EIDLETIMEOUT)$|There appears to be trouble with your network connection|ERR_PNPM_META_FETCH_FAIL`), tellNetwork},
	{regexp.MustCompile(npmSays + `code (ENOTFOUND|EAI_AGAIN|ETIMEDOUT)`), tellNetwork},
	{regexp.MustCompile(npmSays + `(?:syscall spawn git|enoent An unknown git error|code 128$)`), func(c *evidenceCase, _ []string) (coderunner.Failure, bool) {
		return says("npm.git", "A dependency that package.json takes from a Git repository could not be fetched.", "Only public repositories can be read, through https.", "Take the package from the registry, or write the dependency as git+https://… to a public repository.")
	}},
}

func tellWatchers(*evidenceCase, []string) (coderunner.Failure, bool) {
	return says("node.file_watchers", "The app watches more files than the system allows.", "Programs that watch files are for development: they restart when the code changes, which it does not here.", "Start the app without a watcher: node instead of nodemon or a dev command.")
}

func tellDiskFull(c *evidenceCase, _ []string) (coderunner.Failure, bool) {
	f, _ := says(c.ev.Step+".disk_full", "The disk is full (ENOSPC).", c.subject()+" could not write a file.", "Ask whoever runs this server to free space in its data directory, or remove what is large from the upload and from dependencies. Then deploy again.")
	f.Blame = coderunner.Ours
	return f, true
}

func tellPackageJSON(*evidenceCase, []string) (coderunner.Failure, bool) {
	return says("npm.package_json", "package.json is not valid JSON.", "npm could not read it; the lines below name the place.", "Correct it (no comments, no comma after the last entry) and upload again.")
}

func tellScript(c *evidenceCase, m []string) (coderunner.Failure, bool) {
	name := cut(firstOf(m))
	f, ok := says("npm.script_missing", fmt.Sprintf("package.json has no script %q.", name), "The command was: "+quote(c.ev.Command)+".", fmt.Sprintf("Add %q to scripts in package.json, or change the %s command in the plan.", name, c.command()))
	if p := c.ev.Proposed; p != nil && (p.Root != c.ev.Plan.Root || p.Start.Value != c.ev.Plan.Start.Value || p.Build.Value != c.ev.Plan.Build.Value) {
		f.Fixes = []coderunner.Fix{coderunner.NewFix(coderunner.FixPlan, "")}
	}
	return f, ok
}

func tellLockfile(c *evidenceCase, _ []string) (coderunner.Failure, bool) {
	if at, _ := c.last(noLock); at >= 0 {
		f, ok := says("install.lockfile", "npm ci needs a package-lock.json, and the upload has none.", "", "Run npm install on your computer and upload package-lock.json too, or make the install command npm install.")
		f.Fixes = change(coderunner.FixInstall, c.ev.Plan.Install, withoutLockfile(c.ev.Plan.Install.Value))
		return f, ok
	}
	detail := "The two files have to agree for a clean install."
	if c.show(lockMissing) != "" {
		detail = "The first difference of which npm tells: " + quote(c.first(lockMissing)) + "."
	}
	install := withoutLockfile(c.ev.Plan.Install.Value)
	f, ok := says("install.lockfile", "The lockfile does not match package.json.", detail, "Install on your computer and upload package.json and the lockfile together, or change the install command so that it does not insist on the lockfile, such as npm install in place of npm ci.")
	f.Fixes = change(coderunner.FixInstall, c.ev.Plan.Install, install)
	return f, ok
}

// withoutLockfile is an install command that takes package.json's word over the lockfile's.
func withoutLockfile(install string) string {
	if strings.Contains(install, "pnpm") {
		if !strings.Contains(install, "--frozen-lockfile") {
			return install + " --no-frozen-lockfile"
		}
		return strings.ReplaceAll(install, "--frozen-lockfile", "--no-frozen-lockfile")
	}
	return strings.NewReplacer("npm ci", "npm install", " --frozen-lockfile", "", "--immutable", "--no-immutable").Replace(install)
}

// first is the first group of the first line that matches.
func (c *evidenceCase) first(re *regexp.Regexp) string {
	for _, line := range c.plain {
		if m := re.FindStringSubmatch(line); m != nil {
			return firstOf(m)
		}
	}
	return ""
}

func tellConflict(c *evidenceCase, _ []string) (coderunner.Failure, bool) {
	detail := "Two packages ask for versions of a third that exclude each other."
	if peer, found := c.first(conflictPeer), c.first(conflictWho); peer != "" {
		detail = "Wanted: " + quote(peer) + "."
		if found != "" {
			detail += " Found: " + quote(found) + "."
		}
	}
	f, ok := says("install.conflict", "The dependencies in package.json contradict each other (ERESOLVE).", detail, "Change the versions so that they fit, run npm install on your computer and upload both files. To install in spite of it, make the install command npm install --legacy-peer-deps.")
	if c.ev.Plan.Install.Value == "npm install" || c.ev.Plan.Install.Value == "npm ci" {
		f.Fixes = change(coderunner.FixInstall, c.ev.Plan.Install, "npm install --legacy-peer-deps")
	}
	return f, ok
}

func tellEngine(c *evidenceCase, _ []string) (coderunner.Failure, bool) {
	title := "A package does not run on this version of Node.js (EBADENGINE)."
	if who := c.group(engineOf); who != "" {
		title = fmt.Sprintf("%s does not run on this version of Node.js (EBADENGINE).", cut(who))
	}
	detail := "The app runs on Node.js " + c.ev.Plan.Runtime.Version + "."
	if c.ev.Plan.Runtime.Version == "" {
		detail = ""
	}
	want := c.show(engineWanted)
	if m := nodeWanted.FindStringSubmatch(want); m != nil {
		want = m[1]
	}
	if want != "" {
		detail = strings.TrimSpace(detail + " Wanted: " + cut(want) + ".")
	}
	f, ok := says("runtime.version", title, detail, "Choose another runtime in the plan if there is one that fits, or take an older version of the package.")
	f.Fixes = c.runtime(func(version string) bool { return meets(want, version) })
	return f, ok
}

var unknownPackage = regexp.MustCompile(npmSays + `404 +'([^']+)' is not in|` + npmSays + `404 Not Found - GET \S*?/((?:@[^/\s]+(?:/|%2[fF]))?[^/\s]+)(?: - .*)?$`)

func tellUnknownPackage(c *evidenceCase, _ []string) (coderunner.Failure, bool) {
	name := cut(strings.NewReplacer("%2f", "/", "%2F", "/").Replace(c.group(unknownPackage)))
	if name == "" {
		name = "a package"
	}
	return says("install.unknown_package", fmt.Sprintf("The package registry%s does not know %s.", c.registryName(), name), "Its name in package.json is misspelt, it was removed, or it is private.", "Correct the name in package.json. For a private package, upload an .npmrc that names its registry, and set its token as a variable.")
}

func tellCertificate(c *evidenceCase, _ []string) (coderunner.Failure, bool) {
	if c.ev.Step == "start" || c.ev.Step == "health" {
		return says("node.certificate", "The app does not trust the certificate of a service that it calls.", "The certificate is self-signed or made by an authority that Node.js does not know.", "For a database with such a certificate, give the client its authority, or turn TLS off where the connection is private (the project's own database needs none: ssl: false).")
	}
	f, _ := says("install.certificate", "The package registry"+c.registryName()+" shows a certificate that is not trusted.", "Something between this server and the registry, such as a company's proxy, signs connections with an authority of its own.", "Ask whoever runs this server to give CodeRunner that authority's certificate. For a registry of your own, set NODE_EXTRA_CA_CERTS to a certificate within the upload.")
	f.Blame = coderunner.Ours
	return f, true
}

func tellNetwork(c *evidenceCase, m []string) (coderunner.Failure, bool) {
	if c.ev.Step == "start" || c.ev.Step == "health" {
		return coderunner.Failure{}, false
	}
	reason := ""
	if code := firstOf(m); code != "" {
		reason = " (" + code + ")"
	}
	c.show(requestFailed)
	f, _ := c.unreachable(strings.TrimSpace(c.registryName()), reason)
	if at, _ := c.last(regexp.MustCompile(npmSays + `.*(?:127\.0\.0\.1|localhost)`)); at >= 0 {
		f.Blame, f.Fixes = coderunner.Theirs, nil
		f.Next = "The registry is named by .npmrc or package-lock.json of the upload, on an address that exists on your computer only. Remove it there, run npm install, and upload again."
	}
	return f, true
}

// registryName is the host that npm asked last, with a space before it.
func (c *evidenceCase) registryName() string {
	for i := len(c.plain) - 1; i >= 0; i-- {
		if !strings.HasPrefix(c.plain[i], "npm ") || strings.Contains(c.plain[i], "docs.npmjs.com") {
			continue
		}
		if m := askedURL.FindString(c.plain[i]); m != "" {
			if u, err := url.Parse(m); err == nil && u.Hostname() != "" {
				return " " + cut(u.Hostname())
			}
		}
	}
	return ""
}

func tellGyp(c *evidenceCase, _ []string) (coderunner.Failure, bool) {
	name := packageOf(c.group(gypPackage))
	if name == "" {
		name = "A native package"
	}
	detail, next := "node-gyp ended with an error; the lines below have the compiler's.", "Take a newer version of the package: most bring a compiled file for this system. A replacement in plain JavaScript, such as bcryptjs for bcrypt, needs no compiler."
	switch header, tool := c.show(gypHeader), c.group(gypTool); {
	case header != "":
		detail, next = fmt.Sprintf("It needs the system library that has %s, which this appliance does not have.", cut(header)), "Take a version of the package that brings its own compiled files, or a replacement in plain JavaScript."
	case tool != "":
		detail = fmt.Sprintf("The compiler's tool %s is not in this appliance.", cut(tool))
	case c.matches(gypDownload):
		f, _ := says("install.registry_unreachable", cut(name)+" could not be compiled: the headers of Node.js could not be fetched.", "node-gyp found no way to nodejs.org.", "Deploy again. If it fails the same way, ask whoever runs this server to check its connection.")
		f.Blame, f.Fixes = coderunner.Upstream, []coderunner.Fix{coderunner.NewFix(coderunner.FixAgain, "")}
		return f, true
	}
	return says("native.compile", cut(name)+" could not be compiled.", detail, next)
}

func (c *evidenceCase) matches(re *regexp.Regexp) bool {
	at, _ := c.last(re)
	return at >= 0
}

// packageOf is the package's name in what may be "name@version", "name/file" or a path within node_modules.
func packageOf(spec string) string {
	if i := strings.LastIndex(spec, "node_modules/"); i >= 0 {
		spec = spec[i+len("node_modules/"):]
	}
	scope, rest := "", spec
	if strings.HasPrefix(spec, "@") {
		var ok bool
		if scope, rest, ok = strings.Cut(spec, "/"); !ok {
			return spec
		}
		scope += "/"
	}
	if i := strings.IndexAny(rest, "/@"); i >= 0 {
		rest = rest[:i]
	}
	return scope + rest
}
