package diagnosis

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// systemRules are about what a package expects of the system it runs on, and about requests
// that a development server refuses.
var systemRules = []rule{
	{regexp.MustCompile(`Could not find Chrome|Could not find (?:expected )?browser|Executable doesn't exist at \S*(?:chrom|firefox|webkit)|Failed to launch the browser`), func(*evidenceCase, []string) (coderunner.Failure, bool) {
		return says("native.browser", "The app needs a browser, and its appliance has none.", "Puppeteer and Playwright drive a browser with many system libraries.", "Use a browser elsewhere: connect to one by its address, given as a variable of the project.")
	}},
	{regexp.MustCompile(`(?:Prisma|prisma).*(?:libssl|openssl)|(?:libssl|libcrypto)\S*: cannot open shared object file`), func(*evidenceCase, []string) (coderunner.Failure, bool) {
		return says("native.library", "Prisma's engine finds no OpenSSL that it was built for.", "The engine that was installed is one for another system.", "Add \"debian-openssl-3.0.x\" to binaryTargets in schema.prisma, and run prisma generate in the build command.")
	}},
	{regexp.MustCompile("(lib[\\w.+-]+\\.so[\\w.]*): cannot open shared object file|version [`']?(GLIBC(?:XX)?_[\\d.]+)'? not found"), func(c *evidenceCase, m []string) (coderunner.Failure, bool) {
		return says("native.library", fmt.Sprintf("The system library %s is missing.", cut(firstOf(m))), "A native package was built for a system that has it; this appliance does not.", "Take a version of the package that brings its own libraries, or a replacement without native code. Do not upload node_modules or .venv: they are made for your computer.")
	}},
	{regexp.MustCompile(`invalid ELF header|is not a valid Win32 application|incompatible architecture`), func(*evidenceCase, []string) (coderunner.Failure, bool) {
		return says("native.library", "A native package is compiled for another system.", "It was uploaded with what was installed on your computer.", "Leave node_modules or .venv out of the upload, so that the packages are installed here.")
	}},
}

var (
	viteRefuses    = regexp.MustCompile(`Blocked request\. This host \("([^"]+)"\) is not allowed`)
	djangoRefuses  = regexp.MustCompile(`Invalid HTTP_HOST header: '([^']+)'|<h1>Bad Request \(400\)</h1>|DisallowedHost`)
	railsRefuses   = regexp.MustCompile(`Blocked hosts?: (\S+)`)
	webpackRefuses = regexp.MustCompile(`^Invalid Host(?:/Origin)? header`)
)

// RefusesHost reports whether an answer with that status, whose body begins so, is a development
// server's or a framework's refusal of the host name that it was asked for.
func RefusesHost(status int, body string) bool {
	if status < 400 || status >= 500 {
		return false
	}
	for _, re := range []*regexp.Regexp{viteRefuses, webpackRefuses, djangoRefuses, railsRefuses} {
		if re.MatchString(body) {
			return true
		}
	}
	return false
}

// hostRefused is about a server that answers its own host names alone, as the body of its answer
// or its log says.
func (c *evidenceCase) hostRefused() (coderunner.Failure, bool) {
	said := func(re *regexp.Regexp) bool {
		at, _ := c.last(re)
		c.shownBy = at
		return at >= 0 || re.MatchString(c.ev.Body)
	}
	f := coderunner.Failure{ID: "health.host_refused", Detail: fmt.Sprintf("It was asked for the project's own address and answered %d; visitors would see the same.", c.ev.Status)}
	switch {
	case c.ev.Status < 400:
		return f, false
	case said(viteRefuses), said(webpackRefuses):
		f.Title = "The app is a development server, which refuses requests for its public address."
		f.Next = "Let the build command make the files (npm run build) and serve their folder, without a start command. Or name the address in server.allowedHosts (preview.allowedHosts) of its configuration."
		if p := c.ev.Proposed; p != nil && p.Static() && !c.ev.Plan.Static() {
			f.Fixes = []coderunner.Fix{coderunner.NewFix(coderunner.FixPlan, "")}
			f.Next = "The proposed plan builds the files and serves the folder " + cut(p.StaticDir.Value) + " instead. Or name the address in server.allowedHosts of its configuration."
		}
	case said(djangoRefuses):
		f.Title = "Django refuses requests for the app's public address (DisallowedHost)."
		f.Next = "Put the address into ALLOWED_HOSTS of settings.py, or read it from a variable: ALLOWED_HOSTS = os.environ[\"ALLOWED_HOSTS\"].split(\",\")."
		f.Fixes = []coderunner.Fix{coderunner.NewFix(coderunner.FixVariable, "ALLOWED_HOSTS"), coderunner.NewFix(coderunner.FixAgain, "")}
	case said(railsRefuses):
		f.Title = "Rails refuses requests for the app's public address."
		f.Next = "Add the address to config.hosts, or run with RAILS_ENV=production."
	default:
		return f, false
	}
	return f, true
}

// wrongRoot is about a file that a tool expects at the top of the plan's root and that is not there.
func (c *evidenceCase) wrongRoot(wanted string, like ...string) (coderunner.Failure, bool) {
	at := "at " + root(c.ev.Plan)
	detail := fmt.Sprintf("%s was looked for %s.", cut(wanted), at)
	if found := c.found(); found != "" {
		detail += " There is: " + found + "."
	}
	f, ok := says("plan.wrong_root", fmt.Sprintf("There is no %s %s.", cut(wanted), at), detail, "Upload the folder that has it, or name that folder as the root of the plan.")
	if folder := c.folderOf(append(like, wanted)...); folder != "" {
		f.Next = fmt.Sprintf("There is one in the folder %s: use that as the root of the plan.", cut(folder))
		if folder == "." {
			f.Next = "There is one at the top of the upload: use that as the root of the plan."
		}
		f.Fixes = []coderunner.Fix{coderunner.NewFix(coderunner.FixRoot, folder)}
	}
	return f, ok
}

// unreachable is about a package registry that gave no answer.
func (c *evidenceCase) unreachable(host, reason string) (coderunner.Failure, bool) {
	if host != "" {
		host = " " + cut(host)
	}
	f, ok := says("install.registry_unreachable", "The package registry"+host+" could not be reached"+reason+".", "The install was ended by the network, not by what you uploaded.", "Deploy again in a while. If it fails the same way, ask whoever runs this server to check its connection to the registry.")
	f.Blame = coderunner.Upstream
	f.Fixes = []coderunner.Fix{coderunner.NewFix(coderunner.FixAgain, "")}
	return f, ok
}

// caseDiffers is about a file that is there under a name with other capital letters.
func (c *evidenceCase) caseDiffers(wanted, there, by string) (coderunner.Failure, bool) {
	return says("module.case", fmt.Sprintf("The code asks for %s, and the upload has %s.", quote(wanted), quote(there)), strings.TrimSpace(by+" On Linux, names that differ by capital letters are two files."),
		"Write the name in the code as the file's, or rename the file (git mv --force keeps the change), and upload again.")
}

var versionWish = regexp.MustCompile(`(>=|>|<=|<|\^|~=?|==|=)?\s*v?(\d+(?:\.\d+)*)`)

// meets reports whether some release of a version such as "22" or "3.12" is within a range as npm
// and pip write them, as far as the version tells: ">=20.19 || ^18", "<3.13,>=3.10".
func meets(wish, version string) bool {
	for part := range strings.SplitSeq(wish, "||") {
		all := versionWish.FindAllStringSubmatch(part, -1)
		fits := len(all) > 0
		for _, m := range all {
			above, below := newer(version, m[2]), newer(m[2], version)
			switch m[1] {
			case ">=", ">":
				fits = fits && !below
			case "<":
				fits = fits && (below || !above && !startsAt(m[2], version))
			case "<=":
				fits = fits && !above
			default:
				fits = fits && !above && !below
			}
		}
		if fits {
			return true
		}
	}
	return false
}

// startsAt reports whether bound is the very first release of version: "22", "22.0" or "22.0.0" of 22.
func startsAt(bound, version string) bool {
	rest, ok := strings.CutPrefix(bound, version)
	n, err := strconv.Atoi(strings.ReplaceAll(rest, ".", ""))
	return ok && (rest == "" || err == nil && n == 0)
}
