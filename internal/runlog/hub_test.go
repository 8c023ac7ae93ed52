package runlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// hub runs one that looks on its own only every poll, and is not at work before
// the function returns.
func (w world) hub(t *testing.T, poll time.Duration) (hub *Hub, stop func()) {
	t.Helper()
	hub = NewHub(w.Store)
	hub.poll, hub.retry = poll, time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	begun, leave := hub.Subscribe("whoever is there when it begins to listen")
	defer leave()
	go func() { _ = hub.Run(ctx) }()
	stop = func() {
		cancel()
		<-hub.Closed()
	}
	t.Cleanup(stop)
	<-begun
	return hub, stop
}

// listening chooses the connections that wait for the hub's notifications.
const listening = "FROM pg_stat_activity WHERE datname = current_database() AND query = 'LISTEN \"routes\"' AND state = 'idle'"

func (w world) awaitListener(t *testing.T) {
	t.Helper()
	w.await(t, "SELECT EXISTS (SELECT 1 "+listening+")")
}

// never is longer than any test: what arrives was not found by looking.
const never = time.Hour

// reader follows a log and hands over every page of it.
type reader struct {
	pages chan []coderunner.LogLine
	ended chan error
}

func follow(ctx context.Context, hub *Hub, run string, after int64) reader {
	r := reader{make(chan []coderunner.LogLine), make(chan error, 1)}
	go func() {
		r.ended <- hub.Tail(ctx, run, after, func(lines []coderunner.LogLine) error {
			select {
			case r.pages <- lines:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	return r
}

// take reads n lines.
func (r reader) take(t *testing.T, n int) []coderunner.LogLine {
	t.Helper()
	var lines []coderunner.LogLine
	for len(lines) < n {
		select {
		case page := <-r.pages:
			if len(page) > pageLines {
				t.Errorf("a page has %d lines", len(page))
			}
			lines = append(lines, page...)
		case err := <-r.ended:
			t.Fatalf("the reader ended after %d of %d lines: %v", len(lines), n, err)
		case <-time.After(30 * time.Second):
			t.Fatalf("%d of %d lines have come", len(lines), n)
		}
	}
	if len(lines) > n {
		t.Fatalf("%d lines came instead of %d", len(lines), n)
	}
	return lines
}

// end waits for the reader's end; no line may come before.
func (r reader) end(t *testing.T) error {
	t.Helper()
	select {
	case page := <-r.pages:
		t.Fatalf("%q comes before the end", texts(page))
	case err := <-r.ended:
		return err
	case <-time.After(30 * time.Second):
		t.Fatal("the reader does not end")
	}
	return nil
}

func TestTailOfALogInProgress(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hub, _ := w.hub(t, never)
	log := w.writer(t)
	const late = 3*pageLines + 7
	for i := range late {
		log.Say("install", "line %d", i+1)
	}
	flush(t, log)
	all, some := follow(t.Context(), hub, w.run.ID, 0), follow(t.Context(), hub, w.run.ID, 1000)
	lines := all.take(t, late)
	wantNumbers(t, lines, 1)
	for i, line := range lines {
		if line.Text != fmt.Sprint("line ", i+1) {
			t.Fatalf("line %d is %q", i+1, line.Text)
		}
	}
	wantNumbers(t, some.take(t, late-1000), 1001)
	for i := range 20 {
		log.Say("start", "live")
		for _, r := range []reader{all, some} {
			wantNumbers(t, r.take(t, 1), int64(late+i+1))
		}
	}
	log.Say("start", "last")
	flush(t, log)
	w.finish(t)
	for _, r := range []reader{all, some} {
		if got := texts(r.take(t, 1)); got[0] != "last" {
			t.Errorf("the last line is %q", got)
		}
		if err := r.end(t); err != nil {
			t.Errorf("the log of an ended run ends with %v", err)
		}
	}
	again := follow(t.Context(), hub, w.run.ID, late)
	again.take(t, 21)
	if err := again.end(t); err != nil {
		t.Errorf("the log of an ended run ends with %v", err)
	}
}

func TestTailEndsAtShutdown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hub, stop := w.hub(t, never)
	log := w.writer(t)
	log.Say("", "one")
	flush(t, log)
	before := follow(t.Context(), hub, w.run.ID, 0)
	before.take(t, 1)
	stop()
	if err := before.end(t); !errors.Is(err, ErrClosed) {
		t.Errorf("a reader ends with %v", err)
	}
	after := follow(t.Context(), hub, w.run.ID, 0)
	after.take(t, 1)
	if err := after.end(t); !errors.Is(err, ErrClosed) {
		t.Errorf("a reader that came too late ends with %v", err)
	}
}

func TestTailEndsWithItsReader(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hub, _ := w.hub(t, never)
	log := w.writer(t)
	log.Say("", "one")
	flush(t, log)
	ctx, cancel := context.WithCancel(t.Context())
	gone := follow(ctx, hub, w.run.ID, 0)
	gone.take(t, 1)
	cancel()
	if err := gone.end(t); !errors.Is(err, context.Canceled) {
		t.Errorf("a reader that has gone ends with %v", err)
	}
	full := errors.New("the disk is full")
	if err := hub.Tail(t.Context(), w.run.ID, 0, func([]coderunner.LogLine) error { return full }); !errors.Is(err, full) {
		t.Errorf("a reader that fails ends with %v", err)
	}
	err := hub.Tail(t.Context(), "00000000-0000-0000-0000-000000000000", 0, func([]coderunner.LogLine) error { return nil })
	if coderunner.KindOf(err) != coderunner.NotFound {
		t.Errorf("the log of no run ends with %v", err)
	}
	hub.mu.Lock()
	defer hub.mu.Unlock()
	if len(hub.topics) != 0 {
		t.Errorf("%d topics have subscribers", len(hub.topics))
	}
}

func TestSlowReaderHoldsUpNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hub, _ := w.hub(t, never)
	log := w.writer(t)
	log.Say("", "first")
	slow, quick := follow(t.Context(), hub, w.run.ID, 0), follow(t.Context(), hub, w.run.ID, 0)
	wantNumbers(t, slow.take(t, 1), 1)
	wantNumbers(t, quick.take(t, 1), 1)
	const flood = 5000
	for i := range flood {
		log.Say("", "%d", i)
	}
	flush(t, log) // the slow one has not taken a page since
	wantNumbers(t, quick.take(t, flood), 2)
	w.finish(t)
	if err := quick.end(t); err != nil {
		t.Errorf("the quick reader ends with %v", err)
	}
	wantNumbers(t, slow.take(t, flood), 2)
	if err := slow.end(t); err != nil {
		t.Errorf("the slow reader ends with %v", err)
	}
}

func TestHubListensAgainAfterItsConnectionWasCut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hub, _ := w.hub(t, never)
	log := w.writer(t)
	r := follow(t.Context(), hub, w.run.ID, 0)
	for round := range 5 {
		var cut int
		if err := w.Pool().QueryRow(t.Context(), "SELECT count(pg_terminate_backend(pid)) "+listening).Scan(&cut); err != nil || cut != 1 {
			t.Fatalf("%d connections were cut (%v)", cut, err)
		}
		log.Say("", "written while nobody listens")
		flush(t, log)
		wantNumbers(t, r.take(t, 1), int64(2*round+1))
		w.awaitListener(t)
		log.Say("", "heard again")
		wantNumbers(t, r.take(t, 1), int64(2*round+2))
	}
}

// Without notifications, as behind a pooler that swallows them, readers look by
// themselves now and then.
func TestTailWithoutNotifications(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hub, _ := w.hub(t, 10*time.Millisecond)
	r := follow(t.Context(), hub, w.run.ID, 0)
	if _, err := w.Pool().Exec(t.Context(), "INSERT INTO run_log_lines (run_id, seq, at, stream, step, text) VALUES ($1, 1, now(), 'system', '', 'silent')", w.run.ID); err != nil {
		t.Fatal(err)
	}
	if got := texts(r.take(t, 1)); !slices.Equal(got, []string{"silent"}) {
		t.Errorf("%q came", got)
	}
}

func TestSubscribersHearOfTheirRunAndOfRoutes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hub, _ := w.hub(t, never)
	ours, leave := hub.Subscribe(w.run.ID)
	others, leaveOthers := hub.Subscribe("00000000-0000-0000-0000-000000000000")
	defer leaveOthers()
	routes, leaveRoutes := hub.SubscribeRoutes()
	hear := func(what string, c <-chan struct{}) {
		t.Helper()
		select {
		case <-c:
		case <-time.After(30 * time.Second):
			t.Fatalf("%s is not heard of", what)
		}
	}
	if _, err := w.StartStep(t.Context(), w.lease, "install", false); err != nil {
		t.Fatal(err)
	}
	hear("a step", ours)
	if err := w.DeleteProjectRoutes(t.Context(), w.run.ProjectID); err != nil {
		t.Fatal(err)
	}
	hear("a route", routes)
	select { // one connection carries both, in order
	case <-others:
		t.Error("another run's subscriber was woken")
	default:
	}
	leave()
	leaveRoutes()
	hub.wakeAll()
	select {
	case <-ours:
		t.Error("who has left was woken")
	case <-routes:
		t.Error("who has left was woken")
	default:
	}
}
