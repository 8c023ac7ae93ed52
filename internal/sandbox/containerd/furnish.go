package containerd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/sandbox/containerd/inside"
)

// furnish gives a standby its own root, mounts and name: afterwards its first process, and
// whoever enters, see what the runtime would have shown them. The standby's own
// root goes; what the runtime has mounted there stays: /proc, /sys, /dev and /run, with
// all that is hidden or read only in them.
//
// The mounts are opened where this machine's files are, and attached where the sandbox's
// are: paths there lead nowhere else, whatever links the root has.
func furnish(id string, pid uint32, root []mount.Mount, mounts []specs.Mount, hostname string) error {
	tree, err := mountAside(root)
	if err != nil {
		return fmt.Errorf("open the root of the sandbox %s: %w", id, err)
	}
	defer tree.Close()
	var sources []*os.File
	defer func() {
		for _, s := range sources {
			s.Close()
		}
	}()
	for _, m := range mounts {
		source, err := openSource(m)
		if err != nil {
			return fmt.Errorf("open %s for the sandbox %s: %w", m.Source, id, err)
		}
		sources = append(sources, source)
	}
	return enterMounts(id, pid, func() error {
		if err := attachRoot(tree, mounts, sources); err != nil {
			return fmt.Errorf("give the sandbox %s its root: %w", id, err)
		}
		return nil
	}, func() error {
		if err := unix.Sethostname([]byte(hostname)); err != nil {
			return fmt.Errorf("give the sandbox %s its name: %w", id, err)
		}
		return nil
	})
}

// mountAside mounts a root where nobody sees it, and answers it as a tree that is mounted nowhere.
func mountAside(mounts []mount.Mount) (tree *os.File, err error) {
	if len(mounts) != 1 {
		return nil, fmt.Errorf("it consists of %d mounts", len(mounts))
	}
	m := mounts[0]
	options := strings.Join(m.Options, ",")
	if m.Type != "overlay" || len(options) >= os.Getpagesize() {
		return nil, fmt.Errorf("a mount of type %s with %d bytes of options", m.Type, len(options))
	}
	err = inside.OnThread(func() error {
		// In a copy of all mounts, which ends with the thread.
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return err
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return err
		}
		const at = "/mnt"
		if err := unix.Mount(m.Source, at, m.Type, 0, options); err != nil {
			return err
		}
		fd, err := unix.OpenTree(unix.AT_FDCWD, at, unix.OPEN_TREE_CLOEXEC|unix.OPEN_TREE_CLONE)
		if err != nil {
			return err
		}
		tree = os.NewFile(uintptr(fd), "root")
		return unix.Unmount(at, 0)
	})
	return tree, err
}

// openSource opens what is to be mounted, with what the mount allows.
func openSource(m specs.Mount) (*os.File, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, m.Source, unix.OPEN_TREE_CLOEXEC|unix.OPEN_TREE_CLONE|unix.AT_RECURSIVE)
	if err != nil {
		return nil, err
	}
	source := os.NewFile(uintptr(fd), m.Source)
	attr := unix.MountAttr{Propagation: unix.MS_PRIVATE}
	for option, flag := range map[string]uint64{"ro": unix.MOUNT_ATTR_RDONLY, "nosuid": unix.MOUNT_ATTR_NOSUID, "nodev": unix.MOUNT_ATTR_NODEV} {
		if slices.Contains(m.Options, option) {
			attr.Attr_set |= flag
		}
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		source.Close()
		return nil, err
	}
	return source, nil
}

// enterMounts does something on a thread that is in the sandbox's mounts, and then something where
// its name is.
func enterMounts(id string, pid uint32, inMounts, inName func() error) error {
	mounts, err := inside.MountsOf(int(pid))
	if err != nil {
		return fmt.Errorf("enter the sandbox %s: %w", id, err)
	}
	defer mounts.Close()
	name, err := os.Open(fmt.Sprintf("/proc/%d/ns/uts", pid))
	if err != nil {
		return fmt.Errorf("enter the sandbox %s: %w", id, err)
	}
	defer name.Close()
	if err := isFirst(id, int(pid)); err != nil { // after the namespaces: the number may be another's by now
		return err
	}
	return inside.OnThread(func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return err
		}
		if err := mounts.Enter(); err != nil {
			return fmt.Errorf("enter the sandbox %s: %w", id, err)
		}
		if err := inMounts(); err != nil {
			return err
		}
		if err := unix.Setns(int(name.Fd()), unix.CLONE_NEWUTS); err != nil {
			return fmt.Errorf("enter the sandbox %s: %w", id, err)
		}
		return inName()
	})
}

// isFirst makes sure that a process is in the sandbox.
func isFirst(id string, pid int) error {
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil || !strings.Contains(string(groups), inside.SandboxGroup(id)+"\n") {
		return errors.Join(fmt.Errorf("enter the sandbox %s: its process %d is gone", id, pid), err)
	}
	return nil
}

// attachRoot makes the tree the root of the mounts that the calling thread is in.
func attachRoot(tree *os.File, mounts []specs.Mount, sources []*os.File) error {
	const at = "/mnt"
	if err := unix.MoveMount(int(tree.Fd()), "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("attach it: %w", err)
	}
	root, err := os.OpenRoot(at)
	if err != nil {
		return err
	}
	defer root.Close()
	attach := func(from int, path string, flags int, to string) error {
		target, err := openIn(int(tree.Fd()), to)
		if err != nil {
			return &fs.PathError{Op: "mount", Path: to, Err: err}
		}
		defer unix.Close(target)
		if err := unix.MoveMount(from, path, target, "", flags|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
			return &fs.PathError{Op: "mount", Path: to, Err: err}
		}
		return nil
	}
	// What is mounted of this machine's comes before /proc and /sys: no link of the root may lead there.
	for _, own := range []string{"/dev", "/run"} {
		if err := attach(unix.AT_FDCWD, own, 0, own); err != nil {
			return err
		}
	}
	for i, m := range mounts {
		if err := makeTarget(root, m.Destination, sources[i]); err != nil {
			return err
		}
		if err := attach(int(sources[i].Fd()), "", unix.MOVE_MOUNT_F_EMPTY_PATH, m.Destination); err != nil {
			return err
		}
	}
	for _, own := range []string{"/proc", "/sys"} {
		if err := attach(unix.AT_FDCWD, own, 0, own); err != nil {
			return err
		}
	}
	if err := unix.Fchdir(int(tree.Fd())); err != nil {
		return err
	}
	// The old root comes to lie on the new one, and goes (pivot_root(2), "pivot_root(".", ".")").
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("make it the root: %w", err)
	}
	return unix.Unmount(".", unix.MNT_DETACH)
}

// openIn opens a place in a tree; links lead nowhere else.
func openIn(tree int, path string) (int, error) {
	return unix.Openat2(tree, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
}

// makeTarget makes the place where something is to be mounted, if it is not there.
func makeTarget(root *os.Root, path string, source *os.File) error {
	path = strings.TrimPrefix(path, "/")
	if _, err := root.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return nil // what is wrong with it shows when it is mounted on
	}
	var info unix.Stat_t
	if err := unix.Fstat(int(source.Fd()), &info); err != nil {
		return err
	}
	if info.Mode&unix.S_IFMT == unix.S_IFDIR {
		return root.MkdirAll(path, 0o755)
	}
	if err := root.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := root.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}
