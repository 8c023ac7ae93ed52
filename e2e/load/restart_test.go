package load

import (
	"context"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coderunner/coderunner/e2e/demo/platform"
	"github.com/coderunner/coderunner/internal/api"
	"github.com/coderunner/coderunner/internal/edge/daemon"
)

var program = flag.String("program", "../../bin/coderunner", "the program under test")

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

// deploy makes the app run.
func (s *site) deploy() {
	s.t.Helper()
	ctx := s.t.Context()
	files, err := App()
	if err != nil {
		s.t.Fatal(err)
	}
	archive, err := platform.Tar(files)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.client.Register(ctx, "load@example.com", "correct horse battery"); err != nil {
		s.t.Fatal(err)
	}
	if s.project, err = s.client.CreateProject(ctx, "load"); err != nil {
		s.t.Fatal(err)
	}
	bundle, err := s.client.Upload(ctx, s.project.ID, "load.tar", archive)
	if err != nil {
		s.t.Fatal(err)
	}
	started, err := s.client.Deploy(ctx, s.project.ID, platform.Deployment{BundleID: bundle.ID})
	if err != nil {
		s.t.Fatal(err)
	}
	followed, err := s.client.Follow(ctx, started.Run.ID, nil)
	if err = errors.Join(err, followed.Succeeded()); err != nil {
		s.t.Fatal(err)
	}
	s.target = Target{Address: net.JoinHostPort("127.0.0.1", s.server.Port), Host: s.project.Slug + ".localhost"}
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

// nextBuild is the program as the next version would be.
func nextBuild(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "coderunner")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-X main.version=next", "-o", path, "../../cmd/coderunner")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// TestServeComesAndGoes: under constant load, with an open WebSocket and a slow answer,
// `serve` is restarted, killed and replaced by another build. Nobody who uses the app
// notices, and who uses the dashboard waits.
func TestServeComesAndGoes(t *testing.T) {
	next := nextBuild(t)
	s := newSite(t)
	s.deploy()
	first := s.edge()
	ctx, end := context.WithCancel(t.Context())
	defer end()
	apps, words, slowly, pages := NewRecorder(delay), NewRecorder(delay), NewRecorder(delay), NewRecorder(10*time.Second)
	var clients sync.WaitGroup
	clients.Go(func() { s.target.Requests(ctx, rate, apps) })
	clients.Go(func() { s.target.Socket(ctx, words) })
	clients.Go(func() { Target{Address: s.target.Address, Host: "localhost"}.Get(ctx, "/healthz", 5, pages) })
	report := func(what string) {
		t.Helper()
		for name, r := range map[string]*Recorder{"app": apps, "WebSocket": words, "dashboard": pages} {
			report := r.Take()
			t.Logf("%s, %s: %s", what, name, report)
			if !report.Held() {
				t.Errorf("%s: the %s did not hold", what, name)
			}
		}
	}

	// again replaces `serve` a few times, with a second of load after each.
	again := func(end func() error) {
		t.Helper()
		for range 3 {
			if err := end(); err != nil {
				t.Fatal(err)
			}
			s.start(*program)
			before := apps.Report().Requests
			await(t, "a second of load", func() bool { return apps.Report().Requests >= before+rate })
		}
	}
	again(func() error { return s.server.Stop() })
	report("restart")
	again(func() error { return s.server.Kill() })
	report("kill -9")
	if now := s.edge(); now.PID != first.PID {
		t.Errorf("the edge was %+v and is %+v", first, now)
	}

	clients.Go(func() { s.target.Slow(slow, slowly) })
	await(t, "the slow request", func() bool {
		for _, open := range s.edge().Open {
			return open >= 2 // the other is the WebSocket
		}
		return false
	})
	if err := s.server.Stop(); err != nil {
		t.Fatal(err)
	}
	s.start(next)
	second := s.edge()
	if second.PID == first.PID || second.Version != "next" || second.Address != first.Address {
		t.Errorf("the edge was %+v and is %+v", first, second)
	}
	await(t, "the slow answer", func() bool { return slowly.Report().Requests > 0 })
	report("upgrade")
	if report := slowly.Report(); !report.Held() {
		t.Errorf("the slow answer: %s", report)
	}
	end()
	clients.Wait()
	await(t, "the former edge's end", func() bool { return errors.Is(syscall.Kill(first.PID, 0), syscall.ESRCH) })
}

// TestEdgeIsKilled: `serve` starts it again at once, at its address and with its routes.
func TestEdgeIsKilled(t *testing.T) {
	s := newSite(t)
	s.deploy()
	first := s.edge()
	if err := syscall.Kill(first.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	await(t, "the edge's return", func() bool {
		status, _, err := s.client.Get(t.Context(), s.target.Host, "/")
		return err == nil && status == 200
	})
	t.Logf("the app answers %d ms after the edge was killed", time.Since(begin).Milliseconds())
	if second := s.edge(); second.PID == first.PID || second.Address != first.Address {
		t.Errorf("the edge was %+v and is %+v", first, second)
	}
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
