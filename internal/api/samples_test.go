package api_test

import (
	"net/http"
	"testing"
	"testing/fstest"

	"github.com/coderunner/coderunner/internal/api"
	"github.com/coderunner/coderunner/internal/coderunner"
)

func TestSamplesAreListedAndBecomeProjects(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small(), func(s *api.Services) {
		s.Samples = []coderunner.Sample{{Name: "hello", Title: "Hello", Description: "Says hello", Files: fstest.MapFS{"server.js": {Data: []byte("require('http')")}}}}
	})
	var list api.SampleList
	w.ada.get("/samples").want(http.StatusOK).into(&list)
	if len(list.Items) != 1 || list.Items[0].Name != "hello" || list.Items[0].Title != "Hello" || list.Items[0].Parts == nil {
		t.Errorf("the samples are %+v", list)
	}
	for _, name := range []string{"Hello", "Hello 2"} {
		var made api.SampleProject
		a := w.ada.send("POST", "/samples/hello/projects", nil).want(http.StatusCreated)
		a.into(&made)
		if made.Project.Name != name || made.Bundle.ProjectID != made.Project.ID || made.Bundle.Files != 1 || made.Bundle.Plan.Start.Value != "node server.js" || a.header.Get("Location") != "/api/v1/projects/"+made.Project.ID {
			t.Errorf("made %s at %q", a.body, a.header.Get("Location"))
		}
	}
	w.ada.send("POST", "/samples/nothing/projects", nil).wantProblem(http.StatusNotFound, coderunner.NotFound)
}
