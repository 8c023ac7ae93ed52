package web

import (
	"context"
	"net/http"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
	"github.com/coderunner/coderunner/views"
)

// maxCards is how many projects one page shows.
const maxCards = 200

// projects lists what the user owns. htmx gets the list alone, which asks for itself
// again while something in it moves.
func (s *site) projects(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	summaries, _, err := s.Store.ProjectSummaries(r.Context(), user.ID, "", maxCards, 0)
	if err != nil {
		return err
	}
	page := views.ProjectsPage{Frame: s.frame("Projects", views.SectionProjects, user), UploadLimit: s.UploadLimit}
	for _, summary := range summaries {
		card, err := s.card(r.Context(), user, summary)
		if err != nil {
			return err
		}
		page.Projects = append(page.Projects, card)
	}
	for _, sample := range s.Samples {
		page.Samples = append(page.Samples, sample.Sample)
	}
	if isFragment(r) {
		return s.render(w, r, http.StatusOK, views.ProjectCards(page))
	}
	return s.render(w, r, http.StatusOK, views.Projects(page))
}

// card completes a summary with the times that its card shows.
func (s *site) card(ctx context.Context, user coderunner.User, summary store.ProjectSummary) (views.ProjectCard, error) {
	card := views.ProjectCard{Project: summary.Project, URL: summary.PublicURL, Latest: summary.Deployment, Run: summary.Run}
	if card.Latest != nil {
		latest, err := s.Store.Deployment(ctx, user.ID, card.Latest.ID)
		if err != nil {
			return card, err
		}
		card.Latest = &latest
	}
	if card.Run != nil && !card.Run.State.Ended() {
		run, err := s.Store.Run(ctx, user.ID, card.Run.ID)
		if err != nil {
			return card, err
		}
		card.Run = &run
	}
	return card, nil
}
