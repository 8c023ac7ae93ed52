// Package platform starts a CodeRunner of its own and drives it through its API,
// as a program of a user's would.
package platform

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coderunner/coderunner/internal/edge/daemon"
)

// Server is a running CodeRunner with a data directory of its own.
type Server struct {
	Program string
	DataDir string
	Port    string
	Ready   time.Duration // from the start of the process until it said that it is ready
	process *os.Process
	ended   chan struct{}
	log     *tail
}

// startTime bounds a first start, which makes the private database.
const startTime = 2 * time.Minute

// Start runs `program serve` on a free port of 127.0.0.1, with more flags if
// there are any, and waits until it is ready. The process is in a group of its own, so that a Ctrl-C for us does not
// end it before its work is undone.
func Start(ctx context.Context, program, dataDir string, flags ...string) (*Server, error) {
	program, err := filepath.Abs(program)
	if err != nil {
		return nil, err
	}
	s := &Server{Program: program, DataDir: dataDir, ended: make(chan struct{}), log: &tail{}}
	cmd := exec.Command(program, append([]string{"serve", "--listen", "127.0.0.1:0", "--data-dir", dataDir}, flags...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stderr = s.log
	said, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", program, err)
	}
	s.process = cmd.Process
	address := make(chan string, 1)
	go func() {
		defer close(s.ended)
		lines := bufio.NewScanner(said)
		for lines.Scan() {
			if _, at, found := strings.Cut(lines.Text(), "is ready: "); found {
				address <- strings.TrimSpace(at)
			}
		}
		_ = cmd.Wait() // how it ended is in its log
	}()
	limit := time.NewTimer(startTime)
	defer limit.Stop()
	select {
	case at := <-address:
		s.Ready = time.Since(begin)
		dashboard, err := url.Parse(at)
		if err != nil {
			return s, errors.Join(err, s.Kill())
		}
		s.Port = dashboard.Port()
		return s, nil
	case <-s.ended:
		return nil, fmt.Errorf("%s serve ended before it was ready:\n%s", program, s.Log())
	case <-limit.C:
		return nil, errors.Join(fmt.Errorf("%s serve was not ready within %s:\n%s", program, startTime, s.Log()), s.Kill())
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), s.Kill())
	}
}

// Log is the end of what the server logged.
func (s *Server) Log() string { return s.log.String() }

// PID is the server's process.
func (s *Server) PID() int { return s.process.Pid }

// RSS is the resident memory of the server's process in bytes.
func (s *Server) RSS() (int64, error) { return rss(s.process.Pid) }

// Edge is what the process between the world and the apps says of itself.
func (s *Server) Edge(ctx context.Context) (daemon.Status, error) {
	return daemon.NewClient(s.DataDir, nil, nil).Status(ctx)
}

// EdgeRSS is the resident memory of that process in bytes.
func (s *Server) EdgeRSS(ctx context.Context) (int64, error) {
	edge, err := s.Edge(ctx)
	if err != nil {
		return 0, err
	}
	return rss(edge.PID)
}

func rss(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmRSS:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("the process %d has no memory any more", pid)
}

// Stop asks the server to end, as Ctrl-C does, and waits for it.
func (s *Server) Stop() error { return s.end(syscall.SIGTERM, time.Minute) }

// Kill ends the server at once.
func (s *Server) Kill() error { return s.end(syscall.SIGKILL, 10*time.Second) }

func (s *Server) end(signal syscall.Signal, within time.Duration) error {
	if err := s.process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-s.ended:
		return nil
	case <-time.After(within):
		return fmt.Errorf("the server (process %d) did not end within %s", s.process.Pid, within)
	}
}

// Command runs another of the program's commands on the same data directory.
func Command(ctx context.Context, program, dataDir string, out io.Writer, args ...string) error {
	program, err := filepath.Abs(program)
	if err != nil {
		return err
	}
	var complaint bytes.Buffer
	cmd := exec.CommandContext(ctx, program, append(args, "--data-dir", dataDir)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stdout, cmd.Stderr = out, &complaint
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", filepath.Base(program), strings.Join(args, " "), err, strings.TrimSpace(complaint.String()))
	}
	return nil
}

// tail keeps the last of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailBytes = 8 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	t.text = t.text[max(0, len(t.text)-tailBytes):]
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.text))
}
