package web

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/project"
	"github.com/coderunner/coderunner/internal/secret"
	"github.com/coderunner/coderunner/views"
)

// variables shows a project's variables, every field editable.
func (s *site) variables(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	page, err := s.variablesPage(r, user)
	if err != nil {
		return err
	}
	if page.Flash == nil {
		if page.Flash, err = s.flash(w, r); err != nil {
			return err
		}
	}
	page.Rows = asked(variableRows(page), r.URL.Query().Get("add"))
	page.Run = r.URL.Query().Get("run")
	return s.render(w, r, http.StatusOK, views.Variables(page))
}

// asked is the form with a row for the variable that a failed run wants, its value next to be typed.
func asked(rows []views.VariableRow, key string) []views.VariableRow {
	if coderunner.CheckVariableKey(key) != nil {
		return rows
	}
	i := slices.IndexFunc(rows, func(row views.VariableRow) bool { return row.Key == key })
	if i < 0 {
		i, rows = len(rows), append(rows, views.VariableRow{Key: key, Secret: true, Scope: coderunner.BothScopes, Offered: true})
	}
	rows[i].Asked = true
	return rows
}

// saveVariables saves what was changed in the form, all or nothing, or reads the
// pasted .env file into its rows. What is wrong is shown beside its row, with
// everything as it was typed.
func (s *site) saveVariables(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	posted, err := readForm(w, r, maxPlanForm)
	if err != nil {
		return err
	}
	page, err := s.variablesPage(r, user)
	if err != nil {
		return err
	}
	form := readVariables(posted)
	page.Run = posted.Get("run")
	page.DotEnv, page.Notes, page.Problems, page.Errors = form.dotEnv, form.notes, form.problems, views.FieldErrors{}
	edits, rows := form.edits(page.Errors)
	status := http.StatusUnprocessableEntity
	switch {
	case posted.Get("do") == "read":
		status = http.StatusOK
	case len(page.Problems) == 0 && len(page.Errors) == 0:
		err := s.Projects.EditVariables(r.Context(), user.ID, page.Project.ID, edits)
		if err == nil {
			return s.variablesSaved(w, r, user, page, len(edits))
		}
		if !noteEdits(page.Errors, err, rows) {
			return err
		}
		status = statusOf(err)
		if again, err := s.variablesPage(r, user); err == nil { // as it is now
			page.ProjectPage = again.ProjectPage
		}
	}
	page.Rows = mergeRows(page, form.rows, page.Errors)
	return s.render(w, r, status, views.Variables(page))
}

// variablesSaved goes back to the form, or to the failed run that it was opened for.
func (s *site) variablesSaved(w http.ResponseWriter, r *http.Request, user coderunner.User, page views.VariablesPage, changes int) error {
	sentence, back := "Saved. What runs gets it when it is next started.", "/projects/"+page.Project.ID+"/variables"
	if run, err := s.Store.Run(r.Context(), user.ID, page.Run); page.Run != "" && err == nil && run.ProjectID == page.Project.ID {
		sentence, back = "Saved. Deploy again, and the app gets it.", "/runs/"+run.ID
	}
	if changes == 0 {
		sentence = "Nothing was changed, so nothing was saved."
	}
	if err := s.Auth.Flash(w, r, sentence); err != nil {
		return err
	}
	return redirect(w, r, back)
}

// variablesPage is the tab without its rows.
func (s *site) variablesPage(r *http.Request, user coderunner.User) (page views.VariablesPage, err error) {
	page.ProjectPage, err = s.projectPage(r, user, views.TabVariables)
	if err != nil {
		return page, err
	}
	page.Title = "Variables · " + page.Project.Name
	return page, nil
}

// pending tells what of a project's variables is saved and that its app does not have
// yet; nothing where one of them does not open, which is told by the run that needs it.
func (s *site) pending(r *http.Request, user coderunner.User, projectID string) (coderunner.VariableChanges, error) {
	if s.Applied == nil {
		return nil, nil
	}
	applied, known, err := s.Applied(r.Context(), user.ID, projectID)
	var changes coderunner.VariableChanges
	if err == nil && known {
		changes, err = s.Projects.Changes(r.Context(), user.ID, projectID, applied)
	}
	if errors.Is(err, secret.ErrCannotOpen) {
		return nil, nil
	}
	return changes, err
}

// variableRows are the stored variables, then the keys that the code reads and that
// nobody has set.
func variableRows(page views.VariablesPage) []views.VariableRow {
	var rows []views.VariableRow
	for _, v := range page.Variables {
		rows = append(rows, rowOf(v, why(page, v.Key)))
	}
	return append(rows, offered(page, rows)...)
}

// rowOf is a stored variable as the form has it.
func rowOf(v coderunner.Variable, why string) views.VariableRow {
	return views.VariableRow{From: v.Key, Was: seenOf(v).String(), Key: v.Key, Value: v.Value, Secret: v.Secret, Scope: v.Scope, Sealed: v.Secret, UpdatedAt: &v.UpdatedAt, Why: why}
}

// offered are rows for keys that the code reads and that no row has.
func offered(page views.VariablesPage, rows []views.VariableRow) []views.VariableRow {
	var more []views.VariableRow
	given := coderunner.DatabaseKeys(page.Protocols()...)
	for _, key := range page.EnvKeys {
		has := func(row views.VariableRow) bool { return row.Key == key.Key || row.From == key.Key }
		if slices.Contains(given, key.Key) || slices.ContainsFunc(rows, has) || coderunner.CheckVariableKey(key.Key) != nil {
			continue
		}
		more = append(more, views.VariableRow{Key: key.Key, Secret: true, Scope: coderunner.BothScopes, Offered: true, Why: key.Why})
	}
	return more
}

// why answers where the code reads a variable, "" if it does not.
func why(page views.VariablesPage, key string) string {
	for _, k := range page.EnvKeys {
		if k.Key == key {
			return k.Why
		}
	}
	return ""
}

// mergeRows are the posted rows with what is stored now: what the user has touched
// stays as typed, and the rest is as it is. Where a problem said that a variable is
// not what the user saw, the next save is about what is stored now.
func mergeRows(page views.VariablesPage, posted []views.VariableRow, problems views.FieldErrors) []views.VariableRow {
	stored := map[string]coderunner.Variable{}
	for _, v := range page.Variables {
		stored[v.Key] = v
	}
	var rows []views.VariableRow
	moved := views.FieldErrors{}
	for i, row := range posted {
		n := strconv.Itoa(i)
		wrong := false
		for _, field := range []string{"key.", "value.", "scope."} {
			wrong = wrong || problems[field+n] != ""
		}
		v, there := stored[row.From]
		if row.From != "" && !wrong && !touched(row) {
			if !there {
				continue // gone meanwhile, and nobody here minds
			}
			rows = append(rows, rowOf(v, why(page, v.Key)))
			delete(stored, row.From)
			continue
		}
		if row.From != "" && !there {
			row.From, row.Was = "", ""
		}
		if row.From == "" {
			v, there = stored[row.Key]
		}
		if there {
			row.UpdatedAt = &v.UpdatedAt
			row.Sealed = v.Secret && row.From != ""
			if wrong {
				row.Was = seenOf(v).String()
			}
			delete(stored, v.Key)
		}
		row.Why = why(page, row.Key)
		for _, field := range []string{"key.", "value.", "scope."} {
			if problems[field+n] != "" {
				moved[field+strconv.Itoa(len(rows))] = problems[field+n]
			}
		}
		rows = append(rows, row)
	}
	for _, v := range page.Variables { // added meanwhile
		if _, left := stored[v.Key]; left {
			rows = append(rows, rowOf(v, why(page, v.Key)))
		}
	}
	moved[""] = problems[""]
	clear(problems)
	for field, sentence := range moved {
		if sentence != "" {
			problems[field] = sentence
		}
	}
	return append(rows, offered(page, rows)...)
}

// noteEdits puts what is wrong with edits beside the rows that they came from, and
// reports whether err can be shown on the form.
func noteEdits(problems views.FieldErrors, err error, rows []int) bool {
	var single project.EditProblems
	if !errors.As(err, &single) {
		return note(problems, err)
	}
	for i, e := range single {
		field := e.Field
		if field == "" {
			field = "key"
		}
		problems[field+"."+strconv.Itoa(rows[i])] = e.Message
	}
	return true
}

// variablesForm is what was posted, with the .env file read into the rows.
type variablesForm struct {
	rows            []views.VariableRow
	dotEnv          string // what is to be in the box again
	notes, problems []string
}

func readVariables(posted url.Values) variablesForm {
	var f variablesForm
	f.rows, f.dotEnv = views.ReadVariablesForm(posted)
	if strings.TrimSpace(f.dotEnv) == "" {
		f.dotEnv = ""
		return f
	}
	file := project.ParseDotEnv(f.dotEnv)
	f.notes, f.problems = file.Notes, file.Problems
	if len(f.problems) == 0 {
		f.dotEnv = ""
	}
	for _, v := range file.Variables {
		i := slices.IndexFunc(f.rows, func(row views.VariableRow) bool { return row.Key == v.Key })
		if i < 0 {
			i = len(f.rows)
			f.rows = append(f.rows, views.VariableRow{Key: v.Key, Secret: true, Scope: coderunner.BothScopes})
		}
		f.rows[i].Value, f.rows[i].Replace, f.rows[i].Remove, f.rows[i].Offered = v.Value, true, false, false
	}
	return f
}

// edits answers what the user changed, and for each edit the row that it came from.
// Rows that were left alone, and keys that were offered and got no value, are no edits.
func (f variablesForm) edits(problems views.FieldErrors) (edits []project.VariableEdit, from []int) {
	for i, row := range f.rows {
		if row.From == "" && (row.Remove || row.Offered && row.Value == "") || row.From != "" && !touched(row) {
			continue
		}
		if row.Key == "" && !row.Remove {
			problems["key."+strconv.Itoa(i)] = "This value has no name. Give it one, or remove it."
			continue
		}
		edits = append(edits, editOf(row))
		from = append(from, i)
	}
	return edits, from
}
