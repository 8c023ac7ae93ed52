package containerd

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/sandbox/containerd/inside"
)

// TestProcessesAreLikeTheFirst: what is started in a sandbox has all that confines
// the sandbox's first process, which the runtime itself has made.
func TestProcessesAreLikeTheFirst(t *testing.T) {
	t.Parallel()
	p := open(t, newConfig(t))
	makeBox(t, p, sandbox.Spec{Name: "box", Template: ready(t, p, templateOf(t, "postgres-15"))})
	_, task, err := p.running(within(t), "box")
	if err != nil {
		t.Fatal(err)
	}
	want := confinement(t, int(task.Pid()))
	for _, mark := range []string{"Seccomp:\t2", "NoNewPrivs:\t1", "ns/net", "ns/pid", "Max open files"} {
		if !strings.Contains(want, mark) {
			t.Fatalf("%q is not in what confines the first process:\n%s", mark, want)
		}
	}
	if err := p.Start(within(t), "box", "app", script(`echo up; exec sleep 1000`)); err != nil {
		t.Fatal(err)
	}
	printed(t, p, "box", "app", "up\n")
	process, err := p.Process(within(t), "box", "app")
	if err != nil {
		t.Fatal(err)
	}
	var got string
	defer func() {
		if got != want {
			t.Errorf("a process is confined by\n%s\nthe first one by\n%s", got, want)
		}
	}()
	limited := func(all string) string { return unlimited.ReplaceAllString(all, "") }
	if got = confinement(t, process.PID); limited(got) != limited(want) {
		t.Fatal("it is not confined when it begins")
	}
	until(t, "it is in the group that limits nothing as well", func() bool {
		got = confinement(t, process.PID)
		return got == want
	})
	// The highest of the 32 is glibc's own, which it leaves ignored in what a program with cgo starts.
	if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", process.PID)); err != nil || !regexp.MustCompile(`SigIgn:\t00000000[08]0000000\n`).Match(status) {
		t.Errorf("it ignores signals: %s, %v", status, err)
	}
	until(t, "it has only its three files, and what it loads at first", func() bool {
		open, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", process.PID))
		return err == nil && len(open) == 3
	})
	reading, writing, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reading.Close()
	input, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer input.Close()
	ended := make(chan error, 1)
	go func() {
		cmd := script(`echo ready; read -r _`)
		cmd.Stdin, cmd.Stdout = input, writing
		_, err := p.Exec(within(t), "box", cmd)
		writing.Close()
		ended <- err
	}()
	if _, err := reading.Read(make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	pids := commands(p.cgroups, p.containerID("box"))
	if len(pids) != 1 {
		t.Fatalf("the commands of the sandbox are %v", pids)
	}
	if got := confinement(t, pids[0]); got != want {
		t.Errorf("a command is confined by\n%s\nthe first process by\n%s", got, want)
	}
	feed.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	// What the filter forbids, and what the capabilities would allow.
	if got := sh(t, p, "box", `unshare --user true 2>/dev/null && echo user; unshare --mount true 2>/dev/null && echo mount; echo done`); got != "done\n" {
		t.Errorf("a command may do %q", got)
	}
}

// unlimited is the line of the unified tree beside those of version 1.
var unlimited = regexp.MustCompile(`(?m)^0::.*\n`)

// confinement is what the kernel says of a process's rights, groups, namespaces and limits.
func confinement(t *testing.T, pid int) string {
	t.Helper()
	var all strings.Builder
	read := func(file string) string {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for line := range strings.Lines(read("status")) {
		name, _, _ := strings.Cut(line, ":")
		switch name {
		case "Uid", "Gid", "Groups", "Umask", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters":
			all.WriteString(line)
		}
	}
	for line := range strings.Lines(read("limits")) {
		if strings.HasPrefix(line, "Max open files") || strings.HasPrefix(line, "Max core") {
			all.WriteString(line)
		}
	}
	for line := range strings.Lines(read("cgroup")) {
		if !strings.Contains(line, ":freezer:") { // its own within the sandbox's
			all.WriteString(line)
		}
	}
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/ns/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range append(links, fmt.Sprintf("/proc/%d/root", pid)) {
		target, err := os.Readlink(link)
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString(link[strings.Index(link[6:], "/")+7:] + " " + target + "\n")
	}
	all.WriteString("oom " + read("oom_score_adj"))
	return all.String()
}

// commands are the processes of a sandbox's commands, without those that Start began.
func commands(c inside.Cgroups, id string) (pids []int) {
	groups, _ := filepath.Glob(filepath.Dir(c.File("freezer", inside.SandboxGroup(id)+"/x-*", "cgroup.procs")))
	for _, group := range groups {
		pids = append(pids, c.Tree(id, filepath.Base(group)).Members()...)
	}
	return pids
}
