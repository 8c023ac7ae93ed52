package pglocal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"golang.org/x/sys/unix"
)

// postmaster is one server process, ours by birth or adopted.
type postmaster struct {
	pid       int
	pidfd     int
	dataDir   string
	socketDir string
	port      int
	logStart  int64         // where its output begins in the log; for a launched one
	done      chan struct{} // closed when the process has ended
	stopWatch chan struct{}
	watchEnd  chan struct{}
}

// watch takes hold of process pid, so that a later process with the same number
// is never mistaken for it.
func watch(pid int) (*postmaster, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, err
	}
	p := &postmaster{pid: pid, pidfd: pidfd, done: make(chan struct{}), stopWatch: make(chan struct{}), watchEnd: make(chan struct{})}
	go func() {
		defer close(p.watchEnd)
		for {
			fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
			n, err := unix.Poll(fds, 500)
			if err == nil && n > 0 {
				close(p.done)
				return
			}
			select {
			case <-p.stopWatch:
				return
			default:
			}
		}
	}()
	return p, nil
}

// close lets go of the process without touching it.
func (p *postmaster) close() {
	select {
	case <-p.stopWatch:
		return
	default:
	}
	close(p.stopWatch)
	go func() {
		<-p.watchEnd
		unix.Close(p.pidfd)
	}()
}

func (p *postmaster) signal(sig syscall.Signal) error {
	if err := unix.PidfdSendSignal(p.pidfd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal process %d: %w", p.pid, err)
	}
	return nil
}

func (p *postmaster) wait(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// abandon ends a server that never became usable.
func (p *postmaster) abandon() {
	if p.signal(syscall.SIGQUIT) != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if p.wait(ctx) != nil {
		_ = p.signal(syscall.SIGKILL)
		<-p.done
	}
}

// stopping reports whether the server says of itself that it is shutting down.
func (p *postmaster) stopping() bool {
	file, err := readPIDFile(p.dataDir)
	return err == nil && file.status == "stopping"
}

// pidFile is what a server writes about itself into postmaster.pid.
type pidFile struct {
	pid       int
	port      int
	socketDir string
	status    string // "starting", "ready", "stopping", or "" before the first
}

func readPIDFile(dataDir string) (pidFile, error) {
	text, err := os.ReadFile(filepath.Join(dataDir, "postmaster.pid"))
	if err != nil {
		return pidFile{}, err
	}
	// Lines: pid, data directory, start time, port, socket directory, listen
	// address, shared memory key, status (PostgreSQL's miscadmin.h).
	lines := strings.Split(string(text), "\n")
	line := func(i int) string {
		if i < len(lines) {
			return strings.TrimSpace(lines[i])
		}
		return ""
	}
	var f pidFile
	f.pid, _ = strconv.Atoi(line(0))
	f.port, _ = strconv.Atoi(line(3))
	f.socketDir = line(4)
	f.status = line(7)
	return f, nil
}

// isServerOf reports whether pid is a PostgreSQL process of the cluster's account that
// works in dataDir. A server changes into its data directory first of all.
func (c *Cluster) isServerOf(pid int, dataDir fs.FileInfo) bool {
	proc := "/proc/" + strconv.Itoa(pid)
	cwd, err := os.Stat(proc + "/cwd")
	if err != nil || !os.SameFile(cwd, dataDir) {
		return false
	}
	comm, err := os.ReadFile(proc + "/comm")
	if err != nil || string(bytes.TrimSpace(comm)) != "postgres" {
		return false
	}
	owner, err := os.Stat(proc)
	if err != nil {
		return false
	}
	stat, ok := owner.Sys().(*syscall.Stat_t)
	return ok && stat.Uid == c.account.uid
}

// running returns the cluster's live server, nil if there is none.
func (c *Cluster) running() (*postmaster, error) {
	info, file, err := c.records()
	if err != nil || file.pid <= 1 {
		return nil, err
	}
	p, err := watch(file.pid)
	switch {
	case errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL): // no such process, or a thread's number
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("watch process %d: %w", file.pid, err)
	}
	if !c.isServerOf(file.pid, info) {
		p.close()
		return nil, nil
	}
	p.dataDir, p.socketDir, p.port = c.dataDir(), file.socketDir, file.port
	if p.socketDir == "" || p.port == 0 { // it has only begun, and will write what we configured
		p.port = port
		if p.socketDir, err = c.socketDir(); err != nil {
			p.close()
			return nil, err
		}
	}
	return p, nil
}

// records returns the data directory and what its pid file says; neither needs to exist.
func (c *Cluster) records() (fs.FileInfo, pidFile, error) {
	info, err := os.Stat(c.dataDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, pidFile{}, nil
	} else if err != nil {
		return nil, pidFile{}, c.explain(err, "look for the database")
	}
	file, err := readPIDFile(c.dataDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, pidFile{}, c.explain(err, "look for the database server")
	}
	return info, file, nil
}

// clearRemains prepares the data directory of a server that died: its child
// processes are ended, and a pid file whose number now belongs to a stranger is
// removed, because a new server would take the stranger for a rival. Other pid files
// stay: the server itself judges them, by the shared memory they name.
func (c *Cluster) clearRemains(ctx context.Context) error {
	info, file, err := c.records()
	if err != nil || info == nil || file.pid == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		orphans := c.orphans(info)
		if len(orphans) == 0 {
			break
		}
		for _, pid := range orphans {
			_ = unix.Kill(pid, unix.SIGQUIT)
		}
		select {
		case <-ctx.Done():
			return coderunner.Wrap(ctx.Err(), coderunner.Unavailable,
				"The database server has died and its process %d still works in %s. Wait until it has ended, or end it.", orphans[0], c.dataDir())
		case <-time.After(20 * time.Millisecond):
		}
	}
	if unix.Kill(file.pid, 0) == unix.ESRCH {
		return nil
	}
	if err := os.Remove(filepath.Join(c.dataDir(), "postmaster.pid")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c.explain(err, "remove the stale postmaster.pid")
	}
	c.say("The database's postmaster.pid named process %d, which is not its server, and was removed.", file.pid)
	return nil
}

// orphans returns the server processes that work in dataDir.
func (c *Cluster) orphans(dataDir fs.FileInfo) []int {
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	var found []int
	for _, proc := range processes {
		if pid, err := strconv.Atoi(filepath.Base(proc)); err == nil && c.isServerOf(pid, dataDir) {
			found = append(found, pid)
		}
	}
	return found
}

// launch starts the server, and makes the cluster before if there is none. The
// caller holds the lock and knows that none is running.
func (c *Cluster) launch(ctx context.Context) (*postmaster, error) {
	install, err := c.findInstallation(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.initialize(ctx, install); err != nil {
		return nil, err
	}
	if err := c.clearRemains(ctx); err != nil {
		return nil, err
	}
	socketDir, err := c.socketDir()
	if err != nil {
		return nil, err
	}
	if err := c.makeSocketDir(socketDir); err != nil {
		return nil, err
	}
	if err := c.writeConfig(socketDir); err != nil {
		return nil, err
	}
	c.rotateLog()
	output, err := os.OpenFile(c.logPath(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, c.explain(err, "open the database's log")
	}
	defer output.Close()
	info, err := output.Stat()
	if err != nil {
		return nil, c.explain(err, "read the database's log")
	}
	cmd := exec.Command(install.path("postgres"), "-D", c.dataDir(), "-c", "config_file="+filepath.Join(c.dir, "postgresql.conf"))
	c.account.become(cmd)
	c.account.useReserve(cmd)
	cmd.SysProcAttr.Setsid = true
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		return nil, c.explain(err, "start the database server")
	}
	p, err := watch(cmd.Process.Pid)
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, fmt.Errorf("watch the database server: %w", err)
	}
	go func() { _ = cmd.Wait() }()
	p.dataDir, p.socketDir, p.port, p.logStart = c.dataDir(), socketDir, port, info.Size()
	return p, nil
}

// failedStart makes a sentence out of what a server printed before it ended.
func (c *Cluster) failedStart(server *postmaster) error {
	text, _ := os.ReadFile(c.logPath())
	if server.logStart > 0 && server.logStart <= int64(len(text)) {
		text = text[server.logStart:]
	}
	return c.explainOutput(text, "start the database server", errors.New("the server ended"))
}
