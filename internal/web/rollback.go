package web

import (
	"fmt"
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/views"
)

// rollbackPage shows what a rollback would change.
func (s *site) rollbackPage(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	ctx := r.Context()
	to, err := s.Store.Deployment(ctx, user.ID, chi.URLParam(r, "deployment"))
	if err != nil {
		return err
	}
	page := views.RollbackPage{To: to}
	if page.Project, err = s.Store.Project(ctx, user.ID, to.ProjectID); err != nil {
		return err
	}
	if page.Current, err = s.Store.CurrentDeployment(ctx, user.ID, to.ProjectID); err != nil {
		return err
	}
	if to.Release == nil || to.ReleasedAt == nil || to.ID == page.Current.ID {
		return coderunner.Errorf(coderunner.Conflict, "Deployment %d cannot be rolled back to: it is the current one, or what was built for it is not kept any more.", to.Number)
	}
	page.Frame = s.frame(fmt.Sprintf("Roll back %s to #%d", page.Project.Name, to.Number), views.SectionProjects, user)
	if b, err := s.Store.Bundle(ctx, user.ID, to.BundleID); err == nil {
		page.Filename = b.Filename
		if page.Drops, err = s.Engine.Drops(ctx, user.ID, to.ProjectID, b.ID, to.Plan); err != nil {
			return err
		}
	}
	page.Plan = views.ComparePlans(page.Current.Plan, to.Plan)
	now, err := s.Engine.DeploymentVariables(ctx, to.ProjectID, page.Current.ID)
	if err != nil {
		return err
	}
	then, err := s.Engine.DeploymentVariables(ctx, to.ProjectID, to.ID)
	if err != nil {
		return err
	}
	if page.Detached, err = s.Engine.DetachedSince(ctx, to.ProjectID, to.ID); err != nil {
		return err
	}
	page.Variables = coderunner.CompareVariables(now, then)
	return s.render(w, r, http.StatusOK, views.Rollback(page))
}

// rollback begins it, and goes to its run.
func (s *site) rollback(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	_, run, err := s.Engine.Rollback(r.Context(), user.ID, chi.URLParam(r, "deployment"))
	if err != nil {
		return err
	}
	return redirect(w, r, "/runs/"+run.ID)
}
