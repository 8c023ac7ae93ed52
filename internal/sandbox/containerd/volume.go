package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/sandbox/containerd/inside"
)

// A volume is a directory with its labels beside it:
//
//	volumes/<name>/data/        mounted into sandboxes
//	volumes/<name>/volume.json
func (p *Provider) volumeDir(name string) string {
	return filepath.Join(p.cfg.StateDir, "volumes", name)
}
func (p *Provider) volumeData(name string) string { return filepath.Join(p.volumeDir(name), "data") }
func (p *Provider) volumeFile(name string) string {
	return filepath.Join(p.volumeDir(name), "volume.json")
}

// ensureVolumes makes the spec's volumes.
func (p *Provider) ensureVolumes(ctx context.Context, spec sandbox.Spec, from origin, user account) error {
	for _, m := range spec.Volumes {
		s := seed{template: from.template, path: m.Path, owner: user}
		if spec.Snapshot == "" {
			s.parent = from.parent
		}
		if err := p.ensureVolume(ctx, m, s); err != nil {
			return err
		}
	}
	return nil
}

func (p *Provider) ensureVolume(ctx context.Context, m sandbox.Mount, s seed) error {
	defer p.locks.lock("volume " + m.Volume)()
	var made sandbox.Volume
	if err := readJSON(p.volumeFile(m.Volume), &made); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(p.volumeDir(m.Volume), 0o711); err != nil {
		return err
	}
	if err := p.plant(ctx, p.volumeData(m.Volume), s); err != nil {
		return err
	}
	if err := inside.WriteJSON(p.volumeFile(m.Volume), sandbox.Volume{Name: m.Volume, Labels: m.Labels}); err != nil {
		return err
	}
	for _, path := range []string{p.volumeFile(m.Volume), p.volumeDir(m.Volume), filepath.Dir(p.volumeDir(m.Volume))} {
		if err := syncPath(path); err != nil {
			return err
		}
	}
	return nil
}

// ListVolumes implements sandbox.Provider.
func (p *Provider) ListVolumes(_ context.Context, labels map[string]string) ([]sandbox.Volume, error) {
	entries, err := os.ReadDir(filepath.Join(p.cfg.StateDir, "volumes"))
	if err != nil {
		return nil, fmt.Errorf("list the volumes: %w", err)
	}
	volumes := []sandbox.Volume{}
	for _, e := range entries {
		var v sandbox.Volume
		err := readJSON(p.volumeFile(e.Name()), &v)
		if errors.Is(err, os.ErrNotExist) {
			// One that was not made or not removed to the end; it has no labels any more.
			v, err = sandbox.Volume{Name: e.Name()}, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the volume %s: %w", e.Name(), err)
		}
		if includes(v.Labels, labels) {
			volumes = append(volumes, v)
		}
	}
	return volumes, nil
}

// VolumeSize implements sandbox.Provider. Whoever is in a sandbox may change the tree
// under our eyes: what has gone takes nothing, and no link leads out of the volume.
func (p *Provider) VolumeSize(ctx context.Context, name string) (int64, error) {
	if err := checkName("volume", name); err != nil {
		return 0, err
	}
	bytes, err := measure(ctx, p.volumeData(name))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, coderunner.Errorf(coderunner.NotFound, "There is no volume %s.", name)
	}
	if err != nil {
		return 0, fmt.Errorf("measure the volume %s: %w", name, err)
	}
	return bytes, nil
}

// measure is how many bytes of disk a tree takes.
func measure(ctx context.Context, dir string) (bytes int64, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	linked := map[uint64]bool{} // files of several names, counted already
	err = fs.WalkDir(root.FS(), ".", func(_ string, entry fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var info fs.FileInfo
		if err == nil {
			info, err = entry.Info()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		file, ok := info.Sys().(*syscall.Stat_t)
		if !ok || linked[file.Ino] {
			return nil
		}
		linked[file.Ino] = file.Nlink > 1 && !entry.IsDir()
		bytes += file.Blocks * 512
		return nil
	})
	return bytes, err
}

// RemoveVolume implements sandbox.Provider.
func (p *Provider) RemoveVolume(ctx context.Context, name string) error {
	if err := checkName("volume", name); err != nil {
		return err
	}
	found, err := p.client.Containers(p.ctx(ctx), fmt.Sprintf("labels.%q==%s", labelInstance, p.cfg.Instance))
	if err != nil {
		return p.translate(err, "looking for users of the volume "+name)
	}
	for _, c := range found {
		spec, err := c.Spec(p.ctx(ctx))
		if isGone(err) {
			continue
		}
		if err != nil {
			return p.translate(err, "looking for users of the volume "+name)
		}
		for _, m := range spec.Mounts {
			if m.Source == p.volumeData(name) {
				labels, _ := c.Labels(p.ctx(ctx))
				return coderunner.Errorf(coderunner.Conflict, "The volume %s is in use by the sandbox %s. Destroy that first.", name, labels[labelName])
			}
		}
	}
	// The labels go last, so that a removal that was cut off is found again.
	if err := os.RemoveAll(p.volumeData(name)); err != nil {
		return fmt.Errorf("remove the volume %s: %w", name, err)
	}
	return os.RemoveAll(p.volumeDir(name))
}
