package project

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

// VariableEdit is one thing to do to a project's variables. What no edit names
// stays as it is.
type VariableEdit struct {
	From    string  // the variable that it is about, by its present key; "" adds Key, or replaces it
	Remove  bool    // From goes; nothing below is read
	Key     string  // what it is called afterwards
	Value   *string // nil keeps the value
	Secret  *bool   // nil keeps it; a new one is a secret. A secret becomes plain only with a new value.
	Scope   coderunner.VariableScope
	Version *string // as VariableVersion had it when the user looked, "" for a variable that was not there; nil does not ask
}

// VariableVersion names a state of a variable, so that an edit can say what it was made of.
func VariableVersion(v coderunner.Variable) string {
	return strconv.FormatInt(v.UpdatedAt.UnixMicro(), 36)
}

// EditProblems are what is wrong with single edits, by their place in the list.
type EditProblems map[int]*coderunner.Error

func (p EditProblems) Error() string { return p.first().Error() }

// Unwrap answers the first, so that all together have its kind and sentence.
func (p EditProblems) Unwrap() error { return p.first() }

func (p EditProblems) first() *coderunner.Error {
	return p[slices.Min(slices.Collect(maps.Keys(p)))]
}

// EditVariables changes a project's variables, all edits or none. The errors are
// EditProblems where single edits are at fault: Invalid; NotFound when From is not
// there; Conflict when a variable is not what Version says, or the new key is taken.
// A process gets what is set when it is started next.
func (s *Service) EditVariables(ctx context.Context, userID, projectID string, edits []VariableEdit) error {
	return s.editVariables(ctx, userID, projectID, func(coderunner.Variables) ([]VariableEdit, error) { return edits, nil })
}

// ReplaceVariables makes all of them a project's variables: what is not among them
// is removed. version is what VariablesVersion said of the list that the user looked
// at; Conflict when it has changed since. An edit without a value keeps the one there is.
func (s *Service) ReplaceVariables(ctx context.Context, userID, projectID, version string, all []VariableEdit) error {
	return s.editVariables(ctx, userID, projectID, func(has coderunner.Variables) ([]VariableEdit, error) {
		if VariablesVersion(has) != version {
			return nil, &coderunner.Error{Kind: coderunner.Conflict, Field: "version", Message: "The variables were changed by somebody else since you read them. Nothing was saved. Read them again and repeat your change."}
		}
		edits := slices.Clone(all)
		for _, v := range has {
			if !slices.ContainsFunc(all, func(e VariableEdit) bool { return e.Key == v.Key }) {
				edits = append(edits, VariableEdit{From: v.Key, Remove: true})
			}
		}
		return edits, nil
	})
}

// VariablesVersion names a state of all of a project's variables.
func VariablesVersion(vs coderunner.Variables) string {
	var b strings.Builder
	for _, v := range vs {
		b.WriteString(v.Key + "@" + VariableVersion(v) + "\n")
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:12])
}

func (s *Service) editVariables(ctx context.Context, userID, projectID string, edits func(has coderunner.Variables) ([]VariableEdit, error)) error {
	return s.store.InTx(ctx, func(st *store.Store) error {
		live, err := st.LockVariables(ctx, userID, projectID)
		if err != nil {
			return err
		}
		if !live {
			return coderunner.Errorf(coderunner.Conflict, "This project was destroyed. Drop the folder again to make a new one.")
		}
		sealed, err := st.Variables(ctx, projectID)
		if err != nil {
			return err
		}
		has, closed := make(coderunner.Variables, len(sealed)), map[string]error{}
		for i, v := range sealed {
			if has[i], err = s.open(projectID, v); err != nil {
				closed[v.Key] = err
			}
		}
		list, err := edits(has)
		if err != nil {
			return err
		}
		draft, err := draftOf(has, closed, list)
		if err != nil {
			return err
		}
		if err := s.saveDraft(ctx, st, projectID, draft); err != nil {
			return err
		}
		if detail := draft.audit(); len(detail) > 0 {
			return st.Audit(ctx, store.AuditEvent{UserID: userID, ProjectID: projectID, Action: "variables.change", Detail: detail})
		}
		return nil
	})
}

// draft is what variables become.
type draft struct {
	before, after   map[string]coderunner.Variable
	closed          map[string]error // why a value does not open: it can be replaced and removed, and not moved
	renamed         []string         // "OLD to NEW"
	renamedFrom, to map[string]bool
}

// draftOf does the edits on a copy.
func draftOf(has coderunner.Variables, closed map[string]error, edits []VariableEdit) (draft, error) {
	d := draft{closed: closed, before: map[string]coderunner.Variable{}, after: map[string]coderunner.Variable{}, renamedFrom: map[string]bool{}, to: map[string]bool{}}
	for _, v := range has {
		d.before[v.Key], d.after[v.Key] = v, v
	}
	problems := EditProblems{}
	note := func(i int, err *coderunner.Error) {
		if err != nil {
			problems[i] = err
		}
	}
	// What goes, or gets another name, makes room first: keys can be swapped.
	for i, e := range edits {
		if e.From != "" {
			note(i, d.leave(e))
		}
	}
	set := map[string]bool{}
	for i, e := range edits {
		if e.Remove || problems[i] != nil {
			continue
		}
		if set[e.Key] {
			note(i, invalid(coderunner.FieldError("key", "%s is there twice. Remove one of the two.", clip(e.Key, 60))))
			continue
		}
		set[e.Key] = true
		note(i, d.set(e))
	}
	if len(problems) > 0 {
		return d, problems
	}
	return d, coderunner.CheckVariables(slices.Collect(maps.Values(d.after)))
}

// leave takes a variable that is removed or renamed out of its place.
func (d *draft) leave(e VariableEdit) *coderunner.Error {
	was, there := d.before[e.From]
	if !there {
		if e.Remove && e.Version != nil {
			return nil // somebody else was quicker, and the end is the same
		}
		if e.Version != nil {
			return d.stale(e, was, false)
		}
		return &coderunner.Error{Kind: coderunner.NotFound, Field: "key", Message: "There is no such variable."}
	}
	if err := d.stale(e, was, true); err != nil {
		return err
	}
	if e.Remove || e.Key != e.From {
		delete(d.after, e.From)
	}
	return nil
}

// set puts a variable in its place.
func (d *draft) set(e VariableEdit) *coderunner.Error {
	origin := cmp.Or(e.From, e.Key)
	was, there := d.before[origin]
	if _, taken := d.after[e.Key]; taken && e.From != "" && e.From != e.Key {
		return conflict("key", "There is a variable %s already. Choose another name, or remove that one first.", e.Key)
	}
	if e.From == "" {
		if err := d.stale(e, was, there); err != nil {
			return err
		}
	}
	next := was
	next.Key = e.Key
	if !there {
		next.Secret, next.Scope = true, coderunner.BothScopes
		if e.Value == nil {
			return invalid(coderunner.FieldError("value", "%s has no value yet. Give it one; an empty one is a value as well.", clip(e.Key, 60)))
		}
	}
	if e.Value != nil {
		next.Value = *e.Value
	} else if err := d.closed[origin]; err != nil {
		return invalid(err)
	}
	if e.Secret != nil {
		if there && was.Secret && !*e.Secret && e.Value == nil {
			return invalid(coderunner.FieldError("value", "%s is a secret, and what was saved as one is never shown again. Give it a new value to make it plain.", e.Key))
		}
		next.Secret = *e.Secret
	}
	next.Scope = cmp.Or(e.Scope, next.Scope)
	if err := coderunner.CheckVariableScope(next.Scope); err != nil {
		return invalid(err)
	}
	if err := coderunner.CheckVariable(next.Key, next.Value); err != nil {
		return invalid(err)
	}
	if e.From != "" && e.From != e.Key {
		d.renamed = append(d.renamed, e.From+" to "+e.Key)
		d.renamedFrom[e.From], d.to[e.Key] = true, true
	}
	d.after[e.Key] = next
	return nil
}

// stale reports that a variable is not what the user who edits it has seen.
func (d *draft) stale(e VariableEdit, now coderunner.Variable, there bool) *coderunner.Error {
	switch {
	case e.Version == nil || there && *e.Version == VariableVersion(now) || !there && *e.Version == "":
		return nil
	case *e.Version == "":
		return conflict("key", "%s was added in the meantime, in another window or by somebody else. Nothing was saved. Save again to put your value in its place, or remove this row to keep that one.", e.Key)
	case !there:
		return conflict("key", "%s was removed in the meantime, in another window or by somebody else. Nothing was saved. Save again to add it anew, or remove this row.", cmp.Or(e.From, e.Key))
	case e.Remove:
		return conflict("key", "%s was changed in the meantime, in another window or by somebody else. Nothing was saved. Save again to remove it all the same.", e.From)
	}
	return conflict("key", "%s was changed in the meantime, in another window or by somebody else. Nothing was saved. Save again to put yours in its place, or reload the page to see what it is now.", cmp.Or(e.From, e.Key))
}

func conflict(field, format string, args ...any) *coderunner.Error {
	err := coderunner.Errorf(coderunner.Conflict, format, args...)
	err.Field = field
	return err
}

// invalid is what the domain says against a variable.
func invalid(err error) *coderunner.Error {
	var e *coderunner.Error
	if errors.As(err, &e) {
		return e
	}
	return coderunner.Wrap(err, coderunner.Internal, "The variable cannot be saved.")
}

// saveDraft writes what is different.
func (s *Service) saveDraft(ctx context.Context, st *store.Store, projectID string, d draft) error {
	for key := range d.before {
		if _, stays := d.after[key]; stays {
			continue
		}
		if err := st.DeleteVariable(ctx, projectID, key); err != nil {
			return err
		}
	}
	for key, v := range d.after {
		if was, there := d.before[key]; there && was == v {
			continue
		}
		sealed, err := s.keys.Seal(projectID, sealedName(key), []byte(v.Value))
		if err != nil {
			return err
		}
		if err := st.SetVariable(ctx, projectID, store.SealedVariable{Key: key, Sealed: sealed, Secret: v.Secret, Scope: v.Scope}); err != nil {
			return err
		}
	}
	return nil
}

// audit tells by keys alone what a draft changes.
func (d draft) audit() map[string]string {
	lists := map[string][]string{"renamed": d.renamed}
	for key, v := range d.after {
		was, there := d.before[key]
		switch {
		case !there && !d.to[key]:
			lists["added"] = append(lists["added"], key)
		case there && was != v && !d.to[key]:
			lists["changed"] = append(lists["changed"], key)
		}
	}
	for key := range d.before {
		if _, stays := d.after[key]; !stays && !d.renamedFrom[key] {
			lists["removed"] = append(lists["removed"], key)
		}
	}
	detail := map[string]string{}
	for what, keys := range lists {
		if len(keys) > 0 {
			slices.Sort(keys)
			detail[what] = strings.Join(keys, ", ")
		}
	}
	return detail
}
