package containerd

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/coderunner/coderunner/appliances"
	"github.com/coderunner/coderunner/internal/appliance"
	"github.com/coderunner/coderunner/internal/netdump"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/sandbox/containerd/inside"
	"github.com/coderunner/coderunner/internal/sandbox/sandboxtest"
)

// engineDir is shared by all tests of the machine: templates are loaded once.
func engineDir() string {
	if dir := os.Getenv("CODERUNNER_ENGINE_DIR"); dir != "" {
		return dir
	}
	return "/var/cache/coderunner/engine"
}

// newConfig is that of an instance of the test's own.
func newConfig(t *testing.T) Config {
	return Config{EngineDir: engineDir(), Instance: "provider-" + strings.ToLower(rand.Text()[:10]), StateDir: t.TempDir()}
}

// open opens a provider until the test ends.
func open(t *testing.T, cfg Config) *Provider {
	t.Helper()
	p, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// templateOf is an appliance's, as it is built.
func templateOf(t *testing.T, name string) sandbox.Template {
	t.Helper()
	catalogue, err := appliance.Load(appliances.FS)
	if err != nil {
		t.Fatal(err)
	}
	definition, err := catalogue.Get(name)
	if err != nil {
		t.Fatal(err)
	}
	return definition.Template()
}

func TestConformance(t *testing.T) {
	t.Parallel()
	cfg := newConfig(t)
	t.Run("suite", func(t *testing.T) {
		sandboxtest.Run(t, func(t *testing.T) sandbox.Provider {
			p, err := Open(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}, templateOf(t, "nodejs-18"), templateOf(t, "postgres-15"))
	})
	wantNothingLeft(t, open(t, cfg))
}

// wantNothingLeft fails the test if the instance has anything on this machine.
// Keepers of output end by themselves a moment after what they kept.
func wantNothingLeft(t *testing.T, p *Provider) {
	t.Helper()
	var left []string
	until(t, "nothing of the instance is left", func() bool {
		before := strings.Join(left, "\n")
		left = leftovers(t, p)
		if now := strings.Join(left, "\n"); now != "" && now != before {
			t.Logf("there is still:\n%s", now)
		}
		return len(left) == 0
	})
}

// leftovers finds whatever the instance has on this machine.
func leftovers(t *testing.T, p *Provider) []string {
	t.Helper()
	var left []string
	note := func(what string, name any) { left = append(left, fmt.Sprintf("%s %v", what, name)) }
	ctx := p.ctx(t.Context())
	containers, err := p.client.Containers(ctx, fmt.Sprintf("labels.%q==%s", labelInstance, p.cfg.Instance))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range containers {
		note("container", c.ID())
	}
	if err := p.client.SnapshotService(snapshotter).Walk(ctx, func(_ context.Context, s snapshots.Info) error {
		if strings.HasPrefix(s.Name, p.cfg.Instance) {
			note("snapshot", s.Name)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	links, err := netdump.Links()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Alias, "coderunner "+p.cfg.Instance+" ") {
			note("link", l.Attrs().Alias)
		}
	}
	for _, pattern := range []string{
		netnsPath(p.cfg.Instance + "*"),
		filepath.Join(p.cfg.StateDir, "*", "*"),
		filepath.Join(inside.CgroupRoot, "*", "coderunner", p.cfg.Instance+"*"),
		filepath.Join(inside.CgroupRoot, "coderunner", p.cfg.Instance+"*"),
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			if filepath.Dir(path) != p.sparesDir() { // those are kept for whatever sandbox comes next
				note("file", path)
			}
		}
	}
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range commands {
		line, _ := os.ReadFile(path)
		if text := strings.ReplaceAll(string(line), "\x00", " "); strings.Contains(text, p.cfg.StateDir) || strings.Contains(text, "-id "+p.cfg.Instance) {
			note("process", text)
		}
	}
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, p.cfg.Instance) {
			note("mount", line)
		}
	}
	return left
}
