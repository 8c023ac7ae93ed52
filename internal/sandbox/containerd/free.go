package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	client "github.com/containerd/containerd/v2/client"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/sandbox/containerd/inside"
)

// freeRoot ends whatever runs in a sandbox and unmounts its root, which brings it to the
// disk. That is all that a snapshot needs: to have the engine delete the task takes
// several times as long, and can be done when the sandbox is destroyed. Where it
// does not come out, the engine does it all.
func (p *Provider) freeRoot(ctx context.Context, container client.Container) error {
	p.locks.lock(initLock(container.ID()))() // nothing may be started after this
	if p.unmountRoot(ctx, container) {
		return nil
	}
	return p.endTask(ctx, container)
}

// unmountRoot answers false, and has done nothing that matters, where only the engine can do it,
// or say what is wrong.
func (p *Provider) unmountRoot(ctx context.Context, container client.Container) bool {
	mounts, err := p.roots().Mounts(p.ctx(ctx), container.ID())
	if err != nil || len(mounts) != 1 {
		return false
	}
	i := slices.IndexFunc(mounts[0].Options, func(o string) bool { return strings.HasPrefix(o, "upperdir=") })
	if i < 0 {
		return false
	}
	upper := mounts[0].Options[i]
	found, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return m.FSType != "overlay" || !slices.Contains(strings.Split(m.VFSOptions, ","), upper), false
	})
	if err != nil || len(found) > 1 {
		return false
	}
	task, err := container.Task(p.ctx(ctx), nil)
	if err != nil {
		return false
	}
	first, err := openFirst(container.ID(), int(task.Pid()))
	if errors.Is(err, unix.ESRCH) && len(found) == 1 {
		return unix.Unmount(found[0].Mountpoint, 0) == nil
	}
	if err != nil {
		return false // another's, or with a root that is where we do not see it
	}
	defer first.Close()
	if len(found) == 1 {
		return first.end(ctx) && unix.Unmount(found[0].Mountpoint, 0) == nil
	}
	return first.endWithMounts(ctx) == nil
}

// firstProcess is a sandbox's, whatever becomes of its number.
type firstProcess struct {
	process, mounts *os.File
}

// openFirst is ESRCH when the process is gone.
func openFirst(id string, pid int) (*firstProcess, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, err
	}
	f := &firstProcess{process: os.NewFile(uintptr(fd), "first process")}
	// The number may have been another process's by then; the descriptor is not.
	if err = isFirst(id, pid); err == nil {
		f.mounts, err = os.Open(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (f *firstProcess) Close() {
	f.process.Close()
	f.mounts.Close() // nil is no file, and no harm
}

// end kills it, and with it all others of the sandbox, and waits until they are gone.
func (f *firstProcess) end(ctx context.Context) bool {
	fd := int(f.process.Fd())
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return false
	}
	limit, cancel := context.WithTimeout(ctx, inside.KillTime)
	defer cancel()
	for limit.Err() == nil {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 50)
		if n > 0 {
			return true
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false
		}
	}
	return false
}

// endWithMounts ends it, and returns when nothing that was mounted for the sandbox alone is mounted
// any more: the last who is in its mounts is a thread of ours, and as it leaves them
// they go. Where the last is a process that ends, they go some time later.
func (f *firstProcess) endWithMounts(ctx context.Context) error {
	ours, err := os.Open("/proc/self/ns/mnt")
	if err != nil {
		return err
	}
	defer ours.Close()
	return inside.OnThread(func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return err
		}
		if err := unix.Setns(int(f.mounts.Fd()), unix.CLONE_NEWNS); err != nil {
			return err
		}
		f.mounts.Close()
		ended := f.end(ctx)
		if err := unix.Setns(int(ours.Fd()), unix.CLONE_NEWNS); err != nil {
			return err
		}
		if !ended {
			return errors.New("the first process did not end")
		}
		return nil
	})
}
