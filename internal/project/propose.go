package project

import (
	"context"
	"slices"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

// Propose answers the plan to confirm for a bundle: the analyzer's for the folder
// root, with what the user chose in the project's last plan in place of its own.
// A root of "" is the folder of the last plan where the bundle has it, else the
// analyzer's. A database that its owner has detached is in no plan by itself.
func (s *Service) Propose(ctx context.Context, userID, projectID, bundleID, root string) (coderunner.Plan, error) {
	project, err := s.live(ctx, userID, projectID)
	if err != nil {
		return coderunner.Plan{}, err
	}
	b, err := s.store.Bundle(ctx, userID, bundleID)
	if err == nil && b.ProjectID != project.ID {
		err = coderunner.Errorf(coderunner.NotFound, "There is no such bundle.")
	}
	if err != nil {
		return coderunner.Plan{}, err
	}
	last := project.Plan
	if root == "" {
		root = b.Plan.Root
		if slices.ContainsFunc(b.Plan.Candidates, func(c coderunner.Candidate) bool { return c.Root == last.Root }) {
			root = last.Root
		}
	}
	plan := b.Plan
	if root != plan.Root {
		if plan, err = s.Analyze(ctx, userID, bundleID, root); err != nil {
			return coderunner.Plan{}, err
		}
	}
	if last.Root == plan.Root {
		keepChoices(&plan, last)
	}
	databases, err := s.store.AllDatabases(ctx, project.ID)
	plan.Databases = slices.DeleteFunc(slices.Clone(plan.Databases), func(need coderunner.DatabaseNeed) bool {
		return slices.ContainsFunc(databases, func(d store.SealedDatabase) bool { return d.Appliance == need.Appliance && d.DetachedAt != nil })
	})
	return plan, err
}

// keepChoices carries the user's own choices from one plan of a folder to the next.
func keepChoices(plan *coderunner.Plan, last coderunner.Plan) {
	keep := func(choice *coderunner.Choice, before coderunner.Choice) {
		if before.Why == coderunner.YourChoice {
			*choice = before
		}
	}
	keep(&plan.Install, last.Install)
	keep(&plan.Build, last.Build)
	keep(&plan.Start, last.Start)
	keep(&plan.HealthPath, last.HealthPath)
	keep(&plan.StaticDir, last.StaticDir)
	keep(&plan.StaticFallback, last.StaticFallback)
	if release := last.Processes[coderunner.ReleaseProcess]; plan.Processes[coderunner.ReleaseProcess] == "" {
		plan.SetProcess(coderunner.ReleaseProcess, release)
	}
	if last.PortWhy == coderunner.YourChoice {
		plan.Port, plan.PortWhy = last.Port, coderunner.YourChoice
	}
	if last.Runtime.Why == coderunner.YourChoice {
		plan.Runtime = last.Runtime
	}
}
