package load

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

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
			s.report(what+" of CodeRunner, "+name, r)
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
	s.report("upgrade of CodeRunner, slow answer", slowly)
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
