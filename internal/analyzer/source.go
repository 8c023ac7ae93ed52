package analyzer

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Limits on the search through source files.
const (
	maxSourceFile  = 512 << 10 // bytes; larger ones are generated
	maxSourceFiles = 1000
	maxSourceBytes = 8 << 20
	maxFindings    = 5000
)

// finding is one thing that a source file says about how the app is run.
type finding struct {
	kind findingKind
	text string // the variable, the package or the host
	more string // of makesApp: the framework
	port int    // of listensOn; 0 when it is not a fixed one
	lang language
	file string
	line int
}

// language is one that sources are searched in.
type language int

const (
	none language = iota
	javascript
	pythonCode
	goCode
)

type findingKind int

const (
	readsVariable findingKind = iota // process.env.TEXT
	imports                          // require("TEXT") or import … from "TEXT"
	listensOn                        // .listen(port, host)
	dialsPostgres                    // an address with :5432 in the text
	makesApp                         // TEXT = FastAPI() and the like; more says of which framework
	serves                           // begins to answer requests, in a way that needs no port here
)

func (f finding) at() string { return fmt.Sprintf("%s:%d", printable(f.file), f.line) }

// source is what was found in the source files of one package, breadth first,
// each directory in the order of its names.
type source struct {
	findings []finding
	cut      string // a sentence when not all was searched
}

func (s source) first(match func(finding) bool) (finding, bool) {
	i := slices.IndexFunc(s.findings, match)
	if i < 0 {
		return finding{}, false
	}
	return s.findings[i], true
}

func (s source) reads(keys ...string) (finding, bool) {
	return s.first(func(f finding) bool { return f.kind == readsVariable && slices.Contains(keys, f.text) })
}

func (s source) imports(name string) (finding, bool) {
	return s.first(func(f finding) bool { return f.kind == imports && f.text == name })
}

// readSource returns what is found at and below root in files of one language. The tree is searched once.
func (t *tree) readSource(root string, l language) (source, error) {
	if t.source == nil {
		all, err := t.search()
		if err != nil {
			return source{}, err
		}
		t.source = &all
	}
	part := source{cut: t.source.cut}
	for _, f := range t.source.findings {
		name, inside := f.file, true
		if root != "." {
			name, inside = strings.CutPrefix(f.file, root+"/")
		}
		if inside && f.lang == l {
			f.file = name
			part.findings = append(part.findings, f)
		}
	}
	return part, nil
}

// search reads the source files of the whole tree.
func (t *tree) search() (source, error) {
	var s source
	entries, files, size := 0, 0, 0
	level := []string{"."}
	for depth := 0; len(level) > 0 && depth <= maxDepth; depth++ {
		var next []string
		for _, dir := range level {
			l, err := t.list(dir)
			if err != nil {
				return source{}, err
			}
			if entries += len(l.files) + len(l.dirs); entries > maxEntries {
				s.cut = fmt.Sprintf("The upload has more than %d files; not all of them were searched for ports and environment variables.", maxEntries)
				return s, nil
			}
			for _, name := range l.files {
				lang := languageOf(name)
				if lang == none {
					continue
				}
				if files >= maxSourceFiles || size >= maxSourceBytes || len(s.findings) >= maxFindings {
					s.cut = fmt.Sprintf("Only the first %d source files were searched for ports and environment variables.", files)
					return s, nil
				}
				full := path.Join(dir, name)
				data, err := t.read(full, maxSourceFile)
				if errors.Is(err, errTooLarge) {
					continue
				}
				if err != nil {
					return source{}, err
				}
				files++
				size += len(data)
				s.findings = append(s.findings, lang.inspect(full, data)...)
			}
			for _, name := range l.dirs {
				if !isOutside(name) && !isTestDir(name) && !t.hasFile(path.Join(dir, name, "pyvenv.cfg")) {
					next = append(next, path.Join(dir, name))
				}
			}
		}
		level = next
	}
	return s, nil
}

// languageOf tells it by a file's name, none for what is no source or no part of what runs.
func languageOf(name string) language {
	switch path.Ext(name) {
	case ".py":
		if strings.HasPrefix(name, "test_") || strings.HasSuffix(name, "_test.py") || name == "conftest.py" {
			return none
		}
		return pythonCode
	case ".go":
		if strings.HasSuffix(name, "_test.go") {
			return none
		}
		return goCode
	case ".js", ".mjs", ".cjs", ".ts", ".mts", ".cts", ".jsx", ".tsx":
	default:
		return none
	}
	for _, part := range []string{".test.", ".spec.", ".min.", ".d.ts", ".d.mts", ".stories."} {
		if strings.Contains(name, part) {
			return none
		}
	}
	return javascript
}

func isTestDir(name string) bool {
	switch name {
	case "test", "tests", "__tests__", "__mocks__", "spec", "e2e", "cypress":
		return true
	}
	return false
}

// mark is a telling text, and what reads a little around it.
type mark struct {
	text string
	look func(data []byte, at int, add func(finding))
}

// marks are what is looked for, by language.
var marks = map[language][]mark{
	javascript: {
		{"process.env", lookEnv},
		{"require(", lookImport}, {"from ", lookImport}, {"import ", lookImport}, {"import(", lookImport},
		{".listen(", lookListen}, {"serve(", lookServe},
		{":5432", lookPostgres},
	},
	pythonCode: pythonMarks,
	goCode:     goMarks,
}

// inspect finds what one source file says. It looks for a few telling texts and
// reads a little around each; it is no parser, and takes time in proportion to the file.
func (l language) inspect(name string, data []byte) []finding {
	const most = 200
	var list []finding
	add := func(f finding, at int) {
		f.lang, f.file, f.line = l, name, at
		if len(list) < most && !slices.Contains(list, f) {
			list = append(list, f)
		}
	}
	for _, mark := range marks[l] {
		line, counted := 1, 0
		text := []byte(mark.text)
		for at := bytes.Index(data, text); at >= 0 && len(list) < most; {
			line += bytes.Count(data[counted:at], []byte("\n"))
			counted = at
			if !l.inComment(data, at) {
				mark.look(data, at, func(f finding) { add(f, line) })
			}
			next := bytes.Index(data[at+len(text):], text)
			if next < 0 {
				break
			}
			at += len(text) + next
		}
	}
	slices.SortStableFunc(list, func(a, b finding) int { return a.line - b.line })
	return list
}

// inComment guesses by the text before it on its line.
func (l language) inComment(data []byte, at int) bool {
	from := max(at-200, 0)
	before := data[from:at]
	if i := bytes.LastIndexByte(before, '\n'); i >= 0 {
		before = before[i+1:]
	}
	trimmed := bytes.TrimSpace(before)
	if l == pythonCode {
		return bytes.HasPrefix(trimmed, []byte("#")) || bytes.Contains(before, []byte(" # "))
	}
	if bytes.HasPrefix(trimmed, []byte("*")) || bytes.HasPrefix(trimmed, []byte("/*")) || bytes.HasPrefix(trimmed, []byte("//")) {
		return true
	}
	return bytes.Contains(before, []byte(" // "))
}

// window is at most n bytes of data from at on.
func window(data []byte, at, n int) []byte {
	at = min(at, len(data))
	return data[at:min(at+n, len(data))]
}

// isTelling reports whether an import of the package is worth keeping.
func isTelling(name string) bool {
	return name == "@hono/node-server" || slices.ContainsFunc(drivers, func(d driver) bool { return d.name == name })
}

func lookImport(data []byte, at int, add func(finding)) {
	text := window(data, at, 80)
	open := bytes.IndexAny(text, "\"'`")
	if open < 0 || open > 12 {
		return
	}
	end := bytes.IndexByte(text[open+1:], text[open])
	if end < 0 {
		return
	}
	name := string(text[open+1 : open+1+end])
	for known := name; ; known = path.Dir(known) { // drizzle-orm/node-postgres, mysql2/promise
		if isTelling(known) {
			add(finding{kind: imports, text: known})
			return
		}
		if !strings.Contains(known, "/") {
			return
		}
	}
}

// lookPostgres keeps addresses of a PostgreSQL on the machine itself, unless
// they are only the fallback of a variable.
func lookPostgres(data []byte, at int, add func(finding)) {
	before := data[max(at-120, 0):at]
	if i := bytes.LastIndexByte(before, '\n'); i >= 0 {
		before = before[i+1:]
	}
	if !bytes.HasSuffix(before, []byte("localhost")) && !bytes.HasSuffix(before, []byte("127.0.0.1")) {
		return
	}
	if !bytes.Contains(before, []byte("process.env")) && !bytes.Contains(before, []byte("||")) && !bytes.Contains(before, []byte("??")) {
		add(finding{kind: dialsPostgres})
	}
}
