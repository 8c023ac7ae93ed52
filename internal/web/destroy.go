package web

import (
	"context"
	"net/http"
	"strings"

	"github.com/go-chi/chi/v5"
	"golang.org/x/text/unicode/norm"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/views"
)

// destroyPage says exactly what is lost and asks for the project's name.
func (s *site) destroyPage(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	page, err := s.lossesPage(r, user)
	if err != nil {
		return err
	}
	return s.render(w, r, http.StatusOK, views.Destroy(page))
}

// destroy starts the end of a project whose name was typed, and goes to its run.
func (s *site) destroy(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	form, err := readForm(w, r, maxForm)
	if err != nil {
		return err
	}
	page, err := s.lossesPage(r, user)
	if err != nil {
		return err
	}
	if !sameName(form.Get("name"), page.Project.Name) {
		page.Mistyped = true
		return s.render(w, r, http.StatusUnprocessableEntity, views.Destroy(page))
	}
	run, err := s.Engine.Destroy(r.Context(), user.ID, page.Project.ID, page.Project.Name)
	if err != nil {
		return err
	}
	return redirect(w, r, "/runs/"+run.ID)
}

// sameName compares as static/js/confirm.js does: spaces around do not count, nor
// does the way in which a keyboard composes an accent.
func sameName(typed, name string) bool {
	return norm.NFC.String(strings.TrimSpace(typed)) == norm.NFC.String(strings.TrimSpace(name))
}

// lossesPage lists what the project has, as the store and the provider know it.
func (s *site) lossesPage(r *http.Request, user coderunner.User) (page views.DestroyPage, err error) {
	ctx := r.Context()
	if page.Project, err = s.Store.Project(ctx, user.ID, chi.URLParam(r, "project")); err != nil {
		return page, err
	}
	if page.Project.DestroyedAt != nil {
		return page, coderunner.Errorf(coderunner.Conflict, "This project is destroyed already. Nothing of it is left but its history.")
	}
	page.Frame = s.frame("Destroy "+page.Project.Name, views.SectionProjects, user)
	live, err := s.liveOf(ctx, user, page.Project.ID, nil)
	if err != nil {
		return page, err
	}
	if live != nil {
		page.URL = live.PublicURL
	}
	page.Losses, err = s.losses(ctx, user, page.Project.ID)
	return page, err
}

func (s *site) losses(ctx context.Context, user coderunner.User, projectID string) (lost views.Losses, err error) {
	sandboxes, err := s.Store.ProjectSandboxes(ctx, projectID)
	if err != nil {
		return lost, err
	}
	for _, sandbox := range sandboxes {
		lost.Sandboxes = append(lost.Sandboxes, sandbox.ID)
	}
	if s.Volumes != nil {
		if lost.Volumes, err = s.Volumes(ctx, projectID); err != nil {
			return lost, err
		}
	}
	databases, err := s.Store.AllDatabases(ctx, projectID)
	if err != nil {
		return lost, err
	}
	for _, database := range databases {
		loss := views.DatabaseLoss{Database: database.Database, SizeBytes: -1}
		for _, volume := range lost.Volumes {
			if volume.Name == database.Volume {
				loss.SizeBytes = volume.SizeBytes
			}
		}
		lost.Databases = append(lost.Databases, loss)
	}
	variables, err := s.Projects.Variables(ctx, user.ID, projectID)
	if err != nil {
		return lost, err
	}
	for _, variable := range variables {
		lost.Variables = append(lost.Variables, variable.Key)
	}
	snapshots, err := s.Store.ProjectSnapshots(ctx, projectID)
	if err != nil {
		return lost, err
	}
	lost.Snapshots = len(snapshots)
	log, err := s.Store.RuntimeLog(ctx, projectID)
	if err != nil {
		return lost, err
	}
	lost.LogLines = log.Last - log.First + 1
	lost.Bundles, lost.BundleBytes, err = s.Projects.Uploads(ctx, user.ID, projectID)
	return lost, err
}
