package playbook

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/edge/daemon"
	"github.com/coderunner/coderunner/internal/pglocal"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/sandbox/containerd"
	"github.com/coderunner/coderunner/internal/store"
	"github.com/coderunner/coderunner/internal/testdb"
)

// recovery is how long everything may take to be as it should after a fault, and
// resumption until a run whose process was killed goes on.
const (
	recovery   = time.Minute
	resumption = 30 * time.Second
)

// cell is one fault in one step of one playbook.
type cell struct {
	book, step string
	fault      fault
}

// lane is a platform on which the cells of one fault follow each other. What the
// fault breaks is the lane's own; the edge is a process of its own, as for a server.
type lane struct {
	*platform
	fault    fault
	cluster  *pglocal.Cluster // of the lanes that restart it, else nil
	trap     trap
	halt     context.CancelFunc // ends the engine; nil while none runs
	sample   sample             // whose project the cells are about
	versions map[string]string  // what deployments answer, by id
	made     int                // versions, in all
	rows     int                // that the project's database must have
}

func openLane(t *testing.T, f fault) *lane {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "lane") // sockets have short names, and the database's account has to pass
	if err == nil {
		err = os.Chmod(dir, 0o711)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l := &lane{fault: f, versions: map[string]string{}}
	at := place{Dir: dir, Instance: "lane-" + strings.ToLower(rand.Text()[:10])}
	if f.kind == postgres {
		at.DSN = l.ownPostgres(t, filepath.Join(dir, "pg"))
	} else {
		at.DSN = testdb.New(t)
	}
	if f.kind == engineDown {
		at.EngineDir = filepath.Join(dir, "engine")
		t.Cleanup(func() { stopEngine(t, at) })
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	if l.platform, err = open(ctx, at); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.store.Close()
		l.provider.Close()
	})
	serving, ended := make(chan daemon.Status, 1), make(chan error, 1)
	go func() {
		ended <- daemon.Run(ctx, daemon.Config{DataDir: dir, Settings: daemon.Settings{Listen: "127.0.0.1:0", AppsDomain: "apps.test"},
			Log: slog.New(slog.NewTextHandler(io.Discard, nil))}, func(s daemon.Status) { serving <- s })
	}()
	select {
	case s := <-serving:
		l.address = s.Address
	case err := <-ended:
		t.Fatalf("the edge: %v", err)
	}
	if err := l.up(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.down()
		l.wipe(t)
		cancel()
		<-ended
	})
	return l
}

// ownPostgres starts a cluster that nobody else uses, migrated.
func (l *lane) ownPostgres(t *testing.T, dir string) string {
	t.Helper()
	ctx := within(t, 2*time.Minute)
	cluster, err := pglocal.Start(ctx, pglocal.Config{Dir: dir, Settings: map[string]string{"fsync": "off", "max_connections": "100", "shared_buffers": "32MB"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := cluster.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	l.cluster = cluster
	pool, err := pgxpool.New(ctx, cluster.DSN(pglocal.Database))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if err := store.Migrate(ctx, pool, nil); err != nil {
		t.Fatal(err)
	}
	return cluster.DSN(pglocal.Database)
}

// stopEngine ends a lane's own containerd and what it left of itself outside its directory.
func stopEngine(t *testing.T, at place) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	config, err := os.ReadFile(filepath.Join(at.EngineDir, "containerd.toml"))
	if err != nil {
		return // it never began
	}
	if err := containerd.StopEngine(ctx, containerd.Config{EngineDir: at.EngineDir, Instance: at.Instance, StateDir: filepath.Join(at.Dir, "sandboxes")}); err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(string(config)) {
		if _, address, found := strings.Cut(line, `address = "`); found {
			if err := os.RemoveAll(filepath.Dir(strings.TrimRight(address, "\"\n"))); err != nil {
				t.Error(err)
			}
		}
	}
}

// up starts an engine, as a server that begins does.
func (l *lane) up() (err error) {
	ctx, halt := context.WithCancel(context.Background())
	edge := l.edgeProcess()
	if l.engine, err = l.newEngine(ctx, edge); err != nil {
		halt()
		return err
	}
	l.engine.breakpoint, l.halt = l.trap.breakpoint, halt
	if err := edge.Refresh(ctx); err != nil {
		return err
	}
	return l.engine.Start(ctx)
}

// down ends the engine, if one runs.
func (l *lane) down() {
	if l.halt != nil {
		l.halt()
		l.engine.Wait()
		l.halt = nil
	}
}

// fresh makes a project that has not been deployed.
func (l *lane) fresh(ctx context.Context) (err error) {
	l.rows = 0
	l.sample, err = l.newSample(ctx, "p"+strings.ToLower(rand.Text()[:8]), map[string]string{"index.js": ""})
	return err
}

// prepare brings the project into the state in which a playbook is asked for.
func (l *lane) prepare(ctx context.Context, book string) error {
	if book == DeployPlaybook || l.sample.project.ID == "" {
		if err := l.fresh(ctx); err != nil || book == DeployPlaybook {
			return err
		}
	}
	current, err := l.store.CurrentDeployment(ctx, l.sample.user.ID, l.sample.project.ID)
	if coderunner.KindOf(err) == coderunner.NotFound {
		if err := l.do(ctx, DeployPlaybook); err != nil {
			return err
		}
		current, err = l.store.CurrentDeployment(ctx, l.sample.user.ID, l.sample.project.ID)
	}
	switch {
	case err != nil:
		return err
	case book == StartPlaybook && current.Status == coderunner.Running:
		return l.do(ctx, StopPlaybook)
	case book != StartPlaybook && current.Status != coderunner.Running:
		err = l.do(ctx, StartPlaybook)
	}
	if err == nil && book == RollbackPlaybook && current.Number == 1 {
		err = l.do(ctx, RedeployPlaybook)
	}
	if err != nil {
		return err
	}
	attached, err := l.store.ProjectDatabases(ctx, l.sample.project.ID)
	detached := book == AttachPlaybook || book == DeleteDatabasePlaybook
	switch {
	case err != nil:
		return err
	case detached && len(attached) > 0:
		return l.do(ctx, DetachPlaybook)
	case !detached && book != DestroyPlaybook && len(attached) == 0:
		return l.do(ctx, AttachPlaybook)
	}
	return nil
}

// do asks for a playbook and waits until all is as it should be.
func (l *lane) do(ctx context.Context, book string) error {
	r, version, err := l.request(ctx, book, lanePlan(""))
	if err != nil {
		return err
	}
	before, err := l.look(ctx)
	if err != nil {
		return err
	}
	run, err := r.ask(ctx, l.engine)
	if err == nil {
		err = l.settles(ctx, outcome{run: run, before: before, version: version, ends: coderunner.RunSucceeded})
	}
	if err != nil {
		return fmt.Errorf("preparing with a %s: %w", book, err)
	}
	return nil
}

// lanePlan is how the lanes' apps are built; each command tells that it is at work,
// and then does what it is told first.
func lanePlan(first string) coderunner.Plan {
	return coderunner.Plan{Type: "nodejs", Root: ".", Runtime: coderunner.Runtime{Name: "nodejs", Version: "18", Appliance: "nodejs-18"},
		Install: coderunner.Choice{Value: "echo during install; " + first + "echo installed > installed.txt"},
		Build:   coderunner.Choice{Value: "echo during build; " + first + "cat installed.txt && echo built > built.txt"},
		Start:   coderunner.Choice{Value: "cat built.txt && exec node index.js"}, Port: 3000,
		Processes: map[string]string{coderunner.ReleaseProcess: "echo during release; " + first + "cat built.txt"}}
}

// request prepares what a user asks for, and says what the app answers once it is done.
func (l *lane) request(ctx context.Context, book string, plan coderunner.Plan) (r request, version string, err error) {
	r = request{Playbook: book, User: l.sample.user.ID, Project: l.sample.project.ID, Plan: plan, Confirm: l.sample.project.Name}
	switch book {
	case DeployPlaybook, RedeployPlaybook:
		l.made++
		version = fmt.Sprintf("version %d", l.made)
		b, err := l.newBundle(ctx, r.Project, map[string]string{"index.js": versioned(version)}, plan)
		r.Bundle = b.ID
		return r, version, err
	case StopPlaybook, DestroyPlaybook:
		return r, "", nil
	}
	current, err := l.store.CurrentDeployment(ctx, r.User, r.Project)
	if err != nil || book != RollbackPlaybook {
		return r, l.versions[current.ID], err
	}
	kept, err := l.store.KeptReleases(ctx, r.Project)
	for _, d := range kept {
		if d.ID != current.ID && d.ReleasedAt != nil {
			r.To = d.ID
			return r, l.versions[d.ID], err
		}
	}
	return r, "", errors.Join(errors.New("there is nothing to roll back to"), err)
}

// seed writes a row into the project's database, if that runs.
func (l *lane) seed(ctx context.Context) error {
	if _, err := l.psql(ctx, "create table if not exists kept (n int); insert into kept values (1)"); err == nil {
		l.rows++
	} else if !errors.Is(err, errNoDatabase) {
		return err
	}
	return nil
}

var errNoDatabase = errors.New("the project's database does not run")

// psql asks the project's database, as its administrator.
func (l *lane) psql(ctx context.Context, sql string) (string, error) {
	databases, err := l.store.ProjectDatabases(ctx, l.sample.project.ID)
	if err != nil {
		return "", err
	}
	if len(databases) == 0 || databases[0].Sealed == nil || databases[0].SandboxID == "" {
		return "", errNoDatabase
	}
	name := databaseSandbox(databases[0].ID)
	info, err := l.provider.Get(ctx, name)
	if coderunner.KindOf(err) == coderunner.NotFound || err == nil && info.State != sandbox.StateRunning {
		return "", errNoDatabase
	}
	if err != nil {
		return "", err
	}
	var out strings.Builder
	exit, err := l.provider.Exec(ctx, name, sandbox.Command{Argv: []string{"psql", "-XqAt", "-d", "app", "-c", sql}, Stdout: &out, Stderr: &out})
	if coderunner.KindOf(err) == coderunner.NotFound {
		return "", errNoDatabase // it was removed just now
	}
	if err == nil && exit.Code == 2 { // its way of saying that it has no connection
		err = fmt.Errorf("%w: %s", errNoDatabase, strings.TrimSpace(out.String()))
	} else if err == nil && exit.Code != 0 {
		err = fmt.Errorf("psql: %s", strings.TrimSpace(out.String()))
	}
	return strings.TrimSpace(out.String()), err
}
