package web

import (
	"context"
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/playbook"
	"github.com/coderunner/coderunner/views"
)

// startSample makes a project of a sample, deploys it and goes to its run; with then=plan it goes to
// the plan instead. Where the deploy is refused, the plan is shown with the reason.
func (s *site) startSample(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	form, err := readForm(w, r, maxForm)
	if err != nil {
		return err
	}
	sample, err := coderunner.FindSample(s.Samples, chi.URLParam(r, "sample"))
	if err != nil {
		return err
	}
	_, bundle, err := s.Projects.NewFromSample(r.Context(), user.ID, sample)
	if err != nil {
		return err
	}
	if form.Get("then") == "plan" {
		return redirect(w, r, planPath(bundle))
	}
	run, err := s.deployProposal(r.Context(), user, bundle)
	if err == nil {
		return redirect(w, r, "/runs/"+run.ID)
	}
	problems := views.FieldErrors{}
	if !note(problems, err) {
		return err
	}
	page, planErr := s.planPage(r, user, bundle.ProjectID, bundle.ID, "")
	if planErr != nil {
		return planErr
	}
	page.Form = views.NewPlanForm(page.Project, page.Plan)
	return s.deployAgain(w, r, user, page, statusOf(err), problems)
}

// deployProposal starts the deploy of a bundle as the analyzer proposes it.
func (s *site) deployProposal(ctx context.Context, user coderunner.User, bundle coderunner.Bundle) (coderunner.Run, error) {
	plan, err := s.Projects.Propose(ctx, user.ID, bundle.ProjectID, bundle.ID, "")
	if err != nil {
		return coderunner.Run{}, err
	}
	request := playbook.DeployRequest{ProjectID: bundle.ProjectID, BundleID: bundle.ID, Plan: plan}
	for _, need := range plan.Databases {
		request.Databases = append(request.Databases, need.Appliance)
	}
	_, run, err := s.Engine.Deploy(ctx, user.ID, request)
	return run, err
}
