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
	const cannot = ", which cannot be deployed yet; projects of Node.js, Python, Go and Manifest and static sites can. Looked for " + lookedFor + "; found at the top level"
	const nothing = "No project was recognised. Looked for " + lookedFor + " at the top level and in the folders below; found: "
	const dockerfile = "There is a Dockerfile, which CodeRunner does not use, and nothing beside it says how to run the code. " +
		"Choose what the app runs on, and copy the commands after RUN and CMD into Install, Build and Start."
	for name, test := range map[string]struct {
		tree      []string
		sentences []string
	}{
		"Dockerfile":      {[]string{"Dockerfile", "FROM scratch\n"}, []string{nothing + "Dockerfile.", dockerfile}},
		"Rust in Docker":  {[]string{"Dockerfile", "FROM rust\n", "Cargo.toml", ""}, []string{"This looks like a Rust project (Cargo.toml)" + cannot + ": Cargo.toml, Dockerfile.", dockerfile}},
		"Ruby":            {[]string{"Gemfile", ""}, []string{"This looks like a Ruby project (Gemfile)" + cannot + ": Gemfile."}},
		"only notes":      {[]string{"notes.txt", "", "more.txt", ""}, []string{nothing + "more.txt, notes.txt."}},
		"nothing":         {nil, []string{"The upload has no files. Drop the folder that holds your project, with its package.json, requirements.txt, go.mod or index.html."}},
		"Cloud Foundry":   {[]string{"manifest.yml", "applications:\n- name: x\n"}, []string{nothing + "manifest.yml."}},
		"Kubernetes":      {[]string{"manifest/backend.yml", "apiVersion: v1\nkind: Pod\nname: x\n"}, []string{strings.Replace(nothing, "at the top level", "in manifest", 1) + "backend.yml."}},
		"a folder's hint": {[]string{"api/pom.xml", "", "api/x.java", ""}, []string{strings.Replace("This looks like a Java project (pom.xml)"+cannot+": pom.xml, x.java.", "at the top level", "in api", 1)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := map[string]string{"a folder's hint": "api", "Kubernetes": "manifest"}[name]
			checkPlan(t, files(test.tree...), coderunner.Plan{Root: orElse(root, "."), Warnings: test.sentences})
		})
	}
}

// A page beside a package.json takes nothing away from the Node.js project; a
// Dockerfile and another language beside it are spoken of.
func TestSignsBesideNode(t *testing.T) {
	t.Parallel()
	plain := node24(func(p *coderunner.Plan) {
		p.Start = coderunner.Choice{Value: "node index.js", Why: "the file index.js"}
	})
	checkPlan(t, files("package.json", "{}", "index.js", "", "index.html", ""), plain)
	plain.Warnings = []string{"There is a Dockerfile, which CodeRunner does not use. The code runs as a Node.js project with the commands of this plan instead (start: node index.js)."}
	checkPlan(t, files("package.json", "{}", "index.js", "", "Dockerfile", ""), plain)
	plain.Warnings = []string{"requirements.txt looks like a Python project; only the Node.js part of the project is run."}
	checkPlan(t, files("package.json", "{}", "index.js", "", "requirements.txt", ""), plain)
}
