package project

import (
	"context"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// Mended is a deployment that failed, as it would be with one fix.
type Mended struct {
	Failed    coderunner.Deployment
	Plan      coderunner.Plan
	Databases []string // appliances of those to add
}

// Mend answers what one of the fixes of a failed run makes of its deployment. It is
// NotFound where the run is not the user's, Conflict where it has no such fix, or none that
// deploys.
func (s *Service) Mend(ctx context.Context, userID, runID string, kind coderunner.FixKind) (m Mended, err error) {
	run, err := s.store.Run(ctx, userID, runID)
	if err != nil {
		return m, err
	}
	fix, ok := run.Failure.Fix(kind)
	if !ok || kind == coderunner.FixVariable || run.DeploymentID == "" {
		return m, coderunner.Errorf(coderunner.Conflict, "The run has nothing of that kind to put right. Look at its page for what can be done.")
	}
	if m.Failed, err = s.store.Deployment(ctx, userID, run.DeploymentID); err != nil {
		return m, err
	}
	b, err := s.store.Bundle(ctx, userID, m.Failed.BundleID)
	if err != nil {
		return m, err
	}
	m.Plan = fix.Apply(m.Failed.Plan)
	switch kind {
	case coderunner.FixPlan:
		m.Plan = b.Plan
	case coderunner.FixRoot:
		if m.Plan, err = s.Analyze(ctx, userID, b.ID, fix.Value); err != nil {
			return m, err
		}
	case coderunner.FixDatabase:
		m.Databases = []string{fix.Value}
	}
	return m, nil
}
