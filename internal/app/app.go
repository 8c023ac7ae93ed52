package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/edge/daemon"
	"github.com/coderunner/coderunner/internal/pglocal"
	"github.com/coderunner/coderunner/internal/store"
)

// App is a running CodeRunner.
type App struct {
	config    Config
	log       *slog.Logger
	out       io.Writer
	addresses addresses
	keeper    *daemon.Keeper
	dashboard *daemon.DashboardListener
	cluster   *pglocal.Cluster // nil with a database of one's own
	lock      *os.File
	beside    bool // a server works with the data directory; what it uses is not ours to stop or change
	machine   machine
	services
}

// Run serves until ctx ends, and returns when all is put down: requests ended,
// runs released for the next process, the private database stopped. Apps, their
// databases and the edge go on. What a person should read goes to out.
func Run(ctx context.Context, config Config, log *slog.Logger, out io.Writer) error {
	a := &App{config: config, log: log, out: out}
	defer a.release()
	if err := a.open(ctx); err != nil {
		return err
	}
	return a.serve(ctx)
}

// open takes the data directory and the address before anything else, then
// starts the database, and assembles the services.
func (a *App) open(ctx context.Context) error {
	begin := time.Now()
	if err := a.config.check(); err != nil {
		return err
	}
	if _, err := kernel(); err != nil {
		return err
	}
	if err := a.takeDataDir(); err != nil {
		return err
	}
	if err := a.keepEdge(ctx); err != nil {
		return err
	}
	st, err := a.openDatabase(ctx)
	if err != nil {
		return err
	}
	if a.services, err = a.assemble(ctx, st); err != nil {
		return err
	}
	if err := a.noteDatabase(); err != nil {
		return err
	}
	a.warnOfParts(ctx)
	a.log.Info("ready", "address", a.addresses.dashboard.String(), "after", time.Since(begin).Round(time.Millisecond).String())
	return nil
}

// keepEdge makes the edge run, which has the public address.
func (a *App) keepEdge(ctx context.Context) error {
	settings, err := edgeSettings(a.config)
	if err != nil {
		return err
	}
	a.keeper = &daemon.Keeper{Config: daemon.Config{DataDir: a.config.DataDir, Version: a.config.Version, Settings: settings, Log: a.log}, Within: a.config.EdgeWithin}
	status, err := a.keeper.Ensure(ctx)
	if err != nil {
		return err
	}
	a.log.Info("the edge serves", "address", status.Address, "pid", status.PID, "version", status.Version)
	a.addresses, err = addressesOf(a.config, status.Address)
	return err
}

// takeDataDir makes the directory and keeps other servers out of it.
func (a *App) takeDataDir() error {
	// Others may pass: the database's account has to reach its own directory below.
	if err := os.MkdirAll(a.config.DataDir, 0o711); err != nil {
		return coderunner.Wrap(err, coderunner.Invalid, "The data directory %s cannot be made. Run this as root, or choose another with --data-dir.", a.config.DataDir)
	}
	lock, err := os.OpenFile(pidFile(a.config.DataDir), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return coderunner.Wrap(err, coderunner.Invalid, "The data directory %s cannot be written to. Run this as root, or choose another with --data-dir.", a.config.DataDir)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		pid, _ := io.ReadAll(lock)
		lock.Close()
		return coderunner.Errorf(coderunner.Conflict, "Another CodeRunner (process %s) uses %s already. Stop it with make down (systemctl stop coderunner, if it is the service), or choose another directory with --data-dir.", strings.TrimSpace(string(pid)), a.config.DataDir)
	}
	a.lock = lock
	if err := lock.Truncate(0); err != nil {
		return err
	}
	_, err = fmt.Fprintf(lock, "%d\n", os.Getpid())
	return err
}

// pidFile has the server's process and is locked while it lives.
func pidFile(dataDir string) string { return filepath.Join(dataDir, "serve.pid") }

// instance is the name under which this data directory's sandboxes are known to the engine.
func instance(dataDir string) (string, error) {
	path := filepath.Join(dataDir, "instance")
	if b, err := os.ReadFile(path); err == nil {
		return strings.TrimSpace(string(b)), nil
	}
	name := "cr-" + strings.ToLower(rand.Text()[:12])
	return name, os.WriteFile(path, []byte(name+"\n"), 0o600)
}

// openDatabase connects to the configured database, or starts the private one, and migrates it,
// after a copy if there is something to lose.
func (a *App) openDatabase(ctx context.Context) (*store.Store, error) {
	dsn := a.config.DatabaseURL
	if dsn == "" {
		cluster, err := pglocal.Start(ctx, pglocal.Config{Dir: postgresDir(a.config.DataDir), Log: logWriter{a.log}})
		if err != nil {
			return nil, err
		}
		a.cluster = cluster
		dsn = cluster.DSN(pglocal.Database)
	}
	st, err := store.Open(ctx, dsn)
	if err != nil {
		return nil, err
	}
	if a.beside {
		return st, nil
	}
	if _, err := postgres(ctx, st); err != nil {
		st.Close()
		return nil, err
	}
	before, err := a.copyBefore(st, dsn)
	if err != nil {
		st.Close()
		return nil, err
	}
	if err := store.Migrate(ctx, st.Pool(), before); err != nil {
		st.Close()
		return nil, err
	}
	return st, nil
}

func postgresDir(dataDir string) string { return filepath.Join(dataDir, "postgres") }

// logWriter turns lines into log records.
type logWriter struct{ log *slog.Logger }

func (w logWriter) Write(b []byte) (int, error) {
	w.log.Info(strings.TrimRight(string(b), "\n"), "from", "postgres")
	return len(b), nil
}

// serve answers requests and runs playbooks until ctx ends.
func (a *App) serve(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var background sync.WaitGroup
	for name, run := range map[string]func(context.Context) error{"log hub": a.hub.Run, "runtime logs": a.collector.Run, "routes": a.watchRoutes, "edge": a.watchEdge,
		"sessions": a.dropExpired, "housekeeping": a.house.Run} {
		background.Go(func() {
			if err := run(work); err != nil && work.Err() == nil {
				a.log.Error("a background task ended", "task", name, "err", err)
			}
		})
	}
	server := &http.Server{
		Handler: daemon.BehindEdge(a.handler()), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	var err error
	if a.dashboard, err = daemon.ListenDashboard(a.config.DataDir); err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(a.dashboard) }()
	if err := a.engine.Start(work); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "\n  CodeRunner is ready: %s\n\n  Data: %s\n  Ctrl-C stops the dashboard; the apps go on at their addresses. `make down` stops the apps as well.\n\n", a.addresses.dashboard, a.config.DataDir)
	select {
	case <-ctx.Done():
		a.log.Info("stopping")
	case err = <-failed:
	}
	a.dashboard.Withdraw()
	stop() // ends the streams of logs, and gives runs back
	graceful, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if server.Shutdown(graceful) != nil {
		_ = server.Close()
	}
	a.engine.Wait()
	background.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// release puts down what was opened, in reverse.
func (a *App) release() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if a.provider != nil {
		_ = a.provider.Close()
	}
	if a.store != nil {
		a.store.Close()
	}
	if a.cluster != nil && a.beside {
		a.cluster.Release()
	} else if a.cluster != nil {
		if err := a.cluster.Stop(ctx); err != nil {
			a.log.Error("stopping the private database", "err", err)
		}
	}
	if a.dashboard != nil {
		_ = a.dashboard.Close()
	}
	if a.keeper != nil {
		a.keeper.Close()
	}
	if a.lock != nil {
		_ = a.lock.Close()
	}
}

// dropExpired forgets sessions and tokens that have run out.
func (a *App) dropExpired(ctx context.Context) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if err := a.store.DeleteExpired(ctx); err != nil && ctx.Err() == nil {
			a.log.Warn("forgetting expired sessions", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
