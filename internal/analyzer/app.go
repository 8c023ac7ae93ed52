package analyzer

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// app is what every ecosystem knows about the project whose plan it makes.
type app struct {
	tree     *tree
	root     string
	top      listing
	source   source
	warnings []string
}

// readApp reads the sources of one language at and below root.
func (t *tree) readApp(root string, l language) (app, error) {
	a := app{tree: t, root: root}
	var err error
	if a.top, err = t.list(root); err != nil {
		return a, err
	}
	a.source, err = t.readSource(root, l)
	return a, err
}

func (a *app) warn(format string, args ...any) {
	a.warnings = append(a.warnings, fmt.Sprintf(format, args...))
}

func (a *app) hasFile(name string) bool { return a.tree.hasFile(path.Join(a.root, name)) }

// maxManifestFile is the largest file that says what a project needs and is read whole, in bytes.
const maxManifestFile = 1 << 20

// read returns a file of the project, nil if there is none or only a link. A file that is too large to be
// what its name says is a TooLarge sentence.
func (a *app) read(name string) ([]byte, error) {
	if !a.hasFile(name) {
		return nil, nil
	}
	data, err := a.tree.read(path.Join(a.root, name), maxManifestFile)
	if errors.Is(err, errTooLarge) {
		return nil, coderunner.Errorf(coderunner.TooLarge, "%s is larger than %d KiB. A file of that name and size cannot be right; check what was written into it.",
			printable(path.Join(a.root, name)), maxManifestFile>>10)
	}
	return bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), err
}

// firstLine is the first line of a small file that is neither empty nor a comment, and its number.
func (a *app) firstLine(name string) (text string, number int) {
	for line := range strings.Lines(string(a.head(name, 4<<10))) {
		number++
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line != "" {
			return line, number
		}
	}
	return "", 0
}

// toolVersion is what .tool-versions of asdf and mise says of a tool, and where.
func (a *app) toolVersion(tool string) (text, where string) {
	number := 0
	for line := range strings.Lines(string(a.head(".tool-versions", 4<<10))) {
		number++
		line, _, _ = strings.Cut(line, "#")
		if words := strings.Fields(line); len(words) > 1 && words[0] == tool {
			return words[1], place(".tool-versions", number)
		}
	}
	return "", ""
}

// head is at most the first limit bytes of a file of the project; nothing if there is none.
func (a *app) head(name string, limit int) []byte {
	if !a.hasFile(name) {
		return nil
	}
	f, err := a.tree.fsys.Open(path.Join(a.root, name))
	if err != nil {
		return nil
	}
	defer f.Close()
	data := make([]byte, limit)
	length := 0
	for length < limit {
		n, err := f.Read(data[length:])
		length += n
		if err != nil {
			break
		}
	}
	return data[:length]
}

// finish puts what every plan ends with: the variables, the remarks, and a word about a Dockerfile.
func (a *app) finish(p *coderunner.Plan) {
	p.EnvKeys = a.source.envKeys()
	if a.source.cut != "" {
		a.warn("%s", a.source.cut)
	}
	p.Warnings = a.warnings
	noteDockerfile(p, a.top)
}

// lineOf is the line of the first place in data that holds text, 0 if there is none.
func lineOf(data []byte, text string) int {
	at := bytes.Index(data, []byte(text))
	if at < 0 {
		return 0
	}
	return 1 + bytes.Count(data[:at], []byte("\n"))
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
