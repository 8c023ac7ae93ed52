package web

import (
	"archive/tar"
	"bytes"
	"net/http"
	"slices"

	"github.com/go-chi/chi/v5"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// startSample makes a project of an example and goes to its plan.
func (s *site) startSample(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	name := chi.URLParam(r, "sample")
	i := slices.IndexFunc(s.Samples, func(sample Sample) bool { return sample.Name == name })
	if i < 0 {
		return coderunner.Errorf(coderunner.NotFound, "There is no such sample.")
	}
	var archive bytes.Buffer // examples are a few files of the program's own
	out := tar.NewWriter(&archive)
	if err := out.AddFS(s.Samples[i].Files); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	_, bundle, err := s.Projects.NewFromUpload(r.Context(), user.ID, name, name, &archive, nil)
	if err != nil {
		return err
	}
	return redirect(w, r, planPath(bundle))
}
