package app

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"html"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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

// databaseAway is how long the platform's database is away: longer than a run's lease, and
// than anything of ours waits for a connection.
const databaseAway = 65 * time.Second

// countsRequests prints a line for each request.
const countsRequests = `let n = 0;
require("node:http").createServer((req, res) => { console.log("request", ++n, "of", req.url); res.end("ok"); }).listen(process.env.PORT);`

// lines answers the texts of a log, which are numbered without gaps.
func (s *server) lines(path string) (texts []string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://127.0.0.1:"+s.port+"/api/v1/"+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	for in := json.NewDecoder(res.Body); in.More(); {
		var line struct {
			Seq  int
			Text string
		}
		if err := in.Decode(&line); err != nil {
			s.t.Fatalf("%s: %v", path, err)
		}
		texts = append(texts, line.Text)
		if line.Seq != len(texts) {
			s.t.Errorf("%s: line %d has the number %d", path, len(texts), line.Seq)
		}
	}
	return texts
}

func count(lines []string, text string) (n int) {
	for _, line := range lines {
		if line == text {
			n++
		}
	}
	return n
}

// TestDatabaseAway cuts the platform's database off for a minute while an app runs and
// another deploy is under way: the app serves on, pages and API say what is wrong, and
// all goes on when the database is back, with every line that was printed meanwhile.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	wire, dsn := freshDatabase(t)
	config := DefaultConfig()
	config.DataDir, config.DatabaseURL = t.TempDir(), dsn
	s := serve(t, config)
	first, run := s.deploy("steady", archive(t, "node-hello", map[string]string{"index.js": countsRequests}))
	steadys := s.token
	if state := s.ended(run); state != "SUCCEEDED" {
		t.Fatalf("the deploy ended %s", state)
	}
	second, run := s.deploy("midway", archive(t, "node-hello", map[string]string{"package.json": `{"name":"x","scripts":{"build":"echo build begins && sleep 3 && echo build ends","start":"node index.js"}}`}))
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
	gone, again := time.NewTimer(databaseAway), time.NewTicker(5*time.Second)
	defer gone.Stop()
	defer again.Stop()
	const sentence = "The platform's database does not answer right now. Apps keep running; try again in a moment."
	asked := 0
	for away := true; away; {
		var problem struct {
			Detail    string `json:"detail"`
			RequestID string `json:"request_id"`
		}
		if status := s.call(http.MethodGet, "projects", nil, &problem); status != http.StatusServiceUnavailable || problem.Detail != sentence || problem.RequestID == "" {
			t.Errorf("without its database the API answers %d %+v", status, problem)
		}
		for _, path := range []string{"/projects", "/runs/" + run} {
			if status, page := s.get("localhost", path, cookies...); status != http.StatusServiceUnavailable || !strings.Contains(html.UnescapeString(page), sentence) {
				t.Errorf("without its database the dashboard answers to %s %d %s", path, status, page)
			}
		}
		asked++
		if status, body := s.get("steady.localhost", "/away-"+strconv.Itoa(asked)); status != http.StatusOK {
			t.Errorf("without the platform's database the app answers %d %s", status, body)
		}
		select {
		case <-again.C:
		case <-gone.C:
			away = false
		}
	}

	wire.mend()
	eventually(t, "the API's return", func() bool { return s.call(http.MethodGet, "projects", nil, nil) == http.StatusOK })
	if state := s.ended(run); state != "SUCCEEDED" {
		t.Errorf("the deploy that was under way ended %s", state)
	}
	log := s.lines("runs/" + run + "/log")
	if count(log, "Done.") != 1 || log[len(log)-1] != "Done." || count(log, "build begins") == 0 || count(log, "build ends") != 1 {
		t.Errorf("its log is\n%s", strings.Join(log, "\n"))
	}
	var deployments struct {
		Items []struct{ Status string }
	}
	s.call(http.MethodGet, "projects/"+second+"/deployments", nil, &deployments)
	if len(deployments.Items) != 1 || deployments.Items[0].Status != "RUNNING" {
		t.Errorf("its project has the deployments %+v", deployments.Items)
	}
	midways := s.token
	s.token = steadys
	eventually(t, "what the other app printed meanwhile", func() bool {
		printed := strings.Join(s.lines("projects/"+first+"/logs"), "\n")
		return strings.Contains(printed, " of /away-"+strconv.Itoa(asked))
	})
	printed := strings.Join(s.lines("projects/"+first+"/logs"), "\n")
	for i := range asked {
		if n := strings.Count(printed+"\n", " of /away-"+strconv.Itoa(i+1)+"\n"); n != 1 {
			t.Errorf("request %d of the time without a database is in the app's log %d times:\n%s", i+1, n, printed)
		}
	}
	s.token = midways
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
	left, err := filepath.Glob(filepath.Join(config.DataDir, "sandboxes", "*", "*"))
	left = slices.DeleteFunc(left, func(path string) bool { return strings.HasPrefix(filepath.Base(path), "cache-") }) // their user's
	if err != nil || len(left) > 0 {
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
