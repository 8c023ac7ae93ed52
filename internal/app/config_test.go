package app

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// TestRuntimesWithAKernelOfTheirOwn are refused before anything is made: their sandboxes
// could not be entered, and the first deploy would fail for no reason that anybody sees.
func TestRuntimesWithAKernelOfTheirOwn(t *testing.T) {
	t.Parallel()
	for runtime, name := range map[string]string{
		"io.containerd.kata.v2": "Kata Containers", "/opt/kata/bin/containerd-shim-kata-v2": "Kata Containers", "io.containerd.kata-qemu.v2": "Kata Containers",
		"io.containerd.runsc.v1": "gVisor", "aws.firecracker": "Firecracker", "io.containerd.wasmtime.v1": "WebAssembly",
	} {
		config := DefaultConfig()
		config.DataDir, config.Runtime = filepath.Join(t.TempDir(), "data"), runtime
		for what, do := range map[string]func(context.Context) error{
			"serve":          func(ctx context.Context) error { return Run(ctx, config, nil, io.Discard) },
			"doctor":         func(ctx context.Context) error { return Doctor(ctx, config, io.Discard) },
			"building ahead": func(ctx context.Context) error { return BuildTemplates(ctx, config, nil, io.Discard) },
		} {
			err := do(t.Context())
			said := coderunner.Sentence(err)
			if coderunner.KindOf(err) != coderunner.Invalid || !strings.Contains(said, runtime) || !strings.Contains(said, "("+name+")") || !strings.HasSuffix(said, "Leave --runtime out.") {
				t.Errorf("%s with %s answers %q, %v", what, runtime, said, err)
			}
		}
		if _, err := os.Stat(config.DataDir); !os.IsNotExist(err) {
			t.Errorf("%s: the data directory was made all the same (%v)", runtime, err)
		}
	}
	for _, runtime := range []string{"io.containerd.runc.v2", "io.containerd.crun.v1", "/usr/local/bin/containerd-shim-runc-v2"} {
		config := DefaultConfig()
		config.Runtime = runtime
		if err := config.check(); err != nil {
			t.Errorf("%s is refused: %v", runtime, err)
		}
	}
}
