package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/image-spec/identity"
	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/e2e/demo/platform"
)

// roots makes root file systems of a template, by the engine's own snapshotter.
type roots struct {
	client  *client.Client
	dir     string
	parent  string // the template's snapshot
	env     []string
	user    string
	workDir string
}

// root is one that is mounted.
type root struct {
	*roots
	key, dir string
	uid, gid uint32
	mounted  []string // in this order
}

func (b *bench) openRoots(ctx context.Context, applianceName string) (*roots, error) {
	socket, err := platform.EngineSocket(b.engineDir())
	if err != nil {
		return nil, err
	}
	c, err := client.New(socket, client.WithDefaultNamespace("coderunner"))
	if err != nil {
		return nil, err
	}
	r := &roots{client: c, dir: filepath.Join(b.dir, "roots")}
	if err := r.find(ctx, b, applianceName); err != nil {
		c.Close()
		return nil, err
	}
	return r, os.MkdirAll(r.dir, 0o755)
}

func (r *roots) find(ctx context.Context, b *bench, applianceName string) error {
	def, err := b.catalogue.Get(applianceName)
	if err != nil {
		return err
	}
	ref := def.Template().TemplateRef
	all, err := r.client.ListImages(ctx)
	if err != nil {
		return err
	}
	images := slices.DeleteFunc(all, func(i client.Image) bool { return !strings.Contains(i.Name(), "/"+ref.Name+":"+ref.Digest) })
	if len(images) != 1 {
		return fmt.Errorf("the engine has %d templates %s", len(images), ref.Name)
	}
	layers, err := images[0].RootFS(ctx)
	if err != nil {
		return err
	}
	config, err := images[0].Spec(ctx)
	if err != nil {
		return err
	}
	r.parent = identity.ChainID(layers).String()
	r.env, r.user, r.workDir = config.Config.Env, config.Config.User, config.Config.WorkingDir
	home, name := config.Config.Labels["coderunner.io/user.home"], config.Config.Labels["coderunner.io/user.name"]
	r.env = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + home, "USER=" + name}, r.env...)
	return nil
}

func (r *roots) close() { r.client.Close() }

// mount makes a root that nobody has written to.
func (r *roots) mount(ctx context.Context, key string) (*root, error) {
	m := &root{roots: r, key: "bench-" + key, dir: filepath.Join(r.dir, key)}
	if _, err := fmt.Sscanf(r.user, "%d:%d", &m.uid, &m.gid); err != nil {
		return nil, fmt.Errorf("the template's user %q: %w", r.user, err)
	}
	fail := func(err error) (*root, error) { return nil, errors.Join(err, m.remove()) }
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		return fail(err)
	}
	// Nothing refers to it but us: without the label the engine would collect it.
	mounts, err := r.client.SnapshotService("overlayfs").Prepare(ctx, m.key, r.parent, snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "bench"}))
	if err != nil {
		return fail(err)
	}
	if err := mount.All(mounts, m.dir); err != nil {
		return fail(err)
	}
	m.mounted = append(m.mounted, m.dir)
	for _, also := range []struct {
		source, path, kind string
		flags              uintptr
	}{{"proc", "proc", "proc", 0}, {"/dev", "dev", "", unix.MS_BIND}} {
		target := filepath.Join(m.dir, also.path)
		if err := unix.Mount(also.source, target, also.kind, also.flags, ""); err != nil {
			return fail(fmt.Errorf("mounting %s: %w", target, err))
		}
		m.mounted = append(m.mounted, target)
	}
	return m, nil
}

// remove unmounts the root and deletes what was written to it.
func (m *root) remove() error {
	for i := len(m.mounted) - 1; i >= 0; i-- {
		if err := unix.Unmount(m.mounted[i], unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmounting %s: %w", m.mounted[i], err)
		}
	}
	m.mounted = nil
	ctx := context.Background() // also after an interrupt
	if err := m.client.SnapshotService("overlayfs").Remove(ctx, m.key); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	return os.Remove(m.dir)
}
