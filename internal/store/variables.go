package store

import (
	"cmp"
	"context"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store/sqlc"
)

// SealedVariable is an environment variable with its value encrypted.
type SealedVariable struct {
	Key       string
	Sealed    []byte
	Secret    bool
	Scope     coderunner.VariableScope
	UpdatedAt time.Time // when it was last set; SetVariable does not read it
}

// LockVariables keeps others from changing the variables of a user's project until
// the transaction ends, and reports whether the project is there to be changed: it
// is not once destroyed. Call it inside InTx.
func (s *Store) LockVariables(ctx context.Context, userID, projectID string) (live bool, err error) {
	live, err = s.q.LockVariables(ctx, projectID, userID)
	return live, translate(err, "project")
}

// SetVariable adds or replaces a variable. A scope of "" is both.
func (s *Store) SetVariable(ctx context.Context, projectID string, v SealedVariable) error {
	return translate(s.q.SetVariable(ctx, sqlc.SetVariableParams{ProjectID: projectID, Key: v.Key, Value: v.Sealed, Secret: v.Secret, Scope: cmp.Or(v.Scope, coderunner.BothScopes)}), "project")
}

// DeleteVariable removes a variable; NotFound if there is none.
func (s *Store) DeleteVariable(ctx context.Context, projectID, key string) error {
	n, err := s.q.DeleteVariable(ctx, projectID, key)
	if err == nil && n == 0 {
		return notFound("variable")
	}
	return translate(err, "variable")
}

// Variables lists a project's variables by key.
func (s *Store) Variables(ctx context.Context, projectID string) ([]SealedVariable, error) {
	rows, err := s.q.Variables(ctx, projectID)
	out := make([]SealedVariable, len(rows))
	for i, r := range rows {
		out[i] = SealedVariable{Key: r.Key, Sealed: r.Value, Secret: r.Secret, Scope: r.Scope, UpdatedAt: r.UpdatedAt}
	}
	return out, translate(err, "variable")
}
