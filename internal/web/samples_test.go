package web_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/web"
)

// aSample is an app with a database.
func aSample(s *web.Services) {
	s.Samples = []coderunner.Sample{{Name: "hello-pg", Title: "Hello", Description: "Says hello", Parts: []string{"Node.js", "PostgreSQL"},
		Files: fstest.MapFS{"package.json": {Data: []byte(`{"scripts":{"start":"node index.js"},"dependencies":{"pg":"8"}}`)}, "lib/index.js": {Data: []byte("1")}}}}
}

func TestOneClickDeploysASample(t *testing.T) {
	t.Parallel()
	w := newWorld(t, aSample)
	a := w.ada.get("/projects").want(http.StatusOK).wantText(".samples", "Says hello").wantText(".samples", "Node.js · PostgreSQL")
	if a.page().Find("details .samples").Length() != 0 {
		t.Error("who has no project has to look for the samples")
	}
	action, _ := a.page().Find(".sample form").Attr("action")
	a = w.ada.post(action, nil).want(http.StatusSeeOther)
	w.ada.get(a.header.Get("Location")).want(http.StatusOK).wantText("h1", "Deploy #1")
	asked := w.engine.asked
	if len(asked) != 1 || !slices.Equal(asked[0].Databases, []string{"postgres-15"}) || asked[0].Plan.Start.Value != "node index.js" {
		t.Errorf("the engine was asked for %+v", asked)
	}
	a = w.ada.post(action, url.Values{"then": {"plan"}}).want(http.StatusSeeOther)
	w.ada.get(a.header.Get("Location")).want(http.StatusOK).wantText("h1", "Check the plan")
	if len(w.engine.asked) != 1 {
		t.Error("who asked for the plan has a deploy")
	}
	a = w.ada.get("/projects").wantText("#projects", "Hello 2")
	if a.page().Find("details .sample").Length() != 1 {
		t.Error("who has projects is not offered the samples")
	}
	if w.ada.get("/projects?q=Hello").page().Find(".sample").Length() != 0 {
		t.Error("who searches is offered the samples")
	}
	w.ada.post("/samples/unknown", nil).want(http.StatusNotFound)
}

func TestASampleThatCannotBeDeployedNowShowsItsPlan(t *testing.T) {
	t.Parallel()
	w := newWorld(t, aSample)
	w.engine.refuse(coderunner.Errorf(coderunner.Unavailable, "The disk has just become full."))
	a := w.ada.post("/samples/hello-pg", nil).want(http.StatusServiceUnavailable).wantText("main", "The disk has just become full.").wantText("h1", "Check the plan")
	deploy, _ := a.page().Find("form[action$='/deploy']").Attr("action")
	if !strings.HasPrefix(deploy, "/projects/") {
		t.Errorf("the plan is deployed with %q", deploy)
	}
	w.ada.get(strings.TrimSuffix(deploy, "/deploy")).want(http.StatusOK)

	w.projects.Room = func() error { return coderunner.Errorf(coderunner.Unavailable, "There is no room for it.") }
	w.ada.post("/samples/hello-pg", nil).want(http.StatusServiceUnavailable).wantText("main", "There is no room for it.")
	if n := w.ada.get("/projects").page().Find("#projects > li").Length(); n != 1 {
		t.Errorf("there are %d projects", n)
	}
}
