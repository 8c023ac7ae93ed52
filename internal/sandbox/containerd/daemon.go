package containerd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	client "github.com/containerd/containerd/v2/client"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// daemonStart is how long a daemon may take until it answers.
const daemonStart = 30 * time.Second

// runtimeDir holds what does not outlive a reboot; it is keyed by the engine's directory.
func runtimeDir(engineDir string) string {
	sum := sha256.Sum256([]byte(engineDir))
	return filepath.Join("/run/coderunner", "engine-"+hex.EncodeToString(sum[:6]))
}

func daemonSocket(engineDir string) string {
	return filepath.Join(runtimeDir(engineDir), "containerd.sock")
}

const daemonConfig = `version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = %q
[ttrpc]
  address = %q
`

// useDaemon makes the daemon answer and keeps others from stopping it until the
// file is closed.
func useDaemon(ctx context.Context, engineDir string) (*os.File, error) {
	run := runtimeDir(engineDir)
	if err := os.MkdirAll(run, 0o711); err != nil {
		return nil, coderunner.Wrap(err, coderunner.Unavailable, "The engine's directory %s cannot be made. Run CodeRunner as root.", run)
	}
	users, err := flock(ctx, filepath.Join(run, "users"), unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	if err := ensureDaemon(ctx, engineDir); err != nil {
		users.Close()
		return nil, err
	}
	return users, nil
}

// ensureDaemon makes the engine's private daemon answer: it adopts a running one
// and starts one otherwise, as a session of its own, so that it outlives us. Of
// several processes one starts it.
func ensureDaemon(ctx context.Context, engineDir string) error {
	run := runtimeDir(engineDir)
	for _, dir := range []string{engineDir, run} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return coderunner.Wrap(err, coderunner.Unavailable, "The engine's directory %s cannot be made. Run CodeRunner as root.", dir)
		}
	}
	unlock, err := lockFile(ctx, filepath.Join(run, "lock"))
	if err != nil {
		return err
	}
	defer unlock()
	socket := daemonSocket(engineDir)
	if answers(socket) {
		return nil
	}
	binary, err := exec.LookPath("containerd")
	if err != nil {
		return coderunner.Wrap(err, coderunner.Unavailable, "containerd is not installed on this machine. Install it (apt-get install containerd runc) and start CodeRunner again.")
	}
	config := filepath.Join(engineDir, "containerd.toml")
	text := fmt.Sprintf(daemonConfig, filepath.Join(engineDir, "root"), filepath.Join(run, "state"), socket, socket+".ttrpc")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	logPath := filepath.Join(engineDir, "containerd.log")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	daemon := exec.Command(binary, "--config", config, "--log-level", "warn")
	daemon.Stdout, daemon.Stderr, daemon.Dir = log, log, "/"
	daemon.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := daemon.Start(); err != nil {
		return coderunner.Wrap(err, coderunner.Unavailable, "containerd could not be started.")
	}
	if err := os.WriteFile(filepath.Join(run, "containerd.pid"), []byte(strconv.Itoa(daemon.Process.Pid)+"\n"), 0o600); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- daemon.Wait() }()
	limit := time.NewTimer(daemonStart)
	defer limit.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case err := <-ended:
			return coderunner.Wrap(err, coderunner.Unavailable, "containerd ended while starting: %s Its log is %s.", lastLine(logPath), logPath)
		case <-limit.C:
			return coderunner.Errorf(coderunner.Unavailable, "containerd did not answer within %s. Its log is %s.", daemonStart, logPath)
		case <-ctx.Done():
			return ctx.Err()
		case <-look.C:
			if answers(socket) {
				return nil
			}
		}
	}
}

func answers(socket string) bool {
	conn, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

func lastLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.TrimRight(lines[len(lines)-1], ".") + "."
}

// connect dials a daemon and waits until its services answer.
func connect(ctx context.Context, socket, namespace string) (*client.Client, error) {
	c, err := client.New(socket, client.WithDefaultNamespace(namespace), client.WithTimeout(10*time.Second))
	if err != nil {
		return nil, coderunner.Wrap(err, coderunner.Unavailable, "containerd at %s cannot be reached. Check that it runs and that this is its socket.", socket)
	}
	deadline, cancel := context.WithTimeout(ctx, daemonStart)
	defer cancel()
	for {
		_, err := c.Version(deadline)
		if err == nil {
			return c, nil
		}
		select {
		case <-deadline.Done():
			c.Close()
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, coderunner.Wrap(err, coderunner.Unavailable, "containerd at %s does not answer. Check that it runs.", socket)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// lockFile takes an exclusive lock that ends with the process, and returns how to give it back.
func lockFile(ctx context.Context, path string) (func(), error) {
	f, err := flock(ctx, path, unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	return func() { f.Close() }, nil
}

// flock locks a file until it is closed.
func flock(ctx context.Context, path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if err != unix.EWOULDBLOCK && err != unix.EINTR {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// StopEngine ends the instance's processes, its networks and, when no other instance uses it,
// the private daemon. Sandboxes, volumes and templates stay on disk; the next
// start brings them back.
func StopEngine(ctx context.Context, cfg Config) error {
	if err := cfg.complete(); err != nil {
		return err
	}
	if !answers(cfg.socket()) {
		// Sandboxes outlive a daemon that was killed. Whatever runs has a network.
		if plugged, err := bridges(cfg.Instance); err != nil || len(plugged) == 0 {
			return err
		}
	}
	p, err := Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.dropStandbys(ctx); err != nil {
		return p.translate(err, "ending the sandboxes that are kept ready")
	}
	infos, err := p.List(ctx, nil)
	if err != nil {
		return err
	}
	// Side by side: each app may take all of its grace.
	var all errgroup.Group
	all.SetLimit(16)
	for _, info := range infos {
		all.Go(func() error {
			if err := p.halt(ctx, info.Name); err != nil {
				return err
			}
			return p.detach(ctx, info.Name)
		})
	}
	if err := all.Wait(); err != nil {
		return err
	}
	if err := p.unplug(ctx); err != nil {
		return p.translate(err, "taking the networks away")
	}
	if cfg.Address != "" {
		return nil
	}
	return stopDaemon(ctx, p)
}

// stopDaemon ends the private daemon unless somebody uses it or something runs under it.
func stopDaemon(ctx context.Context, p *Provider) error {
	if unix.Flock(int(p.users.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return nil
	}
	containers, err := p.client.Containers(p.ctx(ctx))
	if err != nil {
		return p.translate(err, "listing containers")
	}
	for _, c := range containers {
		if _, err := c.Task(p.ctx(ctx), nil); err == nil {
			return nil
		}
	}
	text, err := os.ReadFile(filepath.Join(runtimeDir(p.cfg.EngineDir), "containerd.pid"))
	if err != nil {
		return nil // somebody else started it
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || !isDaemon(pid, p.cfg.EngineDir) {
		return nil
	}
	handle, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil // it has ended
	}
	defer unix.Close(handle)
	if err := unix.Kill(pid, unix.SIGTERM); err != nil {
		return nil
	}
	fds := []unix.PollFd{{Fd: int32(handle), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, 10_000); err == nil && n == 0 {
		return unix.Kill(pid, unix.SIGKILL)
	}
	return nil
}

// isDaemon makes sure that a recorded pid is still ours.
func isDaemon(pid int, engineDir string) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && strings.Contains(string(line), filepath.Join(engineDir, "containerd.toml"))
}
