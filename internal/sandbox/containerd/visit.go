package containerd

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/sandbox/containerd/inside"
)

// account is whose rights something is done with.
type account struct{ uid, gid uint32 }

// parseAccount reads "uid:gid", as templates have it.
func parseAccount(user string) (account, error) {
	var a account
	if _, err := fmt.Sscanf(user, "%d:%d", &a.uid, &a.gid); err != nil {
		return account{}, fmt.Errorf("the template's user %q: %w", user, err)
	}
	return a, nil
}

// visit does something on a thread that sees what the sandbox's process pid sees
// of the file system, and nothing else, with no more rights over files than the
// account has. No process of the sandbox sees the thread. What do calls must
// not rely on other threads for access to files.
//
// This is what a command in the sandbox can do to its files, without the
// cost of one: entering takes well under a millisecond.
func visit(id string, pid uint32, who account, do func() error) error {
	theirs, err := inside.MountsOf(int(pid))
	if err != nil {
		return fmt.Errorf("enter the sandbox %s: %w", id, err)
	}
	defer theirs.Close()
	// The number may belong to another process by now.
	if err := isFirst(id, int(pid)); err != nil {
		return err
	}
	ours, err := os.Open("/proc/self/ns/mnt")
	if err != nil {
		return err
	}
	defer ours.Close()
	return inside.OnThread(func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("enter the sandbox %s: %w", id, err)
		}
		if err := theirs.Enter(); err != nil {
			return fmt.Errorf("enter the sandbox %s: %w", id, err)
		}
		// The thread ends some time after this returns; the sandbox's mounts must not wait for it.
		defer func() { _ = unix.Setns(int(ours.Fd()), unix.CLONE_NEWNS) }()
		unix.Umask(0o022)
		if err := become(who); err != nil {
			return fmt.Errorf("become the user of the sandbox %s: %w", id, err)
		}
		return do()
	})
}

// become gives the calling thread the account's rights over files. With root's
// id for files go root's capabilities over them (capabilities(7), "Effect of
// user ID changes on capabilities").
func become(who account) error {
	// Not Go's own, which changes all threads.
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
		return errno
	}
	for _, set := range []struct {
		call func(int) (int, error)
		to   int
	}{{unix.SetfsgidRetGid, int(who.gid)}, {unix.SetfsuidRetUid, int(who.uid)}} {
		if _, err := set.call(set.to); err != nil {
			return err
		}
		if now, err := set.call(-1); err != nil || now != set.to { // the only way to know
			return errors.Join(unix.EPERM, err)
		}
	}
	return nil
}
