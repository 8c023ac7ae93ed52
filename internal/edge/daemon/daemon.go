// Package daemon is the edge as a process of its own, and how `serve` keeps one.
//
// It guarantees:
//
//   - Apps are served while `serve` is started, stopped, replaced or killed, and
//     while the platform's database is away. Nothing on an app's way needs either.
//   - The routes that were told last are served again after the process's own end,
//     before anybody tells any.
//   - A newer process takes the listener over without refusing a connection. The
//     older one answers what it has, for up to DrainTime, and ends.
//   - Requests that are for no app wait for `serve` while it is away, and are sent
//     once at most if they may change something.
//
// Everything that processes tell each other is in <data dir>/edge, which only the
// owner enters: a socket for each process (<id>.sock), a link to that of the one
// that accepts (current), its routes (routes.json) and its log (log). `serve` listens
// at <data dir>/dashboard.sock.
//
//	process    accepts  writes routes.json  answers control
//	starting   no       no                  yes
//	serving    yes      yes                 yes
//	leaving    no       no                  yes, until its requests have ended
package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/edge"
)

// Settings are what an edge cannot change while it runs.
type Settings struct {
	Listen        string `json:"listen"` // host:port as it was asked for
	AppsDomain    string `json:"apps_domain"`
	DashboardHost string `json:"dashboard_host"`
	Scheme        string `json:"scheme"` // see edge.Config
}

// Config is what an edge needs to run.
type Config struct {
	DataDir string
	Version string // of the program, for people
	Settings
	Log           *slog.Logger
	DrainTime     time.Duration // how long requests may go on after another process took over; 30 s if zero
	DashboardWait time.Duration // how long requests wait for a dashboard that is away; 10 s if zero
}

// Status is what a running edge says of itself.
type Status struct {
	Build    string `json:"build"`
	Version  string `json:"version"`
	PID      int    `json:"pid"`
	Settings `json:"settings"`
	Address  string         `json:"address"` // host:port that it is bound to
	Revision int64          `json:"revision"`
	Broken   []edge.Broken  `json:"broken,omitempty"` // routes that it skips
	Open     map[string]int `json:"open"`             // requests under way, by sandbox
	Leaving  bool           `json:"leaving"`
}

// daemon is one running edge.
type daemon struct {
	Config
	build string
	id    string
	edge  *edge.Edge
	table *table
	front *front

	handing sync.Mutex    // held while another process takes over
	left    chan struct{} // closed when another process has taken over
	told    chan struct{} // closed when we are told to stop
	tell    sync.Once
}

func runDir(dataDir string) string { return filepath.Join(dataDir, "edge") }

// Run is an edge until ctx ends, somebody stops it, or another takes over. It takes
// over from the one that runs for the data directory, if there is one. ready is
// called when it accepts.
func Run(ctx context.Context, cfg Config, ready func(Status)) error {
	d, err := newDaemon(cfg)
	if err != nil {
		return err
	}
	socket := filepath.Join(runDir(cfg.DataDir), d.id+".sock")
	listener, err := listenUnix(socket)
	if err != nil {
		return coderunner.Wrap(err, coderunner.Unavailable, "The directory %s cannot be used.", runDir(cfg.DataDir))
	}
	defer os.Remove(socket)
	if err := d.table.load(); err != nil {
		d.Log.Error("starting without routes", "err", err)
	}
	control := &http.Server{Handler: d.controls(), ErrorLog: slog.NewLogLogger(d.Log.Handler(), slog.LevelDebug)}
	go func() { _ = control.Serve(listener) }()
	defer control.Close()
	if err := d.takeOver(ctx, socket); err != nil {
		return err
	}
	d.Log.Info("the edge serves", "address", d.edge.Address(), "version", d.Version, "pid", os.Getpid())
	ready(d.status())
	return d.serve(ctx)
}

func newDaemon(cfg Config) (*daemon, error) {
	if cfg.DrainTime == 0 {
		cfg.DrainTime = 30 * time.Second
	}
	if cfg.DashboardWait == 0 {
		cfg.DashboardWait = 10 * time.Second
	}
	build, err := executableID()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(runDir(cfg.DataDir), 0o700); err != nil {
		return nil, coderunner.Wrap(err, coderunner.Unavailable, "The directory %s cannot be made.", runDir(cfg.DataDir))
	}
	d := &daemon{Config: cfg, build: build, id: strings.ToLower(rand.Text()[:10]), left: make(chan struct{}), told: make(chan struct{})}
	d.edge = edge.New(edge.Config{AppsDomain: cfg.AppsDomain, DashboardHost: cfg.DashboardHost, Scheme: cfg.Scheme, Log: cfg.Log})
	d.table = &table{path: filepath.Join(runDir(cfg.DataDir), "routes.json"), edge: d.edge}
	d.front = newFront(d.edge, newDashboard(cfg.DataDir, cfg.DashboardWait, cfg.Log), cfg.Log)
	return d, nil
}

// takeOver begins to accept, and tells whoever did before that it may leave.
func (d *daemon) takeOver(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, takeOverTime)
	defer cancel()
	before, err := meet(ctx, d.DataDir)
	if err != nil {
		return err
	}
	defer before.close()
	listener, err := before.listener(ctx, d.Listen)
	if err != nil {
		return coderunner.Wrap(err, coderunner.Unavailable, "The address %s cannot be listened on. Stop what uses it (the apps of another data directory go on until make down there), or choose another with --listen (make run LISTEN=127.0.0.1:8090).", d.Listen)
	}
	d.edge.SetAddress(listener.Addr().String())
	d.front.accept(listener)
	if err := point(d.DataDir, socket); err != nil {
		d.front.stop()
		return err
	}
	d.table.own(true)
	if err := before.done(); err != nil {
		d.Log.Warn("the former edge did not say that it leaves", "err", err)
	}
	return nil
}

// serve waits for the reason to end, and ends.
func (d *daemon) serve(ctx context.Context) error {
	select {
	case err := <-d.front.failed:
		d.front.stop()
		return fmt.Errorf("accepting connections: %w", err)
	case <-d.left:
		ctx, cancel := context.WithTimeout(ctx, d.DrainTime)
		defer cancel()
		go func() {
			select {
			case <-d.told:
				cancel()
			case <-ctx.Done():
			}
		}()
		d.front.leave(ctx)
		d.Log.Info("the former edge has ended", "pid", os.Getpid())
		return nil
	case <-ctx.Done():
	case <-d.told:
	}
	d.front.stop()
	unpoint(d.DataDir, d.id)
	return nil
}

func (d *daemon) stop() { d.tell.Do(func() { close(d.told) }) }

func (d *daemon) leaving() bool {
	select {
	case <-d.left:
		return true
	default:
		return false
	}
}

func (d *daemon) status() Status {
	revision, broken := d.table.state()
	return Status{Build: d.build, Version: d.Version, PID: os.Getpid(), Settings: d.Settings, Address: d.edge.Address(),
		Revision: revision, Broken: broken, Open: d.edge.Open(), Leaving: d.leaving()}
}

// currentSocket leads to the socket of the edge that accepts.
func currentSocket(dataDir string) string { return filepath.Join(runDir(dataDir), "current") }

// point makes currentSocket lead to the socket, at once and whatever it led to.
func point(dataDir, socket string) error {
	begun := currentSocket(dataDir) + ".new"
	if err := os.Remove(begun); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(filepath.Base(socket), begun); err != nil {
		return err
	}
	return os.Rename(begun, currentSocket(dataDir))
}

// unpoint undoes point, unless another edge has come since.
func unpoint(dataDir, id string) {
	if to, err := os.Readlink(currentSocket(dataDir)); err == nil && to == id+".sock" {
		_ = os.Remove(currentSocket(dataDir))
	}
}

// satisfies reports whether a listener that was asked for as had, and is bound to
// bound, is what is asked for now. Port 0 is satisfied by any port.
func satisfies(asked, had, bound string) bool {
	if asked == had || asked == bound {
		return true
	}
	host, port, err := net.SplitHostPort(asked)
	formerHost, _, formerErr := net.SplitHostPort(had)
	return err == nil && formerErr == nil && port == "0" && host == formerHost
}
