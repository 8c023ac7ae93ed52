package web

import (
	"context"
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/views"
)

// maxRows is how many deployments a page lists.
const maxRows = 50

// project is one of a project's tabs.
func (s *site) project(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	page, err := s.projectPage(r, user, views.ProjectTab(chi.URLParam(r, "tab")))
	if err != nil {
		return err
	}
	return s.render(w, r, http.StatusOK, views.Project(page))
}

// revealAdmin is the overview with the login of the backend's administrator.
func (s *site) revealAdmin(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	page, err := s.projectPage(r, user, views.TabOverview)
	if err != nil {
		return err
	}
	login, err := s.Engine.RevealAdmin(r.Context(), user.ID, page.Project.ID)
	if err != nil {
		return err
	}
	page.Admin = &login
	return s.render(w, r, http.StatusOK, views.Project(page))
}

// projectPage is what the tabs show; "" is the overview.
func (s *site) projectPage(r *http.Request, user coderunner.User, tab views.ProjectTab) (views.ProjectPage, error) {
	project, err := s.Store.Project(r.Context(), user.ID, chi.URLParam(r, "project"))
	if err != nil {
		return views.ProjectPage{}, err
	}
	page := views.ProjectPage{Frame: s.frame(project.Name, views.SectionProjects, user), Project: project, Tab: tab, UploadLimit: s.UploadLimit}
	if page.Tab == "" {
		page.Tab = views.TabOverview
	}
	if project.DestroyedAt != nil {
		page.Flash = &views.Flash{Kind: views.FlashNote, Text: "This project was destroyed. What you see is its history."}
	}
	page.Page = 1
	if page.Tab == views.TabDeployments {
		page.Page = max(1, int(min(number(r.URL.Query().Get("page")), 1e6)))
	}
	if page.Deployments, page.More, err = s.deploymentRows(r.Context(), user, project.ID, page.Page); err != nil {
		return page, err
	}
	if page.Live, err = s.liveOf(r.Context(), user, project.ID, page.Deployments); err != nil {
		return page, err
	}
	if page.Live != nil {
		page.URL = page.Live.PublicURL
	}
	if page.Tab == views.TabSettings && s.ProjectDisk != nil {
		page.Stored, page.MeasuredAt = s.ProjectDisk(project.ID)
	}
	if page.Tab == views.TabOverview || page.Tab == views.TabVariables {
		err = s.projectParts(r, user, &page)
	}
	return page, err
}

// projectParts adds what belongs to the project beside its deployments.
func (s *site) projectParts(r *http.Request, user coderunner.User, page *views.ProjectPage) error {
	databases, err := s.Store.ProjectDatabases(r.Context(), page.Project.ID)
	if err != nil {
		return err
	}
	for _, database := range databases {
		page.Databases = append(page.Databases, database.Database)
	}
	if page.Backend, err = s.Engine.Backend(r.Context(), user.ID, page.Project.ID); err != nil {
		return err
	}
	sandboxes, err := s.Store.ProjectSandboxes(r.Context(), page.Project.ID)
	if err != nil {
		return err
	}
	for _, sandbox := range sandboxes {
		if page.Live != nil && sandbox.ID == page.Live.AppSandboxID {
			page.Restarts, page.LastExit = sandbox.Restarts, sandbox.LastExit
		}
	}
	if page.Variables, err = s.Projects.Variables(r.Context(), user.ID, page.Project.ID); err != nil {
		return err
	}
	if page.Pending, err = s.pending(r, user, page.Project.ID); err != nil {
		return err
	}
	page.EnvKeys, err = s.envKeys(r, user, page)
	return err
}

// envKeys are the variables that the code reads: that which serves, or what was uploaded last.
func (s *site) envKeys(r *http.Request, user coderunner.User, page *views.ProjectPage) ([]coderunner.EnvKey, error) {
	if page.Live != nil && page.Live.PublicURL != "" {
		return page.Live.Plan.EnvKeys, nil
	}
	bundle, err := s.Store.LatestBundle(r.Context(), user.ID, page.Project.ID)
	if coderunner.KindOf(err) == coderunner.NotFound {
		return nil, nil
	}
	return bundle.Plan.EnvKeys, err
}

// deploymentRows lists a page of a project's deployments, each with its newest run,
// and reports whether older ones follow.
func (s *site) deploymentRows(ctx context.Context, user coderunner.User, projectID string, page int) (rows []views.DeploymentRow, more bool, err error) {
	deployments, err := s.Store.ProjectDeployments(ctx, user.ID, projectID, maxRows+1, (page-1)*maxRows)
	if err != nil {
		return nil, false, err
	}
	if more = len(deployments) > maxRows; more {
		deployments = deployments[:maxRows]
	}
	ids := make([]string, len(deployments))
	for i, d := range deployments {
		ids[i] = d.ID
	}
	newest, err := s.Store.NewestRuns(ctx, ids)
	if err != nil {
		return nil, false, err
	}
	rows = make([]views.DeploymentRow, len(deployments))
	for i, deployment := range deployments {
		rows[i] = views.DeploymentRow{Deployment: deployment, Run: newest[deployment.ID]}
	}
	return rows, more, nil
}

// liveOf answers the current deployment, or the newest while none has served; nil
// before the first.
func (s *site) liveOf(ctx context.Context, user coderunner.User, projectID string, rows []views.DeploymentRow) (*coderunner.Deployment, error) {
	current, err := s.Store.CurrentDeployment(ctx, user.ID, projectID)
	switch {
	case err == nil:
		return &current, nil
	case coderunner.KindOf(err) != coderunner.NotFound:
		return nil, err
	case len(rows) > 0:
		return &rows[0].Deployment, nil
	}
	return nil, nil
}
