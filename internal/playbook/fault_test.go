package playbook

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// fault is what happens to a platform in a moment of a step, a column of the matrix.
type fault struct {
	name string
	done bool // after the step's work, before that is recorded; else as the step begins
	kind faultKind
}

type faultKind int

const (
	killed      faultKind = iota // kill -9 of the process that runs the engine
	cancelled                    // by the user
	postgres                     // the platform's database is restarted
	engineDown                   // containerd is killed, and comes back
	sandboxDown                  // the sandbox that the step is about is killed
)

var faults = []fault{
	{"kill -9 in", false, killed}, {"kill -9 after", true, killed}, {"cancel in", false, cancelled}, {"cancel after", true, cancelled},
	{"postgres", true, postgres}, {"containerd", false, engineDown}, {"sandbox", true, sandboxDown},
}

// breaksPostgres ends the lane's own PostgreSQL as a restart by its administrator does.
// It comes back by itself.
func (l *lane) breaksPostgres() error {
	return syscall.Kill(l.cluster.PID(), syscall.SIGINT)
}

// breaksContainerd kills the lane's own daemon. The provider brings it back.
func (l *lane) breaksContainerd() error {
	config := filepath.Join(l.place.EngineDir, "containerd.toml")
	killed := 0
	err := processes("cmdline", func(line string) bool {
		args := strings.Split(line, "\x00")
		return slices.Contains(args, config) && strings.HasSuffix(args[0], "containerd")
	}, func(pid int) error {
		killed++
		return syscall.Kill(pid, syscall.SIGKILL)
	})
	if err == nil && killed != 1 {
		err = fmt.Errorf("%d daemons have the configuration %s", killed, config)
	}
	return err
}

// breaksSandbox kills all that runs in a sandbox, its first process included, from outside.
func (l *lane) breaksSandbox(name string) error {
	for round := 0; ; round++ { // those that were being started meanwhile
		left := 0
		err := processes("cgroup", func(groups string) bool {
			return strings.Contains(groups+"/", "/"+l.place.Instance+"."+name+"/") || strings.Contains(groups, "/"+l.place.Instance+"."+name+"\n")
		}, func(pid int) error {
			left++
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
				return err
			}
			return nil
		})
		if err != nil || left == 0 {
			if err == nil && round == 0 { // the run has ended it by itself
				err = errNothingToKill
			}
			return err
		}
	}
}

// processes does something with each process of the machine whose file in /proc satisfies is.
func processes(file string, is func(string) bool, do func(pid int) error) error {
	paths, err := filepath.Glob("/proc/[0-9]*/" + file)
	if err != nil {
		return err
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil || !is(string(text)) {
			continue // it has ended
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			return err
		}
		if err := do(pid); err != nil {
			return err
		}
	}
	return nil
}

// concerned is the sandbox that a step is about, of those that exist: what its run
// makes, else what it takes away. "" for none.
func (l *lane) concerned(ctx context.Context, c cell, run coderunner.Run) (string, error) {
	infos, err := l.provider.List(ctx, ProjectLabels(run.ProjectID))
	if err != nil {
		return "", err
	}
	database := strings.Contains(c.step, "database")
	for _, prefix := range []string{c.step + "-" + run.ID, appSandbox(run.ID), "app-", "db-"} {
		if database && !strings.HasPrefix(prefix, "db-") {
			continue
		}
		for _, i := range infos {
			if strings.HasPrefix(i.Name, prefix) {
				return i.Name, nil
			}
		}
	}
	return "", nil
}

// within is a limit for what must not take long.
func within(t testing.TB, limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}
