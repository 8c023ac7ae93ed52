package views_test

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/a-h/templ"
	"golang.org/x/net/html"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/views"
)

const id = "0190a6f2-7c1b-7e55-8d53-2f1f3a9b6c01"

// now is the time of every page here.
var now = time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)

// filling says what fill puts into a page.
type filling struct {
	text string // every string that can come from a stranger
	flag bool   // every bool
	many int    // the length of every list
}

// fill sets all that v consists of. What has a type or a name of its own, such as
// states and identifiers, is no stranger's text.
func (f filling) fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if v.Type() == reflect.TypeFor[string]() {
			v.SetString(f.text)
		}
	case reflect.Bool:
		v.SetBool(f.flag)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(7)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem())
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), f.many, f.many))
		for i := range f.many {
			f.fill(v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(now.Add(-time.Minute)))
			return
		}
		for i := range v.NumField() {
			f.field(v.Type().Field(i).Name, v.Field(i))
		}
	}
}

func (f filling) field(name string, v reflect.Value) {
	switch {
	case v.Kind() == reflect.Func:
	case v.Kind() == reflect.String && (name == "ID" || strings.HasSuffix(name, "ID") && name != "RequestID"):
		v.SetString(id)
	case v.Kind() == reflect.String && strings.HasSuffix(name, "URL"):
		v.SetString("http://guest-book.localhost/" + f.text)
	default:
		f.fill(v)
	}
}

func full[T any](f filling) T {
	var page T
	f.fill(reflect.ValueOf(&page).Elem())
	return page
}

// errorsOf has the text as the sentence about each field.
func (f filling) errorsOf(fields ...string) views.FieldErrors {
	errors := views.FieldErrors{}
	for _, field := range fields {
		errors[field] = f.text
	}
	return errors
}

// pages are all pages and fragments, filled, in each of their states.
func (f filling) pages() map[string]templ.Component {
	auth := full[views.AuthPage](f)
	auth.Errors = f.errorsOf("", "email", "password")
	pages := map[string]templ.Component{
		"landing": views.Landing(full[views.LandingPage](f)), "sign up": views.SignUp(auth), "log in": views.LogIn(auth),
		"account": views.Account(full[views.AccountPage](f)), "appliances": views.Appliances(full[views.AppliancesPage](f)),
		"destroy": views.Destroy(full[views.DestroyPage](f)), "server": views.Server(full[views.ServerPage](f)),
	}
	for _, status := range []int{400, 401, 403, 404, 405, 409, 413, 429, 500, 503} {
		page := full[views.ErrorPage](f)
		page.Status = status
		pages[fmt.Sprint("error ", status)] = views.Error(page)
	}
	for _, tab := range []views.ProjectTab{views.TabOverview, views.TabDeployments, views.TabSettings} {
		page := full[views.ProjectPage](f)
		page.Tab = tab
		pages["project "+string(tab)] = views.Project(page)
	}
	variables := full[views.VariablesPage](f)
	variables.Errors = f.errorsOf("", "key.0", "value.0", "scope.1", "value.1")
	for i := range variables.Rows {
		variables.Rows[i].Value += strings.Repeat("\nline", i)
	}
	pages["variables"] = views.Variables(variables)
	variables.Project.DestroyedAt, variables.Errors = nil, f.errorsOf("key.1")
	pages["variables refused"] = views.Variables(variables)
	for _, kind := range []coderunner.VariableChangeKind{coderunner.VariableAdded, coderunner.VariableRemoved, coderunner.VariableChanged} {
		pages["pending "+string(kind)] = views.PendingVariables(id, coderunner.VariableChanges{{Key: f.text, Kind: kind, Build: f.flag, Run: true}}, f.flag)
	}
	databases := full[views.DatabasesPage](f)
	pages["databases stopped"] = views.Databases(databases)
	for i := range databases.Items {
		databases.Items[i].StoppedAt, databases.Items[i].Sandbox.State = nil, "running"
	}
	for _, appliance := range []string{"postgres-15", "mysql", "redis-7"} {
		kind := databases
		kind.Items = slices.Clone(databases.Items)
		for i := range kind.Items {
			kind.Items[i].Appliance = appliance
		}
		pages["databases with "+appliance] = views.Databases(kind)
	}
	for _, key := range coderunner.DatabaseKeys(coderunner.Protocols()...) {
		databases.Variables = append(databases.Variables, coderunner.Variable{Key: key, Scope: coderunner.BuildScope})
	}
	pages["databases"] = views.Databases(databases)
	for i := range databases.Items {
		databases.Items[i].Connection, databases.Items[i].Sandbox, databases.Items[i].SizeBytes = nil, nil, -1
	}
	pages["databases unknown"] = views.Databases(databases)
	databases.Items = nil
	pages["no databases of a destroyed project"] = views.Databases(databases)
	databases.Project.DestroyedAt = nil
	pages["no databases"] = views.Databases(databases)
	plan := full[views.PlanPage](f)
	plan.Errors = f.errorsOf("", "name", "root", "appliance", "install", "build", "start", "port", "health_path", "database", "env_key.0", "env_value.1")
	for i := range plan.Form.Env {
		plan.Form.Env[i].Value += strings.Repeat("\nline", i) // a field, and an area
	}
	pages["plan"] = views.Plan(plan)
	plan.Plan.Type = ""
	pages["plan of nothing known"] = views.Plan(plan)
	for _, state := range []coderunner.RunState{"QUEUED", "RUNNING", "CANCELLING", "SUCCEEDED", "FAILED", "CANCELLED"} {
		projects := full[views.ProjectsPage](f)
		for i := range projects.Projects {
			projects.Projects[i].Run.State = state
		}
		pages["projects "+string(state)], pages["cards "+string(state)] = views.Projects(projects), views.ProjectCards(projects)
		for _, playbook := range []string{"deploy", "destroy", f.text} {
			page := full[views.RunPage](f)
			page.Run.State, page.Run.Playbook, page.Found = state, playbook, nil
			name := fmt.Sprint(state, " ", playbook == "deploy", playbook == "destroy")
			pages["run "+name], pages["progress "+name], pages["update "+name] = views.Run(page), views.RunProgress(page), views.RunUpdate(page)
		}
	}
	slice := full[views.LogSlice](f)
	pages["earlier lines"] = views.LogPiece(slice.Panel())
	logs := full[views.LogsPage](f)
	// Addresses are of our making.
	logs.EventsAt, logs.PollAt, logs.Panel.EarlierAt, logs.Panel.Empty = "/events", "/lines?after=", "/lines?before=", "Nothing."
	pages["earlier lines of a runtime log"] = views.LogPiece(logs.Panel)
	pages["found lines"] = views.Logs(logs)
	logs.Found = nil
	pages["logs"] = views.Logs(logs)
	return pages
}

func render(t *testing.T, component templ.Component) string {
	t.Helper()
	var page bytes.Buffer
	if err := component.Render(t.Context(), &page); err != nil {
		t.Fatal(err)
	}
	return page.String()
}

// parse answers the page's nodes in order, as a browser with scripting off has them.
func parse(t *testing.T, page string) []*html.Node {
	t.Helper()
	root, err := html.ParseWithOptions(strings.NewReader(page), html.ParseOptionEnableScripting(false))
	if err != nil {
		t.Fatal(err)
	}
	return slices.Collect(root.Descendants())
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// textOf is all text within a node.
func textOf(n *html.Node) string {
	var text strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			text.WriteString(d.Data)
		}
	}
	return text.String()
}
