package analyzer

import (
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// TestUnknownTrees: what cannot be deployed is no error but a plan without a type, whose
// warning says what it looks like, what was looked for and what is there.
func TestUnknownTrees(t *testing.T) {
	t.Parallel()
	const cannot = ", which cannot be deployed yet; only Node.js projects can. Looked for package.json, server.js, index.js, app.js, main.js; found at the top level"
	const nothing = "No project was recognised. Looked for package.json, server.js, index.js, app.js, main.js at the top level and for package.json in the folders below; found: "
	for name, test := range map[string]struct {
		tree     []string
		sentence string
	}{
		"Django":          {[]string{"manage.py", "", "requirements.txt", "django\n", "shop/urls.py", ""}, "This looks like a Python project (manage.py)" + cannot + ": shop/, manage.py, requirements.txt."},
		"Flask":           {[]string{"requirements.txt", "flask\n", "wsgi.py", ""}, "This looks like a Python project (requirements.txt)" + cannot + ": requirements.txt, wsgi.py."},
		"pyproject":       {[]string{"pyproject.toml", "[project]\n"}, "This looks like a Python project (pyproject.toml)" + cannot + ": pyproject.toml."},
		"one program":     {[]string{"main.py", ""}, "This looks like a Python project (main.py)" + cannot + ": main.py."},
		"Go":              {[]string{"go.mod", "module x\n", "main.go", "package main\n"}, "This looks like a Go project (go.mod)" + cannot + ": go.mod, main.go."},
		"static site":     {[]string{"index.html", "<h1>", "style.css", ""}, "This looks like a static site (index.html)" + cannot + ": index.html, style.css."},
		"Dockerfile":      {[]string{"Dockerfile", "FROM scratch\n"}, "This looks like a container image (Dockerfile)" + cannot + ": Dockerfile."},
		"Python, Docker":  {[]string{"Dockerfile", "FROM python\n", "app.py", ""}, "This looks like a Python project (app.py)" + cannot + ": Dockerfile, app.py."},
		"Ruby":            {[]string{"Gemfile", ""}, "This looks like a Ruby project (Gemfile)" + cannot + ": Gemfile."},
		"only notes":      {[]string{"notes.txt", "", "more.txt", ""}, nothing + "more.txt, notes.txt."},
		"nothing":         {nil, "The upload has no files. Drop the folder that holds package.json."},
		"a folder's hint": {[]string{"api/go.mod", "", "api/main.go", ""}, strings.Replace("This looks like a Go project (go.mod)"+cannot+": go.mod, main.go.", "at the top level", "in api", 1)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := "."
			if name == "a folder's hint" {
				root = "api"
			}
			checkPlan(t, files(test.tree...), coderunner.Plan{Root: root, Warnings: []string{test.sentence}})
		})
	}
}

// A Dockerfile or a page beside a package.json takes nothing away from the Node.js
// project; another language beside it is said.
func TestSignsBesideNode(t *testing.T) {
	t.Parallel()
	plain := node18(func(p *coderunner.Plan) {
		p.Start = coderunner.Choice{Value: "node index.js", Why: "the file index.js"}
	})
	checkPlan(t, files("package.json", "{}", "index.js", "", "Dockerfile", "", "index.html", ""), plain)
	plain.Warnings = []string{"requirements.txt looks like a Python project; only the Node.js part of the project is run."}
	checkPlan(t, files("package.json", "{}", "index.js", "", "requirements.txt", ""), plain)
}
