package containerd

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// TestPowerCut: files that a power cut left empty are as good as none, and keep nobody
// from anything.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	p := open(t, newConfig(t))
	spec := sandbox.Spec{Name: "box", Template: ready(t, p, bare), Network: "net", Volumes: []sandbox.Mount{{Volume: "data", Path: "/data"}}}
	makeBox(t, p, spec)
	t.Cleanup(func() {
		for _, err := range []error{p.Destroy(context.Background(), "box"), p.RemoveVolume(context.Background(), "data"), p.RemoveNetwork(context.Background(), "net")} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	if err := p.Start(within(t), "box", "app", script(`echo up; exec sleep 1000`)); err != nil {
		t.Fatal(err)
	}
	printed(t, p, "box", "app", "up\n")
	container, err := p.load(within(t), "box")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.endTask(within(t), container); err != nil {
		t.Fatal(err)
	}
	reboot(t, p)
	for _, path := range []string{p.attachmentFile("box"), p.processFile("box", "app"), p.volumeFile("data"), filepath.Join(p.cfg.StateDir, "networks", "net.json")} {
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
	}
	if volumes, err := p.ListVolumes(within(t), nil); err != nil || len(volumes) != 1 || volumes[0].Name != "data" {
		t.Errorf("the volumes are %v, %v", volumes, err)
	}
	if _, err := p.Create(within(t), spec); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Process(within(t), "box", "app"); coderunner.KindOf(err) != coderunner.NotFound {
		t.Errorf("a process of which nothing is known: %v", err)
	}
	if err := p.Start(within(t), "box", "app", script(`echo again; exec sleep 1000`)); err != nil {
		t.Error(err)
	}
	if _, err := p.Address(within(t), "box", 80); err != nil {
		t.Error(err)
	}
}
