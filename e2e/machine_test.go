package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/vishvananda/netlink"

	"github.com/coderunner/coderunner/internal/netdump"
)

// inventory is what this machine has of a server's projects, one line each. It asks
// the engine, the kernel and the disk; the program itself is not asked.
func inventory(s *server) ([]string, error) {
	var found []string
	for _, look := range []func(*server) ([]string, error){inEngine, links, files, namespacesAndGroups} {
		some, err := look(s)
		if err != nil {
			return nil, err
		}
		found = append(found, some...)
	}
	// What their users keep for other projects, in the folder of volumes.
	return slices.DeleteFunc(found, func(line string) bool { return strings.Contains(line, "/volumes/cache-") }), nil
}

// leftBehind is the inventory, and the processes and mounts that serving needs.
func leftBehind(s *server) ([]string, error) {
	found, err := inventory(s)
	if err != nil {
		return nil, err
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, s.dataDir) || strings.Contains(line, s.instance) {
			found = append(found, "mount "+strings.TrimSpace(line))
		}
	}
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	for _, path := range commands {
		line, err := os.ReadFile(path)
		if err == nil && (strings.Contains(string(line), s.dataDir) || strings.Contains(string(line), s.instance)) {
			found = append(found, "process "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found, nil
}

// ofProjects is the inventory without the sandboxes that are kept ready and belong to nobody.
func ofProjects(s *server) ([]string, error) {
	found, err := inventory(s)
	if err != nil {
		return nil, err
	}
	ready := []string{s.instance + "/standby_root"}
	err = withEngine(func(ctx context.Context, engine *client.Client) error {
		standbys, err := engine.ContainerService().List(ctx, `labels."coderunner.io/standby"==`+s.instance)
		for _, c := range standbys {
			ready = append(ready, c.ID)
		}
		return err
	})
	return slices.DeleteFunc(found, func(line string) bool {
		return slices.ContainsFunc(ready, func(name string) bool { return strings.HasSuffix(line, name) })
	}), err
}

// inEngine lists containers and snapshots.
func inEngine(s *server) (found []string, err error) {
	err = withEngine(func(ctx context.Context, engine *client.Client) error {
		containers, err := engine.ContainerService().List(ctx)
		if err != nil {
			return err
		}
		for _, c := range containers {
			if strings.Contains(c.ID, s.instance) {
				found = append(found, "container "+c.ID)
			}
		}
		return engine.SnapshotService("overlayfs").Walk(ctx, func(_ context.Context, info snapshots.Info) error {
			if strings.Contains(info.Name, s.instance) {
				found = append(found, "snapshot "+info.Name)
			}
			return nil
		})
	})
	return found, err
}

// withEngine asks the engine, if it runs: it ends with the last server that uses it.
func withEngine(ask func(context.Context, *client.Client) error) error {
	sum := sha256.Sum256([]byte(engineDir()))
	socket := "/run/coderunner/engine-" + hex.EncodeToString(sum[:6]) + "/containerd.sock"
	if conn, err := net.Dial("unix", socket); err != nil {
		return nil
	} else {
		conn.Close()
	}
	engine, err := client.New(socket)
	if err != nil {
		return err
	}
	defer engine.Close()
	return ask(namespaces.WithNamespace(context.Background(), "coderunner"), engine)
}

// links lists network devices by the alias that says whose they are.
func links(s *server) (found []string, err error) {
	all, err := netdump.Links()
	if err != nil {
		return nil, err
	}
	for _, link := range all {
		if strings.Contains(link.Attrs().Alias, s.instance+" ") {
			found = append(found, "link "+link.Attrs().Name+" "+link.Attrs().Alias)
		}
	}
	return found, nil
}

// linkLocal lists the IPv6 addresses of the server's links.
func linkLocal(s *server) (found []string, err error) {
	all, err := netdump.Links()
	if err != nil {
		return nil, err
	}
	for _, link := range all {
		if !strings.Contains(link.Attrs().Alias, s.instance+" ") {
			continue
		}
		addresses, err := netdump.Whole(func() ([]netlink.Addr, error) { return netlink.AddrList(link, netlink.FAMILY_V6) })
		if err != nil {
			return nil, err
		}
		for _, address := range addresses {
			found = append(found, link.Attrs().Name+" "+address.String())
		}
	}
	return found, nil
}

// files lists uploads, volumes and what sandboxes and networks keep on disk.
func files(s *server) (found []string, err error) {
	for _, dir := range []string{"bundles", "sandboxes/sandboxes", "sandboxes/volumes", "sandboxes/networks"} {
		root := filepath.Join(s.dataDir, dir)
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || path == root || dir == "bundles" && entry.IsDir() {
				return err
			}
			found = append(found, "file "+strings.TrimPrefix(path, s.dataDir+"/"))
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		})
		if err != nil && !os.IsNotExist(err) {
			return nil, err
		}
	}
	return found, nil
}

// namespacesAndGroups lists the network namespaces and control groups of sandboxes.
func namespacesAndGroups(s *server) (found []string, err error) {
	for _, pattern := range []string{"/run/coderunner/netns/*", "/sys/fs/cgroup/coderunner/*", "/sys/fs/cgroup/*/coderunner/*"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			if strings.Contains(filepath.Base(path), s.instance) {
				found = append(found, path)
			}
		}
	}
	return found, nil
}
