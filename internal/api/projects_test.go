package api_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/coderunner/coderunner/internal/api"
	"github.com/coderunner/coderunner/internal/coderunner"
)

func TestProjectsAreMadeListedAndRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small())
	var list api.ProjectList
	a := w.ada.get("/projects").want(http.StatusOK)
	a.into(&list)
	if list.Items == nil || list.Total != 0 {
		t.Errorf("the list of nothing is %s", a.body)
	}
	var shop api.Project
	a = w.ada.send("POST", "/projects", map[string]string{"name": "  <b>Shop</b> & more "}).want(http.StatusCreated)
	a.into(&shop)
	if shop.Name != "<b>Shop</b> & more" || a.header.Get("Location") != "/api/v1/projects/"+shop.ID {
		t.Errorf("made %s at %q", a.body, a.header.Get("Location"))
	}
	if p := w.ada.send("POST", "/projects", map[string]string{"name": shop.Name}).wantProblem(http.StatusConflict, coderunner.Conflict); !hasField(p, "name") {
		t.Errorf("the same name again: %+v", p)
	}
	if p := w.ada.send("POST", "/projects", map[string]string{"name": " "}).wantProblem(http.StatusUnprocessableEntity, coderunner.Invalid); !hasField(p, "name") {
		t.Errorf("no name: %+v", p)
	}
	for _, name := range []string{"two", "three"} {
		w.ada.send("POST", "/projects", map[string]string{"name": name}).want(http.StatusCreated)
	}
	w.ada.get("/projects?limit=2&offset=1").want(http.StatusOK).into(&list)
	if list.Total != 3 || len(list.Items) != 2 || list.Items[0].Name != "two" || list.Items[1].ID != shop.ID || list.Limit != 2 || list.Offset != 1 {
		t.Errorf("the second page is %+v", list)
	}
	w.ada.get("/projects?search=" + url.QueryEscape("<b>sh")).want(http.StatusOK).into(&list)
	if list.Total != 1 || list.Items[0].ID != shop.ID {
		t.Errorf("found %+v", list)
	}
	w.ada.get("/projects?search=" + url.QueryEscape("%")).want(http.StatusOK).into(&list)
	if list.Total != 0 {
		t.Errorf("%% found %d projects", list.Total)
	}
	for _, query := range []string{"limit=0", "limit=101", "offset=-1", "limit=many"} {
		w.ada.get("/projects?"+query).wantProblem(http.StatusUnprocessableEntity, coderunner.Invalid)
	}
}

func TestProjectTellsWhereItStands(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small())
	p, started, _ := w.ada.deployed("shop")
	must(w.store.EnsureDatabase(t.Context(), coderunner.Database{ProjectID: p.ID, Appliance: "postgres-15", Name: "app", Volume: "v"}))(t)
	if err := w.store.SetDeploymentStatus(t.Context(), started.Deployment.ID, coderunner.Provisioning); err != nil {
		t.Fatal(err)
	}
	if err := w.store.MoveRoute(t.Context(), coderunner.Route{Host: "shop.localhost", ProjectID: p.ID, DeploymentID: started.Deployment.ID, SandboxID: "s", Target: "10.0.0.2:3000"}, "http://shop.localhost:8080"); err != nil {
		t.Fatal(err)
	}
	var got api.ProjectDetail
	a := w.ada.get("/projects/" + p.ID).want(http.StatusOK)
	a.into(&got)
	if got.Deployment == nil || got.Deployment.Status != "PROVISIONING" || got.Run == nil || got.Run.ID != started.Run.ID || got.Run.State != "RUNNING" ||
		got.PublicURL != "http://shop.localhost:8080" || len(got.Databases) != 1 || got.Databases[0].Appliance != "postgres-15" {
		t.Errorf("the project is %s", a.body)
	}
	if got.Current != nil {
		t.Errorf("before one has served %+v is current", got.Current)
	}
	d := must(w.store.DeploymentByID(t.Context(), started.Deployment.ID))(t)
	if err := w.store.SetDeploymentStatus(t.Context(), d.ID, coderunner.Building); err != nil {
		t.Fatal(err)
	}
	if err := w.store.Release(t.Context(), d, "s", nil); err != nil {
		t.Fatal(err)
	}
	w.ada.get("/projects/" + p.ID).want(http.StatusOK).into(&got)
	if got.Current == nil || got.Current.ID != d.ID || got.Current.Status != "RUNNING" || got.Current.Observed != "running" {
		t.Errorf("the current one is %+v", got.Current)
	}
	var list api.ProjectList
	w.ada.get("/projects").want(http.StatusOK).into(&list)
	if one := list.Items[0]; one.Current == nil || one.Current.ID != d.ID {
		t.Errorf("in the list the current one is %+v", one.Current)
	}
	if one := list.Items[0]; one.PublicURL != got.PublicURL || one.Deployment.ID != got.Deployment.ID || one.Run.ID != got.Run.ID {
		t.Errorf("in the list it is %+v", one)
	}
}

func TestDestroyNeedsTheName(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small())
	for name, send := range map[string]func(id, confirm string) answer{
		"in the body": func(id, confirm string) answer {
			return w.ada.send("DELETE", "/projects/"+id, map[string]string{"confirm": confirm})
		},
		"in the query": func(id, confirm string) answer {
			return w.ada.do("DELETE", "/projects/"+id+"?confirm="+url.QueryEscape(confirm), nil)
		},
	} {
		p, _ := w.ada.project(name)
		for _, wrong := range []string{"", "other", name + "x"} {
			if problem := send(p.ID, wrong).wantProblem(http.StatusUnprocessableEntity, coderunner.Invalid); !hasField(problem, "confirm") {
				t.Errorf("%s, %q: %+v", name, wrong, problem)
			}
		}
		w.ada.do("DELETE", "/projects/"+p.ID, nil).wantProblem(http.StatusUnprocessableEntity, coderunner.Invalid)
		var run api.Run
		a := send(p.ID, name).want(http.StatusAccepted)
		a.into(&run)
		if run.Playbook != "destroy" || run.ProjectID != p.ID || len(run.Steps) == 0 || a.header.Get("Location") != "/api/v1/runs/"+run.ID {
			t.Errorf("%s: destroy answered %s at %q", name, a.body, a.header.Get("Location"))
		}
	}
}
