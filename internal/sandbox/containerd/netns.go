package containerd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// netnsPath is where a sandbox's network namespace is kept.
func netnsPath(id string) string { return filepath.Join("/run/coderunner/netns", id) }

// makeNetns makes a namespace at path, in place of one that may be there, and
// lets configure work in it. On failure nothing is left.
func makeNetns(path string, configure func(inside *netlink.Handle, fd int) error) (err error) {
	if err := removeNetns(path); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o444)
	if err != nil {
		return err
	}
	file.Close()
	defer func() {
		if err != nil {
			err = errors.Join(err, removeNetns(path))
		}
	}()
	made := make(chan error, 1)
	go func() {
		// The thread changes its namespace and is thrown away with the goroutine.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			made <- err
			return
		}
		made <- unix.Mount(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), path, "", unix.MS_BIND, "")
	}()
	if err := <-made; err != nil {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	return inNetns(path, configure)
}

// inNetns lets configure work in the namespace at path.
func inNetns(path string, configure func(inside *netlink.Handle, fd int) error) error {
	handle, err := netns.GetFromPath(path)
	if err != nil {
		return err
	}
	defer handle.Close()
	inside, err := netlink.NewHandleAt(handle)
	if err != nil {
		return err
	}
	defer inside.Close()
	return configure(inside, int(handle))
}

// removeNetns lets go of a namespace; it ends with its last process. None is success.
func removeNetns(path string) error {
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("let go of the namespace %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
