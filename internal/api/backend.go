package api

import (
	"context"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// Backend is what a project on Manifest has beside its deployments.
type Backend struct {
	Volume        string `json:"volume" doc:"Where its uploads and its SQLite file are. It stays until the project is destroyed; a rollback leaves it as it is."`
	SizeBytes     *int64 `json:"size_bytes,omitempty" doc:"Of the volume, on disk. Left out where that is not known."`
	Administrator string `json:"administrator" enum:"pending,created,foreign" doc:"As of the last start. pending: it has not been started yet. created: CodeRunner's login opens the admin panel. foreign: it does not, because another administrator was made or the password was changed."`
}

// Administrator is who may log in to a backend's admin panel.
type Administrator struct {
	Email    string `json:"email"`
	Password string `json:"password"`
}

type backendOutput struct{ Body Backend }

func (s *server) getBackend(ctx context.Context, userID string, in *idInput) (*backendOutput, error) {
	b, err := s.Engine.Backend(ctx, userID, in.ID)
	if err != nil {
		return nil, err
	}
	if b == nil {
		return nil, coderunner.Errorf(coderunner.NotFound, "This project has no Manifest backend.")
	}
	body := Backend{Volume: b.Volume, Administrator: string(b.Admin)}
	if b.Admin == coderunner.AdminPending {
		body.Administrator = "pending"
	}
	body.SizeBytes = s.volumeSize(ctx, b.Volume)
	return &backendOutput{Body: body}, nil
}

type administratorOutput struct{ Body Administrator }

func (s *server) revealAdmin(ctx context.Context, userID string, in *idInput) (*administratorOutput, error) {
	login, err := s.Engine.RevealAdmin(ctx, userID, in.ID)
	if err != nil {
		return nil, err
	}
	return &administratorOutput{Body: Administrator(login)}, nil
}
