package analyzer

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// project is one directory that an ecosystem recognised, and how it would be run.
type project struct {
	root     string
	plan     coderunner.Plan
	rank     rank
	evidence string   // the file of root that says so, for sentences about the project
	node     *nodeApp // of a Node.js package, whose workspace may hold more
}

// rank says how plain it is that a project is what is to be deployed.
type rank int

const (
	nothing  rank = iota // recognised, but there is nothing to start
	page                 // files that can be served as they are
	program              // a program that may or may not serve
	site                 // files that a build makes
	server               // something that answers requests
	declared             // its author says what to start
)

// ecosystem is one kind of project. It answers how the directory root would be run,
// or nil if that holds nothing of its kind. What a user can mend is a *coderunner.Error.
type ecosystem func(t *tree, root string, top listing) (*project, error)

// ecosystems, in the order that decides between two of the same rank.
var ecosystems = []ecosystem{lookManifest, lookGo, lookPython, lookNode, lookStatic}

// titles are the kinds of project as people write them.
var titles = map[string]string{
	nodejs: "a Node.js project", python: "a Python project", golang: "a Go project", manifest: "a Manifest backend", static: "a static site",
}

// projects are what the ecosystems see in one directory, the likeliest first.
type projects []*project

// best is the likeliest, or nil.
func (p projects) best() *project {
	if len(p) == 0 {
		return nil
	}
	return p[0]
}

// projectsIn asks every ecosystem about one directory. broken is the first file
// that the user has to mend before its ecosystem can answer.
func (t *tree) projectsIn(root string) (found projects, broken, err error) {
	top, err := t.list(root)
	if err != nil {
		return nil, nil, err
	}
	for _, look := range ecosystems {
		p, err := look(t, root, top)
		var sentence *coderunner.Error
		if errors.As(err, &sentence) {
			if broken == nil {
				broken = err
			}
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		if p != nil {
			p.root = root
			found = append(found, p)
		}
	}
	if len(found) > 1 {
		for _, p := range found {
			if kind := commandKind(p.plan.Start.Value); p.rank == declared && kind != "" && kind != p.plan.Type {
				p.rank = nothing // the Procfile is about another one
			}
		}
	}
	slices.SortStableFunc(found, func(a, b *project) int { return int(b.rank) - int(a.rank) })
	return found, broken, nil
}

// commandKind is the kind of project that a Procfile's command plainly belongs to, or "".
func commandKind(command string) string {
	for _, known := range []struct{ kind, programs string }{
		{nodejs, "node npm npx yarn pnpm bun next nuxt nest tsx ts-node"},
		{python, "python python3 gunicorn uvicorn hypercorn daphne waitress-serve flask streamlit celery"},
	} {
		for name := range strings.FieldsSeq(known.programs) {
			if usesProgram(command, name) {
				return known.kind
			}
		}
	}
	return ""
}

// among is the project's plan, with a word about what else its directory holds and is not run.
func (p *project) among(here projects, foreign, evidence string, broken error) coderunner.Plan {
	plan := p.plan
	for _, other := range here {
		// A site's page beside a project is a part of it, as is a package.json of tools or of Manifest.
		if other == p || other.rank == page || p.rank == page || other.node != nil && (other.rank == nothing || p.plan.Type == manifest) {
			continue
		}
		plan.Warnings = append(plan.Warnings, onlyPart(other.evidence, titles[other.plan.Type], plan.Type))
	}
	if foreign != "" {
		plan.Warnings = append(plan.Warnings, onlyPart(evidence, foreign, plan.Type))
	}
	if broken != nil {
		plan.Warnings = append(plan.Warnings, coderunner.Sentence(broken))
	}
	return plan
}

func onlyPart(evidence, kind, run string) string {
	return fmt.Sprintf("%s looks like %s; only the %s part of the project is run.", evidence, kind, languages[run])
}

// languages are the kinds of project in front of a word.
var languages = map[string]string{nodejs: "Node.js", python: "Python", golang: "Go", manifest: "Manifest", static: "static"}

// noteDockerfile says what a Dockerfile beside a project is good for: nothing.
func noteDockerfile(plan *coderunner.Plan, top listing) {
	if !plan.Starts() || !top.hasFile("Dockerfile") {
		return
	}
	how := "start: " + printable(plan.Start.Value)
	if plan.Static() {
		how = "serves: " + printable(plan.StaticDir.Value)
	}
	plan.Warnings = append(plan.Warnings, fmt.Sprintf("There is a Dockerfile, which CodeRunner does not use. The code runs as %s with the commands of this plan instead (%s).",
		titles[plan.Type], how))
}
