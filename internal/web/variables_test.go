package web_test

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/PuerkitoBio/goquery"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/project"
	"github.com/coderunner/coderunner/internal/store"
	"github.com/coderunner/coderunner/internal/web"
)

// variablesForm reads the variables' form as a browser would send it, and where each
// key has its row.
func variablesForm(a answer) (form url.Values, row map[string]string) {
	form, row = url.Values{}, map[string]string{}
	a.page().Find("form.vars").Find("input[name], select[name], textarea[name]").Not("template *").Each(func(_ int, field *goquery.Selection) {
		name, _ := field.Attr("name")
		value, _ := field.Attr("value")
		switch goquery.NodeName(field) {
		case "select":
			value, _ = field.Find("option[selected]").Attr("value")
		case "textarea":
			value = strings.ReplaceAll(strings.TrimPrefix(field.Text(), "\n"), "\n", "\r\n")
		}
		_, checked := field.Attr("checked")
		if kind, _ := field.Attr("type"); kind == "checkbox" && !checked {
			return
		}
		form.Add(name, value)
		if n, isKey := strings.CutPrefix(name, "key."); isKey && value != "" {
			row[value] = n
		}
	})
	return form, row
}

// vars is a project with a secret and a plain variable, at its page.
func (w *world) vars() (path string, p coderunner.Project) {
	w.Helper()
	p, _ = w.project(w.ada, "shop")
	plain, token, level := false, "hunter2-canary", "debug\nverbose"
	err := w.projects.EditVariables(w.Context(), w.ada.user.ID, p.ID, []project.VariableEdit{{Key: "TOKEN", Value: &token}, {Key: "LEVEL", Value: &level, Secret: &plain, Scope: coderunner.RunScope}})
	if err != nil {
		w.Fatal(err)
	}
	return "/projects/" + p.ID + "/variables", p
}

func (w *world) env(p coderunner.Project) map[string]string {
	w.Helper()
	return must(w.projects.Decrypted(w.Context(), p.ID))(w).Environment(coderunner.RunScope)
}

func TestVariablesPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path, p := w.vars()
	a := w.ada.get(path).want(http.StatusOK).wantText(".tabbar [aria-current]", "Variables").wantText(".vars", "set just now").wantText(".vars", "Replace").
		wantText(".vars-missing", "1 variable").wantText(".vars", "read in index.js").wantText(".vars", "not set")
	if strings.Contains(a.body, "hunter2") || !strings.Contains(a.text("textarea"), "debug verbose") {
		t.Error("the page shows a secret, or hides what is none")
	}
	form, row := variablesForm(a)
	if form.Get("scope."+row["LEVEL"]) != "run" || form.Get("secret."+row["LEVEL"]) != "" || form.Get("secret."+row["TOKEN"]) != "1" || form.Get("offered."+row["GREETING"]) != "1" {
		t.Errorf("the form is %v", form)
	}
	// Sent as it is, nothing changes: no value, no time.
	before := must(w.projects.Variables(t.Context(), w.ada.user.ID, p.ID))(t)
	w.ada.post(path, form).wantRedirect(path)
	w.ada.get(path).wantText(".flash", "Nothing was changed")
	if after := must(w.projects.Variables(t.Context(), w.ada.user.ID, p.ID))(t); project.VariablesVersion(before) != project.VariablesVersion(after) {
		t.Errorf("%v became %v", before, after)
	}
	form.Set("value."+row["GREETING"], "hello")
	form.Set("value."+row["LEVEL"], "a\r\nb")
	form.Set("scope."+row["TOKEN"], "build")
	form.Set("key.x1", "ADDED")
	form.Set("secret.x1", "1")
	form.Set("scope.x1", "both")
	form["row"] = append(form["row"], "x1")
	w.ada.post(path, form).wantRedirect(path)
	if env := w.env(p); len(env) != 3 || env["GREETING"] != "hello" || env["LEVEL"] != "a\nb" {
		t.Errorf("the app gets %v", env)
	}
	added, ok := w.env(p)["ADDED"]
	if !ok || added != "" {
		t.Error("an empty value that was typed by hand is a value")
	}
	a = w.ada.get(path).want(http.StatusOK).wantText(".flash", "Saved.")
	if strings.Contains(a.body, "hello") || strings.Contains(a.body, "hunter2") {
		t.Error("after it was saved the page shows a secret")
	}
	// Replaced, renamed, removed.
	form, row = variablesForm(a)
	form.Set("replace."+row["TOKEN"], "1")
	form.Set("scope."+row["TOKEN"], "both")
	form.Set("key."+row["GREETING"], "HELLO")
	form.Set("remove."+row["LEVEL"], "1")
	w.ada.post(path, form).wantRedirect(path)
	if env := w.env(p); !maps.Equal(env, map[string]string{"TOKEN": "", "HELLO": "hello", "ADDED": ""}) {
		t.Errorf("the app gets %v", env)
	}
	for _, secret := range []string{"hunter2-canary", "hello"} {
		if strings.Contains(w.log.String(), secret) {
			t.Errorf("%s is in the server's log", secret)
		}
	}
}

func TestVariablesFormKeepsWhatWasTyped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path, p := w.vars()
	for what, c := range map[string]struct{ field, value, at, sentence string }{
		"a bad key":      {"key", "1 BAD", "key", "not a variable name"},
		"a reserved key": {"key", "LD_PRELOAD", "key", "cannot be set"},
		"no key":         {"key", "", "key", "no name"},
		"twice":          {"key", "GREETING", "key", "there twice"},
		"taken":          {"key", "LEVEL", "key", "There is a variable LEVEL already"},
		"too long":       {"value", strings.Repeat("x", coderunner.MaxVariableValue+1), "value", "at most 32768"},
		"a scope":        {"scope", "moon", "scope", "no scope"},
		"made plain":     {"secret", "", "value", "never shown again"},
	} {
		form, row := variablesForm(w.ada.get(path).want(http.StatusOK))
		form.Set("value."+row["GREETING"], "typed by hand")
		form.Set(c.field+"."+row["TOKEN"], c.value)
		if c.field == "key" && c.value == "" {
			form.Set("value."+row["TOKEN"], "x")
		}
		status := http.StatusUnprocessableEntity
		if what == "taken" {
			status = http.StatusConflict
		}
		a := w.ada.post(path, form).want(status).wantText(".flash-error", "Nothing was saved")
		again, rows := variablesForm(a)
		if !strings.Contains(a.text(".field-error"), c.sentence) || a.page().Find("[aria-invalid='true'][name^='"+c.at+".']").Length() == 0 {
			t.Errorf("%s: the page says %q", what, a.text(".field-error"))
		}
		if again.Get("value."+rows["GREETING"]) != "typed by hand" || c.field == "value" && again.Get("value."+rows["TOKEN"]) != c.value {
			t.Errorf("%s: what was typed is gone", what)
		}
	}
	if env := w.env(p); len(env) != 2 || env["TOKEN"] != "hunter2-canary" {
		t.Errorf("refused forms changed %v", env)
	}
}

// Two tabs: neither drops nor overwrites unawares what the other has saved.
func TestVariablesFormInTwoTabs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path, p := w.vars()
	first, row := variablesForm(w.ada.get(path))
	second := maps.Clone(first)
	third := maps.Clone(first)
	first.Set("value."+row["LEVEL"], "first")
	first.Set("value."+row["GREETING"], "first")
	first["row"] = append(first["row"][:len(first["row"]):len(first["row"])], "x")
	first.Set("key.x", "NEW")
	first.Set("value.x", "first")
	first.Set("scope.x", "both")
	w.ada.post(path, first).wantRedirect(path)

	// A tab that touches something else saves, and what the first saved stays.
	third.Set("scope."+row["TOKEN"], "run")
	w.ada.post(path, third).wantRedirect(path)
	if env := w.env(p); env["LEVEL"] != "first" || env["NEW"] != "first" || env["GREETING"] != "first" || env["TOKEN"] != "hunter2-canary" {
		t.Errorf("a stale tab undid another: %v", env)
	}
	// One that touches the same is refused whole, keeps what was typed and shows what is new.
	second.Set("value."+row["LEVEL"], "second")
	second.Set("value."+row["GREETING"], "second")
	a := w.ada.post(path, second).want(http.StatusConflict).wantText(".field-error", "LEVEL was changed in the meantime").wantText(".field-error", "GREETING was added in the meantime")
	if env := w.env(p); env["LEVEL"] != "first" || env["GREETING"] != "first" {
		t.Errorf("a refused tab changed %v", env)
	}
	again, rows := variablesForm(a)
	if again.Get("value."+rows["LEVEL"]) != "second" || again.Get("value."+rows["GREETING"]) != "second" || rows["NEW"] == "" {
		t.Errorf("the refused form is %v", again)
	}
	w.ada.post(path, again).wantRedirect(path) // knowing it, they save again
	if env := w.env(p); env["LEVEL"] != "second" || env["GREETING"] != "second" || env["NEW"] != "first" || len(env) != 4 {
		t.Errorf("saved again: %v", env)
	}
	// Changed here and removed there.
	form, rows := variablesForm(w.ada.get(path))
	form.Set("value."+rows["LEVEL"], "third")
	if err := w.projects.DeleteVariable(t.Context(), w.ada.user.ID, p.ID, "LEVEL"); err != nil {
		t.Fatal(err)
	}
	form, rows = variablesForm(w.ada.post(path, form).want(http.StatusConflict).wantText(".field-error", "LEVEL was removed in the meantime"))
	if form.Get("value."+rows["LEVEL"]) != "third" {
		t.Error("what was typed is gone")
	}
	w.ada.post(path, form).wantRedirect(path)
	if env := w.env(p); env["LEVEL"] != "third" {
		t.Errorf("added anew: %v", env)
	}
}

func TestPastedDotEnv(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path, p := w.vars()
	form, _ := variablesForm(w.ada.get(path))
	form.Set("dotenv", "# app\r\nexport TOKEN='new $ecret'\r\nKEY=\"a\r\nb\"\r\nnonsense\r\nPORT=1\r\nGREETING=hi\r\n")
	a := w.ada.post(path, form).want(http.StatusUnprocessableEntity).wantText("#error-dotenv", "Line 5: this is no NAME=value").wantText("#error-dotenv", "Line 6: PORT cannot be set")
	form, row := variablesForm(a)
	if form.Get("value."+row["TOKEN"]) != "new $ecret" || form.Get("value."+row["KEY"]) != "a\r\nb" || !strings.Contains(form.Get("dotenv"), "nonsense") || len(w.env(p)) != 2 {
		t.Errorf("read as %v", form)
	}
	form.Set("dotenv", "A=1\nA=2")
	form.Set("do", "read")
	a = w.ada.post(path, form).want(http.StatusOK).wantText(".vars-lines", "A is there twice, in lines 1 and 2")
	if form, row = variablesForm(a); form.Get("value."+row["A"]) != "2" || form.Get("dotenv") != "" || len(w.env(p)) != 2 {
		t.Errorf("read as %v", form)
	}
	form.Set("dotenv", "B=3")
	w.ada.post(path, form).wantRedirect(path)
	if env := w.env(p); !maps.Equal(env, map[string]string{"TOKEN": "new $ecret", "KEY": "a\nb", "GREETING": "hi", "A": "2", "B": "3", "LEVEL": "debug\nverbose"}) {
		t.Errorf("saved %v", env)
	}
}

func TestSavedAndNotAppliedYet(t *testing.T) {
	t.Parallel()
	var applied coderunner.Variables
	known := true
	w := newWorld(t, func(s *web.Services) {
		s.Applied = func(context.Context, string, string) (coderunner.Variables, bool, error) { return applied, known, nil }
	})
	path, p := w.vars()
	applied = must(w.projects.Decrypted(t.Context(), p.ID))(t)
	for _, page := range []string{path, "/projects/" + p.ID} {
		if a := w.ada.get(page).want(http.StatusOK); a.page().Find(".pending").Length() != 0 {
			t.Errorf("%s: all is applied, and the page says %q", page, a.text(".pending"))
		}
	}
	form, row := variablesForm(w.ada.get(path))
	form.Set("value."+row["LEVEL"], "info")
	w.ada.post(path, form).wantRedirect(path)
	a := w.ada.get(path).wantText(".pending", "LEVEL").wantText(".pending", "a restart is enough").wantText(".var-row .tag", "not applied yet")
	if action, _ := a.page().Find(".pending form").Attr("action"); action != "/projects/"+p.ID+"/restart" {
		t.Errorf("the button goes to %q", action)
	}
	if action, _ := a.page().Find(".pending form + form").Attr("action"); action != "/projects/"+p.ID+"/redeploy" {
		t.Errorf("the second button goes to %q", action)
	}
	// A restart of a stopped app is refused.
	d := must(w.store.CreateDeployment(t.Context(), store.NewDeployment{ProjectID: p.ID}))(t)
	if _, err := w.store.Pool().Exec(t.Context(), "UPDATE deployments SET status = 'STOPPED', released_at = now() WHERE id = $1", d.ID); err != nil {
		t.Fatal(err)
	}
	for _, page := range []string{path, "/projects/" + p.ID} {
		a = w.ada.get(page).wantText(".pending", "a start is enough")
		if action, _ := a.page().Find(".pending form").Attr("action"); action != "/projects/"+p.ID+"/start" {
			t.Errorf("of a stopped app, the button goes to %q", action)
		}
	}
	if err := w.projects.DeleteVariable(t.Context(), w.ada.user.ID, p.ID, "TOKEN"); err != nil {
		t.Fatal(err)
	}
	for _, page := range []string{path, "/projects/" + p.ID} {
		a = w.ada.get(page).wantText(".pending", "TOKEN removed for build and app").wantText(".pending", "A start gives the app its part").wantText(".pending", "built again")
		if to := pendingActions(a); to != "start redeploy" || strings.Contains(a.text(".pending"), "info") {
			t.Errorf("the buttons go to %q", to)
		}
	}
	was := applied
	applied = must(w.projects.Decrypted(t.Context(), p.ID))(t)
	applied = append(slices.Clone(applied), coderunner.Variable{Key: "ONLY_BUILD", Value: "1", Scope: coderunner.BuildScope})
	if to := pendingActions(w.ada.get(path).wantText(".pending", "The build is given it")); to != "redeploy" {
		t.Errorf("for a build's variable the buttons go to %q", to)
	}
	applied = was
	if _, err := w.store.Pool().Exec(t.Context(), "UPDATE variables SET value = '\\x01'"); err != nil {
		t.Fatal(err)
	}
	for _, page := range []string{path, "/projects/" + p.ID, "/projects/" + p.ID + "/destroy"} { // what does not open locks nobody out
		w.ada.get(page).want(http.StatusOK)
	}
	known = false
	if a := w.ada.get(path); a.page().Find(".pending").Length() != 0 {
		t.Error("nothing runs, and something is not applied")
	}
}

// pendingActions are what the buttons beside the saved variables do, in their order.
func pendingActions(a answer) string {
	var to []string
	a.page().Find(".pending form").Each(func(_ int, form *goquery.Selection) {
		action, _ := form.Attr("action")
		to = append(to, filepath.Base(action))
	})
	return strings.Join(to, " ")
}

func TestVariablesOfADestroyedOrAnothersProject(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path, p := w.vars()
	form, _ := variablesForm(w.ada.get(path))
	w.bob.get(path).want(http.StatusNotFound)
	w.bob.post(path, form).want(http.StatusNotFound)
	w.ada.post(path, form, "Sec-Fetch-Site", "cross-site").want(http.StatusForbidden)
	if err := w.store.EndProject(t.Context(), p.ID); err != nil {
		t.Fatal(err)
	}
	if a := w.ada.get(path).want(http.StatusOK); a.page().Find("form.vars").Length() != 0 {
		t.Error("a destroyed project's variables can be edited")
	}
}
