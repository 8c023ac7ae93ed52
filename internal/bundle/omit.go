package bundle

import (
	"fmt"
	"slices"
	"strings"
)

// Omission is something that an upload left out, at whatever depth it was found.
type Omission struct {
	Name  string // "node_modules/", ".env"
	Count int    // files and links, directories not counted
	Note  string // what to do instead, "" if nothing
}

// String tells of the omission in one line.
func (o Omission) String() string {
	text := o.Name
	if o.Count > 1 || strings.HasSuffix(o.Name, "/") {
		text += fmt.Sprintf(" (%d files)", o.Count)
		if o.Count == 1 {
			text = o.Name + " (1 file)"
		}
	}
	if o.Note != "" {
		text += ": " + o.Note
	}
	return text
}

const envNote = "left out, it may hold secrets; set its keys as variables"

// omitted returns under which name a path is left out, "" if it stays. What is left
// out is made by tools from what stays, is of no use on a server, or is a secret.
func omitted(components []string) (name, note string) {
	for i, component := range components {
		switch component {
		case "node_modules", ".git", ".hg", ".svn", ".venv", "venv", "__pycache__", ".pytest_cache", ".mypy_cache",
			".ruff_cache", ".tox", ".nox", ".npm", ".yarn-cache", ".pnpm-store", ".parcel-cache", ".turbo",
			".terraform", ".gradle", ".idea", ".vscode", "__MACOSX":
			return component + "/", ""
		}
		if i < len(components)-1 {
			continue
		}
		switch {
		case component == ".DS_Store" || component == "Thumbs.db" || component == "desktop.ini":
			return component, ""
		case strings.HasPrefix(component, "._"): // macOS keeps attributes in such twins
			return "._*", ""
		case component == ".env" || component == ".env.local":
			return component, envNote
		case strings.HasPrefix(component, ".env.") && strings.HasSuffix(component, ".local"):
			// .env.production and the like stay: their convention is that they are committed.
			return ".env.*.local", envNote
		}
	}
	return "", ""
}

// omissions counts what was left out, by the names that omitted has.
type omissions map[string]*Omission

func (o omissions) add(name, note string, files int) {
	found := o[name]
	if found == nil {
		found = &Omission{Name: name, Note: note}
		o[name] = found
	}
	found.Count += files
}

func (o omissions) list() []Omission {
	all := make([]Omission, 0, len(o))
	for _, omission := range o {
		all = append(all, *omission)
	}
	slices.SortFunc(all, func(a, b Omission) int { return strings.Compare(a.Name, b.Name) })
	return all
}
