package app

import (
	"archive/zip"
	"bytes"
	"context"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coderunner/coderunner/examples"
	"github.com/coderunner/coderunner/internal/coderunner"
)

// archive is an example as a zip, with files of ours in place of its own.
func archive(t *testing.T, example string, instead map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	tree, err := fs.Sub(examples.FS, example)
	if err != nil {
		t.Fatal(err)
	}
	err = fs.WalkDir(tree, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(tree, path)
		if other, is := instead[path]; is {
			text = []byte(other)
		}
		if err != nil {
			return err
		}
		file, err := w.Create(path)
		if err == nil {
			_, err = file.Write(text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// deploy makes an account and a project, uploads and presses Deploy; it answers the project's and the run's id.
func (s *server) deploy(name string, upload []byte) (projectID, runID string) {
	s.t.Helper()
	var login struct {
		AccessToken string `json:"access_token"`
	}
	account := map[string]string{"email": name + "@example.com", "password": "correct horse battery"}
	if status := s.call(http.MethodPost, "auth/register", account, &login); status != http.StatusCreated || login.AccessToken == "" {
		s.t.Fatalf("registering answers %d", status)
	}
	s.token = login.AccessToken
	var project, bundle struct {
		ID string `json:"id"`
	}
	if status := s.call(http.MethodPost, "projects", map[string]string{"name": name}, &project); status != http.StatusCreated {
		s.t.Fatalf("a new project answers %d", status)
	}
	if status := s.call(http.MethodPost, "projects/"+project.ID+"/bundles?filename=code.zip", upload, &bundle); status != http.StatusCreated {
		s.t.Fatalf("an upload answers %d", status)
	}
	var started struct {
		Run struct {
			ID string `json:"id"`
		} `json:"run"`
	}
	if status := s.call(http.MethodPost, "projects/"+project.ID+"/deployments", map[string]string{"bundle_id": bundle.ID}, &started); status != http.StatusAccepted {
		s.t.Fatalf("a deploy answers %d", status)
	}
	return project.ID, started.Run.ID
}

// ended waits for the end of a run and answers its state.
func (s *server) ended(runID string) (state string) {
	s.t.Helper()
	eventually(s.t, "the run's end", func() bool {
		var run struct {
			State string `json:"state"`
		}
		s.call(http.MethodGet, "runs/"+runID, nil, &run)
		state = run.State
		return coderunner.RunState(state).Ended()
	})
	return state
}

func (s *server) destroy(projectID, name string) {
	s.t.Helper()
	var answer struct {
		ID  string `json:"id"`
		Run struct {
			ID string `json:"id"`
		} `json:"run"`
	}
	if status := s.call(http.MethodDelete, "projects/"+projectID+"?confirm="+name, nil, &answer); status != http.StatusAccepted {
		s.t.Fatalf("a destroy answers %d", status)
	}
	id := answer.ID
	if answer.Run.ID != "" {
		id = answer.Run.ID
	}
	if state := s.ended(id); state != "SUCCEEDED" {
		s.t.Errorf("the destroy ended %s", state)
	}
}

// TestDatabaseAway cuts the platform's database off while an app runs and
// another deploy is under way: the app serves on, the pages say what is wrong, and all
// goes on when the database is back.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	wire, dsn := freshDatabase(t)
	config := DefaultConfig()
	config.DataDir, config.DatabaseURL = t.TempDir(), dsn
	s := serve(t, config)
	hello := archive(t, "node-hello", nil)
	first, run := s.deploy("steady", hello)
	if state := s.ended(run); state != "SUCCEEDED" {
		t.Fatalf("the deploy ended %s", state)
	}
	second, run := s.deploy("midway", archive(t, "node-hello", map[string]string{"package.json": `{"name":"x","scripts":{"build":"sleep 3","start":"node index.js"}}`}))
	eventually(t, "the build's beginning", func() bool {
		var now struct {
			Steps []struct{ Name, State string } `json:"steps"`
		}
		s.call(http.MethodGet, "runs/"+run, nil, &now)
		for _, step := range now.Steps {
			if step.Name == "build" && step.State == "RUNNING" {
				return true
			}
		}
		return false
	})

	cookies := s.signUp("somebody@example.com")
	wire.cut()
	var problem struct {
		Status    int    `json:"status"`
		Detail    string `json:"detail"`
		RequestID string `json:"request_id"`
	}
	if status := s.call(http.MethodGet, "projects", nil, &problem); status != http.StatusServiceUnavailable || problem.Detail == "" || problem.RequestID == "" {
		t.Errorf("without its database the API answers %d %+v", status, problem)
	}
	if !strings.Contains(problem.Detail, "Apps keep running; try again in a moment.") {
		t.Errorf("without its database the API says %q", problem.Detail)
	}
	if status, page := s.get("localhost", "/projects", cookies...); status != http.StatusServiceUnavailable || !strings.Contains(page, "Apps keep running; try again in a moment.") {
		t.Errorf("without its database the dashboard answers %d %s", status, page)
	}
	if status, body := s.get("steady.localhost", "/"); status != http.StatusOK {
		t.Errorf("without the platform's database the app answers %d %s", status, body)
	}
	// Longer than the lease: the run is given up and has to be taken again.
	gone := time.NewTimer(8 * time.Second)
	defer gone.Stop()
	<-gone.C
	if status, _ := s.get("steady.localhost", "/"); status != http.StatusOK {
		t.Errorf("after a while without the database the app answers %d", status)
	}

	wire.mend()
	eventually(t, "the API's return", func() bool { return s.call(http.MethodGet, "projects", nil, nil) == http.StatusOK })
	if state := s.ended(run); state != "SUCCEEDED" {
		t.Errorf("the deploy that was under way ended %s", state)
	}
	if status, body := s.get("midway.localhost", "/"); status != http.StatusOK {
		t.Errorf("its app answers %d %s", status, body)
	}
	s.destroy(second, "midway")
	token := s.token
	s.token = ""
	var login struct {
		AccessToken string `json:"access_token"`
	}
	s.call(http.MethodPost, "auth/login", map[string]string{"email": "steady@example.com", "password": "correct horse battery"}, &login)
	s.token = login.AccessToken
	if token == s.token {
		t.Error("two accounts have one token")
	}
	s.destroy(first, "steady")
}

// TestDownAndUp stops everything and starts it again: the app is back without a deploy, with its data.
func TestDownAndUp(t *testing.T) {
	t.Parallel()
	config := DefaultConfig()
	dir, err := os.MkdirTemp("/tmp", "coderunner-app-") // the database's account has to pass
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	config.DataDir = filepath.Join(dir, "data")
	s := serve(t, config)
	project, run := s.deploy("back", archive(t, "express-postgres", nil))
	if state := s.ended(run); state != "SUCCEEDED" {
		t.Fatalf("the deploy ended %s", state)
	}
	wrote := post(t, s, "back.localhost", "/entries", `{"name":"Ann","message":"still here"}`)
	if wrote/100 != 2 {
		t.Fatalf("writing an entry answers %d", wrote)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if err := Down(context.Background(), s.config, io.Discard); err != nil {
		t.Fatal(err)
	}

	again := serve(t, config)
	again.token = s.token
	eventually(t, "the app's return", func() bool {
		status, body := again.get("back.localhost", "/api/entries")
		return status == http.StatusOK && strings.Contains(body, "still here")
	})
	again.destroy(project, "back")
	if left, err := filepath.Glob(filepath.Join(config.DataDir, "sandboxes", "*", "*")); err != nil || len(left) > 0 {
		t.Errorf("after the destroy these are left: %v (%v)", left, err)
	}
}

func post(t *testing.T, s *server, host, path, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1:"+s.port+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host + ":" + s.port
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

// TestOneServerForADataDirectory refuses the second.
func TestOneServerForADataDirectory(t *testing.T) {
	t.Parallel()
	_, dsn := freshDatabase(t)
	config := DefaultConfig()
	config.DataDir, config.DatabaseURL = t.TempDir(), dsn
	serve(t, config)
	config.Listen = "127.0.0.1:0"
	err := Run(t.Context(), config, nil, io.Discard)
	if coderunner.KindOf(err) != coderunner.Conflict || !strings.Contains(coderunner.Sentence(err), "--data-dir") {
		t.Errorf("a second server answers %v", err)
	}
}
