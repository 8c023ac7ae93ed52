package analyzer

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// requirement is one package that a Python project asks for.
type requirement struct {
	name string // normalised as PEP 503 does: lower case, one hyphen for -, _ and .
	file string
	line int
}

func (r requirement) at() string { return place(r.file, r.line) }

// place is evidence of a file and a line, if that is known.
func place(file string, line int) string {
	if line == 0 {
		return printable(file)
	}
	return fmt.Sprintf("%s:%d", printable(file), line)
}

const (
	maxRequirements     = 5000
	maxRequirementFiles = 20
)

// requirementsNames are what people call the file; pip reads any, when told.
var requirementsNames = []string{"requirements.txt", "requirements/production.txt", "requirements/prod.txt", "requirements/base.txt",
	"requirement.txt", "Requirements.txt", "requirements.txt.txt", "requeriments.txt", "requirments.txt"}

var (
	requirementName = regexp.MustCompile(`^([A-Za-z0-9](?:[A-Za-z0-9._-]{0,100}[A-Za-z0-9])?)\s*(\[[^\]]{0,200}\])?`)
	eggName         = regexp.MustCompile(`#egg=([A-Za-z0-9._-]{1,100})`)
	repeatedDashes  = regexp.MustCompile(`[-_.]+`)
)

func normalName(name string) string {
	return repeatedDashes.ReplaceAllString(strings.ToLower(name), "-")
}

// readRequirements reads a requirements file and those that it names with -r.
func (a *pythonApp) readRequirements(name string) error {
	seen := map[string]bool{}
	queue := []string{name}
	for len(queue) > 0 && len(seen) < maxRequirementFiles {
		name, queue = queue[0], queue[1:]
		if seen[name] {
			continue
		}
		seen[name] = true
		data, err := a.read(name)
		if err != nil {
			return err
		}
		if text := string(data); strings.HasPrefix(text, "\xff\xfe") || strings.HasPrefix(text, "\xfe\xff") {
			a.warn("%s is stored as UTF-16, as PowerShell's > does. Save it as UTF-8 if the installation fails.", printable(name))
		}
		number := 0
		for line := range strings.Lines(strings.ToValidUTF8(string(data), "\uFFFD")) {
			number++
			line = strings.TrimSpace(line)
			for _, option := range []string{"-r ", "--requirement ", "--requirement=", "-r"} {
				if other, ok := strings.CutPrefix(line, option); ok {
					queue = append(queue, path.Join(path.Dir(name), strings.TrimSpace(other)))
					break
				}
			}
			a.require(line, name, number)
		}
	}
	return nil
}

// require notes a requirement as pip writes it; other lines are skipped.
func (a *pythonApp) require(text, file string, line int) {
	if len(a.requires) >= maxRequirements || text == "" || text[0] == '#' {
		return
	}
	if m := eggName.FindStringSubmatch(text); m != nil {
		a.requires = append(a.requires, requirement{name: normalName(m[1]), file: file, line: line})
		return
	}
	m := requirementName.FindStringSubmatch(text)
	if m == nil {
		return
	}
	a.requires = append(a.requires, requirement{name: normalName(m[1]), file: file, line: line})
	if m[2] == "" {
		return
	}
	for extra := range strings.SplitSeq(strings.Trim(m[2], "[]"), ",") {
		full := normalName(m[1]) + "[" + normalName(strings.TrimSpace(extra)) + "]"
		a.requires = append(a.requires, requirement{name: full, file: file, line: line})
	}
}

// requirement finds a package among those that are asked for, by its normal name.
func (a *pythonApp) requirement(name string) (requirement, bool) {
	for _, r := range a.requires {
		if r.name == name {
			return r, true
		}
	}
	return requirement{}, false
}

// has reports whether the project asks for one of the packages.
func (a *pythonApp) has(names ...string) bool {
	for _, name := range names {
		if _, ok := a.requirement(name); ok {
			return true
		}
	}
	return false
}

var (
	setupRequires = regexp.MustCompile(`(?s)install_requires\s*=\s*\[([^]]*)\]`)
	setupPython   = regexp.MustCompile(`python_requires\s*=\s*["']([^"']{1,60})["']`)
	quotedText    = regexp.MustCompile(`["']([^"'\n]{1,200})["']`)
)

// readSetup reads what setup.py says in so many words. It is a program, so that more cannot be known.
func (a *pythonApp) readSetup() error {
	data, err := a.read("setup.py")
	if err != nil || data == nil {
		return err
	}
	if m := setupPython.FindSubmatchIndex(data); m != nil {
		a.wish(string(data[m[2]:m[3]]), "python_requires ", place("setup.py", 1+strings.Count(string(data[:m[0]]), "\n")))
	}
	m := setupRequires.FindSubmatchIndex(data)
	if m == nil {
		return nil
	}
	line := 1 + strings.Count(string(data[:m[2]]), "\n")
	for text := range strings.Lines(string(data[m[2]:m[3]])) {
		for _, q := range quotedText.FindAllStringSubmatch(text, -1) {
			a.require(q[1], "setup.py", line)
		}
		line++
	}
	return nil
}
