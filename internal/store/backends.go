package store

import (
	"context"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// SealedBackend is a project's backend with its secrets encrypted.
type SealedBackend struct {
	coderunner.Backend
	Sealed []byte
}

// EnsureBackend records what a project on Manifest has; what is recorded already stays.
func (s *Store) EnsureBackend(ctx context.Context, projectID, volume string, sealed []byte) error {
	return translate(s.q.EnsureBackend(ctx, projectID, volume, sealed), "backend")
}

// ProjectBackend answers a project's backend; NotFound for a project that never ran on Manifest.
func (s *Store) ProjectBackend(ctx context.Context, projectID string) (SealedBackend, error) {
	r, err := s.q.ProjectBackend(ctx, projectID)
	return SealedBackend{Backend: coderunner.Backend{ProjectID: r.ProjectID, Volume: r.Volume, Admin: coderunner.AdminState(r.AdminState)}, Sealed: r.Secrets}, translate(err, "backend")
}

// SetBackendAdmin records whether our login opens the backend.
func (s *Store) SetBackendAdmin(ctx context.Context, projectID string, state coderunner.AdminState) error {
	return translate(s.q.SetBackendAdmin(ctx, string(state), projectID), "backend")
}
