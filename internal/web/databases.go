package web

import (
	"context"
	"net/http"

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
	found, err := s.Engine.Databases(r.Context(), user.ID, page.Project.ID)
	if err != nil {
		return err
	}
	sizes := s.volumeSizes(r.Context(), page.Project.ID, len(found))
	for _, d := range found {
		item := views.DatabaseItem{DatabaseStatus: d, Title: d.Appliance, SizeBytes: -1}
		if definition, err := s.Catalogue.Get(d.Appliance); err == nil { // it may be of an older catalogue
			item.Title = definition.Title
		}
		if bytes, known := sizes[d.Volume]; known {
			item.SizeBytes = bytes
		}
		page.Items = append(page.Items, item)
		page.Databases = append(page.Databases, d.Database)
	}
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
