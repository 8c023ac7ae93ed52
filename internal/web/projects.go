package web

import (
	"net/http"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/views"
)

// farthestPage bounds what is asked of the store; nobody has that many projects.
const farthestPage = 1 << 20

// projects lists what the user owns, a page at a time, or what of it matches a search.
// htmx gets the list alone, which asks for itself again while something in it moves.
func (s *site) projects(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	query := r.URL.Query()
	page := views.ProjectsPage{
		Frame: s.frame("Projects", views.SectionProjects, user), UploadLimit: s.UploadLimit, Samples: s.Samples,
		Search: searched(query), Page: int(min(max(number(query.Get("page")), 1), farthestPage)),
	}
	summaries, total, err := s.Store.ProjectSummaries(r.Context(), user.ID, page.Search, views.CardsPerPage, (page.Page-1)*views.CardsPerPage)
	if err != nil {
		return err
	}
	page.Total = total
	if page.Page > page.Pages() {
		return redirect(w, r, views.ProjectsPath(page.Search, page.Pages()))
	}
	for _, summary := range summaries {
		page.Projects = append(page.Projects, views.ProjectCard{Project: summary.Project, URL: summary.PublicURL, Current: summary.Current, Latest: summary.Deployment, Run: summary.Run})
	}
	if isFragment(r) {
		return s.render(w, r, http.StatusOK, views.ProjectCards(page))
	}
	return s.render(w, r, http.StatusOK, views.Projects(page))
}
