// Package analyzer reads a file tree and says how it would be deployed.
//
// Analyze is a pure function of the tree: it reads nothing else, runs nothing,
// and gives the same plan for the same tree. Work is bounded, so that a hostile
// tree costs no more than a large honest one: see the limits in tree.go and
// source.go.
//
// Every choice of the plan carries the evidence for it, such as "scripts.start in
// package.json:7". Paths in evidence are relative to the plan's Root; the
// candidates' are relative to the top of the tree.
package analyzer

import (
	"fmt"
	"io/fs"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// Analyze says what fsys holds and how to run it. A tree that it does not
// recognise is no error: the plan's Type is then "" and its first warning
// says what was looked for and what was found.
//
// Errors are Invalid or TooLarge *coderunner.Error sentences about a file that
// cannot be read or a tree that is too large, and wrapped errors of fsys.
func Analyze(fsys fs.FS) (coderunner.Plan, error) {
	return AnalyzeFolder(fsys, ".")
}

// AnalyzeFolder does what Analyze does for one folder of fsys, which its caller knows to be
// one. The plan of a package that a workspace above it installs is the workspace's, its
// Root included; every other plan's Root is the folder or below it.
func AnalyzeFolder(fsys fs.FS, folder string) (coderunner.Plan, error) {
	t := newTree(fsys)
	plan, ok, err := t.memberPlan(folder)
	if err == nil && !ok {
		var root string
		if root, err = t.unwrap(folder); err == nil {
			plan, err = t.analyze(root)
		}
	}
	if err != nil {
		return coderunner.Plan{}, err
	}
	return complete(plan), nil
}

func (t *tree) analyze(root string) (coderunner.Plan, error) {
	top, err := t.list(root)
	if err != nil {
		return coderunner.Plan{}, err
	}
	here, broken, err := t.projectsIn(root)
	if err != nil {
		return coderunner.Plan{}, err
	}
	foreign, evidence := foreignProject(top)
	best := here.best()
	if best != nil && best.rank >= program {
		return best.among(here, foreign, evidence, broken), nil
	}
	if broken != nil {
		return coderunner.Plan{}, broken
	}
	if foreign != "" && (best == nil || best.rank < page) {
		return unknown(root, top, foreign, evidence), nil
	}
	plan, err := t.planBelow(root, here)
	if err != nil || plan.Type != "" {
		return plan, err
	}
	if best != nil {
		return best.among(here, foreign, evidence, nil), nil
	}
	return unknown(root, top, foreign, evidence), nil
}

// lookedFor are the files by which projects are recognised, for people.
const lookedFor = "package.json, requirements.txt, pyproject.toml, manage.py, main.py, go.mod, manifest.yml, index.html, server.js, index.js, app.js, main.js"

// unknown is the plan of a tree that cannot be deployed as it is.
func unknown(root string, top listing, foreign, evidence string) coderunner.Plan {
	found := top.describe()
	where := "at the top level"
	if root != "." {
		where = "in " + printable(root)
	}
	var sentence string
	switch {
	case found == "":
		sentence = "The upload has no files. Drop the folder that holds your project, with its package.json, requirements.txt, go.mod or index.html."
	case foreign != "":
		sentence = fmt.Sprintf("This looks like %s (%s), which cannot be deployed yet; projects of Node.js, Python, Go and Manifest and static sites can. "+
			"Looked for %s; found %s: %s.", foreign, evidence, lookedFor, where, found)
	default:
		sentence = fmt.Sprintf("No project was recognised. Looked for %s %s and in the folders below; found: %s.", lookedFor, where, found)
	}
	plan := coderunner.Plan{Root: root, Warnings: []string{sentence}}
	if top.hasFile("Dockerfile") {
		plan.Warnings = append(plan.Warnings, "There is a Dockerfile, which CodeRunner does not use, and nothing beside it says how to run the code. "+
			"Choose what the app runs on, and copy the commands after RUN and CMD into Install, Build and Start.")
	}
	return plan
}

// complete gives the plan's lists a value each, so that they are never null in JSON.
func complete(plan coderunner.Plan) coderunner.Plan {
	if plan.Databases == nil {
		plan.Databases = []coderunner.DatabaseNeed{}
	}
	if plan.EnvKeys == nil {
		plan.EnvKeys = []coderunner.EnvKey{}
	}
	if plan.Processes == nil {
		plan.Processes = map[string]string{}
	}
	if plan.Warnings == nil {
		plan.Warnings = []string{}
	}
	if plan.Candidates == nil {
		plan.Candidates = []coderunner.Candidate{}
	}
	return plan
}
