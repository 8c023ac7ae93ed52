package runlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
	"github.com/coderunner/coderunner/internal/testdb"
)

func TestLinesOfAllStreamsAreNumberedWithoutGaps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	log := w.writer(t)
	const streams, each = 8, 1500
	var all sync.WaitGroup
	for i := range streams {
		all.Go(func() {
			out := log.Stream(fmt.Sprint("step", i), coderunner.Stdout)
			for n := range each {
				_, _ = fmt.Fprintf(out, "%d\n", n)
			}
			_ = out.Close()
		})
	}
	all.Wait()
	flush(t, log)
	next := map[string]int{}
	lines := w.lines(t)
	for _, line := range lines {
		if line.Text != fmt.Sprint(next[line.Step]) {
			t.Fatalf("after line %d of %s comes %q", next[line.Step]-1, line.Step, line.Text)
		}
		next[line.Step]++
	}
	if len(lines) != streams*each {
		t.Errorf("%d lines are stored, want %d", len(lines), streams*each)
	}
	var batches, largest int
	err := w.Pool().QueryRow(t.Context(), "SELECT count(*), max(n) FROM (SELECT count(*) AS n FROM run_log_lines GROUP BY xmin::text) AS batches").Scan(&batches, &largest)
	if err != nil || largest > batchLines || batches > len(lines)/100 {
		t.Errorf("the lines were stored in %d batches of up to %d (%v)", batches, largest, err)
	}
}

func TestLineKeepsWhatIsSaidAboutIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	log := w.writer(t, "s3cr3t-value")
	begin := time.Now()
	for _, kind := range []coderunner.Stream{coderunner.Stdout, coderunner.Stderr} {
		out := log.Stream("install", kind)
		_, _ = io.WriteString(out, "\x1b[31m<b>\x00s3cr3t-")
		_, _ = io.WriteString(out, "value\xff\x1b[0m\n")
	}
	log.Say("start", "one %s\n\nthree", "s3cr3t-value\r\ntwo")
	log.Say("", "")
	flush(t, log)
	type said struct {
		step   string
		stream coderunner.Stream
		text   string
	}
	var got []said
	for _, line := range w.lines(t) {
		got = append(got, said{line.Step, line.Stream, line.Text})
		if line.At.Before(begin.Add(-time.Second)) || line.At.After(time.Now()) {
			t.Errorf("line %d is of %s", line.Seq, line.At)
		}
	}
	hostile := "\x1b[31m<b>" + Redacted + "\ufffd\x1b[0m"
	want := []said{
		{"install", coderunner.Stdout, hostile},
		{"install", coderunner.Stderr, hostile},
		{"start", coderunner.System, "one " + Redacted},
		{"start", coderunner.System, "two"},
		{"start", coderunner.System, ""},
		{"start", coderunner.System, "three"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("stored is %q, want %q", got, want)
	}
}

func TestCloseStoresTheLastLine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	log := w.writer(t)
	out := log.Stream("install", coderunner.Stdout)
	_, _ = io.WriteString(out, "first\nlast")
	for range 2 {
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.WriteString(out, "late\n"); !errors.Is(err, os.ErrClosed) {
		t.Errorf("writing to a closed stream: %v", err)
	}
	for range 2 {
		if err := log.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.WriteString(log.Stream("install", coderunner.Stdout), "late\n"); err == nil {
		t.Error("a closed log took a line")
	}
	if got := texts(w.lines(t)); !slices.Equal(got, []string{"first", "last"}) {
		t.Errorf("stored is %q", got)
	}
}

func TestWriterContinuesTheLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	log := w.writer(t)
	log.Say("", "one\ntwo")
	if err := log.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.lease = w.takeOver(t)
	log = w.writer(t)
	log.Say("", "three")
	flush(t, log)
	if got := texts(w.lines(t)); !slices.Equal(got, []string{"one", "two", "three"}) {
		t.Errorf("stored is %q", got)
	}
}

func TestLostLeaseStopsTheWriter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var lost atomic.Int32
	told := make(chan error, 10)
	log := must(NewWriter(t.Context(), w.Store, w.lease, NewRedactor(), func(err error) {
		lost.Add(1)
		told <- err
	}))(t)
	log.Say("", "ours")
	flush(t, log)
	w.takeOver(t)
	out := log.Stream("install", coderunner.Stdout)
	_, _ = io.WriteString(out, "ghost\n")
	if err := <-told; !errors.Is(err, store.ErrLeaseLost) {
		t.Errorf("onLost was told %v", err)
	}
	if _, err := io.WriteString(out, "ghost\n"); !errors.Is(err, store.ErrLeaseLost) {
		t.Errorf("writing without the lease: %v", err)
	}
	log.Say("", "ghost")
	if err := log.Flush(t.Context()); !errors.Is(err, store.ErrLeaseLost) {
		t.Errorf("flushing without the lease: %v", err)
	}
	if err := log.Close(t.Context()); !errors.Is(err, store.ErrLeaseLost) {
		t.Errorf("closing without the lease: %v", err)
	}
	if n := lost.Load(); n != 1 {
		t.Errorf("onLost was called %d times", n)
	}
	if got := texts(w.lines(t)); !slices.Equal(got, []string{"ours"}) {
		t.Errorf("stored is %q", got)
	}
}

func TestFlushGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	log := w.writer(t)
	unlock := w.lockLog(t)
	log.Say("", "waits")
	ctx, cancel := context.WithCancel(t.Context())
	flushed := make(chan error)
	go func() { flushed <- log.Flush(ctx) }()
	w.awaitWaiter(t)
	cancel()
	if err := <-flushed; !errors.Is(err, context.Canceled) {
		t.Errorf("it answered %v", err)
	}
	unlock()
	flush(t, log)
	if got := texts(w.lines(t)); !slices.Equal(got, []string{"waits"}) {
		t.Errorf("stored is %q", got)
	}
}

// A program that prints a lot, without a newline and faster than the database
// stores, waits; nothing of it is lost and little of it is in memory.
func TestFloodWaitsForTheDatabase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	log := w.writer(t)
	unlock := w.lockLog(t)
	const size = 10 << 20
	out := log.Stream("install", coderunner.Stdout).(*stream)
	written := make(chan error, 1)
	go func() {
		chunk := []byte(strings.Repeat("x", 1<<20))
		var err error
		for n := 0; n < size && err == nil; n += len(chunk) {
			_, err = out.Write(chunk)
		}
		written <- errors.Join(err, out.Close())
	}()
	log.queue.mu.Lock()
	for log.queue.bytes <= queueBytes {
		log.queue.changed.Wait()
	}
	held := log.queue.bytes
	log.queue.mu.Unlock()
	if held > queueBytes+2*maxLine {
		t.Errorf("%d bytes are held", held)
	}
	select {
	case err := <-written:
		t.Fatalf("all was written while nothing could be stored: %v", err)
	default:
	}
	unlock()
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	flush(t, log)
	if cap(out.line) > 4*maxLine {
		t.Errorf("the line's buffer has grown to %d bytes", cap(out.line))
	}
	total := 0
	for _, line := range w.lines(t) {
		if len(line.Text) > maxLine {
			t.Errorf("line %d has %d bytes", line.Seq, len(line.Text))
		}
		total += strings.Count(line.Text, "x")
	}
	if total != size {
		t.Errorf("%d bytes are stored of %d", total, size)
	}
}

// The answer to a write that was stored gets lost with its connection.
func TestLostAnswerStoresLinesOnce(t *testing.T) {
	t.Parallel()
	config := must(pgxpool.ParseConfig(testdb.New(t)))(t)
	var line faultyLine
	config.ConnConfig.DialFunc = line.dial
	pool := must(pgxpool.NewWithConfig(t.Context(), config))(t)
	t.Cleanup(pool.Close)
	w := worldOn(t, store.New(pool))
	log := w.writer(t)
	log.Say("", "one")
	flush(t, log)
	line.armed.Store(true)
	log.Say("", "two\nthree")
	flush(t, log)
	if line.armed.Load() {
		t.Error("no answer was lost")
	}
	log.Say("", "four")
	flush(t, log)
	if got := texts(w.lines(t)); !slices.Equal(got, []string{"one", "two", "three", "four"}) {
		t.Errorf("stored is %q", got)
	}
}

// faultyLine makes connections of which, once it is armed, one loses the server's
// next answer, after the server has given it.
type faultyLine struct{ armed atomic.Bool }

func (l *faultyLine) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	return faultyConn{conn, l}, err
}

type faultyConn struct {
	net.Conn
	line *faultyLine
}

func (c faultyConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && c.line.armed.CompareAndSwap(true, false) {
		return 0, errors.Join(io.ErrUnexpectedEOF, c.Close())
	}
	return n, err
}

// Lines that are being stored when another process takes over are in its view
// of the log: it does not number its own the same.
func TestTakeoverWaitsForLinesBeingStored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := w.ReleaseRun(t.Context(), w.lease); err != nil {
		t.Fatal(err)
	}
	claimed := make(chan error, 1)
	err := w.InTx(t.Context(), func(tx *store.Store) error {
		if err := tx.AppendLog(t.Context(), w.lease, 1, []coderunner.LogLine{{At: time.Now(), Text: "ours"}}); err != nil {
			return err
		}
		go func() {
			_, ok, err := w.ClaimRun(t.Context(), w.run.ID, "second", time.Minute)
			if err == nil && !ok {
				err = errors.New("the run could not be claimed")
			}
			claimed <- err
		}()
		w.awaitWaiter(t)
		return nil
	})
	if err := errors.Join(err, <-claimed); err != nil {
		t.Fatal(err)
	}
	if last := must(w.LastLogSeq(t.Context(), w.run.ID))(t); last != 1 {
		t.Errorf("the new owner continues after line %d", last)
	}
}

// lockLog lets no line be stored until the function it returns is called.
func (w world) lockLog(t *testing.T) (unlock func()) {
	t.Helper()
	tx := must(w.Pool().Begin(t.Context()))(t)
	if _, err := tx.Exec(t.Context(), "LOCK TABLE run_log_lines IN SHARE MODE"); err != nil {
		t.Fatal(err)
	}
	return sync.OnceFunc(func() {
		if err := tx.Rollback(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// awaitWaiter returns when somebody waits for a lock of this database.
func (w world) awaitWaiter(t *testing.T) {
	t.Helper()
	w.await(t, "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')")
}

// await asks until the answer is yes, on a connection of its own.
func (w world) await(t *testing.T, question string) {
	t.Helper()
	conn := must(pgx.ConnectConfig(t.Context(), w.Pool().Config().ConnConfig.Copy()))(t)
	defer conn.Close(t.Context())
	deadline := time.Now().Add(30 * time.Second)
	for yes := false; !yes; {
		if err := conn.QueryRow(t.Context(), question).Scan(&yes); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("never true: %s", question)
		}
	}
}
