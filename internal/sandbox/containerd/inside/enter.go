package inside

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Entry is a process that is to begin in a running sandbox, with all that its
// sandbox's first process has and nothing more: the same namespaces, control
// groups, system call filters and bounds of capabilities.
type Entry struct {
	ID      string              // the sandbox's, at the engine
	Init    int                 // its first process, as the host counts
	Group   string              // the name of the control group that the process gets
	Process *specs.Process      // what to run
	Filters [][]unix.SockFilter // of system calls, the oldest first
}

// ownNamespaces are those of a sandbox but for its mounts, by their names in /proc/PID/ns.
var ownNamespaces = []struct {
	name string
	flag int
}{{"ipc", unix.CLONE_NEWIPC}, {"uts", unix.CLONE_NEWUTS}, {"net", unix.CLONE_NEWNET}, {"pid", unix.CLONE_NEWPID}, {"cgroup", unix.CLONE_NEWCGROUP}}

// enter begins the process, as a child of this one, and puts it into the tree. Its
// files are its standard input, output and error. It must wait by itself until it
// is let on: it is outside of its groups for a moment.
func (e Entry) enter(c Cgroups, files [3]*os.File) (pid int, err error) {
	pid, groups, err := e.begin(c, files, false)
	if err != nil {
		return 0, err
	}
	err = join(groups, pid)
	if t := c.Tree(e.ID, e.Group); err == nil {
		err = errors.Join(t.create(), t.add(pid))
	}
	if err != nil {
		end(pid)
		return 0, err
	}
	return pid, nil
}

// enterAtOnce is enter for a process of ours that has nothing else to do. The new process
// is made within its control groups, as far as they are of version 1: to move one there
// waits for all processors. For that a thread of ours is in them for a moment, where it
// is held up or killed with the sandbox. The answer are the groups that are left, in which
// nothing is limited; they take the process when there is time.
func (e Entry) enterAtOnce(c Cgroups, files [3]*os.File) (pid int, left []string, err error) {
	if c.Unified {
		pid, err = e.enter(c, files)
		return pid, nil, err
	}
	return e.begin(c, files, true)
}

// begin begins the process and answers which groups it is not in yet. From within
// means that it is made in all of version 1, and in the tree.
func (e Entry) begin(c Cgroups, files [3]*os.File, fromWithin bool) (pid int, left []string, err error) {
	var open []*os.File
	defer func() {
		for _, f := range open {
			f.Close()
		}
	}()
	for _, ns := range ownNamespaces {
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", e.Init, ns.name))
		if err != nil {
			return 0, nil, fmt.Errorf("enter the sandbox %s: %w", e.ID, err)
		}
		open = append(open, f)
	}
	mounts, err := MountsOf(e.Init)
	if err != nil {
		return 0, nil, fmt.Errorf("enter the sandbox %s: %w", e.ID, err)
	}
	defer mounts.Close()
	groups, err := c.groupsOf(e.ID, e.Init) // after the namespaces: the number may belong to another process by now
	if err != nil {
		return 0, nil, err
	}
	// Not ours alone: whoever started us may have left files open.
	if err := unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return 0, nil, fmt.Errorf("keep our files out of the sandbox %s: %w", e.ID, err)
	}
	err = OnThread(func() error {
		if fromWithin {
			if groups, err = joinThread(c, groups, c.Tree(e.ID, e.Group)); err != nil {
				return err
			}
		}
		if err := e.disguise(open, mounts); err != nil {
			return fmt.Errorf("enter the sandbox %s: %w", e.ID, err)
		}
		pid, err = syscall.ForkExec(e.Process.Args[0], e.Process.Args, &syscall.ProcAttr{
			Dir: e.Process.Cwd, Env: e.Process.Env, Files: []uintptr{files[0].Fd(), files[1].Fd(), files[2].Fd()},
			Sys: &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: e.Process.User.UID, Gid: e.Process.User.GID}},
		})
		if err != nil {
			var there unix.Stat_t
			if missing := unix.Stat(e.Process.Cwd, &there); missing != nil || there.Mode&unix.S_IFMT != unix.S_IFDIR || errors.Is(err, unix.EACCES) {
				return &os.PathError{Op: "chdir", Path: e.Process.Cwd, Err: err}
			}
		}
		return err
	})
	if err != nil {
		return 0, nil, err
	}
	if err := e.expose(pid); err != nil {
		end(pid)
		return 0, nil, err
	}
	return pid, groups, nil
}

// end kills a child that has not been let on.
func end(pid int) {
	_ = unix.Kill(pid, unix.SIGKILL)
	_, _ = unix.Wait4(pid, nil, 0, nil)
}

// disguise makes the calling thread one whose children belong to the sandbox. The
// thread cannot go back and must be thrown away.
func (e Entry) disguise(open []*os.File, mounts *Mounts) error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	if _, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0); err != nil && !errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("make a keyring: %w", err)
	}
	for i, ns := range ownNamespaces {
		if err := unix.Setns(int(open[i].Fd()), ns.flag); err != nil {
			return fmt.Errorf("its namespace %s: %w", ns.name, err)
		}
	}
	if err := mounts.Enter(); err != nil { // last: there is no /proc of this machine behind it
		return fmt.Errorf("its files: %w", err)
	}
	unix.Umask(0o022)
	if err := bound(e.Process.Capabilities); err != nil {
		return err
	}
	if e.Process.NoNewPrivileges {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return err
		}
	}
	for _, filter := range e.Filters {
		program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
		if _, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program))); errno != 0 {
			return fmt.Errorf("its filter of system calls: %w", errno)
		}
	}
	return nil
}

// capabilities are the numbers of those that a sandbox's users may have.
var capabilities = map[string]uintptr{"CAP_CHOWN": unix.CAP_CHOWN, "CAP_DAC_OVERRIDE": unix.CAP_DAC_OVERRIDE, "CAP_FOWNER": unix.CAP_FOWNER, "CAP_FSETID": unix.CAP_FSETID,
	"CAP_KILL": unix.CAP_KILL, "CAP_SETGID": unix.CAP_SETGID, "CAP_SETUID": unix.CAP_SETUID}

// bound takes from the calling thread's children what the bounding set does not
// have. A child that runs as another user than root has none of that either.
func bound(caps *specs.LinuxCapabilities) error {
	keep := map[uintptr]bool{}
	if caps != nil {
		for _, name := range caps.Bounding {
			number, known := capabilities[name]
			if !known {
				return fmt.Errorf("the capability %s is not known", name)
			}
			keep[number] = true
		}
	}
	for number := uintptr(0); ; number++ {
		if _, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, number, 0, 0, 0); errors.Is(err, unix.EINVAL) {
			break // one more than this kernel has
		}
		if keep[number] {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, number, 0, 0, 0); err != nil {
			return fmt.Errorf("drop the capability %d: %w", number, err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return err
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	data[0].Inheritable, data[1].Inheritable = 0, 0
	return unix.Capset(&header, &data[0])
}

// expose has the process count like the sandbox's first when the machine's memory runs out.
func (e Entry) expose(pid int) error {
	score, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", e.Init))
	if err != nil {
		return err
	}
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), score, 0); err != nil && !errors.Is(err, unix.EACCES) {
		return err
	}
	return nil
}

// join moves a process into groups.
func join(groups []string, pid int) error {
	for _, group := range groups {
		if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
			return fmt.Errorf("join the sandbox's control group: %w", err)
		}
	}
	return nil
}

// joinThread puts the calling thread, whose children begin where it is, into the tree
// and those of the groups that are of version 1: they take single threads without a lock on
// all others. It answers the rest.
func joinThread(c Cgroups, groups []string, t Tree) (rest []string, err error) {
	if err := t.create(); err != nil {
		return nil, err
	}
	freezer := filepath.Dir(c.File("freezer", filepath.Dir(t.group), "tasks"))
	for _, group := range groups {
		if group == freezer { // the tree's
			group = filepath.Dir(c.File("freezer", t.group, "tasks"))
		}
		tasks := filepath.Join(group, "tasks")
		if _, err := os.Stat(tasks); err != nil {
			rest = append(rest, group)
			continue
		}
		if err := os.WriteFile(tasks, []byte("0"), 0); err != nil { // 0 is the writer (cgroups(7))
			return nil, fmt.Errorf("join the sandbox's control group: %w", err)
		}
	}
	return rest, nil
}

// groupsOf lists the directories of the sandbox's control groups that its first
// process is in.
func (c Cgroups) groupsOf(id string, pid int) ([]string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil, fmt.Errorf("enter the sandbox %s: its process %d is gone: %w", id, pid, err)
	}
	var dirs []string
	for line := range strings.Lines(string(text)) { // number:controllers:path (Cgroups(7))
		_, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		controllers, path, _ := strings.Cut(rest, ":")
		if path != SandboxGroup(id) {
			continue
		}
		first, _, _ := strings.Cut(controllers, ",")
		dir := filepath.Join(CgroupRoot, strings.TrimPrefix(first, "name="), path)
		if controllers == "" && !c.Unified { // beside the others, and perhaps not even mounted
			dir = filepath.Join(CgroupRoot, "unified", path)
			if _, err := os.Stat(dir); err != nil {
				continue
			}
		}
		dirs = append(dirs, dir)
	}
	if len(dirs) == 0 {
		return nil, fmt.Errorf("enter the sandbox %s: its process %d is gone", id, pid)
	}
	return dirs, nil
}

// ptraceGetFilter asks for one of a stopped process's filters (ptrace(2),
// PTRACE_SECCOMP_GET_FILTER).
const ptraceGetFilter = 0x420c

// filtersTime is how long the runtime may take from saying that the first process
// runs until that has its filter.
const filtersTime = 5 * time.Second

// FiltersOf reads the system call filters of a sandbox's first process, the oldest
// first. It is stopped for that, for some microseconds.
func FiltersOf(pid int) (filters [][]unix.SockFilter, err error) {
	for deadline := time.Now().Add(filtersTime); ; time.Sleep(100 * time.Microsecond) {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return nil, err
		}
		if bytes.Contains(status, []byte("\nSeccomp:\t2\n")) {
			break
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("the process %d got no filter of system calls within %s", pid, filtersTime)
		}
	}
	for range stopTries {
		// Who has just looked at it is let go when their thread has ended: until then nobody else may.
		if filters, err = readFilters(pid); !errors.Is(err, errNotStopped) && !errors.Is(err, unix.EPERM) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return filters, err
}

// A process has been seen not to stop for whoever looks at it, on a busy machine, and to do
// so for the next who tries.
const (
	stopTries = 3
	stopTime  = time.Second
)

var errNotStopped = errors.New("it does not stop")

// readFilters reads the filters of a process. Its thread ends with it, and with that what the
// process does for it.
func readFilters(pid int) (filters [][]unix.SockFilter, err error) {
	err = OnThread(func() error {
		if err := unix.PtraceSeize(pid); err != nil {
			return fmt.Errorf("look at the process %d: %w", pid, err)
		}
		defer func() { _ = unix.PtraceDetach(pid) }()
		if err := unix.PtraceInterrupt(pid); err != nil {
			return err
		}
		if err := awaitStop(pid); err != nil {
			return fmt.Errorf("look at the process %d: %w", pid, err)
		}
		for {
			ask := func(at unsafe.Pointer) (int, error) {
				n, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, ptraceGetFilter, uintptr(pid), uintptr(len(filters)), uintptr(at), 0, 0)
				if errno != 0 {
					return 0, errno
				}
				return int(n), nil
			}
			n, err := ask(nil)
			if errors.Is(err, unix.ENOENT) && len(filters) > 0 {
				return nil
			}
			if err != nil {
				return fmt.Errorf("read the filter of system calls (the kernel needs CONFIG_CHECKPOINT_RESTORE): %w", err)
			}
			filter := make([]unix.SockFilter, n)
			if _, err := ask(unsafe.Pointer(&filter[0])); err != nil {
				return err
			}
			filters = append(filters, filter)
		}
	})
	slices.Reverse(filters) // the kernel counts from the newest
	return filters, err
}

// awaitStop waits until a process that the calling thread traces has stopped.
func awaitStop(pid int) error {
	for deadline := time.Now().Add(stopTime); ; time.Sleep(50 * time.Microsecond) {
		stopped, err := unix.Wait4(pid, nil, unix.WALL|unix.WNOHANG, nil)
		if stopped == pid || err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if time.Now().After(deadline) {
			return errNotStopped
		}
	}
}

// OnThread does something on a thread that is thrown away afterwards, whatever
// became of it.
func OnThread(do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread is the one that cannot be thrown away. While we hold it, we get another.
			done <- OnThread(do)
			runtime.UnlockOSThread()
			return
		}
		done <- do()
	}()
	return <-done
}
