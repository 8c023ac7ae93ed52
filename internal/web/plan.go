package web

import (
	"net/http"
	"slices"

	"github.com/go-chi/chi/v5"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/views"
)

// maxFound is how many names of an upload that was not recognised are shown.
const maxFound = 40

// plan shows how a bundle would be run, every field editable.
func (s *site) plan(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	page, err := s.planPage(r, user, chi.URLParam(r, "project"), chi.URLParam(r, "bundle"), r.URL.Query().Get("root"))
	if err != nil {
		return err
	}
	if err := s.tellSet(r, user, &page); err != nil {
		return err
	}
	page.Form = views.NewPlanForm(page.Project, page.Plan)
	page.Errors = views.FieldErrors{}
	if sentence := notOffered(page); sentence != "" {
		page.Errors["appliance"] = sentence
	}
	return s.render(w, r, http.StatusOK, views.Plan(page))
}

// notOffered says that this server has nothing to run the code on that the plan asks for; "" if it has.
func notOffered(page views.PlanPage) string {
	wanted := page.Plan.Runtime
	if wanted.Appliance == "" || slices.ContainsFunc(page.Runtimes, func(a coderunner.Appliance) bool { return a.Name == wanted.Appliance }) {
		return ""
	}
	return coderunner.Sentence(wanted.NotOffered())
}

// planPage is the plan of a folder of the bundle, its form still empty.
func (s *site) planPage(r *http.Request, user coderunner.User, project, bundle, root string) (page views.PlanPage, err error) {
	ctx := r.Context()
	page.Frame = s.frame("Plan", views.SectionProjects, user)
	if page.Project, err = s.Store.Project(ctx, user.ID, project); err != nil {
		return page, err
	}
	page.Title = "Plan · " + page.Project.Name
	if page.Bundle, err = s.Store.Bundle(ctx, user.ID, bundle); err != nil {
		return page, err
	}
	if page.Plan, err = s.Projects.Propose(ctx, user.ID, page.Project.ID, page.Bundle.ID, root); err != nil {
		return page, err
	}
	if page.Plan.Type == "" {
		if page.Found, err = s.Projects.Found(ctx, user.ID, page.Bundle.ID, page.Plan.Root, maxFound); err != nil {
			return page, err
		}
	}
	deployments, err := s.Store.ProjectDeployments(ctx, user.ID, page.Project.ID, 1, 0)
	if err != nil {
		return page, err
	}
	if page.Drops, err = s.Engine.Drops(ctx, user.ID, page.Project.ID, page.Bundle.ID, page.Plan); err != nil {
		return page, err
	}
	page.New = len(deployments) == 0
	page.UploadLimit = s.UploadLimit
	page.Runtimes = s.appliancesOf(coderunner.RuntimeAppliance)
	page.Databases, err = s.databaseOptions(r, page)
	return page, err
}

// databaseOptions are the databases that can be ticked, with the evidence for each.
func (s *site) databaseOptions(r *http.Request, page views.PlanPage) ([]views.DatabaseOption, error) {
	has, err := s.Store.AllDatabases(r.Context(), page.Project.ID)
	if err != nil {
		return nil, err
	}
	var options []views.DatabaseOption
	for _, appliance := range s.appliancesOf(coderunner.DatabaseAppliance) {
		option := views.DatabaseOption{Appliance: appliance}
		for _, need := range page.Plan.Databases {
			if need.Appliance == appliance.Name {
				option.Why = need.Why
			}
		}
		for _, database := range has {
			if database.Appliance == appliance.Name {
				option.Existing, option.Detached = database.DetachedAt == nil, database.DetachedAt != nil
			}
		}
		options = append(options, option)
	}
	return options, nil
}

// tellSet says, beside each key that the code reads, that the project has it already.
func (s *site) tellSet(r *http.Request, user coderunner.User, page *views.PlanPage) error {
	has, err := s.Projects.Variables(r.Context(), user.ID, page.Project.ID)
	if err != nil {
		return err
	}
	page.Plan.EnvKeys = slices.Clone(page.Plan.EnvKeys)
	for i, key := range page.Plan.EnvKeys {
		if key.Why != "" && slices.ContainsFunc(has, func(v coderunner.Variable) bool { return v.Key == key.Key }) {
			page.Plan.EnvKeys[i].Why += "; it is set already, and an empty field keeps its value"
		}
	}
	return nil
}
