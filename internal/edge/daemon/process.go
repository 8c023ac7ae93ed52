package daemon

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// Command is the argument with which this program is an edge.
const Command = "edge"

// reportFD is where a started edge writes one line: its status, or a refusal.
const reportFD = 3

// report is what a started edge says.
type report struct {
	Status *Status  `json:"status,omitempty"`
	Failed *refusal `json:"failed,omitempty"`
}

// startProcess starts an edge in a session of its own, so that it outlives us.
func startProcess(ctx context.Context, cfg Config) (Status, error) {
	if err := os.MkdirAll(runDir(cfg.DataDir), 0o700); err != nil {
		return Status{}, coderunner.Wrap(err, coderunner.Unavailable, "The directory %s cannot be made.", runDir(cfg.DataDir))
	}
	log, err := openLog(cfg.DataDir)
	if err != nil {
		return Status{}, err
	}
	defer log.Close()
	said, report, err := os.Pipe()
	if err != nil {
		return Status{}, err
	}
	defer said.Close()
	// The same build, also when there is another at its path by now.
	cmd := exec.Command("/proc/self/exe", Command, "--data-dir", cfg.DataDir, "--listen", cfg.Listen, "--apps-domain", cfg.AppsDomain,
		"--dashboard-host", cfg.DashboardHost, "--scheme", cfg.Scheme)
	cmd.Args[0] = "coderunner"
	cmd.Env = []string{} // what is configured there, the database's password included, is none of its business
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = "/", log, log, []*os.File{report}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	report.Close()
	if err != nil {
		return Status{}, coderunner.Wrap(err, coderunner.Unavailable, "The edge could not be started.")
	}
	go func() { _ = cmd.Wait() }() // how it ended is in its log
	_ = said.SetReadDeadline(time.Now().Add(takeOverTime + answerTime))
	stop := context.AfterFunc(ctx, func() { _ = said.SetReadDeadline(time.Now()) })
	defer stop()
	status, err := hear(said)
	if err != nil && ctx.Err() == nil && coderunner.KindOf(err) == coderunner.Internal {
		return Status{}, coderunner.Wrap(err, coderunner.Unavailable, "The edge ended while starting. Its log is %s.", logPath(cfg.DataDir))
	}
	return status, errors.Join(err, ctx.Err())
}

// hear reads a started edge's report.
func hear(from *os.File) (Status, error) {
	line, err := bufio.NewReader(from).ReadBytes('\n')
	if err != nil {
		return Status{}, fmt.Errorf("it said nothing: %w", err)
	}
	var r report
	if err := json.Unmarshal(line, &r); err != nil {
		return Status{}, err
	}
	if r.Failed != nil {
		return Status{}, coderunner.Errorf(r.Failed.Kind, "%s", r.Failed.Message)
	}
	if r.Status == nil {
		return Status{}, errors.New("it said neither that it runs nor that it does not")
	}
	return *r.Status, nil
}

// RunProcess is Run for a process that startProcess has started.
func RunProcess(ctx context.Context, cfg Config) error {
	frugal()
	log := &boundedLog{path: logPath(cfg.DataDir), file: os.Stderr}
	cfg.Log = slog.New(slog.NewTextHandler(log, nil))
	to := os.NewFile(reportFD, "report")
	tell := func(r report) {
		line, err := json.Marshal(r)
		if err == nil {
			_, err = to.Write(append(line, '\n'))
		}
		if err != nil {
			cfg.Log.Info("nobody heard that the edge has started", "err", err)
		}
		to.Close()
	}
	started := false
	err := Run(ctx, cfg, func(s Status) {
		started = true
		tell(report{Status: &s})
	})
	if err != nil {
		cfg.Log.Error("the edge ended", "err", err)
		if !started {
			why := refusal{Kind: coderunner.KindOf(err), Message: coderunner.Sentence(err)}
			if why.Kind == coderunner.Internal {
				why.Message = err.Error() // whoever starts an edge runs the machine
			}
			tell(report{Failed: &why})
		}
	}
	return err
}

// process is one that listens at a socket.
type process struct{ fd, pid int }

// processAt finds who listens at the socket; nil when nobody does.
func processAt(ctx context.Context, socket string) (*process, error) {
	conn, err := dialUnix(ctx, socket)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return processOf(conn)
}

// processOf finds who listens at the other end, by the kernel's word.
func processOf(conn *net.UnixConn) (*process, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var peer *unix.Ucred
	asked := raw.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(asked, err); err != nil {
		return nil, err
	}
	if int(peer.Pid) == os.Getpid() {
		return nil, errors.New("the edge is a part of this process")
	}
	fd, err := unix.PidfdOpen(int(peer.Pid), 0)
	if err != nil {
		return nil, err
	}
	return &process{fd, int(peer.Pid)}, nil
}

func (p *process) Close() { unix.Close(p.fd) }

// kill ends the process and waits for its end.
func (p *process) kill(ctx context.Context) error {
	if err := unix.PidfdSendSignal(p.fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("ending the edge (process %d): %w", p.pid, err)
	}
	return p.wait(ctx, answerTime)
}

// wait returns when the process has ended.
func (p *process) wait(ctx context.Context, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for {
		fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 100)
		switch {
		case n > 0:
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Now().After(deadline):
			return fmt.Errorf("the edge (process %d) did not end within %s", p.pid, limit)
		}
	}
}

func logPath(dataDir string) string { return filepath.Join(runDir(dataDir), "log") }

func openLog(dataDir string) (*os.File, error) {
	return os.OpenFile(logPath(dataDir), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
}
