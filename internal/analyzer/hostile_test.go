package analyzer

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// soon begins to count the processor time of the test's goroutine, and answers a function that
// fails the test when it was more than a hostile tree may take: a second, and what the race
// detector makes of it. How long others hold the processors does not count.
func soon(t *testing.T) (done func()) {
	t.Helper()
	runtime.LockOSThread()
	began := threadTime(t)
	return func() {
		t.Helper()
		defer runtime.UnlockOSThread()
		if took := threadTime(t) - began; took > 10*time.Second {
			t.Errorf("took %v of a processor", took)
		}
	}
}

func threadTime(t *testing.T) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(1, &used); err != nil { // RUSAGE_THREAD, getrusage(2)
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// crowd is a tree of one folder with very many files.
type crowd int

func (c crowd) Open(name string) (fs.File, error) {
	if name != "." {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &crowdDir{left: int(c)}, nil
}

type crowdDir struct{ left int }

func (d *crowdDir) Stat() (fs.FileInfo, error) { return nil, fs.ErrInvalid }
func (d *crowdDir) Read([]byte) (int, error)   { return 0, fs.ErrInvalid }
func (d *crowdDir) Close() error               { return nil }
func (d *crowdDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 || n > d.left {
		n = d.left
	}
	if n == 0 {
		return nil, io.EOF
	}
	entries := make([]fs.DirEntry, n)
	for i := range entries {
		entries[i] = crowdEntry(fmt.Sprintf("%07d.js", d.left-i))
	}
	d.left -= n
	return entries, nil
}

type crowdEntry string

func (e crowdEntry) Name() string               { return string(e) }
func (e crowdEntry) IsDir() bool                { return false }
func (e crowdEntry) Type() fs.FileMode          { return 0 }
func (e crowdEntry) Info() (fs.FileInfo, error) { return nil, fs.ErrInvalid }

func TestAMillionFiles(t *testing.T) {
	t.Parallel()
	defer soon(t)()
	checkSentence(t, crowd(1_000_000), coderunner.TooLarge, "The folder . holds more than 50000 files. Leave out what a tool has made, and upload the source alone.")
}

// A file that is far too large for what its name says is not read.
func TestHugeFiles(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]string{"package.json": "1024 KiB", "requirements.txt": "1024 KiB", "pyproject.toml": "1024 KiB", "go.mod": "1024 KiB", "manifest.yml": "1024 KiB"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file, err := os.Create(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := file.Truncate(100 << 20); err != nil {
				t.Fatal(err)
			}
			file.Close()
			defer soon(t)()
			_, err = Analyze(os.DirFS(dir))
			if coderunner.KindOf(err) != coderunner.TooLarge || !strings.Contains(coderunner.Sentence(err), kind) {
				t.Errorf("Analyze answers %v, want a sentence with %q", err, kind)
			}
		})
	}
}

// Links that lead in a circle, out of the tree and to devices are as if absent.
func TestLinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, target := range map[string]string{"loop": ".", "a": "b", "b": "a", "package.json": "/etc/passwd", "main.py": "/dev/zero", "index.html": "index.html", "up": ".."} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	defer soon(t)()
	plan, err := Analyze(os.DirFS(dir))
	checkSane(t, plan, err)
	if err != nil || plan.Type != "" {
		t.Errorf("Analyze answers %v and a plan of type %q", err, plan.Type)
	}
}

// Files made to be slow, or to take much memory, end in a plan or a sentence.
func TestHostileFiles(t *testing.T) {
	t.Parallel()
	aliases := "name: x\nentities:\n  A: {properties: [a]}\na0: &a0 [x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 40; i++ {
		aliases += fmt.Sprintf("a%d: &a%d [%s]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9))
	}
	shared := "name: x\nentities:\n  A: &a\n    properties: &p [" + strings.Repeat("a, ", 20_000) + "b]\n"
	for i := range 20_000 {
		shared += fmt.Sprintf("  E%d: *a\n", i)
	}
	dependency := `{"dependencies": {"manifest": "4"}}`
	for name, test := range map[string][]string{
		"aliases in aliases":    {"manifest.yml", aliases, "package.json", dependency},
		"one alias very often":  {"manifest.yml", shared},
		"an alias in itself":    {"manifest.yml", "name: x\nentities: &a\n  A: *a\n"},
		"deep flow":             {"manifest.yml", "name: x\nentities: " + strings.Repeat("[", 500_000), "package.json", dependency},
		"deep braces":           {"manifest.yml", "name: x\nentities: " + strings.Repeat("{a: ", 200_000), "package.json", dependency},
		"deep dashes":           {"manifest.yml", strings.Repeat("- ", 500_000), "package.json", dependency},
		"deep questions":        {"manifest.yml", strings.Repeat("? ", 500_000), "package.json", dependency},
		"deep indentation":      {"manifest.yml", indented(1400), "package.json", dependency},
		"very many keys":        {"manifest.yml", "name: x\nentities: {}\n" + strings.Repeat("a: b\n", 200_000), "package.json", dependency},
		"one long scalar":       {"manifest.yml", "name: " + strings.Repeat("x", 1_000_000) + "\nentities: {}\n"},
		"merge keys":            {"manifest.yml", "name: x\nentities: &e\n  <<: *e\n"},
		"tags":                  {"manifest.yml", "name: !!binary ====\nentities: !!set {a}\n"},
		"huge integer":          {"manifest.yml", "name: " + strings.Repeat("9", 500_000) + "\nentities: {}\n"},
		"deep arrays":           {"pyproject.toml", "a = " + strings.Repeat("[", 500_000)},
		"deep tables":           {"pyproject.toml", strings.Repeat("a = {", 100_000)},
		"long dotted key":       {"pyproject.toml", strings.Repeat("a.", 250_000) + "a = 1\n"},
		"quoted dotted key":     {"pyproject.toml", strings.Repeat(`"a".`, 200_000) + "a = 1\n"},
		"long dotted header":    {"pyproject.toml", "[" + strings.Repeat("a.", 250_000) + "a]\n"},
		"dotted key, late":      {"pyproject.toml", "x = [1,\n2]  # x\n\"" + strings.Repeat(" ", 20_000) + "\"." + strings.Repeat("a.", 250_000) + "a = 1\n"},
		"very many tables":      {"pyproject.toml", strings.Repeat("[[a.b.c]]\n", 90_000)},
		"very many keys, TOML":  {"pyproject.toml", numbered("k%d = 1\n", 70_000)},
		"very many inline keys": {"pyproject.toml", "a = {" + numbered("k%d = 1, ", 60_000) + "z = 1}\n"},
		"very many packages":    {"pyproject.toml", "[project]\nname = \"x\"\ndependencies = [" + numbered("\"p%d\", ", 60_000) + "]\n", "main.py", ""},
		"poetry's packages":     {"pyproject.toml", "[tool.poetry.dependencies]\n" + numbered("p%d = \"1\"\n", 50_000), "main.py", ""},
		"requirements in a circle": {"requirements.txt", "-r a.txt\n-r b.txt\n", "a.txt", "-r b.txt\n", "b.txt", "-r a.txt\n-r ../../../etc/passwd\n",
			"main.py", ""},
		"requirements, many":     {"requirements.txt", numbered("package%d==1\n", 50_000), "main.py", ""},
		"requirements, one line": {"requirements.txt", strings.Repeat("a[b,c]", 150_000), "main.py", ""},
		"setup.py":               {"setup.py", "install_requires=[" + strings.Repeat(`"a`, 300_000)},
		"Procfile":               {"Procfile", numbered("w%d: x\n", 5000) + "web: " + strings.Repeat("x ", 20_000), "package.json", "{}"},
		"Python":                 {"requirements.txt", "flask\n", "app.py", strings.Repeat("app = Flask(", 40_000)},
		"Python, environ":        {"requirements.txt", "flask\n", "app.py", strings.Repeat("os.environ[", 40_000)},
		"Go":                     {"go.mod", numbered("require a%d v1\n", 50_000), "main.go", "package main\n" + strings.Repeat(`http.ListenAndServe("`, 20_000)},
		"settings":               {"package.json", `{"dependencies": {"next": "15"}}`, "next.config.js", strings.Repeat("output: ", 60_000)},
		"index.html":             {"index.html", strings.Repeat("<div id=root ", 38_000) + "<script"},
		"angular.json":           {"package.json", `{"dependencies": {"@angular/core": "1"}}`, "angular.json", strings.Repeat(`{"projects":`, 80_000)},
		"workspaces in a circle": {"package.json", `{"workspaces": ["a", "b"]}`, "a/package.json", `{"name": "a", "scripts": {"build": "x", "start": "node a"}, "dependencies": {"b": "*"}}`,
			"b/package.json", `{"name": "b", "scripts": {"build": "y"}, "dependencies": {"a": "*"}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree := files(test...)
			defer soon(t)()
			plan, err := Analyze(tree)
			checkSane(t, plan, err)
		})
	}
}

// indented is a mapping in a mapping, depth times.
func indented(depth int) string {
	var b strings.Builder
	for i := range depth {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func numbered(format string, count int) string {
	var b strings.Builder
	for i := range count {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// A project at the end of a long chain of folders.
func TestDeepTree(t *testing.T) {
	t.Parallel()
	tree := fstest.MapFS{strings.Repeat("a/", 2000) + "package.json": &fstest.MapFile{Data: []byte("{}")}}
	defer soon(t)()
	plan, err := Analyze(tree)
	checkSane(t, plan, err)
}

// largeTree has 10,000 files in 400 folders, a tenth of them sources.
func largeTree(tb testing.TB) string {
	dir := tb.TempDir()
	for i := range 400 {
		folder := filepath.Join(dir, fmt.Sprintf("src/part%d/deep%d", i%20, i))
		if err := os.MkdirAll(folder, 0o700); err != nil {
			tb.Fatal(err)
		}
		for j := range 25 {
			name, content := fmt.Sprintf("picture%d.svg", j), "<svg/>"
			if j < 3 {
				name = fmt.Sprintf("module%d.ts", j)
				content = fmt.Sprintf("import pg from \"pg\"\n%s\nexport const key = process.env.KEY_%d\n", strings.Repeat("const x = compute(1, 2, 3)\n", 60), i)
			}
			if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
				tb.Fatal(err)
			}
		}
	}
	pkg := `{"scripts": {"build": "tsc", "start": "node dist/index.js"}, "dependencies": {"express": "5", "pg": "8"}}`
	if err := os.WriteFile(filepath.Join(dir, "package.json"), []byte(pkg), 0o600); err != nil {
		tb.Fatal(err)
	}
	return dir
}

// BenchmarkLargeTree: 50 ms at most for a tree of 10,000 files.
func BenchmarkLargeTree(b *testing.B) {
	tree := os.DirFS(largeTree(b))
	for b.Loop() {
		if _, err := Analyze(tree); err != nil {
			b.Fatal(err)
		}
	}
}
