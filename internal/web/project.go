package web

import (
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/views"
)

// maxRows is how many deployments a project's page lists.
const maxRows = 100

// project is one of a project's tabs.
func (s *site) project(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	page, err := s.projectPage(r, user, views.ProjectTab(chi.URLParam(r, "tab")))
	if err != nil {
		return err
	}
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
	if page.Deployments, err = s.deploymentRows(r, user, project.ID); err != nil {
		return page, err
	}
	page.Live = liveOf(page.Deployments)
	if page.Live != nil {
		page.URL = page.Live.PublicURL
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

// deploymentRows lists a project's deployments, each with its newest run.
func (s *site) deploymentRows(r *http.Request, user coderunner.User, projectID string) ([]views.DeploymentRow, error) {
	deployments, err := s.Store.ProjectDeployments(r.Context(), user.ID, projectID, maxRows, 0)
	if err != nil {
		return nil, err
	}
	runs, err := s.Store.ProjectRuns(r.Context(), user.ID, projectID, 2*maxRows, 0)
	if err != nil {
		return nil, err
	}
	newest := make(map[string]*coderunner.Run, len(runs))
	for i, run := range runs {
		if newest[run.DeploymentID] == nil {
			newest[run.DeploymentID] = &runs[i]
		}
	}
	rows := make([]views.DeploymentRow, len(deployments))
	for i, deployment := range deployments {
		rows[i] = views.DeploymentRow{Deployment: deployment, Run: newest[deployment.ID]}
	}
	return rows, nil
}

// liveOf answers the deployment that serves, or the newest; nil before the first.
func liveOf(rows []views.DeploymentRow) *coderunner.Deployment {
	for i := range rows {
		if rows[i].Deployment.PublicURL != "" {
			return &rows[i].Deployment
		}
	}
	if len(rows) > 0 {
		return &rows[0].Deployment
	}
	return nil
}
