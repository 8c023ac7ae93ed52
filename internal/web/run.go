package web

import (
	"context"
	"math"
	"net/http"
	"strconv"

	"github.com/go-chi/chi/v5"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
	"github.com/coderunner/coderunner/views"
)

// run is one execution of a playbook with the newest lines of its log.
func (s *site) run(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	page, err := s.runPage(r.Context(), user, chi.URLParam(r, "run"))
	if err != nil {
		return err
	}
	if page.Flash, err = s.flash(w, r); err != nil {
		return err
	}
	if page.Run.LogDroppedAt != nil {
		return s.render(w, r, http.StatusOK, views.Run(page))
	}
	if text := searched(r.URL.Query()); text != "" {
		found, err := s.Store.SearchRunLog(r.Context(), page.Run.ID, store.LogSearch{Text: text, Before: number(r.URL.Query().Get("before")), Limit: views.FoundLimit})
		if err != nil {
			return err
		}
		page.Found = views.RunFound(page.Run, page.Steps, text, found.Lines, found.Looked, found.Cut)
		return s.render(w, r, http.StatusOK, views.Run(page))
	}
	// The run was read before its lines: an ended one writes none.
	if page.Lines, err = s.Store.LogBefore(r.Context(), page.Run.ID, math.MaxInt64, views.LogFirst); err != nil {
		return err
	}
	return s.render(w, r, http.StatusOK, views.Run(page))
}

// runPage is where a run stands, without its log.
func (s *site) runPage(ctx context.Context, user coderunner.User, id string) (page views.RunPage, err error) {
	if page.Run, err = s.Store.Run(ctx, user.ID, id); err != nil {
		return page, err
	}
	if page.Project, err = s.Store.Project(ctx, user.ID, page.Run.ProjectID); err != nil {
		return page, err
	}
	if page.Run.DeploymentID != "" {
		deployment, err := s.Store.Deployment(ctx, user.ID, page.Run.DeploymentID)
		if err != nil {
			return page, err
		}
		page.Deployment, page.URL = &deployment, deployment.PublicURL
	}
	if page.Run.State == coderunner.RunQueued || page.Run.State == coderunner.RunFailed || page.Run.State == coderunner.RunCancelled {
		if err := s.beside(ctx, user, &page); err != nil {
			return page, err
		}
	}
	page.Steps, err = s.Store.Steps(ctx, page.Run.ID)
	page.Frame = s.frame(views.RunTitle(page.Project, page.Run), views.SectionProjects, user)
	return page, err
}

// beside finds what a run waits for, and what serves in spite of it.
func (s *site) beside(ctx context.Context, user coderunner.User, page *views.RunPage) error {
	if page.Run.State == coderunner.RunQueued {
		open, err := s.Store.OpenRuns(ctx, page.Project.ID)
		if err != nil {
			return err
		}
		page.Ahead = ahead(page.Run, open)
		return nil
	}
	newest, err := s.Store.ProjectDeployments(ctx, user.ID, page.Project.ID, 1, 0)
	if err != nil {
		return err
	}
	page.Newest = page.Deployment != nil && len(newest) == 1 && newest[0].ID == page.Deployment.ID
	current, err := s.Store.CurrentDeployment(ctx, user.ID, page.Project.ID)
	if err == nil && current.PublicURL != "" {
		page.Serving = &current
	}
	if coderunner.KindOf(err) == coderunner.NotFound {
		return nil
	}
	return err
}

// ahead answers which of a project's open runs a queued one waits for, nil for none.
// It may have begun itself since it was read.
func ahead(queued coderunner.Run, open []coderunner.Run) (at *coderunner.Run) {
	for _, run := range open {
		if run.State != coderunner.RunQueued && run.ID != queued.ID {
			at = &run
		}
	}
	return at
}

// cancel asks a run to stop. One that has ended meanwhile is simply shown.
func (s *site) cancel(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	run, err := s.Store.Run(r.Context(), user.ID, chi.URLParam(r, "run"))
	if err != nil {
		return err
	}
	if !run.State.Ended() {
		if _, err := s.Engine.Cancel(r.Context(), user.ID, run.ID); err != nil && !s.ended(r, user, run.ID) {
			return err
		}
	}
	return redirect(w, r, "/runs/"+run.ID)
}

func (s *site) ended(r *http.Request, user coderunner.User, id string) bool {
	run, err := s.Store.Run(r.Context(), user.ID, id)
	return err == nil && run.State.Ended()
}

// number reads a line number from a query or header; 0 for anything else.
func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return max(n, 0)
}
