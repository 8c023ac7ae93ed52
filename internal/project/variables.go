package project

import (
	"context"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

// sealedName is the name under which a variable is encrypted.
func sealedName(key string) string { return "variable/" + key }

// Variables lists a project's variables by key, without the values of secrets.
// The others are there in clear: their owner has said that they may be seen. One
// that does not open is listed as a secret: it can be replaced and removed, not shown.
func (s *Service) Variables(ctx context.Context, userID, projectID string) (coderunner.Variables, error) {
	if _, err := s.store.Project(ctx, userID, projectID); err != nil {
		return nil, err
	}
	sealed, err := s.store.Variables(ctx, projectID)
	if err != nil {
		return nil, err
	}
	variables := make(coderunner.Variables, len(sealed))
	for i, v := range sealed {
		variables[i] = described(v)
		if v.Secret {
			continue
		}
		if plain, err := s.open(projectID, v); err == nil {
			variables[i] = plain
		} else {
			variables[i].Secret = true
		}
	}
	return variables, nil
}

// Decrypted answers a project's variables in clear, for the playbooks. It fails as
// a whole when one of them does not open: an app never starts with half of them.
func (s *Service) Decrypted(ctx context.Context, projectID string) (coderunner.Variables, error) {
	sealed, err := s.store.Variables(ctx, projectID)
	if err != nil {
		return nil, err
	}
	variables := make(coderunner.Variables, len(sealed))
	for i, v := range sealed {
		if variables[i], err = s.open(projectID, v); err != nil {
			return nil, err
		}
	}
	return variables, nil
}

// SetVariables adds or replaces values, all or none. A new variable is a secret for
// build and run; one that is there stays what it is. Secret and Scope are not read.
func (s *Service) SetVariables(ctx context.Context, userID, projectID string, variables []coderunner.Variable) error {
	edits := make([]VariableEdit, len(variables))
	for i, v := range variables {
		edits[i] = VariableEdit{Key: v.Key, Value: &variables[i].Value}
	}
	return s.EditVariables(ctx, userID, projectID, edits)
}

// DeleteVariable removes a variable; NotFound if there is none.
func (s *Service) DeleteVariable(ctx context.Context, userID, projectID, key string) error {
	return s.EditVariables(ctx, userID, projectID, []VariableEdit{{From: key, Remove: true}})
}

// Changes tells what a project's variables have that applied, those that its app
// was last started with, have not.
func (s *Service) Changes(ctx context.Context, userID, projectID string, applied coderunner.Variables) (coderunner.VariableChanges, error) {
	if _, err := s.store.Project(ctx, userID, projectID); err != nil {
		return nil, err
	}
	saved, err := s.Decrypted(ctx, projectID)
	if err != nil {
		return nil, err
	}
	return coderunner.CompareVariables(applied, saved), nil
}

func (s *Service) open(projectID string, v store.SealedVariable) (coderunner.Variable, error) {
	value, err := s.keys.Open(projectID, sealedName(v.Key), v.Sealed)
	variable := described(v)
	variable.Value = string(value)
	return variable, err
}

// described is what there is to know about a variable but its value.
func described(v store.SealedVariable) coderunner.Variable {
	return coderunner.Variable{Key: v.Key, Secret: v.Secret, Scope: v.Scope, UpdatedAt: v.UpdatedAt}
}
