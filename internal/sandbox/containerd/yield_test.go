package containerd

import (
	"os"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/sandbox/containerd/inside"
)

// TestWeight: all sandboxes together count as much as is said.
func TestWeight(t *testing.T) {
	t.Parallel()
	c := open(t, newConfig(t)).cgroups
	path := c.File("cpu", inside.AllSandboxes, "cpu.shares")
	if c.Unified {
		path = c.File("", inside.AllSandboxes, "cpu.weight")
	}
	if err := os.WriteFile(path, []byte("50"), 0); err != nil {
		t.Fatal(err)
	}
	open(t, newConfig(t))
	if got := c.Number("cpu", inside.AllSandboxes, "cpu.shares", "cpu.weight"); got != inside.SandboxesWeight*1024 && got != inside.SandboxesWeight*100 {
		t.Errorf("their weight is %d", got)
	}
}

// TestYields: a sandbox that yields counts little beside others, for as long as it was
// told to or until the provider is opened again.
func TestYields(t *testing.T) {
	t.Parallel()
	cfg := newConfig(t)
	p := open(t, cfg)
	template := ready(t, p, bare)
	weight := func(name string) int64 {
		return p.cgroups.Number("cpu", inside.SandboxGroup(p.containerID(name)), "cpu.shares", "cpu.weight")
	}
	made := func(name string, yields time.Duration) int64 {
		makeBox(t, p, sandbox.Spec{Name: name, Template: template, Yields: yields})
		return weight(name)
	}
	standard := made("plain", 0)
	if got := made("long", time.Hour); got*10 > standard {
		t.Errorf("one that yields counts %d, others %d", got, standard)
	}
	made("short", time.Millisecond)
	until(t, "the time is over", func() bool { return weight("short") == standard })
	if _, err := p.Create(within(t), sandbox.Spec{Name: "long", Template: template}); err != nil {
		t.Errorf("the same without yielding: %v", err)
	}
	open(t, cfg)
	if got := weight("long"); got != standard {
		t.Errorf("for the next provider it counts %d", got)
	}
}
