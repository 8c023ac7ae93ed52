package project

import (
	"context"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

// MaxVariables is how many environment variables a project may have.
const MaxVariables = 200

// sealedName is the name under which a variable is encrypted.
func sealedName(key string) string { return "variable/" + key }

// SetVariables adds or replaces variables, all or none. They are encrypted for
// this project; a process gets them when it is started next.
func (s *Service) SetVariables(ctx context.Context, userID, projectID string, variables []coderunner.Variable) error {
	for _, v := range variables {
		if err := coderunner.CheckVariable(v.Key, v.Value); err != nil {
			return err
		}
	}
	if _, err := s.live(ctx, userID, projectID); err != nil {
		return err
	}
	return s.store.InTx(ctx, func(st *store.Store) error {
		for _, v := range variables {
			sealed, err := s.keys.Seal(projectID, sealedName(v.Key), []byte(v.Value))
			if err != nil {
				return err
			}
			if err := st.SetVariable(ctx, projectID, store.SealedVariable{Key: v.Key, Sealed: sealed}); err != nil {
				return err
			}
		}
		all, err := st.Variables(ctx, projectID)
		if err == nil && len(all) > MaxVariables {
			return coderunner.FieldError("key", "A project has at most %d environment variables. Leave some out.", MaxVariables)
		}
		return err
	})
}

// Variables lists a project's variables by key, with the time each was set and
// without their values.
func (s *Service) Variables(ctx context.Context, userID, projectID string) ([]coderunner.Variable, error) {
	if _, err := s.store.Project(ctx, userID, projectID); err != nil {
		return nil, err
	}
	sealed, err := s.store.Variables(ctx, projectID)
	if err != nil {
		return nil, err
	}
	variables := make([]coderunner.Variable, len(sealed))
	for i, v := range sealed {
		variables[i] = coderunner.Variable{Key: v.Key, UpdatedAt: v.UpdatedAt}
	}
	return variables, nil
}

// DeleteVariable removes a variable; NotFound if there is none.
func (s *Service) DeleteVariable(ctx context.Context, userID, projectID, key string) error {
	if _, err := s.live(ctx, userID, projectID); err != nil {
		return err
	}
	return s.store.DeleteVariable(ctx, projectID, key)
}

// Decrypted answers a project's variables in clear, for the playbooks. It fails as
// a whole when one of them does not open: an app never starts with half of them.
func (s *Service) Decrypted(ctx context.Context, projectID string) ([]coderunner.Variable, error) {
	sealed, err := s.store.Variables(ctx, projectID)
	if err != nil {
		return nil, err
	}
	values := make([]coderunner.Variable, 0, len(sealed))
	for _, v := range sealed {
		value, err := s.keys.Open(projectID, sealedName(v.Key), v.Sealed)
		if err != nil {
			return nil, err
		}
		values = append(values, coderunner.Variable{Key: v.Key, Value: string(value), UpdatedAt: v.UpdatedAt})
	}
	return values, nil
}
