package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroups knows where this machine keeps its control groups: one unified tree
// (version 2), or one for each controller (version 1).
type cgroups struct {
	unified bool
}

const cgroupRoot = "/sys/fs/cgroup"

func findCgroups() cgroups {
	_, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers"))
	return cgroups{unified: err == nil}
}

// allSandboxes is the group of all sandboxes of this machine.
const allSandboxes = "/coderunner"

// sandboxGroup is the group of a whole sandbox, as its runtime is told.
func sandboxGroup(id string) string { return allSandboxes + "/" + id }

// sandboxesWeight is what all sandboxes together count when the processors are all in
// use, as a multiple of what is beside their group: the services of the machine, or
// in version 1 perhaps each single process of it.
const sandboxesWeight = 4

// weigh gives the sandboxes their weight. A machine that cannot weigh runs them all the same.
func (c cgroups) weigh() {
	path, standard := c.file("cpu", allSandboxes, "cpu.shares"), 1024
	if c.unified {
		path, standard = c.file("", allSandboxes, "cpu.weight"), 100
	}
	if os.MkdirAll(filepath.Dir(path), 0o755) == nil {
		_ = os.WriteFile(path, []byte(strconv.Itoa(sandboxesWeight*standard)), 0)
	}
}

// file is the path of a group's file; the controller counts in version 1 only.
func (c cgroups) file(controller, group, name string) string {
	if c.unified {
		return filepath.Join(cgroupRoot, group, name)
	}
	return filepath.Join(cgroupRoot, controller, group, name)
}

func (c cgroups) read(controller, group, name string) string {
	text, err := os.ReadFile(c.file(controller, group, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// field reads one number of a file of "name value" lines; 0 when it is not there.
func (c cgroups) field(controller, group, file, field string) int64 {
	for line := range strings.Lines(c.read(controller, group, file)) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), " "); name == field {
			n, _ := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			return n
		}
	}
	return 0
}

func (c cgroups) number(controller, group, v1, v2 string) int64 {
	name := v1
	if c.unified {
		name = v2
	}
	n, _ := strconv.ParseInt(c.read(controller, group, name), 10, 64) // "max" counts as none
	return n
}

// oomKills is how many processes the group's memory limit has ended.
func (c cgroups) oomKills(group string) int64 {
	if c.unified {
		return c.field("memory", group, "memory.events", "oom_kill")
	}
	return c.field("memory", group, "memory.oom_control", "oom_kill")
}

// full reports whether the group has about as many processes as it may.
func (c cgroups) full(group string) bool {
	limit := c.number("pids", group, "pids.max", "pids.max")
	return limit > 0 && c.number("pids", group, "pids.current", "pids.current") >= limit-2
}

// cpuTime is what the group's processes have used.
func (c cgroups) cpuTime(group string) time.Duration {
	if c.unified {
		return time.Duration(c.field("cpu", group, "cpu.stat", "usage_usec")) * time.Microsecond
	}
	return time.Duration(c.number("cpuacct", group, "cpuacct.usage", ""))
}

// tree is the group of one command or process within its sandbox's. It limits
// nothing; it only knows its members.
type tree struct {
	cgroups
	group string
}

func (c cgroups) tree(id, name string) tree { return tree{c, sandboxGroup(id) + "/" + name} }

func (t tree) create() error {
	return os.MkdirAll(filepath.Dir(t.file("freezer", t.group, "cgroup.procs")), 0o755)
}

func (t tree) add(pid int) error {
	return os.WriteFile(t.file("freezer", t.group, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
}

func (t tree) members() []int {
	var pids []int
	for line := range strings.Lines(t.read("freezer", t.group, "cgroup.procs")) {
		if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// signal sends sig to every member there is now.
func (t tree) signal(sig unix.Signal) {
	for _, pid := range t.members() {
		_ = unix.Kill(pid, sig)
	}
}

// killTime bounds the end of a killed tree; only a process stuck in the kernel takes so long.
const killTime = 5 * time.Second

// kill ends all members, however fast they multiply, and removes the group.
func (t tree) kill(ctx context.Context) error {
	dir := filepath.Dir(t.file("freezer", t.group, "cgroup.procs"))
	deadline := time.Now().Add(killTime)
	for wait := 200 * time.Microsecond; ; wait = min(2*wait, 20*time.Millisecond) {
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("remove the group %s: %w", t.group, err)
		}
		if len(t.members()) > 0 {
			t.strike()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes of %s did not end within %s of SIGKILL", t.group, killTime)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// strike sends SIGKILL to all members while they cannot fork.
func (t tree) strike() {
	if t.unified {
		_ = os.WriteFile(t.file("", t.group, "cgroup.kill"), []byte("1"), 0)
		return
	}
	state := t.file("freezer", t.group, "freezer.state")
	_ = os.WriteFile(state, []byte("FROZEN"), 0)
	t.signal(unix.SIGKILL)
	_ = os.WriteFile(state, []byte("THAWED"), 0)
}
