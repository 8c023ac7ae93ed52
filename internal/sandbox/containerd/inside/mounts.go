package inside

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Mounts are the files as one process sees them: its mount namespace, and its root in
// that. The two are told apart because a namespace's root is another than
// the process's where CodeRunner itself was started in a chroot: it is this machine's then.
type Mounts struct{ namespace, root *os.File }

// MountsOf opens the mounts of a process. Look afterwards whether it still is the
// process that is meant: the number may belong to another by then.
func MountsOf(pid int) (*Mounts, error) {
	namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	if err != nil {
		return nil, err
	}
	root, err := os.OpenFile(fmt.Sprintf("/proc/%d/root", pid), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		namespace.Close()
		return nil, err
	}
	return &Mounts{namespace, root}, nil
}

// Close lets go of them.
func (m *Mounts) Close() error { return errors.Join(m.namespace.Close(), m.root.Close()) }

// Enter brings the calling thread, which must have a root of its own (CLONE_FS), to
// the process's root.
func (m *Mounts) Enter() error {
	if err := unix.Setns(int(m.namespace.Fd()), unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Fchdir(int(m.root.Fd())); err != nil {
		return err
	}
	return unix.Chroot(".")
}
