package analyzer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// maxPackageJSON is the largest package.json that is read, in bytes.
const maxPackageJSON = 1 << 20

// packageJSON is what a plan needs of a package.json. As for npm, the last of
// two equal keys counts, and a key's case matters.
type packageJSON struct {
	exists               bool
	name                 field
	main                 field
	packageManager       field
	scripts              table
	engines              table
	volta                table
	dependencies         table
	devDependencies      table
	optionalDependencies table
	workspaces           bool
	notes                []string // what is odd about the file, in sentences
}

// field is a text with the line it stands on; line 0 means absent.
type field struct {
	value string
	line  int
}

// table is an object whose values are texts.
type table struct {
	fields map[string]field
	names  []string // in the file's order
}

func (t table) get(name string) (field, bool) {
	f, ok := t.fields[name]
	return f, ok
}

// dependency finds a package among all that get installed.
func (p *packageJSON) dependency(name string) (field, bool) {
	for _, t := range []table{p.dependencies, p.optionalDependencies, p.devDependencies} {
		if f, ok := t.get(name); ok {
			return f, true
		}
	}
	return field{}, false
}

// readPackageJSON reads the file called name, once. Its errors about the content are sentences.
func (t *tree) readPackageJSON(name string) (*packageJSON, error) {
	read, known := t.packages[name]
	if !known {
		read.pkg, read.err = t.parsePackage(name)
		t.packages[name] = read
	}
	return read.pkg, read.err
}

func (t *tree) parsePackage(name string) (*packageJSON, error) {
	data, err := t.read(name, maxPackageJSON)
	if errors.Is(err, errTooLarge) {
		return nil, coderunner.Errorf(coderunner.TooLarge, "%s is larger than %d KiB. A package.json of that size cannot be right; check what was written into it.",
			printable(name), maxPackageJSON>>10)
	}
	if err != nil {
		return nil, err
	}
	return parsePackageJSON(name, data)
}

func parsePackageJSON(name string, data []byte) (*packageJSON, error) {
	name = printable(name)
	p := &packageJSON{exists: true}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return nil, coderunner.Errorf(coderunner.Invalid, "%s is stored as UTF-16, which npm cannot read. Save it as UTF-8.", name)
	}
	if !utf8.Valid(data) {
		p.notes = append(p.notes, fmt.Sprintf("%s is not valid UTF-8; the characters that cannot be read are replaced. Save it as UTF-8.", name))
		data = bytes.ToValidUTF8(data, []byte("\uFFFD"))
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, coderunner.Errorf(coderunner.Invalid, "%s is empty. Run npm init, or remove the file if there is nothing to install.", name)
	}
	var whole json.RawMessage
	if err := json.Unmarshal(data, &whole); err != nil {
		return nil, syntaxSentence(name, data, err)
	}
	d := &document{name: name, data: data, packageJSON: p}
	members, ok := d.members("", 0, data)
	if !ok {
		return nil, coderunner.Errorf(coderunner.Invalid, "%s does not hold an object: it must begin with {.", name)
	}
	for _, m := range members {
		switch m.key {
		case "name":
			if m.raw[0] == '"' {
				p.name = d.text("name", m)
			}
		case "main":
			p.main = d.text("main", m)
		case "packageManager":
			p.packageManager = d.text("packageManager", m)
		case "scripts":
			p.scripts = d.table("scripts", m)
		case "engines":
			p.engines = d.table("engines", m)
		case "volta":
			p.volta = d.table("volta", m)
		case "dependencies":
			p.dependencies = d.table("dependencies", m)
		case "devDependencies":
			p.devDependencies = d.table("devDependencies", m)
		case "optionalDependencies":
			p.optionalDependencies = d.table("optionalDependencies", m)
		case "workspaces":
			p.workspaces = m.raw[0] == '[' && len(bytes.TrimSpace(m.raw[1:len(m.raw)-1])) > 0 || m.raw[0] == '{'
		}
	}
	return p, nil
}

// syntaxSentence tells where JSON goes wrong.
func syntaxSentence(name string, data []byte, err error) error {
	line, column := 1, 1
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		at := min(max(int(syntax.Offset)-1, 0), len(data))
		if strings.Contains(err.Error(), "unexpected end") {
			at = len(data)
		}
		line = 1 + bytes.Count(data[:at], []byte("\n"))
		column = 1 + utf8.RuneCount(data[bytes.LastIndexByte(data[:at], '\n')+1:at])
	}
	return coderunner.Errorf(coderunner.Invalid, "%s is not valid JSON: line %d, column %d: %s. Comments and a comma after the last entry are not allowed there.",
		name, line, column, err.Error())
}

// document is a package.json while it is taken apart.
type document struct {
	name string
	data []byte
	*packageJSON
}

type member struct {
	key string
	raw []byte
	at  int // where raw begins in the document
}

// members takes an object apart; ok is false for anything else. raw begins at
// byte at of the document and is valid JSON.
func (d *document) members(of string, at int, raw []byte) (list []member, ok bool) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if open, err := decoder.Token(); err != nil || open != json.Delim('{') {
		return nil, false
	}
	last := map[string]int{} // where in list a key stands
	for decoder.More() {
		token, err := decoder.Token()
		key, isText := token.(string)
		if err != nil || !isText {
			return nil, false
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, false
		}
		m := member{key: key, raw: value, at: at + int(decoder.InputOffset()) - len(value)}
		if earlier, twice := last[key]; twice {
			if !d.noted() {
				d.note("%s has %s twice; the second, in line %d, counts.", d.name, printable(of+key), d.line(m))
			}
			list[earlier].raw = nil
		}
		last[key] = len(list)
		list = append(list, m)
	}
	return slices.DeleteFunc(list, func(m member) bool { return m.raw == nil }), true
}

// note keeps a remark for the plan's warnings; a few are enough.
func (d *document) note(format string, args ...any) {
	if !d.noted() {
		d.notes = append(d.notes, fmt.Sprintf(format, args...))
	}
}

func (d *document) noted() bool { return len(d.notes) >= 5 }

func (d *document) line(m member) int {
	return 1 + bytes.Count(d.data[:m.at], []byte("\n"))
}

func (d *document) text(name string, m member) field {
	var value string
	if err := json.Unmarshal(m.raw, &value); err != nil || m.raw[0] != '"' {
		d.note("%s in %s:%d is not text and is ignored.", name, d.name, d.line(m))
		return field{}
	}
	return field{value: value, line: d.line(m)}
}

func (d *document) table(name string, m member) table {
	members, ok := d.members(name+".", m.at, m.raw)
	if !ok {
		if m.raw[0] != 'n' {
			d.note("%s in %s:%d is not an object and is ignored.", name, d.name, d.line(m))
		}
		return table{}
	}
	t := table{fields: make(map[string]field, len(members))}
	line, counted := 1, 0
	for _, m := range members {
		line += bytes.Count(d.data[counted:m.at], []byte("\n"))
		counted = m.at
		var value string
		if err := json.Unmarshal(m.raw, &value); err != nil || m.raw[0] != '"' {
			d.note("%s in %s:%d is not text and is ignored.", printable(name+"."+m.key), d.name, line)
			continue
		}
		t.names = append(t.names, m.key)
		t.fields[m.key] = field{value: value, line: line}
	}
	return t
}
