package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/project"
)

// maxVariablesBody is what a request with variables may have, in bytes: JSON may take six
// bytes for one of a value.
const maxVariablesBody = 6*coderunner.MaxVariableBytes + maxBody

// Variable is an environment variable of a project. The value of a secret is never answered.
type Variable struct {
	Key       string    `json:"key" example:"STRIPE_KEY"`
	Value     *string   `json:"value,omitempty" doc:"Only of one that is no secret."`
	Secret    bool      `json:"secret" doc:"The value is write-only, and hidden in logs."`
	Scope     string    `json:"scope" enum:"build,run,both" doc:"Given to install and build commands, to the app, or to both."`
	UpdatedAt time.Time `json:"updated_at"`
}

// VariableList is all of a project's variables, by key.
type VariableList struct {
	Items   []Variable `json:"items" nullable:"false"`
	Version string     `json:"version" doc:"Names this state of the list; replacing it needs the one read last."`
}

// VariableChange is what a variable becomes. What is left out stays; a new variable is a secret for
// both scopes and needs a value.
type VariableChange struct {
	Value  *string `json:"value,omitempty" doc:"Any text without NUL, at most 32 KiB; it arrives byte for byte."`
	Secret *bool   `json:"secret,omitempty" doc:"A secret becomes plain only with a new value."`
	Scope  string  `json:"scope,omitempty" enum:"build,run,both"`
}

// NamedVariableChange is a VariableChange in a list.
type NamedVariableChange struct {
	Key string `json:"key" example:"STRIPE_KEY"`
	VariableChange
}

func (c VariableChange) edit(key string) project.VariableEdit {
	return project.VariableEdit{Key: key, Value: c.Value, Secret: c.Secret, Scope: coderunner.VariableScope(c.Scope)}
}

func variableBody(v coderunner.Variable) Variable {
	body := Variable{Key: v.Key, Secret: v.Secret, Scope: string(v.Scope), UpdatedAt: v.UpdatedAt}
	if !v.Secret {
		body.Value = &v.Value
	}
	return body
}

// variableOperations registers what can be done with variables.
func (s *server) variableOperations() {
	const all, one = "/projects/{id}/variables", "/projects/{id}/variables/{key}"
	private(s, get(all, "list-variables", "List a project's variables"), s.listVariables)
	private(s, withVariables(http.MethodPut, all, "replace-variables", "Replace all of a project's variables",
		"What is not in the list is removed. The version must be the one that was read last, so that nothing goes that you have not seen. A variable without a value keeps the one it has."), s.replaceVariables)
	private(s, withVariables(http.MethodPatch, all, "set-variables", "Add or change some of a project's variables", "All or none. What is not in the list stays."), s.setVariables)
	private(s, get(one, "get-variable", "Get a variable"), s.getVariable)
	private(s, withVariables(http.MethodPut, one, "set-variable", "Add or change a variable", "What runs gets it when it is next started."), s.setVariable)
	private(s, operation(http.MethodDelete, one, "delete-variable", "Remove a variable", http.StatusNoContent), s.deleteVariable)
}

func withVariables(method, path, id, summary, description string) huma.Operation {
	op := operation(method, path, id, summary, http.StatusOK)
	op.Description, op.MaxBodyBytes = description, maxVariablesBody
	return op
}

type variableListOutput struct{ Body VariableList }

func (s *server) listVariables(ctx context.Context, userID string, in *idInput) (*variableListOutput, error) {
	variables, err := s.Projects.Variables(ctx, userID, in.ID)
	if err != nil {
		return nil, err
	}
	list := VariableList{Items: make([]Variable, len(variables)), Version: project.VariablesVersion(variables)}
	for i, v := range variables {
		list.Items[i] = variableBody(v)
	}
	return &variableListOutput{Body: list}, nil
}

type replaceVariablesInput struct {
	ID   string `path:"id" maxLength:"100"`
	Body struct {
		Version   string                `json:"version" doc:"As the list had it that was read last."`
		Variables []NamedVariableChange `json:"variables" nullable:"false" maxItems:"200"`
	} `nameHint:"VariableReplacement"`
}

func (s *server) replaceVariables(ctx context.Context, userID string, in *replaceVariablesInput) (*variableListOutput, error) {
	if err := s.Projects.ReplaceVariables(ctx, userID, in.ID, in.Body.Version, editsOf(in.Body.Variables)); err != nil {
		return nil, inList(err)
	}
	return s.listVariables(ctx, userID, &idInput{ID: in.ID})
}

type setVariablesInput struct {
	ID   string `path:"id" maxLength:"100"`
	Body struct {
		Variables []NamedVariableChange `json:"variables" nullable:"false" maxItems:"200"`
	} `nameHint:"VariableChanges"`
}

func (s *server) setVariables(ctx context.Context, userID string, in *setVariablesInput) (*variableListOutput, error) {
	if err := s.Projects.EditVariables(ctx, userID, in.ID, editsOf(in.Body.Variables)); err != nil {
		return nil, inList(err)
	}
	return s.listVariables(ctx, userID, &idInput{ID: in.ID})
}

func editsOf(changes []NamedVariableChange) []project.VariableEdit {
	edits := make([]project.VariableEdit, len(changes))
	for i, c := range changes {
		edits[i] = c.edit(c.Key)
	}
	return edits
}

// variablesError is an error with the place in the list of each variable that is at fault.
type variablesError struct {
	error
	fields []FieldError
}

func (e variablesError) Unwrap() error { return e.error }

// inList names the members of the body that single problems are about.
func inList(err error) error {
	var problems project.EditProblems
	if !errors.As(err, &problems) {
		return err
	}
	e := variablesError{error: err}
	for i, problem := range problems {
		field := problem.Field
		if field == "" {
			field = "key"
		}
		e.fields = append(e.fields, FieldError{Field: fmt.Sprintf("variables[%d].%s", i, field), Message: problem.Message})
	}
	slices.SortFunc(e.fields, func(a, b FieldError) int { return compareFields(a.Field, b.Field) })
	return e
}

// compareFields puts variables[2] before variables[10].
func compareFields(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	if a < b {
		return -1
	}
	return 1
}

type variableInput struct {
	ID  string `path:"id" maxLength:"100"`
	Key string `path:"key" maxLength:"200"`
}

type variableOutput struct{ Body Variable }

func (s *server) getVariable(ctx context.Context, userID string, in *variableInput) (*variableOutput, error) {
	variables, err := s.Projects.Variables(ctx, userID, in.ID)
	if err != nil {
		return nil, err
	}
	for _, v := range variables {
		if v.Key == in.Key {
			return &variableOutput{Body: variableBody(v)}, nil
		}
	}
	return nil, coderunner.Errorf(coderunner.NotFound, "There is no such variable.")
}

type setVariableInput struct {
	ID   string `path:"id" maxLength:"100"`
	Key  string `path:"key" maxLength:"200"`
	Body VariableChange
}

func (s *server) setVariable(ctx context.Context, userID string, in *setVariableInput) (*variableOutput, error) {
	if err := s.Projects.EditVariables(ctx, userID, in.ID, []project.VariableEdit{in.Body.edit(in.Key)}); err != nil {
		return nil, err
	}
	return s.getVariable(ctx, userID, &variableInput{ID: in.ID, Key: in.Key})
}

func (s *server) deleteVariable(ctx context.Context, userID string, in *variableInput) (*struct{}, error) {
	return nil, s.Projects.DeleteVariable(ctx, userID, in.ID, in.Key)
}
