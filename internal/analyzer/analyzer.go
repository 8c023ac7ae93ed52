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
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// Analyze says what fsys holds and how to run it. A tree that it does not
// recognise is no error: the plan's Type is then "" and its first warning
// says what was looked for and what was found.
//
// Errors are Invalid or TooLarge *coderunner.Error sentences about a package.json that
// cannot be read, and wrapped errors of fsys.
func Analyze(fsys fs.FS) (coderunner.Plan, error) {
	t := newTree(fsys)
	root, err := t.unwrap()
	if err != nil {
		return coderunner.Plan{}, err
	}
	plan, err := t.analyze(root)
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
	foreign, evidence := foreignProject(top)
	var app *nodeApp // at root, if there is one
	if top.hasFile("package.json") {
		if app, err = t.readNodeApp(root); err != nil {
			return coderunner.Plan{}, err
		}
		plan := app.plan()
		if plan.Start.Value != "" {
			if foreign != "" && !isFaint(foreign) {
				plan.Warnings = append(plan.Warnings, fmt.Sprintf(
					"%s looks like %s; only the Node.js part of the project is run.", evidence, foreign))
			}
			return plan, nil
		}
	} else {
		entry, err := t.lonelyEntry(root, top)
		if err != nil {
			return coderunner.Plan{}, err
		}
		if entry != "" {
			app, err := t.readNodeApp(root)
			if err != nil {
				return coderunner.Plan{}, err
			}
			return app.plan(), nil
		}
	}
	if foreign != "" && !isFaint(foreign) {
		return unknown(root, top, foreign, evidence), nil
	}
	below, err := t.planBelow(root, app)
	if err != nil || below.Type != "" {
		return below, err
	}
	if app != nil {
		return app.plan(), nil
	}
	return unknown(root, top, foreign, evidence), nil
}

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
		sentence = "The upload has no files. Drop the folder that holds package.json."
	case foreign != "":
		sentence = fmt.Sprintf("This looks like %s (%s), which cannot be deployed yet; only Node.js projects can. "+
			"Looked for package.json, %s; found %s: %s.", foreign, evidence, strings.Join(entryNames, ", "), where, found)
	default:
		sentence = fmt.Sprintf("No project was recognised. Looked for package.json, %s %s and for package.json in the folders below; found: %s.",
			strings.Join(entryNames, ", "), where, found)
	}
	return coderunner.Plan{Root: root, Warnings: []string{sentence}}
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
