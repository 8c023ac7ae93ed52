package api_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/api"
	"github.com/coderunner/coderunner/internal/coderunner"
)

// document is the part of an OpenAPI document that tests look at.
type document struct {
	OpenAPI string `json:"openapi"`
	Paths   map[string]map[string]struct {
		OperationID string                `json:"operationId"`
		Security    []map[string][]string `json:"security"`
		RequestBody *struct {
			Content map[string]any `json:"content"`
		} `json:"requestBody"`
		Responses map[string]struct {
			Content map[string]any `json:"content"`
		} `json:"responses"`
	} `json:"paths"`
	Components struct {
		Schemas         map[string]any `json:"schemas"`
		SecuritySchemes map[string]any `json:"securitySchemes"`
	} `json:"components"`
}

func (w *world) document() (d document) {
	w.Helper()
	a := program{w: w}.get("/openapi.json").want(http.StatusOK)
	if kind := a.header.Get("Content-Type"); kind != "application/openapi+json" {
		w.Errorf("the description's type is %q", kind)
	}
	a.into(&d)
	return d
}

func TestDescriptionHasEveryOperation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small())
	d := w.document()
	if d.OpenAPI != "3.1.0" || d.Components.SecuritySchemes["bearer"] == nil || d.Components.Schemas["Problem"] == nil || d.Components.Schemas["ErrorModel"] != nil {
		t.Errorf("OpenAPI %s with the schemes %v and %d schemas", d.OpenAPI, d.Components.SecuritySchemes, len(d.Components.Schemas))
	}
	var got []string
	for path, operations := range d.Paths {
		for method, op := range operations {
			got = append(got, strings.ToUpper(method)+" "+strings.TrimPrefix(path, "/api/v1/"))
			if open := strings.Contains(path, "/auth/"); open == (len(op.Security) > 0) {
				t.Errorf("%s: security %v", op.OperationID, op.Security)
			}
			if op.Responses["default"].Content["application/problem+json"] == nil {
				t.Errorf("%s: no problem is described", op.OperationID)
			}
		}
	}
	want := []string{
		"DELETE projects/{id}", "DELETE projects/{id}/variables/{key}", "GET deployments/{id}", "GET projects", "GET projects/{id}", "GET projects/{id}/backend", "GET projects/{id}/databases", "GET projects/{id}/deployments",
		"GET projects/{id}/logs", "GET projects/{id}/logs/events", "GET projects/{id}/variables", "GET projects/{id}/variables/{key}", "GET runs/{id}", "GET runs/{id}/events", "GET runs/{id}/log", "GET samples", "GET server/disk",
		"PATCH projects/{id}/variables",
		"POST auth/login", "POST auth/logout", "POST auth/refresh", "POST auth/register", "POST deployments/{id}/rollback",
		"POST projects", "POST projects/{id}/backend/administrator", "POST projects/{id}/bundles", "POST projects/{id}/databases/{appliance}/attach", "POST projects/{id}/databases/{appliance}/delete",
		"POST projects/{id}/databases/{appliance}/detach", "POST projects/{id}/deployments", "POST projects/{id}/redeploy", "POST projects/{id}/restart",
		"POST projects/{id}/start", "POST projects/{id}/stop", "POST runs/{id}/cancel", "POST runs/{id}/fix", "POST samples/{name}/projects",
		"PUT projects/{id}/variables", "PUT projects/{id}/variables/{key}",
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("described are %q, want %q", got, want)
	}
	upload := d.Paths["/api/v1/projects/{id}/bundles"]["post"]
	if upload.RequestBody == nil || upload.RequestBody.Content["multipart/form-data"] == nil || upload.RequestBody.Content["application/zip"] == nil {
		t.Errorf("the upload's body is described as %+v", upload.RequestBody)
	}
	if d.Paths["/api/v1/runs/{id}/events"]["get"].Responses["200"].Content["text/event-stream"] == nil {
		t.Error("the events are not described")
	}
}

// Another user's thing must look exactly like one that does not exist, in every
// operation there is.
func TestOthersThingsAreNotFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small())
	p, started, _ := w.ada.deployed("shop")
	ids := map[string]string{"projects": p.ID, "deployments": started.Deployment.ID, "runs": started.Run.ID}
	bodies := map[string]any{
		"POST /projects/{id}/deployments":                  map[string]any{"bundle_id": started.Deployment.BundleID},
		"DELETE /projects/{id}":                            map[string]any{"confirm": "shop"},
		"POST /projects/{id}/databases/{appliance}/delete": map[string]any{"confirm": "postgres-15"},
		"PUT /projects/{id}/variables":                     map[string]any{"version": "x", "variables": []any{}},
		"PATCH /projects/{id}/variables":                   map[string]any{"variables": []any{map[string]any{"key": "A", "value": "1"}}},
		"PUT /projects/{id}/variables/{key}":               map[string]any{"value": "1"},
		"POST /runs/{id}/fix":                              map[string]any{"kind": "port"},
	}
	tried := 0
	for path, operations := range w.document().Paths {
		path = strings.TrimPrefix(path, "/api/v1")
		if !strings.Contains(path, "{id}") {
			continue
		}
		for method := range operations {
			method = strings.ToUpper(method)
			tried++
			send := func(who program, id string) answer {
				return who.send(method, strings.NewReplacer("{id}", id, "{key}", "TOKEN", "{appliance}", "postgres-15").Replace(path), bodies[method+" "+path])
			}
			kind := strings.Split(path, "/")[1]
			theirs := send(w.bob, ids[kind]).wantProblem(http.StatusNotFound, coderunner.NotFound)
			for _, id := range []string{"00000000-0000-0000-0000-000000000000", "no-uuid", "%27%20OR%201=1--", "..%2f..%2fauth"} {
				missing := send(w.bob, id).wantProblem(http.StatusNotFound, coderunner.NotFound)
				if missing.Detail != theirs.Detail {
					t.Errorf("%s %s: another's is told as %q, a missing one as %q", method, path, theirs.Detail, missing.Detail)
				}
			}
			send(program{w: w}, ids[kind]).wantProblem(http.StatusUnauthorized, coderunner.Unauthenticated)
		}
	}
	if tried < 9 {
		t.Errorf("only %d operations were tried", tried)
	}
	w.ada.get("/runs/" + started.Run.ID).want(http.StatusOK)
}

func TestMalformedRequestsAreProblems(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small())
	w.ada.get("/nothing").wantProblem(http.StatusNotFound, coderunner.NotFound)
	a := w.ada.do("PUT", "/projects", strings.NewReader("{}"))
	a.wantProblem(http.StatusMethodNotAllowed, "")
	if allow := strings.Join(a.header.Values("Allow"), " "); !strings.Contains(allow, "POST") || !strings.Contains(allow, "GET") {
		t.Errorf("allowed is %q", allow)
	}
	for what, c := range map[string]struct {
		body, kind string
		status     int
	}{
		"no JSON":       {"{", "application/json", http.StatusBadRequest},
		"no body":       {"", "application/json", http.StatusBadRequest},
		"another type":  {"name=x", "application/x-www-form-urlencoded", http.StatusUnsupportedMediaType},
		"a wrong type":  {`{"name": 1}`, "application/json", http.StatusUnprocessableEntity},
		"an extra":      {`{"name": "x", "user_id": "y"}`, "application/json", http.StatusUnprocessableEntity},
		"nothing in it": {`{}`, "application/json", http.StatusUnprocessableEntity},
	} {
		if p := w.ada.do("POST", "/projects", strings.NewReader(c.body), "Content-Type", c.kind).wantProblem(c.status, coderunner.Invalid); strings.Contains(p.Detail, "validation failed") {
			t.Errorf("%s: %q", what, p.Detail)
		}
	}
	p := w.ada.do("POST", "/projects", strings.NewReader(`{"name": "`+strings.Repeat("x", 128<<10)+`"}`), "Content-Type", "application/json").wantProblem(http.StatusRequestEntityTooLarge, coderunner.TooLarge)
	if !strings.Contains(p.Detail, "64 KiB") {
		t.Errorf("%q does not name the limit", p.Detail)
	}
}

// A defect of ours is a problem without its cause, which is logged under the request's id.
func TestDefectsAreToldWithoutTheirCause(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small(), func(s *api.Services) { s.Engine = nil })
	var p api.Project
	w.ada.send("POST", "/projects", map[string]string{"name": "shop"}).want(http.StatusCreated).into(&p)
	problem := w.ada.send("POST", "/projects/"+p.ID+"/restart", nil).wantProblem(http.StatusInternalServerError, coderunner.Internal)
	if strings.Contains(problem.Detail, "nil") || !strings.Contains(w.log.String(), problem.RequestID) || !strings.Contains(w.log.String(), "nil pointer") {
		t.Errorf("told %q, logged %s", problem.Detail, w.log.String())
	}
}

func TestRequestIDsFromOutsideAreNotBelieved(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/openapi.json", nil)
	r.Header.Set("X-Request-Id", "mine\r\nSet-Cookie: a=b")
	w := httptest.NewRecorder()
	api.New(api.Services{}).ServeHTTP(w, r)
	if id := w.Header().Get("X-Request-Id"); len(id) != 16 || w.Code != http.StatusOK || w.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("status %d with the headers %v", w.Code, w.Header())
	}
}
