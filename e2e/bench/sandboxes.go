package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	client "github.com/containerd/containerd/v2/client"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/coderunner/coderunner/internal/sandbox"
)

const (
	sandboxRounds = 20
	warmUp        = 3 // rounds that are not counted
	model         = "model"
)

// sandboxTimes are what one sandbox took.
type sandboxTimes struct{ create, exec, destroy samples }

// sandboxes measures Create until commands work, a command, and Destroy, through
// our provider; beside each, runc itself on the same root with the same
// specification but an empty network: the floor of any engine that uses it.
func (b *bench) sandboxes(ctx context.Context) error {
	roots, err := b.openRoots(ctx, runtimeAppliance)
	if err != nil {
		return err
	}
	defer roots.close()
	if _, err := b.provider.Create(ctx, b.sandboxSpec(model, "bench")); err != nil {
		return err
	}
	floor, err := b.openFloor(ctx, roots)
	if err != nil {
		return err
	}
	var again, first, bare sandboxTimes
	for i := range sandboxRounds + warmUp {
		for _, one := range []struct {
			into *sandboxTimes
			do   func(context.Context, *sandboxTimes) error
		}{
			{&again, func(ctx context.Context, t *sandboxTimes) error {
				return b.oneSandbox(ctx, b.sandboxSpec(fmt.Sprintf("again-%d", i), "bench"), t)
			}},
			{&bare, func(ctx context.Context, t *sandboxTimes) error { return floor.once(ctx, i, t) }},
			{&first, func(ctx context.Context, t *sandboxTimes) error {
				network := fmt.Sprintf("bench-%d", i)
				return errors.Join(b.oneSandbox(ctx, b.sandboxSpec(fmt.Sprintf("first-%d", i), network), t), b.provider.RemoveNetwork(ctx, network))
			}},
		} {
			into := one.into
			if i < warmUp {
				into = &sandboxTimes{}
			}
			if err := one.do(ctx, into); err != nil {
				return errors.Join(err, floor.close())
			}
		}
	}
	b.report.add(
		row{what: "Sandbox: create until ready, network there", unit: "ms", values: again.create, target: 150},
		row{what: "Sandbox: create until ready, first of its network", unit: "ms", values: first.create, target: 150},
		row{what: "  the same, beside runc with an empty network", unit: "ratio", values: ratios(again.create, bare.create)},
		row{what: "  runc run --detach", unit: "ms", values: bare.create},
		row{what: "Sandbox: run a command (true)", unit: "ms", values: again.exec},
		row{what: "  runc exec", unit: "ms", values: bare.exec},
		row{what: "Sandbox: destroy", unit: "ms", values: again.destroy},
		row{what: "  runc delete --force", unit: "ms", values: bare.destroy},
	)
	return floor.close()
}

func (b *bench) sandboxSpec(name, network string) sandbox.Spec {
	def, err := b.catalogue.Get(runtimeAppliance)
	if err != nil {
		panic(err) // open has built its template
	}
	return sandbox.Spec{Name: name, Template: def.Template().TemplateRef, Network: network, Limits: sandbox.Limits{MemoryBytes: 1 << 30, PIDs: 1024}}
}

func (b *bench) oneSandbox(ctx context.Context, spec sandbox.Spec, t *sandboxTimes) error {
	begin := time.Now()
	if _, err := b.provider.Create(ctx, spec); err != nil {
		return err
	}
	t.create.took(time.Since(begin))
	begin = time.Now()
	exit, err := b.provider.Exec(ctx, spec.Name, sandbox.Command{Argv: []string{"true"}})
	if err != nil || exit.Code != 0 {
		return errors.Join(fmt.Errorf("true ended with exit code %d", exit.Code), err)
	}
	t.exec.took(time.Since(begin))
	begin = time.Now()
	if err := b.provider.Destroy(ctx, spec.Name); err != nil {
		return err
	}
	t.destroy.took(time.Since(begin))
	return nil
}

// floor is runc with a bundle like a sandbox's.
type floor struct {
	root *root
	dir  string
	spec specs.Spec
}

// openFloor takes the model's specification, without its network.
func (b *bench) openFloor(ctx context.Context, roots *roots) (*floor, error) {
	containers, err := roots.client.Containers(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(containers, func(c client.Container) bool { return strings.HasSuffix(c.ID(), model) })
	if i < 0 {
		return nil, errors.New("the engine does not know the model")
	}
	spec, err := containers[i].Spec(ctx)
	if err != nil {
		return nil, err
	}
	root, err := roots.mount(ctx, "floor")
	if err != nil {
		return nil, err
	}
	f := &floor{root: root, dir: filepath.Join(b.dir, "floor"), spec: *spec}
	f.spec.Root.Path = root.dir
	for i := range f.spec.Linux.Namespaces {
		f.spec.Linux.Namespaces[i].Path = ""
	}
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return nil, errors.Join(err, root.remove())
	}
	return f, nil
}

func (f *floor) close() error { return f.root.remove() }

func (f *floor) once(ctx context.Context, i int, t *sandboxTimes) (err error) {
	id := fmt.Sprintf("bench-floor-%d", i)
	f.spec.Linux.CgroupsPath = "/coderunner/" + id
	text, err := json.Marshal(f.spec)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(f.dir, "config.json"), text, 0o600); err != nil {
		return err
	}
	defer func() {
		begin := time.Now()
		err = errors.Join(err, f.runc(context.WithoutCancel(ctx), "delete", "--force", id))
		t.destroy.took(time.Since(begin))
	}()
	begin := time.Now()
	if err := f.runc(ctx, "run", "--detach", "--bundle", f.dir, id); err != nil {
		return err
	}
	t.create.took(time.Since(begin))
	begin = time.Now()
	if err := f.runc(ctx, "exec", id, "true"); err != nil {
		return err
	}
	t.exec.took(time.Since(begin))
	return nil
}

func (f *floor) runc(ctx context.Context, args ...string) error {
	complaint, err := os.CreateTemp(f.dir, "stderr-") // a pipe would stay open in the container
	if err != nil {
		return err
	}
	defer func() { complaint.Close(); os.Remove(complaint.Name()) }()
	cmd := exec.CommandContext(ctx, "runc", append([]string{"--root", filepath.Join(f.dir, "state")}, args...)...)
	cmd.Stderr = complaint
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(complaint.Name()) // says more than the exit code, if it is there
		return fmt.Errorf("runc %s: %w: %s", args[0], err, strings.TrimSpace(string(text)))
	}
	return nil
}
