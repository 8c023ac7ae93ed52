package web

import (
	"context"
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// act begins a playbook about the project's current deployment, and goes to its run.
func (s *site) act(begin func(ctx context.Context, r *http.Request, userID, projectID string) (coderunner.Run, error)) userHandler {
	return func(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		run, err := begin(r.Context(), r, user.ID, chi.URLParam(r, "project"))
		if err != nil {
			return err
		}
		return redirect(w, r, "/runs/"+run.ID)
	}
}

func (s *site) restart(ctx context.Context, _ *http.Request, userID, projectID string) (coderunner.Run, error) {
	return s.Engine.RestartApp(ctx, userID, projectID)
}

func (s *site) start(ctx context.Context, _ *http.Request, userID, projectID string) (coderunner.Run, error) {
	return s.Engine.StartApp(ctx, userID, projectID)
}

func (s *site) stop(ctx context.Context, r *http.Request, userID, projectID string) (coderunner.Run, error) {
	return s.Engine.StopApp(ctx, userID, projectID, r.PostFormValue("databases") != "")
}

func (s *site) attachDatabase(ctx context.Context, r *http.Request, userID, projectID string) (coderunner.Run, error) {
	return s.Engine.AttachDatabase(ctx, userID, projectID, chi.URLParam(r, "appliance"), r.PostFormValue("restart") != "")
}

func (s *site) detachDatabase(ctx context.Context, r *http.Request, userID, projectID string) (coderunner.Run, error) {
	return s.Engine.DetachDatabase(ctx, userID, projectID, chi.URLParam(r, "appliance"), r.PostFormValue("restart") != "")
}

func (s *site) redeploy(ctx context.Context, _ *http.Request, userID, projectID string) (coderunner.Run, error) {
	_, run, err := s.Engine.Redeploy(ctx, userID, projectID)
	return run, err
}
