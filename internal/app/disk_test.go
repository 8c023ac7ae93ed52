package app

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/testdisk"
)

// TestFullDisk fills the disk that everything of the platform is on, its own database
// included, while an app runs. The app serves on, the dashboard answers and takes
// log-ins, a deploy is refused with a sentence; when there is room, all goes on.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	config := DefaultConfig()
	config.DataDir = filepath.Join(testdisk.New(t, 1<<30, 5), "data")
	s := serve(t, config)
	hello := archive(t, "node-hello", nil)
	project, run := s.deploy("steady", hello)
	if state := s.ended(run); state != "SUCCEEDED" {
		t.Fatalf("the deploy ended %s", state)
	}
	ballast := filepath.Join(config.DataDir, "ballast")
	there := func() bool { _, err := os.Stat(ballast); return err == nil }
	eventually(t, "the reserve", there)
	empty := testdisk.Fill(t, filepath.Dir(config.DataDir))
	eventually(t, "the end of the reserve", func() bool { return !there() })

	var problem struct{ Detail string }
	for what, ask := range map[string]func() int{
		"a redeploy": func() int {
			return s.call(http.MethodPost, "projects/"+project+"/redeploy", map[string]string{}, &problem)
		},
		"an upload": func() int {
			return s.call(http.MethodPost, "projects/"+project+"/bundles?filename=code.zip", hello, &problem)
		},
	} {
		if status := ask(); status != http.StatusServiceUnavailable || !strings.Contains(problem.Detail, "% of the disk of the data directory is free (") {
			t.Errorf("%s answers %d %q", what, status, problem.Detail)
		}
	}
	var login, another struct {
		AccessToken string `json:"access_token"`
	}
	account := map[string]string{"email": "steady@example.com", "password": "correct horse battery"}
	if status := s.call(http.MethodPost, "auth/login", account, &login); status != http.StatusOK || login.AccessToken == "" {
		t.Errorf("a log-in answers %d", status)
	}
	account["email"] = "late@example.com"
	if status := s.call(http.MethodPost, "auth/register", account, &another); status != http.StatusCreated {
		t.Errorf("a new account answers %d", status)
	}
	if status, _ := s.get("localhost", "/healthz"); status != http.StatusOK {
		t.Errorf("the dashboard answers %d", status)
	}
	if status, text := s.get("localhost", "/login"); status != http.StatusOK || !strings.Contains(text, "Log in") {
		t.Errorf("its log-in page answers %d", status)
	}
	if status, _ := s.get("steady.localhost", "/"); status != http.StatusOK {
		t.Errorf("the app answers %d", status)
	}
	var started struct{ ID string }
	if status := s.call(http.MethodPost, "projects/"+project+"/restart", map[string]string{}, &started); status != http.StatusAccepted {
		t.Errorf("a restart, which needs next to no disk, answers %d", status)
	} else if state := s.ended(started.ID); state != "SUCCEEDED" {
		t.Errorf("it ended %s", state)
	}

	empty()
	eventually(t, "the reserve again", there)
	var again struct {
		Run struct {
			ID string `json:"id"`
		} `json:"run"`
	}
	if status := s.call(http.MethodPost, "projects/"+project+"/redeploy", map[string]string{}, &again); status != http.StatusAccepted {
		t.Fatalf("with room, a redeploy answers %d", status)
	}
	if state := s.ended(again.Run.ID); state != "SUCCEEDED" {
		t.Errorf("it ended %s", state)
	}
	s.destroy(project, "steady")
}
