package diagnosis

import (
	"encoding/json"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// Limits on what of an upload is looked at.
const (
	maxSeen     = 20_000  // entries of the tree
	maxManifest = 1 << 20 // bytes of a file
)

// uploaded is a file of the plan's root folder, nil if it is not there.
func (c *evidenceCase) uploaded(name string) []byte {
	if c.ev.Upload == nil {
		return nil
	}
	name = path.Join(c.ev.Plan.Root, name)
	info, err := fs.Stat(c.ev.Upload, name)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxManifest {
		return nil
	}
	data, err := fs.ReadFile(c.ev.Upload, name)
	if err != nil {
		return nil
	}
	return data
}

// packageJSON is what of package.json tells why something is not installed.
type packageJSON struct {
	Scripts         map[string]string `json:"scripts"`
	Dependencies    map[string]string `json:"dependencies"`
	DevDependencies map[string]string `json:"devDependencies"`
}

func (c *evidenceCase) packageJSON() (p packageJSON) {
	if json.Unmarshal(c.uploaded("package.json"), &p) != nil {
		return packageJSON{}
	}
	return p
}

// devOnly reports whether package.json has the package among devDependencies and nowhere else.
func (c *evidenceCase) devOnly(name string) bool {
	p := c.packageJSON()
	_, dev := p.DevDependencies[name]
	_, always := p.Dependencies[name]
	return dev && !always
}

// walk looks at the files of the upload, without those that a tool has made.
func (c *evidenceCase) walk(see func(name string)) {
	if c.ev.Upload == nil {
		return
	}
	seen := 0
	_ = fs.WalkDir(c.ev.Upload, ".", func(name string, entry fs.DirEntry, err error) error { // what cannot be read is not there
		seen++
		switch {
		case seen > maxSeen:
			return fs.SkipAll
		case err != nil:
			return fs.SkipDir
		case entry.IsDir() && slices.Contains([]string{"node_modules", ".git", ".venv"}, entry.Name()):
			return fs.SkipDir
		case !entry.IsDir():
			see(name)
		}
		return nil
	})
}

// moduleFiles are the files that a name without an ending may mean.
var moduleFiles = []string{"", ".js", ".mjs", ".cjs", ".ts", ".tsx", ".jsx", ".json", ".vue", ".svelte", ".css", ".py", "/index.js", "/index.ts", "/index.tsx", "/index.jsx", "/__init__.py"}

// otherCase finds the file of the upload whose name differs from the wanted one by
// capital letters alone, "" if there is none, or one with just that name.
func (c *evidenceCase) otherCase(wanted string) string {
	for {
		rest, found := strings.CutPrefix(wanted, "../")
		if !found {
			if rest, found = strings.CutPrefix(wanted, "./"); !found {
				break
			}
		}
		wanted = rest
	}
	wanted = path.Clean(strings.TrimLeft(strings.TrimPrefix(wanted, "@/"), "~/"))
	other, same := "", false
	c.walk(func(name string) {
		for _, ending := range moduleFiles {
			file := "/" + wanted + ending
			if strings.HasSuffix("/"+name, file) {
				same = true
			} else if n := len(name) + 1 - len(file); n >= 0 && strings.EqualFold(("/" + name)[n:], file) && other == "" {
				other = name
			}
		}
	})
	if same {
		return ""
	}
	return other
}

// folderOf is the folder of the upload nearest to its top that has one of the files, other than
// the plan's root; "" if there is none.
func (c *evidenceCase) folderOf(files ...string) (folder string) {
	c.walk(func(name string) {
		dir := path.Dir(name)
		if slices.Contains(files, path.Base(name)) && dir != path.Clean(c.ev.Plan.Root) && (folder == "" || strings.Count(dir, "/") < strings.Count(folder, "/")) {
			folder = dir
		}
	})
	return folder
}

// found names what lies at the top of the plan's root, for a sentence.
func (c *evidenceCase) found() string {
	if c.ev.Upload == nil {
		return ""
	}
	entries, err := fs.ReadDir(c.ev.Upload, path.Clean(c.ev.Plan.Root))
	if err != nil {
		return ""
	}
	var names []string
	for _, e := range entries[:min(len(entries), 8)] {
		name := cut(plainText(e.Name()))
		if e.IsDir() {
			name += "/"
		}
		names = append(names, name)
	}
	if len(entries) > len(names) {
		names = append(names, "…")
	}
	return strings.Join(names, ", ")
}

// database is the fix that gives the project a database of the protocol, if it can be
// had and is not there.
func (c *evidenceCase) database(p coderunner.Protocol) []coderunner.Fix {
	speaks := func(appliance string) bool { return coderunner.ProtocolOf(appliance) == p }
	i := slices.IndexFunc(c.ev.Offered, speaks)
	if i < 0 || slices.ContainsFunc(c.ev.Databases, speaks) {
		return nil
	}
	return []coderunner.Fix{coderunner.NewFix(coderunner.FixDatabase, c.ev.Offered[i])}
}

// runtime is the fix that takes the lowest version of the plan's runtime that is offered, is
// newer than the plan's, and is allowed.
func (c *evidenceCase) runtime(allowed func(version string) bool) []coderunner.Fix {
	now := c.ev.Plan.Runtime
	best := ""
	for _, name := range c.ev.Offered {
		version, ours := strings.CutPrefix(name, now.Name+"-")
		if ours && newer(version, now.Version) && allowed(version) && (best == "" || newer(best, version)) {
			best = version
		}
	}
	if best == "" {
		return nil
	}
	return []coderunner.Fix{coderunner.NewFix(coderunner.FixRuntime, now.Name+"-"+best)}
}

// newer compares versions such as "18" and "3.11", number by number.
func newer(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(as), len(bs)) {
		x, errX := strconv.Atoi(as[i])
		y, errY := strconv.Atoi(bs[i])
		if errX != nil || errY != nil || x != y {
			return errX == nil && errY == nil && x > y
		}
	}
	return false
}

// migration guesses the command that makes the tables, "" if nothing of the upload tells.
func (c *evidenceCase) migration() string {
	scripts := c.packageJSON().Scripts
	for _, name := range []string{"db:migrate", "migrate", "migrate:deploy", "migration:run"} {
		if scripts[name] != "" {
			return "npm run " + name
		}
	}
	switch {
	case c.uploaded("prisma/schema.prisma") != nil:
		return "npx prisma migrate deploy"
	case c.uploaded("manage.py") != nil:
		return "python manage.py migrate"
	case c.uploaded("alembic.ini") != nil:
		return "alembic upgrade head"
	}
	return ""
}

// change is a fix of a command, unless the command is that already.
func change(kind coderunner.FixKind, now coderunner.Choice, command string) []coderunner.Fix {
	if command == "" || command == now.Value || len(command) > coderunner.MaxCommand {
		return nil
	}
	return []coderunner.Fix{coderunner.NewFix(kind, command)}
}
