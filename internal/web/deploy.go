package web

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-chi/chi/v5"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/playbook"
	"github.com/coderunner/coderunner/views"
)

// deploy confirms a plan: it saves the variables, starts the deploy and goes to its
// run. What is wrong is shown beside the field, with everything as it was typed.
func (s *site) deploy(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	posted, err := readForm(w, r, maxPlanForm)
	if err != nil {
		return err
	}
	form := views.ReadPlanForm(posted)
	project, bundle := chi.URLParam(r, "project"), chi.URLParam(r, "bundle")
	page, err := s.planPage(r, user, project, bundle, folder(form.Root))
	problems := views.FieldErrors{}
	if coderunner.KindOf(err) == coderunner.Invalid { // the rest is shown for the folder that was analyzed before
		problems["root"] = coderunner.Sentence(err)
		page, err = s.planPage(r, user, project, bundle, "")
	}
	if err != nil {
		return err
	}
	page.Form = form
	plan, err := form.Plan(page.Plan)
	note(problems, err)
	if page.Drops, err = s.Engine.Drops(r.Context(), user.ID, page.Project.ID, page.Bundle.ID, plan); err != nil {
		return err
	}
	if sentence := notOffered(page); sentence != "" && form.Appliance == "" {
		problems["appliance"] = sentence // there was nothing to choose that would have been right
	}
	if page.New {
		_, err = coderunner.NormalizeProjectName(form.Name)
		note(problems, err)
	}
	variables := checkVariables(form.Env, problems)
	if len(problems) > 0 {
		return s.deployAgain(w, r, user, page, http.StatusUnprocessableEntity, problems)
	}
	run, err := s.confirm(r.Context(), user, page, plan, variables)
	if err != nil {
		if !note(problems, err) {
			return err
		}
		return s.deployAgain(w, r, user, page, statusOf(err), problems)
	}
	return redirect(w, r, "/runs/"+run.ID)
}

// deployAgain shows the form as it was sent.
func (s *site) deployAgain(w http.ResponseWriter, r *http.Request, user coderunner.User, page views.PlanPage, status int, problems views.FieldErrors) error {
	page.Errors = problems
	if err := s.tellSet(r, user, &page); err != nil {
		return err
	}
	return s.render(w, r, status, views.Plan(page))
}

// confirm does what the form asks for. Done twice, it does no harm.
func (s *site) confirm(ctx context.Context, user coderunner.User, page views.PlanPage, plan coderunner.Plan, variables []coderunner.Variable) (coderunner.Run, error) {
	if page.New {
		if _, err := s.Projects.Rename(ctx, user.ID, page.Project.ID, page.Form.Name); err != nil {
			return coderunner.Run{}, err
		}
	}
	if err := s.Projects.SetVariables(ctx, user.ID, page.Project.ID, variables); err != nil {
		return coderunner.Run{}, err
	}
	_, run, err := s.Engine.Deploy(ctx, user.ID, playbook.DeployRequest{
		ProjectID: page.Project.ID, BundleID: page.Bundle.ID, Plan: plan, Databases: page.Form.Databases, AcceptDrops: page.Form.AcceptDrops,
	})
	return run, err
}

// checkVariables answers the variables to set and notes what is wrong with any. A
// key without a value is not set: it was offered, or it keeps the value it has.
func checkVariables(rows []views.EnvRow, problems views.FieldErrors) []coderunner.Variable {
	var variables []coderunner.Variable
	seen := map[string]bool{}
	for i, row := range rows {
		number := strconv.Itoa(i)
		if row.Key == "" {
			problems["env_key."+number] = "This value has no name. Give it one, or remove it."
			continue
		}
		if row.Value == "" {
			continue
		}
		if err := coderunner.CheckVariable(row.Key, row.Value); err != nil {
			problems["env_"+fieldOf(err)+"."+number] = coderunner.Sentence(err)
			continue
		}
		if seen[row.Key] {
			problems["env_key."+number] = row.Key + " is there twice. Remove one of the two."
			continue
		}
		seen[row.Key] = true
		variables = append(variables, coderunner.Variable{Key: row.Key, Value: row.Value})
	}
	return variables
}

// note puts a sentence beside its field and reports whether err is one that can be
// shown on the form: something to change, or to try again as it is.
func note(problems views.FieldErrors, err error) bool {
	switch coderunner.KindOf(err) {
	case coderunner.Invalid, coderunner.Conflict, coderunner.TooLarge, coderunner.Throttled, coderunner.Unavailable:
		field := fieldOf(err)
		if field == "key" || field == "value" {
			field = "" // of the variables as a whole; single ones were checked before
		}
		problems[field] = coderunner.Sentence(err)
		return true
	}
	return false
}

// fieldOf answers the form field that err is about, "" for none.
func fieldOf(err error) string {
	var e *coderunner.Error
	if errors.As(err, &e) {
		return e.Field
	}
	return ""
}

// folder is a root as it was typed, in the form that names it: "./server/" is "server".
func folder(root string) string {
	root = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(root), "./"), "/")
	if root == "" {
		return "."
	}
	return root
}
