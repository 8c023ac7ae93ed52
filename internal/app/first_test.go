package app

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coderunner/coderunner/appliances"
	"github.com/coderunner/coderunner/internal/appliance"
	"github.com/coderunner/coderunner/internal/coderunner"
)

// TestFirstStart: on an engine without any template one signs up and has a dashboard; the
// template that a deploy needs is made by that deploy, which says so.
func TestFirstStart(t *testing.T) {
	t.Parallel()
	_, dsn := freshDatabase(t)
	config := DefaultConfig()
	config.DataDir, config.DatabaseURL, config.EngineDir = t.TempDir(), dsn, t.TempDir()
	t.Cleanup(func() { // after the server, which is the engine's user
		if err := Down(context.Background(), config, io.Discard); err != nil {
			t.Error(err)
		}
	})
	s := serve(t, config)
	cookies := s.signUp("ada@example.com")
	for path, says := range map[string]string{"/projects": "drop", "/appliances": "when a deploy first needs it", "/account": "ada@example.com"} {
		if status, page := s.get("localhost", path, cookies...); status != http.StatusOK || !strings.Contains(strings.ToLower(page), strings.ToLower(says)) {
			t.Errorf("%s answers %d without %q:\n%s", path, status, says, page)
		}
	}
	catalogue, err := appliance.Load(appliances.FS)
	if err != nil {
		t.Fatal(err)
	}
	if _, page := s.get("localhost", "/appliances", cookies...); strings.Count(page, "Built when first needed") != len(catalogue.All()) {
		t.Errorf("before the first deploy a template is ready:\n%s", page)
	}

	project, run := s.deploy("first", archive(t, "node-hello", nil))
	eventuallyWithin(t, 10*time.Minute, "the deploy's end", func() bool { // a template that this machine never built takes minutes
		var now struct{ State string }
		s.call(http.MethodGet, "runs/"+run, nil, &now)
		if coderunner.RunState(now.State).Ended() && now.State != "SUCCEEDED" {
			t.Fatalf("the deploy ended %s\n%s", now.State, strings.Join(s.lines("runs/"+run+"/log"), "\n"))
		}
		return now.State == "SUCCEEDED"
	})
	log := strings.Join(s.lines("runs/"+run+"/log"), "\n")
	begins, ready := strings.Index(log, "The template nodejs-24 is not on this machine yet. Building it;"), strings.Index(log, "The template nodejs-24 is ready after ")
	if begins < 0 || ready < begins || strings.Contains(log, "postgres") {
		t.Errorf("the first deploy's log is\n%s", log)
	}
	if status, body := s.get("first.localhost", "/"); status != http.StatusOK {
		t.Errorf("the first app answers %d %s", status, body)
	}
	s.destroy(project, "first")
}
