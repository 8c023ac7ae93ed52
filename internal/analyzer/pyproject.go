package analyzer

import (
	"bytes"
	"errors"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// pyproject is what a plan needs of a pyproject.toml.
type pyproject struct {
	Project struct {
		Name           string
		RequiresPython string `toml:"requires-python"`
		Dependencies   []string
		Scripts        map[string]any
	}
	BuildSystem map[string]any `toml:"build-system"`
	Tool        struct {
		Poetry struct {
			Dependencies map[string]any
			PackageMode  any `toml:"package-mode"`
		}
		PDM map[string]any
		UV  map[string]any
	}
}

// pipfile is what a plan needs of a Pipfile.
type pipfile struct {
	Packages map[string]any
	Requires struct {
		PythonVersion     string `toml:"python_version"`
		PythonFullVersion string `toml:"python_full_version"`
	}
}

// readPyproject reads pyproject.toml, if there is one. What is wrong with it is a sentence with the line.
func (a *pythonApp) readPyproject() error {
	data, err := a.read("pyproject.toml")
	if err != nil || data == nil {
		return err
	}
	p := &pyproject{}
	if err := decodeTOML(a.root, "pyproject.toml", data, p); err != nil {
		return err
	}
	a.pyproject = p
	if wish := p.Project.RequiresPython; wish != "" {
		a.wish(wish, "requires-python ", place("pyproject.toml", lineOf(data, "requires-python")))
	}
	rest, line := data, 1
	for _, text := range p.Project.Dependencies {
		at := bytes.Index(rest, []byte(text))
		if at < 0 { // written with escapes
			rest, at = nil, 0
		}
		line += bytes.Count(rest[:at], []byte("\n"))
		rest = rest[at:]
		if rest == nil {
			line = 0
		}
		a.require(text, "pyproject.toml", line)
	}
	keys := linesOfKeys(data)
	for _, name := range slices.Sorted(maps.Keys(p.Tool.Poetry.Dependencies)) {
		line := keys[name]
		if name != "python" {
			a.require(name, "pyproject.toml", line)
			a.requireExtras(name, p.Tool.Poetry.Dependencies[name], "pyproject.toml", line)
		} else if wish, ok := p.Tool.Poetry.Dependencies[name].(string); ok {
			a.wish(wish, "python ", place("pyproject.toml", line))
		}
	}
	return nil
}

// readPipfile reads the Pipfile, if there is one.
func (a *pythonApp) readPipfile() error {
	data, err := a.read("Pipfile")
	if err != nil || data == nil {
		return err
	}
	p := &pipfile{}
	if err := decodeTOML(a.root, "Pipfile", data, p); err != nil {
		return err
	}
	keys := linesOfKeys(data)
	if wish := orElse(p.Requires.PythonVersion, p.Requires.PythonFullVersion); wish != "" {
		a.wish(wish, "python_version ", place("Pipfile", keys["python_version"]))
	}
	for _, name := range slices.Sorted(maps.Keys(p.Packages)) {
		line := keys[name]
		a.require(name, "Pipfile", line)
		a.requireExtras(name, p.Packages[name], "Pipfile", line)
	}
	return nil
}

// requireExtras notes the extras of a table such as {extras = ["standard"]}.
func (a *pythonApp) requireExtras(name string, value any, file string, line int) {
	table, _ := value.(map[string]any)
	list, _ := table["extras"].([]any)
	for _, extra := range list {
		if text, ok := extra.(string); ok && len(text) < 100 && !strings.ContainsAny(text, "[]") {
			a.require(name+"["+text+"]", file, line)
		}
	}
}

// linesOfKeys are the first lines that begin with each key.
func linesOfKeys(data []byte) map[string]int {
	lines := map[string]int{}
	number := 0
	for line := range bytes.Lines(data) {
		number++
		if key, _, ok := bytes.Cut(line, []byte("=")); ok && len(key) < 200 {
			name := string(bytes.Trim(key, " \t\"'"))
			if _, earlier := lines[name]; !earlier {
				lines[name] = number
			}
		}
	}
	return lines
}

// maxNesting bounds how deep lists and tables of a TOML or YAML file may lie in each other.
const maxNesting = 200

// decodeTOML reads data into what to points at. What is wrong is an Invalid sentence with the line.
func decodeTOML(root, name string, data []byte, to any) error {
	name = printable(path.Join(root, name))
	depth := 0
	for at, b := range data {
		switch b {
		case '[', '{':
			depth++
		case ']', '}':
			depth = max(depth-1, 0)
		}
		if depth > maxNesting || longKey(data, at) {
			return coderunner.Errorf(coderunner.Invalid, "%s:%d: lists or tables lie more than %d deep in each other. Check what was written into the file.",
				name, 1+strings.Count(string(data[:at]), "\n"), maxNesting)
		}
	}
	_, err := toml.Decode(strings.ToValidUTF8(string(data), "\uFFFD"), to)
	if err == nil {
		return nil
	}
	var parse toml.ParseError
	if !errors.As(err, &parse) {
		return coderunner.Errorf(coderunner.Invalid, "%s cannot be used: %s.", name, printableText(strings.TrimPrefix(err.Error(), "toml: ")))
	}
	return coderunner.Errorf(coderunner.Invalid, "%s:%d is not valid TOML: %s. Mend the line and upload again.", name, parse.Position.Line, printableText(parse.Message))
}

// longKey reports whether a line that begins at byte at has a key of very many parts,
// for each of which the parser keeps all those before it. Dots in quotes are part of a name.
func longKey(data []byte, at int) bool {
	if at > 0 && data[at-1] != '\n' {
		return false
	}
	dots, quote := 0, byte(0)
	for i := at; i < len(data) && data[i] != '\n' && dots <= maxNesting; i++ {
		switch b := data[i]; {
		case quote == '"' && b == '\\':
			i++
		case quote != 0 && b == quote:
			quote = 0
		case quote == 0 && (b == '"' || b == '\''):
			quote = b
		case quote == 0 && b == '.':
			dots++
		}
	}
	return dots > maxNesting
}
