package analyzer

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

const (
	maxCandidates = 20  // projects of one tree that are listed
	maxLooked     = 500 // folders that are looked into for projects
)

// planBelow looks for projects in the folders below root, for a root that has
// nothing to start itself, or pages only. The plan is that of the likeliest one, with
// all of them as candidates; its Type is "" when there is none that is likelier than root.
func (t *tree) planBelow(root string, here projects) (coderunner.Plan, error) {
	all, broken, err := t.projectsBelow(root)
	if err != nil {
		return coderunner.Plan{}, err
	}
	parent := here.best()
	if len(all) == 0 {
		if parent == nil && broken != nil {
			return coderunner.Plan{}, broken
		}
		return coderunner.Plan{}, nil
	}
	if parent != nil && parent.rank == page {
		all = slices.DeleteFunc(all, func(p *project) bool { return p.rank == page }) // parts of the site around them
		all = append(all, parent)
	}
	slices.SortStableFunc(all, func(a, b *project) int { return b.score() - a.score() })
	best := all[0]
	if best == parent || parent != nil && best.rank == nothing {
		return coderunner.Plan{}, nil
	}
	plan := best.plan
	if member := workspaceOf(here); member != nil && best.node != nil {
		plan = member.workspacePlan(best, all)
	}
	plan.Candidates = candidates(all)
	warning := fmt.Sprintf("The project was found in the folder %s.", printable(best.root))
	if len(all) > 1 {
		names := make([]string, len(plan.Candidates))
		for i, candidate := range plan.Candidates {
			names[i] = printable(candidate.Root)
		}
		warning = fmt.Sprintf("The upload holds %d projects (%s). %s is taken, as the likeliest to be the server; choose another folder if that is wrong.",
			len(all), strings.Join(names, ", "), printable(best.root))
	}
	plan.Warnings = append([]string{warning}, plan.Warnings...)
	return plan, nil
}

// workspaceOf is the package among those of a directory that installs the packages below it, or nil.
func workspaceOf(here projects) *nodeApp {
	for _, p := range here {
		if p.node != nil && p.node.tree.isWorkspace(p.root) {
			return p.node
		}
	}
	return nil
}

func candidates(all []*project) []coderunner.Candidate {
	var list []coderunner.Candidate
	for _, p := range all {
		why := p.plan.Start.Why
		if !p.plan.Starts() {
			why = p.evidence + " without anything to start"
		} else {
			why = inFolder(p.root, why)
		}
		list = append(list, coderunner.Candidate{Root: p.root, Type: p.plan.Type, Why: why})
	}
	slices.SortFunc(list, func(a, b coderunner.Candidate) int { return strings.Compare(a.Root, b.Root) })
	return list
}

// inFolder makes evidence that is relative to a folder relative to the top.
func inFolder(dir, why string) string {
	if dir == "." {
		return why
	}
	for _, before := range []string{" in ", "the file ", "Procfile:"} {
		if at := strings.LastIndex(why, before); at >= 0 && (at == 0 || before == " in ") {
			if before == "Procfile:" {
				return path.Join(dir, why)
			}
			at += len(before)
			return why[:at] + path.Join(dir, why[at:])
		}
	}
	return why
}

// projectsBelow lists the likeliest project of each folder below root, three levels
// deep. What lies within a project that can be started belongs to that.
func (t *tree) projectsBelow(root string) (all []*project, broken, err error) {
	var pages []*project
	level := []string{root}
	looked := 0
	for range 3 {
		var next []string
		for _, dir := range level {
			l, err := t.list(dir)
			if err != nil {
				return nil, nil, err
			}
			for _, name := range l.dirs {
				if isOutside(name) || len(all) == maxCandidates {
					continue
				}
				if looked++; looked > maxLooked {
					return orPages(all, pages), broken, nil
				}
				sub := path.Join(dir, name)
				found, bad, err := t.projectsIn(sub)
				if err != nil {
					return nil, nil, err
				}
				if bad != nil && broken == nil {
					broken = bad
				}
				best := found.best()
				switch {
				case best == nil || !t.isProjectFolder(best):
				case best.rank == page && !isSiteFolder(name):
					pages = append(pages, best)
				default:
					all = append(all, best)
					if best.node == nil && best.rank >= program {
						continue
					}
				}
				next = append(next, sub)
			}
		}
		level = next
	}
	return orPages(all, pages), broken, nil
}

// orPages falls back to the first folder with an index.html where there is nothing better.
func orPages(all, pages []*project) []*project {
	if len(all) == 0 && len(pages) > 0 {
		return pages[:1]
	}
	return all
}

// isProjectFolder reports whether a project stands on its own. A folder with a program
// and nothing that says what it needs is mostly a part of the project around it.
func (t *tree) isProjectFolder(p *project) bool {
	if p.node != nil {
		return p.node.pkg.exists
	}
	if p.plan.Type != python {
		return true
	}
	l, err := t.list(p.root)
	return err == nil && (slices.ContainsFunc(pythonManifests, l.hasFile) || p.rank >= server)
}

// isSiteFolder reports whether a folder's name says that its pages are a site of their own.
func isSiteFolder(name string) bool {
	switch strings.ToLower(name) {
	case "client", "frontend", "front-end", "web", "website", "site", "www", "ui":
		return true
	}
	return false
}

// score says how likely a project is the one to deploy.
func (p *project) score() int {
	score := [...]int{nothing: 0, page: 4, program: 8, site: 6, server: 15, declared: 17}[p.rank]
	if len(p.plan.Databases) > 0 {
		score += 2
	}
	switch strings.ToLower(path.Base(p.root)) {
	case "server", "backend", "api":
		score += 3
	case "app", "web":
		score += 2
	case "client", "frontend", "examples", "example", "docs", "test", "tests", "e2e":
		score -= 3
	}
	return score*10 - strings.Count(p.root, "/")
}
