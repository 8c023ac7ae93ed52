package api_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/api"
	"github.com/coderunner/coderunner/internal/bundle"
	"github.com/coderunner/coderunner/internal/coderunner"
)

// form is a multipart body with a field and then a file.
func form(t *testing.T, filename string, file []byte) (body *bytes.Buffer, contentType string) {
	t.Helper()
	body = &bytes.Buffer{}
	out := multipart.NewWriter(body)
	if err := out.WriteField("comment", "before the file"); err != nil {
		t.Fatal(err)
	}
	if filename != "" {
		part := must(out.CreateFormFile("archive", filename))(t)
		if _, err := part.Write(file); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return body, out.FormDataContentType()
}

func TestUploadAsBodyAndAsForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small())
	p, raw := w.ada.project("shop")
	if raw.Filename != "app.tar" || raw.Files != 2 || raw.Plan.Type != "nodejs" || raw.Plan.Start.Value == "" || raw.Plan.Start.Why == "" || raw.ProjectID != p.ID {
		t.Errorf("the bundle is %+v", raw)
	}
	if raw.Plan.Processes == nil || raw.Plan.Warnings == nil || raw.Plan.EnvKeys == nil || raw.Plan.Candidates == nil || raw.Omitted == nil {
		t.Errorf("what is empty is told as null in %+v", raw)
	}
	body, contentType := form(t, "from a form.tar", nodeApp(t))
	var formed api.Bundle
	w.ada.do("POST", "/projects/"+p.ID+"/bundles?omitted=node_modules/&omitted=.env", body, "Content-Type", contentType).want(http.StatusCreated).into(&formed)
	if formed.SHA256 != raw.SHA256 || formed.Filename != "from a form.tar" || formed.ID == raw.ID {
		t.Errorf("the same tree as a form is %+v", formed)
	}
	if text := strings.Join(formed.Omitted, " "); len(formed.Omitted) != 2 || !strings.Contains(text, "node_modules/") || !strings.Contains(text, ".env") {
		t.Errorf("left out: %q", formed.Omitted)
	}
}

func TestUploadsAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small())
	p, _ := w.ada.project("shop")
	path := "/projects/" + p.ID + "/bundles"
	w.ada.do("POST", path, strings.NewReader("<svg>no archive</svg>")).wantProblem(http.StatusUnprocessableEntity, coderunner.Invalid)
	w.ada.do("POST", path, nil).wantProblem(http.StatusUnprocessableEntity, coderunner.Invalid)
	evil := w.ada.do("POST", path, bytes.NewReader(archive(t, "../evil", "x"))).wantProblem(http.StatusUnprocessableEntity, coderunner.Invalid)
	if !strings.Contains(evil.Detail, `"../evil"`) {
		t.Errorf("%q does not name the entry", evil.Detail)
	}
	body, contentType := form(t, "", nil)
	w.ada.do("POST", path, body, "Content-Type", contentType).wantProblem(http.StatusUnprocessableEntity, coderunner.Invalid)
	w.ada.do("POST", path, strings.NewReader("--x\r\nno end"), "Content-Type", "multipart/form-data; boundary=x").wantProblem(http.StatusUnprocessableEntity, coderunner.Invalid)
	w.ada.do("POST", path, strings.NewReader("x"), "Content-Type", "multipart/form-data").wantProblem(http.StatusUnprocessableEntity, coderunner.Invalid)

	noise := make([]byte, uploadLimit*2)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	large := archive(t, "package.json", "{}", "noise.bin", string(noise))
	for what, body := range map[string]io.Reader{"with its length": bytes.NewReader(large), "without": io.MultiReader(bytes.NewReader(large))} {
		problem := w.ada.do("POST", path, body).wantProblem(http.StatusRequestEntityTooLarge, coderunner.TooLarge)
		if !strings.ContainsFunc(problem.Detail, func(r rune) bool { return r >= '0' && r <= '9' }) {
			t.Errorf("%s: %q does not name the limit", what, problem.Detail)
		}
	}
	var got api.ProjectDetail
	w.ada.get("/projects/" + p.ID).want(http.StatusOK).into(&got)
	if count := must(w.store.LatestBundle(t.Context(), w.ada.userID, p.ID))(t); count.Filename != "app.tar" {
		t.Errorf("a refused upload left the bundle %+v", count)
	}
}

// An archive passes through: memory does not grow with it. It does not run beside
// other tests, whose memory would be counted.
func TestUploadIsNeverInMemoryAsAWhole(t *testing.T) {
	w := newWorld(t, bundle.Limits{FreeBytes: 1})
	p, _ := w.ada.project("shop")
	const files, fileSize = 96, 1 << 20
	send, body := io.Pipe()
	defer send.Close()
	go func() {
		out := tar.NewWriter(body)
		_ = out.WriteHeader(&tar.Header{Name: "package.json", Mode: 0o644, Size: 2})
		_, _ = out.Write([]byte("{}"))
		source, block := rand.NewChaCha8([32]byte{}), make([]byte, fileSize)
		for i := range files {
			_, _ = source.Read(block)
			_ = out.WriteHeader(&tar.Header{Name: fmt.Sprintf("noise/%d.bin", i), Mode: 0o644, Size: fileSize})
			_, _ = out.Write(block)
		}
		body.CloseWithError(out.Close())
	}()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var up api.Bundle
	w.ada.do("POST", "/projects/"+p.ID+"/bundles", send).want(http.StatusCreated).into(&up)
	runtime.ReadMemStats(&after)
	if up.ExpandedBytes != files*fileSize+2 {
		t.Errorf("the bundle has %d bytes", up.ExpandedBytes)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > files*fileSize*2/3 {
		t.Errorf("%d MiB were allocated for an archive of %d MiB", used>>20, files)
	}
}

func TestUploadRefusedWithoutATokenIsNotRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small())
	p, _ := w.ada.project("shop")
	blocked, _ := io.Pipe() // never gives a byte: who reads waits for ever
	a := program{w: w}.do("POST", "/projects/"+p.ID+"/bundles", blocked, "Expect", "100-continue")
	a.wantProblem(http.StatusUnauthorized, coderunner.Unauthenticated)
}

func TestDeployTakesThePlanAndWhatIsChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small())
	p, up := w.ada.project("shop")
	if len(up.Plan.Databases) != 1 {
		t.Fatalf("the plan needs the databases %v, want one for pg", up.Plan.Databases)
	}
	deploy := func(body map[string]any) (started api.StartedDeployment) {
		t.Helper()
		body["bundle_id"] = up.ID
		a := w.ada.send("POST", "/projects/"+p.ID+"/deployments", body).want(http.StatusAccepted)
		a.into(&started)
		if a.header.Get("Location") != "/api/v1/deployments/"+started.Deployment.ID || started.Run.DeploymentID != started.Deployment.ID || len(started.Run.Steps) != 2 {
			t.Errorf("deploy answered %s", a.body)
		}
		w.ada.send("POST", "/runs/"+started.Run.ID+"/cancel", nil).want(http.StatusAccepted)
		return started
	}
	deploy(map[string]any{})
	if asked := w.engine.last(); asked.Plan.Start.Value != up.Plan.Start.Value || !slices.Equal(asked.Databases, []string{up.Plan.Databases[0].Appliance}) {
		t.Errorf("without a word the plan was %+v with %v", asked.Plan, asked.Databases)
	}
	deploy(map[string]any{"plan": map[string]any{"start": " node other.js ", "install": "", "port": 4000, "appliance": "nodejs-22", "health_path": "/up"}, "databases": []string{}})
	asked := w.engine.last()
	if asked.Plan.Start != (coderunner.Choice{Value: "node other.js", Why: "your choice"}) || asked.Plan.Install.Value != "" || asked.Plan.Port != 4000 || asked.Plan.HealthPath.Value != "/up" ||
		asked.Plan.Runtime.Appliance != "nodejs-22" || asked.Plan.Runtime.Name != "nodejs" || asked.Plan.Build != up.Plan.Build || len(asked.Databases) != 0 {
		t.Errorf("the changed plan was %+v with %v", asked.Plan, asked.Databases)
	}
	started := deploy(map[string]any{"databases": []string{"redis-7", "redis-7"}})
	if asked := w.engine.last(); !slices.Equal(asked.Databases, []string{"redis-7"}) {
		t.Errorf("the databases were %v", asked.Databases)
	}
	var d api.Deployment
	w.ada.get("/deployments/" + started.Deployment.ID).want(http.StatusOK).into(&d)
	if d.Number != 3 || d.Status == "" || d.BundleID != up.ID || d.Plan.Start.Value != up.Plan.Start.Value {
		t.Errorf("the deployment is %+v", d)
	}
}

func TestDeployIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small())
	p, up := w.ada.project("shop")
	other, _ := w.ada.project("other")
	_, bobs := w.bob.project("bob's")
	path := "/projects/" + p.ID + "/deployments"
	if problem := w.ada.send("POST", path, map[string]any{"bundle_id": up.ID, "plan": map[string]any{"port": 80}}).wantProblem(http.StatusUnprocessableEntity, coderunner.Invalid); !hasField(problem, "port") {
		t.Errorf("a low port: %+v", problem)
	}
	if problem := w.ada.send("POST", path, map[string]any{}).wantProblem(http.StatusUnprocessableEntity, coderunner.Invalid); !strings.Contains(problem.Detail, "bundle_id") {
		t.Errorf("no bundle: %+v", problem)
	}
	for _, extra := range []string{"status", "public_url", "user_id", "project_id"} {
		w.ada.send("POST", path, map[string]any{"bundle_id": up.ID, extra: "x"}).wantProblem(http.StatusUnprocessableEntity, coderunner.Invalid)
	}
	w.ada.send("POST", path, map[string]any{"bundle_id": up.ID, "plan": map[string]any{"root": "../.."}}).wantProblem(http.StatusUnprocessableEntity, coderunner.Invalid)
	w.ada.send("POST", path, map[string]any{"bundle_id": bobs.ID}).wantProblem(http.StatusNotFound, coderunner.NotFound)
	w.ada.send("POST", "/projects/"+other.ID+"/deployments", map[string]any{"bundle_id": up.ID}).wantProblem(http.StatusNotFound, coderunner.NotFound)
	w.ada.send("POST", path, map[string]any{"bundle_id": up.ID}).want(http.StatusAccepted)
	w.ada.send("POST", path, map[string]any{"bundle_id": up.ID}).want(http.StatusAccepted) // takes the place of the one that waits
}
