package playbook

import (
	"testing"
	"testing/fstest"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// TestWhatPythonDependsOn: an install that reads its lists alone is done again only when they change.
func TestWhatPythonDependsOn(t *testing.T) {
	t.Parallel()
	const pip, venv = ".venv/bin/pip install", "python3 -m venv .venv && "
	for what, c := range map[string]struct {
		install string
		files   map[string]string
		whole   bool
	}{
		"a list":                {venv + pip + " -r requirements.txt", map[string]string{"requirements.txt": "flask==3.0\n# why\n"}, false},
		"a list of lists":       {venv + pip + " -r requirements.txt", map[string]string{"requirements.txt": "-r requirements-base.txt\n-c constraints.txt", "requirements-base.txt": "flask"}, false},
		"a list elsewhere":      {venv + pip + " -r requirements.txt", map[string]string{"requirements.txt": "-r requirements/base.txt"}, true},
		"the project":           {venv + pip + " .", map[string]string{"pyproject.toml": "[project]"}, true},
		"the project, editable": {venv + pip + " -r requirements.txt", map[string]string{"requirements.txt": "-e ."}, true},
		"a wheel":               {venv + pip + " -r requirements.txt", map[string]string{"requirements.txt": "./wheels/a-1-py3-none-any.whl"}, true},
		"a folder of wheels":    {venv + pip + " -r requirements.txt", map[string]string{"requirements.txt": "--find-links wheels\na"}, true},
		"a local package":       {venv + pip + " -r requirements.txt", map[string]string{"requirements.txt": "a @ file:./a"}, true},
		"poetry":                {".tools/bin/poetry install --only main --no-interaction --no-root", map[string]string{"pyproject.toml": "[tool.poetry]", "poetry.lock": "x"}, false},
		"poetry, with itself":   {".tools/bin/poetry install --only main --no-interaction", map[string]string{"pyproject.toml": "[tool.poetry]", "poetry.lock": "x"}, true},
		"poetry, a path":        {".tools/bin/poetry install --no-root", map[string]string{"pyproject.toml": "[tool.poetry.dependencies]\na = {path = \"a\"}"}, true},
		"uv":                    {".tools/bin/uv sync --locked --no-dev", map[string]string{"uv.lock": "x", "pyproject.toml": "[project]"}, true},
		"pipenv":                {"PIPENV_VENV_IN_PROJECT=1 .tools/bin/pipenv sync", map[string]string{"Pipfile": "[packages]", "Pipfile.lock": "{}"}, false},
		"nothing that is known": {venv + pip + " flask", map[string]string{}, true},
	} {
		read := func(change string) dependencies {
			t.Helper()
			tree := fstest.MapFS{"main.py": {Data: []byte("1")}}
			for name, content := range c.files {
				tree[name] = &fstest.MapFile{Data: []byte(content)}
			}
			if change != "" {
				tree[change] = &fstest.MapFile{Data: []byte("changed")}
			}
			plan := coderunner.Plan{Type: "python", Root: ".", Runtime: coderunner.Runtime{Name: "python"}, Install: coderunner.Choice{Value: c.install}}
			d, err := readDependencies(tree, "sha"+change, plan, c.install, "template", "project", nil)
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		before := read("")
		if (before.manifests == nil) != c.whole {
			t.Errorf("%s: the manifests are %v", what, before.manifests)
		}
		if after := read("main.py"); (after.key != before.key) != c.whole {
			t.Errorf("%s: other code asks for another install: %v", what, after.key != before.key)
		}
		for name := range c.files {
			if read(name).key == before.key {
				t.Errorf("%s: another %s asks for no other install", what, name)
			}
		}
	}
}
