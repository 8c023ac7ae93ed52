package web_test

import (
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/PuerkitoBio/goquery"

	"github.com/coderunner/coderunner/appliances"
	"github.com/coderunner/coderunner/internal/appliance"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/web"
)

// planForm reads the plan page's form as a browser would send it.
func planForm(a answer) (action string, form url.Values) {
	form = url.Values{}
	a.page().Find("form.plan-form").Each(func(_ int, f *goquery.Selection) {
		action, _ = f.Attr("action")
		f.Find("input[name], select[name]").Not("template *").Each(func(_ int, field *goquery.Selection) {
			name, _ := field.Attr("name")
			value, _ := field.Attr("value")
			if goquery.NodeName(field) == "select" {
				value, _ = field.Find("option[selected]").Attr("value")
			}
			_, checked := field.Attr("checked")
			if kind, _ := field.Attr("type"); kind == "checkbox" && !checked {
				return
			}
			form.Add(name, value)
		})
	})
	return action, form
}

func (a answer) wantValue(selector, want string) answer {
	a.t.Helper()
	if got, _ := a.page().Find(selector).Attr("value"); got != want {
		a.t.Errorf("%s: %s holds %q, want %q", a.what, selector, got, want)
	}
	return a
}

func TestDeployAsConfirmed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, up := w.project(w.ada, "shop")
	page := w.ada.get("/projects/"+p.ID+"/bundles/"+up.ID).want(http.StatusOK).wantText("h1", "Check the plan").wantText(".why", "package.json").wantText(".env", "index.js")
	action, form := planForm(page)
	form.Set("name", "Market")
	form.Set("port", "4000")
	form["database"] = []string{"postgres-15"}
	form["env_key"], form["env_value"] = []string{"GREETING", "OPTIONAL", ""}, []string{"hello", "", ""}
	a := w.ada.post(action, form).want(http.StatusSeeOther)
	if len(w.engine.asked) != 1 {
		t.Fatalf("the engine was asked %d times", len(w.engine.asked))
	}
	asked := w.engine.asked[0]
	if asked.BundleID != up.ID || asked.Plan.Port != 4000 || asked.Plan.PortWhy != "your choice" || asked.Plan.Start.Value != up.Plan.Start.Value || len(asked.Databases) != 1 || asked.Databases[0] != "postgres-15" {
		t.Errorf("the engine was asked for %+v", asked)
	}
	if values := must(w.projects.Decrypted(t.Context(), p.ID))(t).Environment(coderunner.RunScope); len(values) != 1 || values["GREETING"] != "hello" {
		t.Errorf("variables %v, want GREETING alone", values)
	}
	if renamed := must(w.store.ProjectByID(t.Context(), p.ID))(t); renamed.Name != "Market" || renamed.Slug != "market" {
		t.Errorf("the project is %q at %q", renamed.Name, renamed.Slug)
	}
	w.ada.get(a.header.Get("Location")).want(http.StatusOK).wantText("h1", "Deploy #1")
	must(w.store.RequestCancel(t.Context(), strings.TrimPrefix(a.header.Get("Location"), "/runs/")))(t)

	// The next plan knows what was chosen and what is set, and shows no value.
	page = w.ada.get("/projects/"+p.ID+"/bundles/"+up.ID).want(http.StatusOK).wantText(".env", "set already")
	if strings.Contains(page.body, "hello") || page.page().Find("input[name=name]").Length() != 0 {
		t.Error("the plan shows a stored value, or offers another name after the first deploy")
	}
	_, form = planForm(page)
	form["env_key"], form["env_value"] = []string{"GREETING"}, []string{""}
	w.ada.post(action, form).want(http.StatusSeeOther)
	if values := must(w.projects.Decrypted(t.Context(), p.ID))(t).Environment(coderunner.RunScope); values["GREETING"] != "hello" {
		t.Errorf("an empty field changed the variable: %v", values)
	}
}

func TestDeployFormKeepsWhatWasTyped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, up := w.project(w.ada, "shop")
	w.project(w.ada, "taken")
	page := w.ada.get("/projects/" + p.ID + "/bundles/" + up.ID).want(http.StatusOK)
	for what, c := range map[string]struct{ field, value, at, sentence string }{
		"port":      {"port", "eighty", "#error-port", "1024 to 65535"},
		"low port":  {"port", "80", "#error-port", "1024"},
		"start":     {"start", " ", "#error-start", "no start command"},
		"health":    {"health_path", "health", "#error-health_path", "slash"},
		"root":      {"root", "../../etc", "#error-root", "folder within the upload"},
		"no folder": {"root", "nowhere", "#error-root", "no folder"},
		"appliance": {"appliance", "", "#error-appliance", "Choose what the app runs on."},
		"no name":   {"name", " ", "#error-name", "needs a name"},
		"name":      {"name", "Taken", "#error-name", "already have a project"},
		"key":       {"env_key", "1BAD", "[id^='error-env_key.']", "not a variable name"},
		"reserved":  {"env_key", "PORT", "[id^='error-env_key.']", "cannot be set"},
		"nameless":  {"env_key", "", "[id^='error-env_key.']", "no name"},
	} {
		action, form := planForm(page)
		form["env_key"], form["env_value"] = []string{"GREETING"}, []string{"typed by hand"}
		form.Set("build", "make everything")
		form.Set(c.field, c.value)
		a := w.ada.post(action, form)
		if a.status != http.StatusUnprocessableEntity && a.status != http.StatusConflict {
			t.Errorf("%s: status %d", what, a.status)
			continue
		}
		a.wantText(c.at, c.sentence)
		a.wantValue("input[name=build]", "make everything").wantValue("input[name=env_value]", "typed by hand")
		if c.field != "appliance" {
			a.wantValue("input[name="+c.field+"]", c.value)
		}
	}
	if len(w.engine.asked) != 0 {
		t.Errorf("a form with an error was deployed %d times", len(w.engine.asked))
	}

	action, form := planForm(page)
	form.Set("build", "make everything")
	form["env_key"], form["env_value"] = []string{"A", "A"}, []string{"1", "2"}
	w.ada.post(action, form).want(http.StatusUnprocessableEntity).wantText("#error-env_key\\.1", "twice")
	form.Del("env_key")
	w.engine.refuse(coderunner.Errorf(coderunner.Conflict, "Something is already running for this project."))
	w.ada.post(action, form).want(http.StatusConflict).wantText(".flash-error", "already running").wantValue("input[name=build]", "make everything")
	w.ada.post(action, form).want(http.StatusSeeOther)
}

func TestPlanOfWhatIsNotRecognised(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, up, err := w.projects.NewFromUpload(t.Context(), w.ada.user.ID, "notes", "notes.tar", strings.NewReader(string(archive(t, "notes.txt", "hi", "docs/a.txt", "hi"))), nil)
	if err != nil {
		t.Fatal(err)
	}
	page := w.ada.get("/projects/"+p.ID+"/bundles/"+up.ID).want(http.StatusOK).wantText("h1", "How should this run?").wantText(".names", "notes.txt")
	action, form := planForm(page)
	form.Set("appliance", "nodejs-18")
	form.Set("start", "node server.js")
	form.Set("port", "3000")
	w.ada.post(action, form).want(http.StatusSeeOther)
	if plan := w.engine.asked[0].Plan; plan.Type != "nodejs" || plan.Start.Value != "node server.js" {
		t.Errorf("plan %+v", plan)
	}
}

// withoutGo are the definitions of a server that has no appliance for Go.
type withoutGo struct{ fs.FS }

func (w withoutGo) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(w.FS, name)
	return slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return e.Name() == "go" }), err
}

// What the server has no appliance for is said before and after Deploy, and can be given another.
func TestPlanOfWhatTheServerCannotRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *web.Services) { s.Catalogue = must(appliance.Load(withoutGo{appliances.FS}))(t) })
	files := archive(t, "go.mod", "module example.org/poems\n\ngo 1.22\n", "main.go", "package main\n\nimport \"net/http\"\n\nfunc main() { http.ListenAndServe(\":8080\", nil) }\n")
	p, up, err := w.projects.NewFromUpload(t.Context(), w.ada.user.ID, "poems", "poems.tar", strings.NewReader(string(files)), nil)
	if err != nil {
		t.Fatal(err)
	}
	const sentence = "This server cannot run Go yet: it has no appliance go."
	page := w.ada.get("/projects/"+p.ID+"/bundles/"+up.ID).want(http.StatusOK).wantText("#error-appliance", sentence).
		wantValue("input[name=build]", "go build -o bin/app .")
	action, form := planForm(page)
	w.ada.post(action, form).want(http.StatusUnprocessableEntity).wantText("#error-appliance", sentence)
	form.Set("appliance", "nodejs-18")
	w.ada.post(action, form).want(http.StatusSeeOther)
}

func TestPlanOfAnotherFolder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const pkg = `{"scripts":{"start":"node index.js"}}`
	files := archive(t, "server/package.json", pkg, "server/index.js", "1", "client/package.json", `{"scripts":{"start":"node ui.js"}}`, "client/ui.js", "1")
	p, up, err := w.projects.NewFromUpload(t.Context(), w.ada.user.ID, "two", "two.tar", strings.NewReader(string(files)), nil)
	if err != nil {
		t.Fatal(err)
	}
	path := "/projects/" + p.ID + "/bundles/" + up.ID
	w.ada.get(path).want(http.StatusOK).wantValue("input[name=root]", "server").wantText(".candidates", "client")
	w.ada.get(path+"?root=client").want(http.StatusOK).wantValue("input[name=root]", "client").wantText(".candidates", "server")
	w.ada.get(path+"?root=../..").want(http.StatusUnprocessableEntity).wantText("main", "no folder")
}
