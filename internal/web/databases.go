package web

import (
	"context"
	"net/http"
	"slices"

	"github.com/go-chi/chi/v5"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/views"
)

// databases shows what a project's databases are, and how its app reaches them.
func (s *site) databases(w http.ResponseWriter, r *http.Request, user coderunner.User) (err error) {
	var page views.DatabasesPage
	if page.ProjectPage, err = s.projectPage(r, user, views.TabDatabases); err != nil {
		return err
	}
	page.Title = "Databases · " + page.Project.Name
	if page.Items, err = s.databaseItems(r.Context(), user, page.Project.ID); err != nil {
		return err
	}
	for _, d := range page.Items {
		if d.DetachedAt == nil {
			page.Databases = append(page.Databases, d.Database)
		}
	}
	page.Offered = slices.DeleteFunc(s.appliancesOf(coderunner.DatabaseAppliance), func(a coderunner.Appliance) bool {
		has := slices.ContainsFunc(page.Items, func(d views.DatabaseItem) bool { return d.Appliance == a.Name })
		return has || slices.Contains(page.Protocols(), coderunner.ProtocolOf(a.Name))
	})
	if page.Variables, err = s.Projects.Variables(r.Context(), user.ID, page.Project.ID); err != nil {
		return err
	}
	bundle, err := s.Store.LatestBundle(r.Context(), user.ID, page.Project.ID)
	if err != nil && coderunner.KindOf(err) != coderunner.NotFound {
		return err
	}
	page.BundleID = bundle.ID
	return s.render(w, r, http.StatusOK, views.Databases(page))
}

// databaseItems are the attached databases of a project, then those that are detached.
func (s *site) databaseItems(ctx context.Context, user coderunner.User, projectID string) (items []views.DatabaseItem, err error) {
	found, err := s.Engine.Databases(ctx, user.ID, projectID)
	if err != nil {
		return nil, err
	}
	sizes := s.volumeSizes(ctx, projectID, len(found))
	var detached []views.DatabaseItem
	for _, d := range found {
		item := views.DatabaseItem{DatabaseStatus: d, Title: d.Appliance, SizeBytes: -1}
		if definition, err := s.Catalogue.Get(d.Appliance); err == nil { // it may be of an older catalogue
			item.Title = definition.Title
		}
		if bytes, known := sizes[d.Volume]; known {
			item.SizeBytes = bytes
		}
		if d.DetachedAt != nil {
			detached = append(detached, item)
		} else {
			items = append(items, item)
		}
	}
	return append(items, detached...), nil
}

// deleteDatabasePage says what is lost with a detached database and asks for its name.
func (s *site) deleteDatabasePage(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	page, err := s.deletion(r, user)
	if err != nil {
		return err
	}
	return s.render(w, r, http.StatusOK, views.DeleteDatabase(page))
}

// deleteDatabase begins to delete one whose name was typed, and goes to its run.
func (s *site) deleteDatabase(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	form, err := readForm(w, r, maxForm)
	if err != nil {
		return err
	}
	page, err := s.deletion(r, user)
	if err != nil {
		return err
	}
	if !sameName(form.Get("name"), page.Database.Appliance) {
		page.Mistyped = true
		return s.render(w, r, http.StatusUnprocessableEntity, views.DeleteDatabase(page))
	}
	run, err := s.Engine.DeleteDatabase(r.Context(), user.ID, page.Project.ID, page.Database.Appliance, page.Database.Appliance)
	if err != nil {
		return err
	}
	return redirect(w, r, "/runs/"+run.ID)
}

// deletion is about the detached database that the address names.
func (s *site) deletion(r *http.Request, user coderunner.User) (page views.DeleteDatabasePage, err error) {
	if page.Project, err = s.Store.Project(r.Context(), user.ID, chi.URLParam(r, "project")); err != nil {
		return page, err
	}
	items, err := s.databaseItems(r.Context(), user, page.Project.ID)
	if err != nil {
		return page, err
	}
	i := slices.IndexFunc(items, func(d views.DatabaseItem) bool { return d.Appliance == chi.URLParam(r, "appliance") })
	if i < 0 {
		return page, coderunner.Errorf(coderunner.NotFound, "This project has no such database.")
	}
	page.Database = items[i]
	if page.Database.DetachedAt == nil {
		return page, coderunner.Errorf(coderunner.Conflict, "%s is attached to the app. Detach it first; that keeps its data.", page.Database.Title)
	}
	page.Frame = s.frame("Delete "+page.Database.Title, views.SectionProjects, user)
	return page, nil
}

// volumeSizes answers how much each volume of a project takes, by name. A provider
// that does not answer leaves them unknown: the page has more to say.
func (s *site) volumeSizes(ctx context.Context, projectID string, wanted int) map[string]int64 {
	if s.Volumes == nil || wanted == 0 {
		return nil
	}
	volumes, err := s.Volumes(ctx, projectID)
	if err != nil {
		s.Log.Warn("listing a project's volumes", "project", projectID, "err", err)
	}
	sizes := map[string]int64{}
	for _, v := range volumes {
		sizes[v.Name] = v.SizeBytes
	}
	return sizes
}
