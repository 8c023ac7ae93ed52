package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/edge/daemon"
	"github.com/coderunner/coderunner/internal/pglocal"
	"github.com/coderunner/coderunner/internal/sandbox/containerd"
)

// downTime bounds the end of a server that was asked to stop.
const downTime = time.Minute

// Down stops everything of a data directory: the server, the edge, the sandboxes, the
// private containerd and database. All data stays, and the next Run brings
// back what was running. What it does goes to out.
func Down(ctx context.Context, config Config, out io.Writer) error {
	if err := config.check(); err != nil {
		return err
	}
	if _, err := os.Stat(config.DataDir); errors.Is(err, os.ErrNotExist) {
		fmt.Fprintf(out, "There is no data directory %s, so nothing runs from it.\n", config.DataDir)
		return nil
	}
	if err := stopServer(ctx, config.DataDir, out); err != nil {
		return err
	}
	fmt.Fprintln(out, "Stopping the edge …")
	if err := daemon.Stop(ctx, config.DataDir); err != nil {
		return err
	}
	provider, err := providerConfig(config)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "Stopping the sandboxes …")
	if err := containerd.StopEngine(ctx, provider); err != nil {
		return err
	}
	if err := stopDatabase(ctx, config.DataDir, out); err != nil {
		return err
	}
	fmt.Fprintf(out, "Everything is stopped; the data is kept in %s.\n", config.DataDir)
	return nil
}

// stopServer asks the server that holds the data directory to end, and waits for it.
func stopServer(ctx context.Context, dataDir string, out io.Writer) error {
	lock, err := os.Open(pidFile(dataDir))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	deadline := time.Now().Add(downTime)
	for told := false; ; {
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			return nil // nobody holds it
		}
		text, err := os.ReadFile(pidFile(dataDir))
		if err != nil {
			return err
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err == nil && !told {
			fmt.Fprintf(out, "Stopping the server (process %d) …\n", pid)
			if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
				return err
			}
			told = true
		}
		if time.Now().After(deadline) {
			return coderunner.Errorf(coderunner.Unavailable, "The server (process %d) did not stop within %s. Look at what it does, or end it with kill -9, then run this again.", pid, downTime)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// stopDatabase ends a private database that a killed server left running.
func stopDatabase(ctx context.Context, dataDir string, out io.Writer) error {
	left, err := filepath.Glob(filepath.Join(postgresDir(dataDir), "*", "postmaster.pid"))
	if err != nil || len(left) == 0 {
		return err
	}
	fmt.Fprintln(out, "Stopping the platform's database …")
	cluster, err := pglocal.Start(ctx, pglocal.Config{Dir: postgresDir(dataDir)})
	if err != nil {
		return err
	}
	return cluster.Stop(ctx)
}
