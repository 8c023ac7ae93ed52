package project

import (
	"archive/tar"
	"bytes"
	"context"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// NewFromSample makes a project of a sample, exactly as if its folder had been uploaded. It is called
// as the sample is, or "Guest book 2" and so on when the user has a live project of that name.
func (s *Service) NewFromSample(ctx context.Context, userID string, sample coderunner.Sample) (coderunner.Project, coderunner.Bundle, error) {
	var archive bytes.Buffer // samples are a few files of the program's own
	out := tar.NewWriter(&archive)
	if err := out.AddFS(sample.Files); err != nil {
		return coderunner.Project{}, coderunner.Bundle{}, err
	}
	if err := out.Close(); err != nil {
		return coderunner.Project{}, coderunner.Bundle{}, err
	}
	return s.NewFromUpload(ctx, userID, sample.Title, sample.Name, &archive, nil)
}
