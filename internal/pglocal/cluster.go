// Package pglocal runs the embedded default database: a private PostgreSQL
// cluster under the data directory.
//
// The cluster listens on a Unix socket only. Who may connect is settled twice by
// the kernel and never by a password that could leak: the socket's directory is
// 0700 and belongs to the cluster's account (root passes), and every connection is
// checked by peer authentication against the account that started us and the
// cluster's own. The program works as the role "coderunner", which owns its
// database and may create others, and is no superuser.
//
// Layout of Config.Dir, which belongs to us; only data and run belong to the
// cluster's account, so that nothing it plants is ever followed or overwritten by root:
//
//	lock              held while a cluster is looked for, made, started or stopped
//	data              the cluster; appears in one rename when initdb is complete
//	run               the socket, unless the path is too long for one
//	*.conf            rewritten before each start
//	postgres.log[.1]  what the server prints
//
// The server is a session of its own: it outlives us when we are killed, and the
// next Start adopts it. While we run it is watched and started again if it dies.
// Several processes may Start the same directory; they share one server.
package pglocal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/jackc/pgx/v5"
)

// Database is the database that exists after Start.
const Database = "coderunner"

const (
	superuser = "postgres"
	role      = "coderunner"
	port      = 5432 // only the socket's file name has it
)

// Config says where the cluster lives and as whom.
type Config struct {
	// Dir is made if it does not exist. The account that runs the cluster must be
	// able to pass every directory above it.
	Dir string

	// BinDir has initdb and postgres. "" finds the release that made the cluster,
	// or for a new one the newest, under /usr/lib/postgresql.
	BinDir string

	// User is the account to run as when we are root; "" means "postgres". It
	// must not be root. Ignored when we are not root.
	User string

	// Settings are added to the server's configuration.
	Settings map[string]string

	// Log gets one line per thing that happened. nil discards.
	Log io.Writer
}

// Cluster is a running server.
type Cluster struct {
	dir      string
	binDir   string
	settings map[string]string
	account  account
	log      io.Writer

	release context.CancelFunc
	watched chan struct{} // closed when the supervisor has ended

	mu        sync.Mutex
	server    *postmaster
	ready     chan struct{} // closed while the server accepts connections
	isReady   bool
	restarts  int
	lastCause error
}

// Start returns a cluster that accepts connections and has Database: the running
// one if there is one, else it is started, and made first if it does not exist.
// ctx bounds the start alone. A server that has to recover from a crash first can
// take minutes. Errors are sentences of kind Unavailable or Invalid.
func Start(ctx context.Context, config Config) (*Cluster, error) {
	dir, err := filepath.Abs(config.Dir)
	if err != nil {
		return nil, fmt.Errorf("database directory %q: %w", config.Dir, err)
	}
	account, err := chooseAccount(config.User)
	if err != nil {
		return nil, err
	}
	c := &Cluster{
		dir: dir, binDir: config.BinDir, settings: config.Settings, account: account, log: config.Log,
		watched: make(chan struct{}), ready: make(chan struct{}),
	}
	if c.log == nil {
		c.log = io.Discard
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, c.explain(err, "make the database's directory")
	}
	if account.switched { // whatever the umask was; the account passes here
		if err := os.Chmod(dir, 0o711); err != nil {
			return nil, c.explain(err, "open the database's directory")
		}
	}
	if err := c.up(ctx); err != nil {
		return nil, err
	}
	watch, release := context.WithCancel(context.Background())
	c.release = release
	go c.supervise(watch)
	return c, nil
}

// DSN is the connection string of one database of the cluster. It has no secret.
func (c *Cluster) DSN(dbname string) string { return c.dsn(role, dbname) }

func (c *Cluster) dsn(user, dbname string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return socketDSN(c.server.socketDir, c.server.port, user, dbname)
}

func socketDSN(dir string, port int, user, dbname string) string {
	query := url.Values{"host": {dir}, "port": {strconv.Itoa(port)}, "sslmode": {"disable"}}
	u := url.URL{Scheme: "postgres", User: url.User(user), Path: "/" + dbname, RawQuery: query.Encode()}
	return u.String()
}

// Ready waits until the server accepts connections. It does so at once unless the
// server has just died. The error is ctx's, with why the last restart failed.
func (c *Cluster) Ready(ctx context.Context) error {
	c.mu.Lock()
	ready := c.ready
	c.mu.Unlock()
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.lastCause != nil {
			return fmt.Errorf("%w: %w", ctx.Err(), c.lastCause)
		}
		return ctx.Err()
	}
}

// Restarts counts how often the server died and was started again.
func (c *Cluster) Restarts() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.restarts
}

// PID is the server's process.
func (c *Cluster) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server.pid
}

// Release stops watching and leaves the server running for others.
func (c *Cluster) Release() {
	c.release()
	<-c.watched
}

// Stop ends the server: connections are closed, open transactions rolled back,
// everything written. When ctx ends first the server is told to stop without its last
// checkpoint; it recovers at the next start and loses nothing that was committed.
func (c *Cluster) Stop(ctx context.Context) error {
	c.Release()
	unlock, err := c.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	server, err := c.running()
	if err != nil || server == nil {
		return err
	}
	defer server.close()
	if err := server.signal(syscall.SIGINT); err != nil {
		return err
	}
	if server.wait(ctx) == nil {
		c.say("The database has stopped.")
		return nil
	}
	if err := server.signal(syscall.SIGQUIT); err != nil {
		return err
	}
	quick, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := server.wait(quick); err != nil {
		return coderunner.Wrap(err, coderunner.Unavailable, "The database server (process %d) does not stop.", server.pid)
	}
	c.say("The database was stopped without its last checkpoint; it recovers at the next start.")
	return nil
}

// up finds or starts the server and records it as the current one.
func (c *Cluster) up(ctx context.Context) error {
	unlock, err := c.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	server, err := c.running()
	if err != nil {
		return err
	}
	if server != nil && server.stopping() {
		if err := server.wait(ctx); err != nil {
			server.close()
			return coderunner.Wrap(err, coderunner.Unavailable, "The database server (process %d) is stopping and has not ended. Try again in a moment.", server.pid)
		}
		server.close()
		server = nil
	}
	adopted := server != nil
	if !adopted {
		if server, err = c.launch(ctx); err != nil {
			return err
		}
	}
	if err := c.open(ctx, server); err != nil {
		if !adopted {
			server.abandon()
		}
		server.close()
		return err
	}
	if adopted {
		c.say("The database server of %s was running (process %d) and is used again.", c.dir, server.pid)
	} else {
		c.say("The database server of %s has started (process %d).", c.dir, server.pid)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server != nil {
		c.server.close()
	}
	c.server, c.isReady, c.lastCause = server, true, nil
	close(c.ready)
	return nil
}

// open waits until the server takes connections and makes sure of the role and Database.
func (c *Cluster) open(ctx context.Context, server *postmaster) error {
	dsn := socketDSN(server.socketDir, server.port, superuser, "postgres")
	var conn *pgx.Conn
	for {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		var err error
		conn, err = pgx.Connect(attempt, dsn)
		cancel()
		if err == nil {
			break
		}
		select {
		case <-server.done:
			return c.failedStart(server)
		case <-ctx.Done():
			return coderunner.Wrap(errors.Join(ctx.Err(), err), coderunner.Unavailable,
				"The database server has not begun to answer. Look into %s for the reason.", c.logPath())
		case <-time.After(20 * time.Millisecond):
		}
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := ensure(ctx, conn); err != nil {
		return coderunner.Wrap(err, coderunner.Unavailable, "The database %q could not be made ready in %s.", Database, c.dir)
	}
	return nil
}

// ensure makes the role and the database. It speaks to the cluster before there is a
// schema of ours, and names take no parameters: these are no queries of sqlc's.
func ensure(ctx context.Context, conn *pgx.Conn) error {
	var roles, databases int
	err := conn.QueryRow(ctx, `SELECT (SELECT count(*) FROM pg_roles WHERE rolname = $1), (SELECT count(*) FROM pg_database WHERE datname = $2)`,
		role, Database).Scan(&roles, &databases)
	if err != nil {
		return err
	}
	if roles == 0 {
		if _, err := conn.Exec(ctx, "CREATE ROLE "+role+" LOGIN CREATEDB"); err != nil {
			return err
		}
	}
	if databases == 0 {
		if _, err := conn.Exec(ctx, "CREATE DATABASE "+Database+" OWNER "+role); err != nil {
			return err
		}
	}
	return nil
}

// supervise starts the server again whenever it dies, until ctx ends.
func (c *Cluster) supervise(ctx context.Context) {
	defer close(c.watched)
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.server.close()
	}()
	rotate := time.NewTicker(time.Minute)
	defer rotate.Stop()
	pause := 100 * time.Millisecond
	for {
		c.mu.Lock()
		died := c.server.done
		c.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-rotate.C:
			c.rotateLog()
			continue
		case <-died:
		}
		c.mu.Lock()
		if c.isReady {
			c.isReady, c.ready = false, make(chan struct{})
			c.say("The database server (process %d) has ended unexpectedly; it is started again.", c.server.pid)
		}
		c.mu.Unlock()
		if err := c.up(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			c.mu.Lock()
			c.lastCause = err
			c.mu.Unlock()
			c.say("The database server could not be started again: %v", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			pause = min(2*pause, 30*time.Second)
			continue
		}
		pause = 100 * time.Millisecond
		c.mu.Lock()
		c.restarts++
		c.mu.Unlock()
	}
}

func (c *Cluster) say(format string, args ...any) {
	fmt.Fprintf(c.log, format+"\n", args...)
}
