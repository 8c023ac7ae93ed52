package containerd

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// daemonOnly is a private daemon of the test's own that never has a template.
func daemonOnly(t *testing.T) Config {
	t.Helper()
	cfg := newConfig(t)
	cfg.EngineDir, cfg.CacheDir = t.TempDir(), t.TempDir()
	t.Cleanup(func() {
		if err := StopEngine(context.Background(), cfg); err != nil {
			t.Error(err)
		}
		if pid := enginePID(cfg); pid != 0 && isDaemon(pid, cfg.EngineDir) {
			t.Errorf("the engine %d still runs", pid)
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		if err := os.RemoveAll(runtimeDir(cfg.EngineDir)); err != nil {
			t.Error(err)
		}
	})
	return cfg
}

// lose kills the daemon and takes its socket away, as a removed containerd leaves it.
func lose(t *testing.T, cfg Config) {
	t.Helper()
	killEngine(t, cfg)
	if err := os.Remove(daemonSocket(cfg.EngineDir)); err != nil {
		t.Fatal(err)
	}
}

// asks are the calls of a run that need the engine.
func asks(t *testing.T, p *Provider) map[string]error {
	errs := map[string]error{}
	ask := func(call string, do func(context.Context) error) { errs[call] = do(within(t)) }
	ask("HasTemplate", func(ctx context.Context) error { _, err := p.HasTemplate(ctx, bare.TemplateRef); return err })
	ask("BuildTemplate", func(ctx context.Context) error { return p.BuildTemplate(ctx, bare, io.Discard) })
	ask("Create", func(ctx context.Context) error {
		_, err := p.Create(ctx, sandbox.Spec{Name: "box", Template: bare.TemplateRef})
		return err
	})
	ask("Get", func(ctx context.Context) error { _, err := p.Get(ctx, "box"); return err })
	ask("List", func(ctx context.Context) error { _, err := p.List(ctx, nil); return err })
	ask("Destroy", func(ctx context.Context) error { return p.Destroy(ctx, "box") })
	ask("Snapshot", func(ctx context.Context) error { return p.Snapshot(ctx, "box", "kept", nil) })
	ask("ListSnapshots", func(ctx context.Context) error { _, err := p.ListSnapshots(ctx, nil); return err })
	ask("RemoveSnapshot", func(ctx context.Context) error { return p.RemoveSnapshot(ctx, "kept") })
	ask("Check", func(ctx context.Context) error { // which waits for a connection as long as it may
		ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		return p.Check(ctx)
	})
	return errs
}

// TestEngineAway: whatever is asked of an engine that is gone is answered with what to
// do about it, and with nothing of how we speak to it.
func TestEngineAway(t *testing.T) {
	t.Parallel()
	t.Run("Named", func(t *testing.T) {
		t.Parallel()
		cfg := daemonOnly(t)
		open(t, cfg)
		named := newConfig(t)
		named.Address, named.CacheDir = daemonSocket(cfg.EngineDir), cfg.CacheDir
		p := open(t, named)
		lose(t, cfg)
		want := "containerd, which runs the sandboxes, does not answer at " + named.Address + ". Start it there; CodeRunner goes on once it answers."
		wantSentence(t, asks(t, p), want)
		if answers(named.Address) {
			t.Error("somebody started a daemon that is not ours")
		}
	})
	t.Run("Private", func(t *testing.T) {
		t.Parallel()
		cfg := daemonOnly(t)
		p := open(t, cfg)
		// Whoever starts the daemon takes this lock first: it stays away until we give it back.
		unlock, err := lockFile(within(t), filepath.Join(runtimeDir(cfg.EngineDir), "lock"))
		if err != nil {
			t.Fatal(err)
		}
		lose(t, cfg)
		errs := asks(t, p)
		unlock()
		wantSentence(t, errs, "containerd, which runs the sandboxes, does not answer. CodeRunner starts it again by itself; if this stays, look into "+filepath.Join(cfg.EngineDir, "containerd.log")+".")
		until(t, "it is back by itself", func() bool { _, err := p.List(within(t), nil); return err == nil })
		if _, err := os.Stat(filepath.Join(cfg.EngineDir, "containerd.log")); err != nil {
			t.Errorf("the log that the sentence names: %v", err)
		}
	})
}

func wantSentence(t *testing.T, errs map[string]error, want string) {
	t.Helper()
	for call, err := range errs {
		said := coderunner.Sentence(err)
		if coderunner.KindOf(err) != coderunner.Unavailable || said != want {
			t.Errorf("%s answers %s, %v, and says\n%s\nwant\n%s", call, coderunner.KindOf(err), err, said, want)
		}
		for _, inner := range []string{"rpc", "grpc", "dial", "code ="} {
			if strings.Contains(said, inner) {
				t.Errorf("%s says %q, which has %q", call, said, inner)
			}
		}
	}
}
