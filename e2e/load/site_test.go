package load

import (
	"context"
	"errors"
	"flag"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/coderunner/coderunner/e2e/demo/platform"
	"github.com/coderunner/coderunner/internal/api"
	"github.com/coderunner/coderunner/internal/edge/daemon"
)

var (
	program = flag.String("program", "../../bin/coderunner", "the program under test")
	// What takes a second where nothing else runs takes longer beside other tests.
	timed = flag.Bool("timed", false, "a request that waits for more than a second fails the test")
)

const (
	rate  = 50               // requests a second
	delay = time.Second      // that nobody may notice
	slow  = 20 * time.Second // of the slow answer
)

// site is a program with one app.
type site struct {
	t       *testing.T
	dir     string
	flags   []string
	server  *platform.Server
	client  *platform.Client
	project api.Project
	target  Target
}

func newSite(t *testing.T) *site {
	dir, err := os.MkdirTemp("/tmp", "coderunner-load-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil { // the database's account passes
		t.Fatal(err)
	}
	engine := os.Getenv("CODERUNNER_ENGINE_DIR")
	if engine == "" {
		engine = "/var/cache/coderunner/engine"
	}
	s := &site{t: t, dir: dir, flags: []string{"--engine-dir", engine}}
	t.Cleanup(s.close)
	s.start(*program)
	if s.client, err = platform.NewClient(s.server.Port); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) dataDir() string { return filepath.Join(s.dir, "data") }

func (s *site) start(program string) {
	s.t.Helper()
	server, err := platform.Start(s.t.Context(), program, s.dataDir(), s.flags...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.server = server
}

// deploy makes the app run for the first time.
func (s *site) deploy() {
	s.t.Helper()
	ctx := s.t.Context()
	if err := s.client.Register(ctx, "load@example.com", "correct horse battery"); err != nil {
		s.t.Fatal(err)
	}
	var err error
	if s.project, err = s.client.CreateProject(ctx, "load"); err != nil {
		s.t.Fatal(err)
	}
	s.version("one")
	s.target = Target{Address: net.JoinHostPort("127.0.0.1", s.server.Port), Host: s.project.Slug + ".localhost"}
}

// version deploys the app with another answer, and returns its deployment when the run has ended.
func (s *site) version(answer string) api.Deployment {
	s.t.Helper()
	ctx := s.t.Context()
	files, err := App()
	if err != nil {
		s.t.Fatal(err)
	}
	code, err := fs.ReadFile(files, "index.js")
	if err != nil {
		s.t.Fatal(err)
	}
	manifest, err := fs.ReadFile(files, "package.json")
	if err != nil {
		s.t.Fatal(err)
	}
	archive, err := platform.Tar(fstest.MapFS{
		"index.js":     {Data: []byte(strings.Replace(string(code), "version = 'one'", "version = '"+answer+"'", 1)), Mode: 0o644},
		"package.json": {Data: manifest, Mode: 0o644},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	bundle, err := s.client.Upload(ctx, s.project.ID, "load.tar", archive)
	if err != nil {
		s.t.Fatal(err)
	}
	started, err := s.client.Deploy(ctx, s.project.ID, platform.Deployment{BundleID: bundle.ID})
	s.ends(started.Run, err)
	return started.Deployment
}

// ends waits until a run has ended well.
func (s *site) ends(run api.Run, err error) {
	s.t.Helper()
	if err == nil {
		var followed platform.Followed
		followed, err = s.client.Follow(s.t.Context(), run.ID, nil)
		err = errors.Join(err, followed.Succeeded())
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// report tells what was recorded, and wants no request to have failed, nor, if
// that was asked for, to have waited.
func (s *site) report(what string, r *Recorder) {
	s.t.Helper()
	report := r.Take()
	s.t.Logf("load: %s: %s", what, report)
	if report.Requests == 0 || report.Failed > 0 || *timed && !report.Held() {
		s.t.Errorf("%s did not hold", what)
	}
}

// close destroys the app and looks that nothing is left, no edge either.
func (s *site) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if s.project.ID != "" {
		run, err := s.client.Destroy(ctx, s.project.ID, "load")
		if err == nil {
			_, err = s.client.Follow(ctx, run.ID, nil)
		}
		if err != nil {
			s.t.Error(err)
		}
	}
	if err := platform.Command(ctx, *program, s.dataDir(), io.Discard, append([]string{"down"}, s.flags...)...); err != nil {
		s.t.Error(err)
	}
	left, err := platform.Leftovers(s.dataDir())
	if err != nil {
		s.t.Error(err)
	}
	running, err := platform.Processes(s.dir)
	if left = append(left, running...); err != nil || len(left) > 0 {
		s.t.Errorf("these are left: %q (%v)", left, err)
	}
	if err := os.RemoveAll(s.dir); err != nil {
		s.t.Error(err)
	}
}

func (s *site) edge() daemon.Status {
	s.t.Helper()
	status, err := s.server.Edge(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return status
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
		if err := pause(t.Context(), 10*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
}
