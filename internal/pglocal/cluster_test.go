package pglocal

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/jackc/pgx/v5"
)

// childDir makes the test binary start a cluster in the directory it names,
// say so, and wait to be killed.
const childDir = "PGLOCAL_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		c, err := Start(context.Background(), Config{Dir: dir, Log: os.Stderr})
		if err != nil {
			os.Stdout.WriteString("error " + err.Error() + "\n")
			os.Exit(1)
		}
		os.Stdout.WriteString("pid " + strconv.Itoa(c.PID()) + "\n")
		select {}
	}
	os.Exit(m.Run())
}

// directory returns a place for a cluster that its account can reach, which the
// directory of t.TempDir is not.
func directory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pglocal")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(dir, "pg")
}

type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func start(t *testing.T, config Config) *Cluster {
	t.Helper()
	c, err := Start(limited(t), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(limited(t)); err != nil {
			t.Error(err)
		}
	})
	return c
}

func query(t *testing.T, dsn, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(limited(t), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	rows, err := conn.Query(context.Background(), sql)
	if err != nil {
		t.Fatal(err)
	}
	values, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(values, ",")
}

// ended reports whether a process runs no more; its parent may not have noticed yet.
func ended(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(state, "Z") || strings.HasPrefix(state, "X")
}

func TestFirstStartAndRestartKeepData(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	c := start(t, Config{Dir: dir})
	query(t, c.DSN(Database), "CREATE TABLE kept (v text)")
	query(t, c.DSN(Database), "INSERT INTO kept VALUES ('yes')")
	if got := query(t, c.DSN(Database), "SELECT rolsuper::text FROM pg_roles WHERE rolname = current_user"); got != "false" {
		t.Errorf("the program's role is a superuser: %s", got)
	}
	if got := query(t, c.DSN(Database), "SELECT current_setting('listen_addresses') || current_setting('fsync') || current_setting('data_checksums')"); got != "onon" {
		t.Errorf("listen_addresses, fsync, data_checksums = %q", got)
	}
	first := c.PID()
	if err := c.Stop(limited(t)); err != nil {
		t.Fatal(err)
	}
	if !ended(first) {
		t.Errorf("process %d is there after Stop", first)
	}
	again := start(t, Config{Dir: dir})
	if got := query(t, again.DSN(Database), "SELECT v FROM kept"); got != "yes" {
		t.Errorf("after a restart the table holds %q", got)
	}
	if log, err := os.ReadFile(filepath.Join(dir, "postgres.log")); err != nil || !bytes.Contains(log, []byte("shut down")) {
		t.Errorf("the first server did not shut down cleanly: %v\n%s", err, log)
	}
}

func TestOnlyOurAccountsConnect(t *testing.T) {
	t.Parallel()
	c := start(t, Config{Dir: directory(t)})
	stranger := exec.Command("psql", "--no-psqlrc", "-c", "SELECT 1", c.DSN(Database))
	stranger.Dir = "/"
	stranger.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	output, err := stranger.CombinedOutput()
	if err == nil || !bytes.Contains(output, []byte("Permission denied")) {
		t.Errorf("a stranger's connection: %v\n%s", err, output)
	}
	// The wall behind the directory: open it, and the kernel's word about the peer still keeps strangers out.
	for _, path := range []string{filepath.Dir(c.dir), c.dir, c.server.socketDir, filepath.Join(c.server.socketDir, ".s.PGSQL.5432")} {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	stranger = exec.Command("psql", "--no-psqlrc", "-c", "SELECT 1", c.DSN(Database))
	stranger.Dir = "/"
	stranger.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	output, err = stranger.CombinedOutput()
	if err == nil || !bytes.Contains(output, []byte("Peer authentication failed")) {
		t.Errorf("a stranger's connection through an open directory: %v\n%s", err, output)
	}
}

func TestKilledProcessIsAdopted(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir)
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 4096)
	n, err := stdout.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	said, ok := strings.CutPrefix(strings.TrimSpace(string(line[:n])), "pid ")
	if !ok {
		t.Fatalf("the child says %q", line[:n])
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()

	log := new(logBuffer)
	c := start(t, Config{Dir: dir, Log: log})
	if got := strconv.Itoa(c.PID()); got != said {
		t.Errorf("the server is process %s, the killed program's was %s\n%s", got, said, log)
	}
	query(t, c.DSN(Database), "SELECT 1::text")
	if !strings.Contains(log.String(), "used again") {
		t.Errorf("the log does not tell of the adoption:\n%s", log)
	}
}

func TestInterruptedInitdbIsMadeAnew(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	half := filepath.Join(dir, "data.new", "base")
	if err := os.MkdirAll(half, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "data.new", "PG_VERSION"), []byte("15\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := start(t, Config{Dir: dir})
	query(t, c.DSN(Database), "SELECT 1::text")
	if _, err := os.Stat(filepath.Join(dir, "data.new")); !os.IsNotExist(err) {
		t.Errorf("the unfinished directory is still there: %v", err)
	}
}

func TestStalePIDFiles(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	c := start(t, Config{Dir: dir})
	if err := c.Stop(limited(t)); err != nil {
		t.Fatal(err)
	}
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	stranger := exec.Command("cat")
	stranger.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: c.account.uid, Gid: c.account.gid}}
	stranger.Dir = "/"
	hold, err := stranger.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		hold.Close()
		if err := stranger.Wait(); err != nil {
			t.Errorf("the stranger was harmed: %v", err)
		}
	}()
	for name, pid := range map[string]int{"dead process": gone.Process.Pid, "stranger": stranger.Process.Pid} {
		text := strconv.Itoa(pid) + "\n" + c.dataDir() + "\n1700000000\n5432\n" + c.server.socketDir + "\n\n  1234567         1\nready   \n"
		path := filepath.Join(c.dataDir(), "postmaster.pid")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := c.account.own(path); err != nil {
			t.Fatal(err)
		}
		again, err := Start(limited(t), Config{Dir: dir})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		query(t, again.DSN(Database), "SELECT 1::text")
		if err := again.Stop(limited(t)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDeadServerIsStartedAgain(t *testing.T) {
	t.Parallel()
	log := new(logBuffer)
	c := start(t, Config{Dir: directory(t), Log: log})
	query(t, c.DSN(Database), "CREATE TABLE kept AS SELECT 'yes' AS v")
	busy, err := pgx.Connect(limited(t), c.DSN(Database))
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close(context.Background())
	for round := 1; round <= 2; round++ {
		killed := c.PID()
		died := c.server.done
		if err := syscall.Kill(killed, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-died
		for ctx := limited(t); c.Restarts() < round; {
			if err := ctx.Err(); err != nil {
				t.Fatalf("not started again: %v\n%s", err, log)
			}
			_ = c.Ready(ctx)
		}
		if c.PID() == killed {
			t.Errorf("the server is still process %d", killed)
		}
		if got := query(t, c.DSN(Database), "SELECT v FROM kept"); got != "yes" {
			t.Errorf("after the crash the table holds %q", got)
		}
	}
	if !strings.Contains(log.String(), "ended unexpectedly") {
		t.Errorf("the log does not tell of the death:\n%s", log)
	}
}

func TestProcessesShareOneServer(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	var wait sync.WaitGroup
	clusters := make([]*Cluster, 5)
	for i := range clusters {
		wait.Go(func() {
			c, err := Start(limited(t), Config{Dir: dir})
			if err != nil {
				t.Error(err)
				return
			}
			clusters[i] = c
		})
	}
	wait.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for _, c := range clusters[1:] {
		if c.PID() != clusters[0].PID() {
			t.Errorf("two servers: %d and %d", c.PID(), clusters[0].PID())
		}
		c.Release()
	}
	query(t, clusters[0].DSN(Database), "SELECT 1::text")
	if err := clusters[0].Stop(limited(t)); err != nil {
		t.Fatal(err)
	}
}

func refused(t *testing.T, config Config, kind coderunner.Kind, want ...string) {
	t.Helper()
	c, err := Start(limited(t), config)
	if err == nil {
		_ = c.Stop(limited(t))
		t.Fatal("Start succeeded")
	}
	if got := coderunner.KindOf(err); got != kind {
		t.Errorf("kind %s, want %s: %v", got, kind, err)
	}
	for _, part := range want {
		if sentence := coderunner.Sentence(err); !strings.Contains(sentence, part) {
			t.Errorf("the sentence lacks %q: %s", part, sentence)
		}
	}
}

func TestLongPathUsesShortSocketDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(directory(t), strings.Repeat("long-name/", 12), "pg")
	c := start(t, Config{Dir: dir})
	query(t, c.DSN(Database), "SELECT 1::text")
	if len(c.server.socketDir) > 80 || strings.HasPrefix(c.server.socketDir, dir) {
		t.Errorf("the socket is in %s", c.server.socketDir)
	}
	socketDir := c.server.socketDir
	t.Cleanup(func() {
		if err := os.Remove(socketDir); err != nil {
			t.Error(err)
		}
	})
	if err := c.Stop(limited(t)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(socketDir, 0o777); err != nil {
		t.Fatal(err)
	}
	refused(t, Config{Dir: dir}, coderunner.Unavailable, socketDir, "only the account")
}

func TestOtherReleaseIsRefused(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	c := start(t, Config{Dir: dir})
	binDir := newestBinDir("", "postgres")
	if err := c.Stop(limited(t)); err != nil {
		t.Fatal(err)
	}
	version := filepath.Join(c.dataDir(), "PG_VERSION")
	was, err := os.ReadFile(version)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(version, []byte("9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, Config{Dir: dir, BinDir: binDir}, coderunner.Unavailable, "made by PostgreSQL 9", "postgresql-9")
	refused(t, Config{Dir: dir}, coderunner.Unavailable, "postgresql-9", "DATABASE_URL")
	if err := os.WriteFile(version, was, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestUnusablePlacesAreNamed(t *testing.T) {
	t.Parallel()
	closed := t.TempDir() // 0700, root's
	if err := os.Chmod(filepath.Dir(closed), 0o700); err != nil {
		t.Fatal(err)
	}
	refused(t, Config{Dir: filepath.Join(closed, "pg")}, coderunner.Unavailable, "cannot pass "+filepath.Dir(closed), "chmod o+x")
	refused(t, Config{Dir: directory(t), User: "root"}, coderunner.Invalid, "does not run as root")
	refused(t, Config{Dir: directory(t), User: "nobody-of-that-name"}, coderunner.Unavailable, "useradd")
	refused(t, Config{Dir: directory(t), BinDir: "/nonexistent"}, coderunner.Unavailable, "/nonexistent", "apt-get install")
	foreign := directory(t)
	if err := os.MkdirAll(filepath.Join(foreign, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	refused(t, Config{Dir: foreign}, coderunner.Unavailable, "holds no database")
	refused(t, Config{Dir: directory(t), Settings: map[string]string{"shared_buffers": "nonsense"}}, coderunner.Unavailable, "PostgreSQL said", "shared_buffers")
}

func TestFullDiskIsASentence(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]string{"before initdb": "size=20m", "while it starts": "size=200m"} {
		dir := directory(t)
		if err := os.Mkdir(dir, 0o711); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, size+",mode=711"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
		if name == "before initdb" {
			refused(t, Config{Dir: dir}, coderunner.Unavailable, "MB free", "Free some space")
			continue
		}
		c, err := Start(limited(t), Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Stop(limited(t)); err != nil {
			t.Fatal(err)
		}
		fill, err := os.Create(filepath.Join(dir, "fill"))
		if err != nil {
			t.Fatal(err)
		}
		for block := make([]byte, 4096); err == nil; {
			_, err = fill.Write(block)
		}
		fill.Close()
		refused(t, Config{Dir: dir}, coderunner.Unavailable, "is full", "Free some space")
	}
}
