package analyzer

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

// fuzzTree runs the analyzer on a tree of which one file is whatever the fuzzer
// makes: it ends in a plan that can be deployed or corrected, or in a sentence, and
// does the same again.
func fuzzTree(f *testing.F, name string, around fstest.MapFS, seeds ...string) {
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		tree := fstest.MapFS{name: &fstest.MapFile{Data: content}}
		for other, file := range around {
			tree[other] = file
		}
		plan, err := Analyze(tree)
		checkSane(t, plan, err)
		again, errAgain := Analyze(tree)
		if text(t, plan) != text(t, again) || (err == nil) != (errAgain == nil) {
			t.Error("two analyses of one tree differ")
		}
	})
}

// fixtureFiles are the contents of one name in all of the fixtures.
func fixtureFiles(f *testing.F, base string) []string {
	entries, err := os.ReadDir("testdata/plans")
	if err != nil {
		f.Fatal(err)
	}
	var contents []string
	for _, entry := range entries {
		data, err := os.ReadFile("testdata/plans/" + entry.Name())
		if err != nil {
			f.Fatal(err)
		}
		for part := range strings.SplitSeq(string(data), "\n-- ") {
			if name, content, ok := strings.Cut(part, " --\n"); ok && strings.HasSuffix(name, base) {
				contents = append(contents, content)
			}
		}
	}
	return contents
}

func FuzzLockfile(f *testing.F) {
	f.Add(byte(0), []byte("lockfileVersion: '9.0'\n"))
	f.Add(byte(1), []byte("__metadata:\n  version: 8\n"))
	f.Add(byte(2), []byte(`{"lockfileVersion": 3, "packages": {"": {"engines": {"node": ">=20"}}}}`))
	f.Add(byte(3), []byte("nodeLinker: pnp\nyarnPath: .yarn/releases/yarn-4.1.0.cjs\n"))
	f.Fuzz(func(t *testing.T, which byte, content []byte) {
		names := []string{"pnpm-lock.yaml", "yarn.lock", "package-lock.json", ".yarnrc.yml", "bun.lock", ".nvmrc"}
		tree := files("package.json", `{"dependencies": {"express": "4"}}`, "index.js", "", "yarn.lock", "", names[int(which)%len(names)], string(content))
		plan, err := Analyze(tree)
		checkSane(t, plan, err)
	})
}

func FuzzPyproject(f *testing.F) {
	fuzzTree(f, "pyproject.toml", files("main.py", "from flask import Flask\napp = Flask(__name__)\n"), append(fixtureFiles(f, "pyproject.toml"),
		"[tool.poetry.dependencies]\npython = \"^3.9\"\na = {extras = [\"b\"]}\n", "a.b.c = 1\n[[x]]\n", "x = [[[[1]]]]")...)
}

func FuzzPipfile(f *testing.F) {
	fuzzTree(f, "Pipfile", files("app.py", ""), fixtureFiles(f, "Pipfile")...)
}

func FuzzRequirements(f *testing.F) {
	fuzzTree(f, "requirements.txt", files("app.py", "", "more.txt", "-r requirements.txt\nflask\n"),
		append(fixtureFiles(f, "requirements.txt"), "-r more.txt\n-e git+https://x/y#egg=z\nA_b.C[d,e] >= 1 ; x\n")...)
}

func FuzzSetup(f *testing.F) {
	fuzzTree(f, "setup.py", files("x/__main__.py", ""), fixtureFiles(f, "setup.py")...)
}

func FuzzManifest(f *testing.F) {
	fuzzTree(f, "manifest.yml", files("package.json", `{"dependencies": {"manifest": "4"}}`), append(fixtureFiles(f, ".yml"),
		"a: &a [1, *a]\n", "name: x\nentities: &e\n  A: &b {properties: &p [*p, *e, name]}\n  C: *b\n  <<: *e\n", "? [a]\n: b\n", "%YAML 1.1\n---\n!!binary x\n")...)
}

func FuzzProcfile(f *testing.F) {
	fuzzTree(f, "Procfile", files("package.json", `{"scripts": {"serve": "node a.js", "web": "npm run web"}}`, "requirements.txt", "django\n", "manage.py", ""),
		append(fixtureFiles(f, "Procfile"), "web: npm run serve\r\nrelease:\n: x\nweb: npm run web\n", "web: a\x00b\n")...)
}

func FuzzGoMod(f *testing.F) {
	fuzzTree(f, "go.mod", files("main.go", "package main\n"), fixtureFiles(f, "go.mod")...)
}

func FuzzAngular(f *testing.F) {
	fuzzTree(f, "angular.json", files("package.json", `{"dependencies": {"@angular/core": "19"}, "scripts": {"build": "ng build"}}`), fixtureFiles(f, "angular.json")...)
}

// FuzzSource is about what is searched and not parsed, in each language.
func FuzzSource(f *testing.F) {
	for i, base := range []string{".py", ".js", ".go", "next.config.ts", "index.html", "settings.py", "_redirects"} {
		for _, content := range fixtureFiles(f, base) {
			f.Add(byte(i), []byte(content))
		}
	}
	f.Fuzz(func(t *testing.T, which byte, content []byte) {
		all := [][]string{
			{"requirements.txt", "flask\ndash\n", "app/main.py", ""}, {"package.json", "{}", "index.js", ""}, {"go.mod", "module x\n", "main.go", ""},
			{"package.json", `{"scripts": {"start": "next start"}, "dependencies": {"next": "15"}}`, "next.config.ts", ""}, {"index.html", ""},
			{"manage.py", `os.environ.setdefault("DJANGO_SETTINGS_MODULE", "a.settings")`, "requirements.txt", "django\n", "a/settings.py", ""}, {"index.html", "", "_redirects", ""},
		}
		pairs := append([]string(nil), all[int(which)%len(all)]...)
		pairs[len(pairs)-1] = string(content)
		plan, err := Analyze(files(pairs...))
		checkSane(t, plan, err)
	})
}
