package web

import (
	"errors"
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/playbook"
)

// fix deploys a failed run's upload again with one of the fixes of its failure, and goes to
// the new run. Where something newer was begun since, it goes there and begins nothing.
func (s *site) fix(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	mended, err := s.Projects.Mend(r.Context(), user.ID, chi.URLParam(r, "run"), coderunner.FixKind(r.PostFormValue("fix")))
	if err != nil {
		return err
	}
	_, run, err := s.Engine.Deploy(r.Context(), user.ID, playbook.DeployRequest{
		ProjectID: mended.Failed.ProjectID, BundleID: mended.Failed.BundleID, Plan: mended.Plan, Databases: mended.Databases, After: mended.Failed.ID,
	})
	if errors.Is(err, playbook.ErrSuperseded) {
		return s.newestRun(w, r, user, mended.Failed.ProjectID, coderunner.Sentence(err))
	}
	if err != nil {
		return err
	}
	return redirect(w, r, "/runs/"+run.ID)
}

// newestRun goes to the last run that was begun for a project, and says why.
func (s *site) newestRun(w http.ResponseWriter, r *http.Request, user coderunner.User, projectID, why string) error {
	runs, err := s.Store.ProjectRuns(r.Context(), user.ID, projectID, 1, 0)
	if err != nil {
		return err
	}
	if len(runs) == 0 {
		return redirect(w, r, "/projects/"+projectID)
	}
	if err := s.Auth.Flash(w, r, why); err != nil {
		return err
	}
	return redirect(w, r, "/runs/"+runs[0].ID)
}
