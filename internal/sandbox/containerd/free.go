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
	if err != nil || len(found) != 1 {
		return false // not mounted, or where we do not see it
	}
	task, err := container.Task(p.ctx(ctx), nil)
	if err != nil {
		return false
	}
	return endFirst(ctx, container.ID(), int(task.Pid())) && unix.Unmount(found[0].Mountpoint, 0) == nil
}

// endFirst kills a sandbox's first process, and with it all others, and waits until
// they are gone. False is a process that did not end, or is another's.
func endFirst(ctx context.Context, id string, pid int) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return true
	}
	if err != nil {
		return false
	}
	process := os.NewFile(uintptr(fd), "first process")
	defer process.Close()
	// The number may have been another process's by then; the descriptor is not.
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil || !strings.Contains(string(groups), inside.SandboxGroup(id)+"\n") {
		return false
	}
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
