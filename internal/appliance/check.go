package appliance

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// check lists what is wrong with a definition, in the words of its file.
func (doc document) check(folder string, files *Files) []string {
	var problems []string
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }

	if !matches(`[a-z0-9]+([.-][a-z0-9]+)*`, doc.Name) || len(doc.Name) > 63 {
		wrong("name is %q; use small letters, digits and dashes", doc.Name)
	} else if doc.Name != folder {
		wrong("name is %q, and the folder is %q; give both the same name", doc.Name, folder)
	}
	if doc.Title == "" {
		wrong("title is missing")
	}
	if doc.Description == "" {
		wrong("description is missing")
	}
	if !matches(`[a-z]+`, doc.Suite) {
		wrong("suite is %q; name a Debian release such as bookworm", doc.Suite)
	}
	seen := map[string]bool{}
	for _, name := range doc.Packages {
		if !matches(`[a-z0-9][a-z0-9+.-]+`, name) {
			wrong("packages has %q, which is not the name of a Debian package", name)
		}
		if seen[name] {
			wrong("packages has %s twice", name)
		}
		seen[name] = true
	}
	problems = append(problems, doc.checkAccount()...)
	problems = append(problems, doc.checkDownloads()...)
	problems = append(problems, doc.checkKind(files)...)
	for key, value := range doc.Env {
		if !matches(`[A-Za-z_][A-Za-z0-9_]*`, key) {
			wrong("env has %q, which is not the name of a variable", key)
		}
		if strings.ContainsAny(value, "\x00\n") {
			wrong("env %s has a line break or a NUL in its value", key)
		}
	}
	if doc.Setup != "" {
		if info, err := fs.Stat(rootOf(files), strings.TrimPrefix(doc.Setup, "/")); err != nil || !info.Mode().IsRegular() {
			wrong("setup names %q, and there is no such file in %s/files", doc.Setup, folder)
		}
	}
	slices.Sort(problems)
	return problems
}

func (doc document) checkAccount() (problems []string) {
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	user := doc.User
	if !matches(`[a-z_][a-z0-9_-]{0,30}`, user.Name) || user.Name == "root" {
		wrong("user.name is %q; name an account other than root", user.Name)
	}
	for field, id := range map[string]uint32{"uid": user.UID, "gid": user.GID} {
		if id < 100 || id > 59999 {
			wrong("user.%s is %d; choose one from 100 to 59999", field, id)
		}
	}
	for field, dir := range map[string]string{"user.home": user.Home, "workdir": doc.WorkDir} {
		if !isPlace(dir) {
			wrong("%s is %q; it must be an absolute path", field, dir)
		}
	}
	return problems
}

// downloadRules are how the downloads of a registry are written.
type downloadRules struct{ name, version, arch, hash, integrity string }

var (
	npmDownload = downloadRules{`(@[a-z0-9-]+/)?[a-z0-9{}._-]+`, `[0-9]+\.[0-9]+\.[0-9]+`, `any|x64|arm64`, `sha512-[A-Za-z0-9+/]{86}==`, "sha512- and base64, for any, x64 or arm64"}
	goDownload  = downloadRules{`[a-z0-9.-]+(/[A-Za-z0-9._~-]+)+`, `v[0-9]+\.[0-9]+\.[0-9]+(-[A-Za-z0-9{}.-]+)?`, `any|amd64|arm64`, `h1:[A-Za-z0-9+/]{43}=`, "h1: and base64 as in a go.sum, for any, amd64 or arm64"}
)

func (doc document) checkDownloads() (problems []string) {
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	for _, d := range doc.Downloads {
		if d.Lockfile != "" {
			if d.Package != "" || d.Version != "" || d.Into != "" || len(d.Integrity) > 0 {
				wrong("the download with the lockfile %q has more than that", d.Lockfile)
			}
			continue
		}
		name, rules := d.Package, npmDownload
		if d.Module != "" {
			name, rules = d.Module, goDownload
		}
		if d.Package != "" && d.Module != "" {
			wrong("a download is both npm's %s and Go's %s; write one entry for each", d.Package, d.Module)
		}
		if !matches(rules.name, name) {
			wrong("downloads has %q, which is no package of npm's and no module of Go's", name)
		}
		if !matches(rules.version, d.Version) {
			wrong("the download %s has version %q; name one exactly", name, d.Version)
		}
		if !isPlace(d.Into) {
			wrong("the download %s goes into %q; it must be an absolute path", name, d.Into)
		}
		if len(d.Integrity) == 0 {
			wrong("the download %s has no integrity", name)
		}
		for arch, hash := range d.Integrity {
			if !matches(rules.arch, arch) || !matches(rules.hash, hash) {
				wrong("the download %s has integrity %s: %q; it must be %s", name, arch, hash, rules.integrity)
			}
		}
	}
	return problems
}

func (doc document) checkKind(files *Files) (problems []string) {
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	switch doc.Kind {
	case coderunner.RuntimeAppliance, coderunner.BuilderAppliance:
		if doc.Database != nil {
			wrong("kind is %s, and there is a database section", doc.Kind)
		}
		if doc.Kind == coderunner.BuilderAppliance && (doc.Runtime.Serve != nil || doc.Runtime.Builder != "") {
			wrong("kind is builder, and there is a runtime section")
		}
		if doc.Runtime.Serve != nil {
			problems = append(problems, checkCommand("runtime.serve", doc.Runtime.Serve, files)...)
		}
		if doc.Runtime.Volume != "" && !isPlace(doc.Runtime.Volume) {
			wrong("runtime.volume is %q; it must be an absolute path", doc.Runtime.Volume)
		}
		return problems
	case coderunner.DatabaseAppliance:
	default:
		wrong("kind is %q; it is runtime, builder or database", doc.Kind)
		return problems
	}
	if doc.Runtime.Serve != nil || doc.Runtime.Builder != "" || doc.Runtime.Volume != "" {
		wrong("kind is database, and there is a runtime section")
	}
	if doc.Database == nil {
		wrong("kind is database, and there is no database section")
		return problems
	}
	if !slices.Contains(coderunner.Protocols(), doc.Database.Protocol) {
		wrong("database.protocol is %q; it is postgresql, mysql or redis", doc.Database.Protocol)
	} else if coderunner.ProtocolOf(doc.Name) != doc.Database.Protocol {
		wrong("name is %q, and database.protocol is %s; begin the name with that of a server that speaks it", doc.Name, doc.Database.Protocol)
	}
	if port := doc.Database.Port; port != 0 && (port < 1024 || port > 65535) {
		wrong("database.port is %d; choose one from 1024 to 65535", doc.Database.Port)
	}
	if !isPlace(doc.Database.Volume) {
		wrong("database.volume is %q; it must be an absolute path", doc.Database.Volume)
	}
	for field, argv := range map[string][]string{"start": doc.Database.Start, "ready": doc.Database.Ready, "init": doc.Database.Init} {
		problems = append(problems, checkCommand("database."+field, argv, files)...)
	}
	return problems
}

func checkCommand(field string, argv []string, files *Files) []string {
	if len(argv) == 0 || !isPlace(argv[0]) {
		return []string{field + " must be a list that begins with the absolute path of a program"}
	}
	// What Debian does not bring has to be among the appliance's own files.
	ours := strings.TrimPrefix(argv[0], "/")
	if !strings.HasPrefix(ours, "usr/local/") {
		return nil
	}
	info, err := fs.Stat(rootOf(files), ours)
	if err != nil {
		return []string{fmt.Sprintf("%s runs %s, and there is no files/%s", field, argv[0], ours)}
	}
	if info.Mode().Perm()&0o111 == 0 {
		return []string{fmt.Sprintf("%s runs files/%s, which does not begin with #!", field, ours)}
	}
	return nil
}

func matches(pattern, text string) bool {
	return regexp.MustCompile(`^(?:` + pattern + `)$`).MatchString(text)
}

// isPlace says whether p is a clean absolute path below the root, without
// characters that would have to be quoted somewhere.
func isPlace(p string) bool {
	return path.IsAbs(p) && path.Clean(p) == p && matches(`(/[A-Za-z0-9._+@-]+)+`, p)
}
