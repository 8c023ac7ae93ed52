package analyzer

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// maxCandidates bounds how many projects of one tree are listed.
const maxCandidates = 20

// unwrap returns the directory that the project begins in: the top, or, where
// the top holds nothing but one folder, that folder, as archives often do.
func (t *tree) unwrap() (string, error) {
	root := "."
	for range maxDepth {
		l, err := t.list(root)
		if err != nil {
			return "", err
		}
		if slices.ContainsFunc(l.files, func(name string) bool { return !isBystander(name) }) {
			return root, nil
		}
		dirs := slices.DeleteFunc(slices.Clone(l.dirs), isBystander)
		if len(dirs) != 1 {
			return root, nil
		}
		root = path.Join(root, dirs[0])
	}
	return root, nil
}

// isBystander reports whether a file or folder says nothing about where a project begins.
func isBystander(name string) bool {
	lower := strings.ToLower(name)
	switch lower {
	case "__macosx", "thumbs.db", "desktop.ini", "node_modules", "docs":
		return true
	}
	if strings.HasPrefix(lower, ".") {
		return true
	}
	stem := strings.TrimSuffix(lower, path.Ext(lower))
	switch stem {
	case "readme", "license", "licence", "copying", "changelog", "contributing", "notice", "authors", "security", "code_of_conduct":
		return true
	}
	return false
}

// isOutside reports whether a folder holds no source of the project itself.
func isOutside(dir string) bool {
	switch strings.ToLower(dir) {
	case "node_modules", "bower_components", "__macosx", "vendor", "dist", "build", "out", "coverage", "tmp", "temp":
		return true
	}
	return strings.HasPrefix(dir, ".")
}

const (
	staticSite     = "a static site"
	containerImage = "a container image"
)

// isFaint reports whether a kind of project says little, because others have its signs too.
func isFaint(kind string) bool { return kind == staticSite || kind == containerImage }

// foreignProject names another kind of project that a directory holds, and the file that says so.
func foreignProject(top listing) (kind, evidence string) {
	for _, sign := range []struct{ kind, files string }{
		{"a Python project", "manage.py requirements.txt pyproject.toml Pipfile setup.py main.py app.py"},
		{"a Go project", "go.mod main.go"},
		{"a Ruby project", "Gemfile config.ru"},
		{"a PHP project", "composer.json index.php"},
		{"a Java project", "pom.xml build.gradle build.gradle.kts"},
		{"a Rust project", "Cargo.toml"},
		{"an Elixir project", "mix.exs"},
		{"a Deno project", "deno.json deno.jsonc"},
		{"a Manifest backend", "manifest.yml manifest.yaml"},
		{containerImage, "Dockerfile"},
		{staticSite, "index.html"},
	} {
		for _, name := range strings.Fields(sign.files) {
			if top.hasFile(name) {
				return sign.kind, name
			}
		}
	}
	return "", ""
}

// found is a package below the root that could be deployed.
type found struct {
	app   *nodeApp
	plan  coderunner.Plan
	score int
}

// planBelow looks for packages in the folders below root, for a root that has
// nothing to start itself. The plan is that of the likeliest one, with all of
// them as candidates; its Type is "" when there is none. parent is the package at root, or nil.
func (t *tree) planBelow(root string, parent *nodeApp) (coderunner.Plan, error) {
	dirs, err := t.packagesBelow(root)
	if err != nil {
		return coderunner.Plan{}, err
	}
	var all []found
	var broken error
	for _, dir := range dirs {
		app, err := t.readNodeApp(dir)
		if err != nil {
			var sentence *coderunner.Error
			if !errors.As(err, &sentence) {
				return coderunner.Plan{}, err
			}
			broken = err
			continue
		}
		plan := app.plan()
		all = append(all, found{app: app, plan: plan, score: app.score(plan)})
	}
	if len(all) == 0 {
		return coderunner.Plan{}, broken
	}
	slices.SortStableFunc(all, func(a, b found) int { return b.score - a.score })
	best := all[0]
	if parent != nil && best.plan.Start.Value == "" {
		return coderunner.Plan{}, nil
	}
	plan := best.plan
	if parent != nil && parent.pkg.workspaces {
		plan = parent.workspacePlan(best)
	}
	for _, f := range all {
		why := f.plan.Start.Why
		if f.plan.Start.Value == "" {
			why = "package.json without anything to start"
		} else {
			why = inFolder(f.app.root, why)
		}
		plan.Candidates = append(plan.Candidates, coderunner.Candidate{Root: f.app.root, Type: nodejs, Why: why})
	}
	slices.SortFunc(plan.Candidates, func(a, b coderunner.Candidate) int { return strings.Compare(a.Root, b.Root) })
	warning := fmt.Sprintf("The project was found in the folder %s.", printable(best.app.root))
	if len(all) > 1 {
		names := make([]string, len(plan.Candidates))
		for i, candidate := range plan.Candidates {
			names[i] = printable(candidate.Root)
		}
		warning = fmt.Sprintf("The upload holds %d projects (%s). %s is taken, as the likeliest to be the server; choose another folder if that is wrong.",
			len(all), strings.Join(names, ", "), printable(best.app.root))
	}
	plan.Warnings = append([]string{warning}, plan.Warnings...)
	return plan, nil
}

// inFolder makes evidence that is relative to a folder relative to the top.
func inFolder(dir, why string) string {
	if head, tail, ok := strings.Cut(why, " in package.json"); ok && dir != "." {
		return head + " in " + path.Join(dir, "package.json") + tail
	}
	return why
}

// packagesBelow lists the folders below root, three levels deep, that hold a package.json.
func (t *tree) packagesBelow(root string) ([]string, error) {
	var dirs []string
	level := []string{root}
	looked := 0
	for range 3 {
		var next []string
		for _, dir := range level {
			l, err := t.list(dir)
			if err != nil {
				return nil, err
			}
			for _, name := range l.dirs {
				if isOutside(name) {
					continue
				}
				if looked++; looked > 500 {
					return dirs, nil
				}
				sub := path.Join(dir, name)
				inside, err := t.list(sub)
				if err != nil {
					return nil, err
				}
				if inside.hasFile("package.json") {
					dirs = append(dirs, sub)
					if len(dirs) == maxCandidates {
						return dirs, nil
					}
				}
				next = append(next, sub)
			}
		}
		level = next
	}
	return dirs, nil
}

// score says how likely a package is the one to deploy.
func (a *nodeApp) score(plan coderunner.Plan) int {
	score := 0
	if plan.Start.Value != "" {
		score += 10
	}
	for _, name := range serverFrameworks {
		if _, ok := a.pkg.dependencies.get(name); ok {
			score += 5
			break
		}
	}
	if len(plan.Databases) > 0 {
		score += 2
	}
	if plan.StaticDir.Value != "" {
		score -= 4
	}
	switch strings.ToLower(path.Base(a.root)) {
	case "server", "backend", "api":
		score += 3
	case "app", "web":
		score += 2
	case "client", "frontend", "examples", "example", "docs", "test", "tests", "e2e":
		score -= 3
	}
	return score*10 - strings.Count(a.root, "/")
}
