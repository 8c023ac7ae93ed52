package inside

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

// Cgroups knows where this machine keeps its control groups: one unified tree
// (version 2), or one for each controller (version 1).
type Cgroups struct {
	Unified bool
}

// CgroupRoot is where the kernel shows the control groups.
const CgroupRoot = "/sys/fs/cgroup"

// FindCgroups looks at which of the two it is.
func FindCgroups() Cgroups {
	_, err := os.Stat(filepath.Join(CgroupRoot, "cgroup.controllers"))
	return Cgroups{Unified: err == nil}
}

// AllSandboxes is the group of all sandboxes of this machine.
const AllSandboxes = "/coderunner"

// SandboxGroup is the group of a whole sandbox, as its runtime is told.
func SandboxGroup(id string) string { return AllSandboxes + "/" + id }

// SandboxesWeight is what all sandboxes together count when the processors are all in
// use, as a multiple of what is beside their group: the services of the machine, or
// in version 1 perhaps each single process of it.
const SandboxesWeight = 4

// yieldingWeight is what a sandbox counts beside others while it yields to them.
const yieldingWeight = 0.02

// Weigh gives the sandboxes their weight. A machine that cannot weigh runs them all the same.
func (c Cgroups) Weigh() {
	if os.MkdirAll(filepath.Dir(c.weightFile(AllSandboxes)), 0o755) == nil {
		c.setWeight(AllSandboxes, SandboxesWeight)
	}
}

// Yield has a sandbox take only what processor time others leave, or no longer.
func (c Cgroups) Yield(id string, yields bool) {
	weight := 1.
	if yields {
		weight = yieldingWeight
	}
	c.setWeight(SandboxGroup(id), weight)
}

// CPUPeriod is what quotas of processor time are counted in, in microseconds.
const CPUPeriod = 100_000

// CPUQuota is how much of a period a number of processors is, in microseconds.
func CPUQuota(cpus float64) int64 { return int64(cpus * CPUPeriod) }

// Limit bounds a sandbox that has had no bounds so far. No cpus is no bound.
func (c Cgroups) Limit(id string, memory, pids int64, cpus float64) error {
	type setting struct{ controller, file, value string }
	bytes := strconv.FormatInt(memory, 10)
	settings := []setting{{"pids", "pids.max", strconv.FormatInt(pids, 10)}}
	quota := strconv.FormatInt(CPUQuota(cpus), 10)
	if c.Unified {
		settings = append(settings, setting{"", "memory.max", bytes})
		if _, err := os.Stat(c.File("", SandboxGroup(id), "memory.swap.max")); err == nil {
			settings = append(settings, setting{"", "memory.swap.max", "0"})
		}
		if cpus > 0 {
			settings = append(settings, setting{"", "cpu.max", quota + " " + strconv.Itoa(CPUPeriod)})
		}
	} else {
		settings = append(settings, setting{"memory", "memory.limit_in_bytes", bytes})
		if c.HasSwapLimit() { // of both together; never below that of memory alone
			settings = append(settings, setting{"memory", "memory.memsw.limit_in_bytes", bytes})
		}
		if cpus > 0 {
			settings = append(settings, setting{"cpu", "cpu.cfs_period_us", strconv.Itoa(CPUPeriod)}, setting{"cpu", "cpu.cfs_quota_us", quota})
		}
	}
	for _, s := range settings {
		if err := os.WriteFile(c.File(s.controller, SandboxGroup(id), s.file), []byte(s.value), 0); err != nil {
			return fmt.Errorf("limit the sandbox %s: %w", id, err)
		}
	}
	return nil
}

func (c Cgroups) weightFile(group string) string {
	if c.Unified {
		return c.File("", group, "cpu.weight")
	}
	return c.File("cpu", group, "cpu.shares")
}

// setWeight takes a multiple of what a group counts when nobody says anything.
func (c Cgroups) setWeight(group string, weight float64) {
	standard := 1024.
	if c.Unified {
		standard = 100
	}
	_ = os.WriteFile(c.weightFile(group), []byte(strconv.Itoa(int(standard*weight))), 0)
}

// File is the path of a group's file; the controller counts in version 1 only.
func (c Cgroups) File(controller, group, name string) string {
	if c.Unified {
		return filepath.Join(CgroupRoot, group, name)
	}
	return filepath.Join(CgroupRoot, controller, group, name)
}

func (c Cgroups) read(controller, group, name string) string {
	text, err := os.ReadFile(c.File(controller, group, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// field reads one number of a file of "name value" lines; 0 when it is not there.
func (c Cgroups) field(controller, group, file, field string) int64 {
	for line := range strings.Lines(c.read(controller, group, file)) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), " "); name == field {
			n, _ := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			return n
		}
	}
	return 0
}

func (c Cgroups) Number(controller, group, v1, v2 string) int64 {
	name := v1
	if c.Unified {
		name = v2
	}
	n, _ := strconv.ParseInt(c.read(controller, group, name), 10, 64) // "max" counts as none
	return n
}

// OOMKills is how many processes the group's memory limit has ended.
func (c Cgroups) OOMKills(group string) int64 {
	if c.Unified {
		return c.field("memory", group, "memory.events", "oom_kill")
	}
	return c.field("memory", group, "memory.oom_control", "oom_kill")
}

// Full reports whether the group has about as many processes as it may.
func (c Cgroups) Full(group string) bool {
	limit := c.Number("pids", group, "pids.max", "pids.max")
	return limit > 0 && c.Number("pids", group, "pids.current", "pids.current") >= limit-2
}

// Processes are all in a sandbox's group: its first, and those of its trees.
func (c Cgroups) Processes(group string) []int {
	pids := Tree{c, group}.Members()
	trees, _ := filepath.Glob(c.File("freezer", group, "*/cgroup.procs"))
	for _, tree := range trees {
		pids = append(pids, Tree{c, group + "/" + filepath.Base(filepath.Dir(tree))}.Members()...)
	}
	return pids
}

// CPUTime is what the group's processes have used.
func (c Cgroups) CPUTime(group string) time.Duration {
	if c.Unified {
		return time.Duration(c.field("cpu", group, "cpu.stat", "usage_usec")) * time.Microsecond
	}
	return time.Duration(c.Number("cpuacct", group, "cpuacct.usage", ""))
}

// Tree is the group of one command or process within its sandbox's. It limits
// nothing; it only knows its members.
type Tree struct {
	Cgroups
	group string
}

func (c Cgroups) Tree(id, name string) Tree { return Tree{c, SandboxGroup(id) + "/" + name} }

func (t Tree) create() error {
	return os.MkdirAll(filepath.Dir(t.File("freezer", t.group, "cgroup.procs")), 0o755)
}

func (t Tree) add(pid int) error {
	return os.WriteFile(t.File("freezer", t.group, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
}

// Members are the tree's processes. This one is none of them, though a thread of it that
// begins one may be there for a moment.
func (t Tree) Members() []int {
	var pids []int
	for line := range strings.Lines(t.read("freezer", t.group, "cgroup.procs")) {
		if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Signal sends sig to every member there is now.
func (t Tree) Signal(sig unix.Signal) {
	for _, pid := range t.Members() {
		_ = unix.Kill(pid, sig)
	}
}

// KillTime bounds the end of a killed tree; only a process stuck in the kernel takes so long.
const KillTime = 5 * time.Second

// Kill ends all members, however fast they multiply, and removes the group.
func (t Tree) Kill(ctx context.Context) error {
	dir := filepath.Dir(t.File("freezer", t.group, "cgroup.procs"))
	deadline := time.Now().Add(KillTime)
	for wait := 200 * time.Microsecond; ; wait = min(2*wait, 20*time.Millisecond) {
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("remove the group %s: %w", t.group, err)
		}
		if len(t.Members()) > 0 {
			t.strike()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes of %s did not end within %s of SIGKILL", t.group, KillTime)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// strike sends SIGKILL to all members while they cannot fork.
func (t Tree) strike() {
	if t.Unified {
		_ = os.WriteFile(t.File("", t.group, "cgroup.kill"), []byte("1"), 0)
		return
	}
	state := t.File("freezer", t.group, "freezer.state")
	_ = os.WriteFile(state, []byte("FROZEN"), 0)
	t.Signal(unix.SIGKILL)
	_ = os.WriteFile(state, []byte("THAWED"), 0)
}

// HasSwapLimit reports whether the kernel limits memory and swap together (version 1 only).
func (c Cgroups) HasSwapLimit() bool {
	_, err := os.Stat(filepath.Join(CgroupRoot, "memory", "memory.memsw.limit_in_bytes"))
	return err == nil
}
