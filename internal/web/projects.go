package web

import (
	"fmt"
	"net/http"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/views"
)

// maxCards is how many projects the page shows.
const maxCards = 1000

// projects lists what the user owns. htmx gets the list alone, which asks for itself
// again while something in it moves.
func (s *site) projects(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	summaries, total, err := s.Store.ProjectSummaries(r.Context(), user.ID, "", maxCards, 0)
	if err != nil {
		return err
	}
	page := views.ProjectsPage{Frame: s.frame("Projects", views.SectionProjects, user), UploadLimit: s.UploadLimit}
	if total > len(summaries) {
		page.Flash = &views.Flash{Kind: views.FlashNote, Text: fmt.Sprintf("You have %d projects. The newest %d are shown; the API lists them all.", total, len(summaries))}
	}
	for _, summary := range summaries {
		page.Projects = append(page.Projects, views.ProjectCard{Project: summary.Project, URL: summary.PublicURL, Latest: summary.Deployment, Run: summary.Run})
	}
	for _, sample := range s.Samples {
		page.Samples = append(page.Samples, sample.Sample)
	}
	if isFragment(r) {
		return s.render(w, r, http.StatusOK, views.ProjectCards(page))
	}
	return s.render(w, r, http.StatusOK, views.Projects(page))
}
