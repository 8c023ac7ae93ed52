package testdb

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
)

// childMark makes the test binary make one database from migrations that
// carry this text, as a test process of its own.
const childMark = "TESTDB_TEST_MARK"

func marked(mark string) fstest.MapFS {
	return fstest.MapFS{"00001_first.sql": {Data: []byte(
		"-- +goose Up\nCREATE TABLE mark (v text);\nINSERT INTO mark VALUES ('" + mark + "');\n-- +goose Down\nDROP TABLE mark;\n")}}
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func TestEachTestHasItsOwnMigratedDatabase(t *testing.T) {
	t.Parallel()
	one, two := NewPool(t), NewPool(t)
	if _, err := one.Exec(context.Background(), "INSERT INTO users (email, password_hash) VALUES ('a@example.com', 'x')"); err != nil {
		t.Fatal(err)
	}
	var users int
	if err := two.QueryRow(context.Background(), "SELECT count(*) FROM users").Scan(&users); err != nil || users != 0 {
		t.Errorf("the other database has %d users, %v", users, err)
	}
}

func TestDatabaseIsDroppedWithItsConnections(t *testing.T) {
	t.Parallel()
	var dsn string
	t.Run("inner", func(t *testing.T) {
		dsn = New(t)
		if _, err := pgx.Connect(context.Background(), dsn); err != nil { // never closed
			t.Fatal(err)
		}
	})
	if conn, err := pgx.Connect(context.Background(), dsn); err == nil {
		conn.Close(context.Background())
		t.Error("the database is there after its test")
	}
}

// TestChild is what the processes of TestProcessesShareOneTemplate do.
func TestChild(t *testing.T) {
	mark := os.Getenv(childMark)
	if mark == "" {
		mark = "alone"
	}
	conn := connect(t, newDatabase(t, marked(mark)))
	var got string
	if err := conn.QueryRow(context.Background(), "SELECT v FROM mark").Scan(&got); err != nil || got != mark {
		t.Errorf("mark %q, %v; want %q", got, err, mark)
	}
}

func TestProcessesShareOneTemplate(t *testing.T) {
	t.Parallel()
	mark := fmt.Sprintf("mark %d", time.Now().UnixNano())
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			child := exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.count=3")
			child.Env = append(os.Environ(), childMark+"="+mark)
			if output, err := child.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, output)
			}
		})
	}
	wait.Wait()
	hash, err := hashOf(marked(mark))
	if err != nil {
		t.Fatal(err)
	}
	conn := connect(t, New(t))
	rows, err := conn.Query(context.Background(), "SELECT datname FROM pg_database WHERE datname LIKE '%' || $1 || '%'", hash)
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(names) != 1 {
		t.Errorf("templates %v, %v; want one", names, err)
	}
	for _, name := range names {
		if _, err := conn.Exec(context.Background(), "DROP DATABASE "+name); err != nil {
			t.Error(err)
		}
	}
}

func TestOldLeftoversAreDropped(t *testing.T) {
	t.Parallel()
	conn := connect(t, New(t))
	now := time.Now()
	old := fmt.Sprintf("test_%d_leftover", now.Add(-2*time.Hour).Unix())
	young := fmt.Sprintf("test_%d_leftover", now.Add(-30*time.Minute).Unix())
	for _, name := range []string{old, young} {
		if _, err := conn.Exec(context.Background(), "CREATE DATABASE "+name); err != nil {
			t.Fatal(err)
		}
	}
	if err := dropLeftovers(context.Background(), conn, now); err != nil {
		t.Fatal(err)
	}
	var left string
	if err := conn.QueryRow(context.Background(), "SELECT string_agg(datname, ',') FROM pg_database WHERE datname IN ($1, $2)", old, young).Scan(&left); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(left, young) || strings.Contains(left, old) {
		t.Errorf("left: %s", left)
	}
	if _, err := conn.Exec(context.Background(), "DROP DATABASE "+young); err != nil {
		t.Error(err)
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		New(b)
	}
}

// TestWayIsOpened: whatever made the directory above may have kept others out.
func TestWayIsOpened(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root's server runs under another account")
	}
	parent := filepath.Join(t.TempDir(), "cache")
	if err := os.Mkdir(parent, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := openWay(filepath.Join(parent, "testdb")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(parent); err != nil || info.Mode().Perm() != 0o711 {
		t.Errorf("it is %v, %v", info.Mode(), err)
	}
}
