package api_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/api"
	"github.com/coderunner/coderunner/internal/coderunner"
)

func TestVariablesAreSetListedAndRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small())
	p, _ := w.ada.project("shop")
	path := "/projects/" + p.ID + "/variables"
	var list api.VariableList
	a := w.ada.get(path).want(http.StatusOK)
	if a.into(&list); list.Items == nil || len(list.Items) != 0 || list.Version == "" {
		t.Errorf("the list of nothing is %s", a.body)
	}
	const canary = "canary-$ecret\r\n"
	w.ada.send("PATCH", path, map[string]any{"variables": []any{
		map[string]any{"key": "TOKEN", "value": canary}, map[string]any{"key": "LEVEL", "value": "debug", "secret": false, "scope": "run"},
	}}).want(http.StatusOK).into(&list)
	if len(list.Items) != 2 || list.Items[0].Key != "LEVEL" || list.Items[0].Value == nil || *list.Items[0].Value != "debug" || list.Items[0].Scope != "run" || list.Items[0].Secret ||
		list.Items[1].Value != nil || !list.Items[1].Secret || list.Items[1].Scope != "both" || list.Items[1].UpdatedAt.IsZero() {
		t.Errorf("the list is %+v", list)
	}
	var one api.Variable
	w.ada.send("PUT", path+"/LEVEL", map[string]any{"value": "info"}).want(http.StatusOK).into(&one)
	if one.Value == nil || *one.Value != "info" || one.Scope != "run" || one.Secret {
		t.Errorf("LEVEL is %+v", one)
	}
	one = api.Variable{}
	w.ada.send("PUT", path+"/TOKEN", map[string]any{"scope": "build"}).want(http.StatusOK).into(&one)
	if one.Value != nil || one.Scope != "build" {
		t.Errorf("TOKEN is %+v", one)
	}
	a = w.ada.get(path + "/TOKEN").want(http.StatusOK)
	if strings.Contains(a.body, "canary") || strings.Contains(w.ada.get(path).body, "canary") || strings.Contains(w.log.String(), "canary") {
		t.Error("a secret's value is answered or logged")
	}
	w.ada.send("PUT", path+"/TOKEN", map[string]any{"secret": false}).wantProblem(http.StatusUnprocessableEntity, coderunner.Invalid)
	// A list read before that is no basis for replacing it.
	stale := map[string]any{"version": list.Version, "variables": []any{}}
	if problem := w.ada.send("PUT", path, stale).wantProblem(http.StatusConflict, coderunner.Conflict); !hasField(problem, "version") {
		t.Errorf("a stale version: %+v", problem)
	}
	w.ada.get(path).want(http.StatusOK).into(&list)
	w.ada.send("PUT", path, map[string]any{"version": list.Version, "variables": []any{map[string]any{"key": "TOKEN"}, map[string]any{"key": "B", "value": ""}}}).want(http.StatusOK).into(&list)
	if len(list.Items) != 2 || list.Items[0].Key != "B" || list.Items[1].Key != "TOKEN" || list.Items[1].Scope != "build" {
		t.Errorf("replaced by %+v", list)
	}
	w.ada.send("DELETE", path+"/B", nil).want(http.StatusNoContent)
	w.ada.send("DELETE", path+"/B", nil).wantProblem(http.StatusNotFound, coderunner.NotFound)
	w.ada.get(path+"/B").wantProblem(http.StatusNotFound, coderunner.NotFound)
	w.ada.do("POST", path, strings.NewReader("{}")).wantProblem(http.StatusMethodNotAllowed, "")
}

func TestVariablesThatCannotBeSet(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small())
	p, _ := w.ada.project("shop")
	path := "/projects/" + p.ID + "/variables"
	problem := w.ada.send("PATCH", path, map[string]any{"variables": []any{
		map[string]any{"key": "GOOD", "value": "1"}, map[string]any{"key": "PORT", "value": "canary"}, map[string]any{"key": "LATER"}, map[string]any{"key": "LONG", "value": strings.Repeat("x", 40<<10)},
	}}).wantProblem(http.StatusUnprocessableEntity, coderunner.Invalid)
	if len(problem.Errors) != 3 || !hasField(problem, "variables[1].key") || !hasField(problem, "variables[2].value") || !hasField(problem, "variables[3].value") || strings.Contains(problem.Detail, "canary") {
		t.Errorf("the problem is %+v", problem)
	}
	var list api.VariableList
	if w.ada.get(path).want(http.StatusOK).into(&list); len(list.Items) != 0 {
		t.Errorf("of a refused list %+v was kept", list.Items)
	}
	for _, key := range []string{"A=B", "A B", "1A", "ä", "IFS", "CODERUNNER_X", strings.Repeat("A", 150)} {
		w.ada.send("PUT", path+"/"+url.PathEscape(key), map[string]any{"value": "x"}).wantProblem(http.StatusUnprocessableEntity, coderunner.Invalid)
	}
	w.ada.send("PUT", path+"/A", map[string]any{"value": "canary", "scope": "moon"}).wantProblem(http.StatusUnprocessableEntity, coderunner.Invalid)
	w.ada.send("PUT", path+"/A", map[string]any{"value": "a\x00canary"}).wantProblem(http.StatusUnprocessableEntity, coderunner.Invalid)
	if strings.Contains(w.log.String(), "canary") {
		t.Error("the log has a refused value")
	}
	// The largest value, in the longest form that JSON has for it.
	var one api.Variable
	longest := strings.Repeat("\x01", coderunner.MaxVariableValue)
	w.ada.send("PUT", path+"/A", map[string]any{"value": longest, "secret": false}).want(http.StatusOK).into(&one)
	if one.Value == nil || *one.Value != longest {
		t.Error("the largest value did not come back")
	}
}
