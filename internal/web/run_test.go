package web_test

import (
	"bufio"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/PuerkitoBio/goquery"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/runlog"
	"github.com/coderunner/coderunner/internal/web"
	"github.com/coderunner/coderunner/views"
)

// event is one server-sent event; a comment has name ":".
type event struct {
	name, id, data, retry string
	size                  int // of the whole of it, in bytes
}

// stream is an open event stream.
type stream struct {
	t    *testing.T
	body *http.Response
	in   *bufio.Reader
}

func (b browser) stream(path string, headers ...string) *stream {
	b.w.Helper()
	r, err := http.NewRequestWithContext(b.w.Context(), http.MethodGet, b.w.server.URL+path, nil)
	if err != nil {
		b.w.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := b.client.Do(r)
	if err != nil {
		b.w.Fatal(err)
	}
	b.w.Cleanup(func() { response.Body.Close() })
	if response.StatusCode != http.StatusOK || !strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream") {
		b.w.Fatalf("%s: status %d, %s", path, response.StatusCode, response.Header.Get("Content-Type"))
	}
	return &stream{t: b.w.T, body: response, in: bufio.NewReader(response.Body)}
}

// next reads one event; ok is false when the stream has ended.
func (s *stream) next() (e event, ok bool) {
	s.t.Helper()
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			return e, false
		}
		e.size += len(line)
		line = strings.TrimSuffix(line, "\n")
		field, value, _ := strings.Cut(line, ": ")
		switch {
		case line == "":
			return e, true
		case strings.HasPrefix(line, ": "):
			e.name = ":"
		case field == "event":
			e.name = value
		case field == "retry":
			e.retry = value
		case field == "id":
			e.id = value
		case field == "data":
			e.data += value + "\n"
		}
	}
}

// until reads events up to one of that name.
func (s *stream) until(name string) (event, []event) {
	s.t.Helper()
	var before []event
	for {
		e, ok := s.next()
		if !ok {
			s.t.Fatalf("the stream ended before a %q event", name)
		}
		if e.name == name {
			return e, before
		}
		before = append(before, e)
	}
}

// lineNumbers are those of the log lines in a piece of HTML.
func lineNumbers(t *testing.T, html string) (numbers []int) {
	t.Helper()
	page := must(goquery.NewDocumentFromReader(strings.NewReader(html)))(t)
	page.Find(".ln").Each(func(_ int, line *goquery.Selection) {
		id, _ := line.Attr("id")
		numbers = append(numbers, must(strconv.Atoi(strings.TrimPrefix(id, "L")))(t))
	})
	return numbers
}

func texts(from, to int) (lines []string) {
	for i := from; i <= to; i++ {
		lines = append(lines, "line "+strconv.Itoa(i))
	}
	return lines
}

func numbers(from, to int) (all []int) {
	for i := from; i <= to; i++ {
		all = append(all, i)
	}
	return all
}

func TestStreamShowsEachLineOnceAcrossReconnects(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, run, lease := w.deployed(w.ada, "shop")
	w.say(lease, 1, texts(1, views.LogFirst)...)
	page := w.ada.get("/runs/" + run.ID).want(http.StatusOK)
	seen := lineNumbers(t, page.body)
	connect, _ := page.page().Find("#log-live").Attr("hx-sse:connect")
	if connect != "/runs/"+run.ID+"/events?after=500" {
		t.Fatalf("the page connects to %q", connect)
	}
	w.say(lease, views.LogFirst+1, texts(views.LogFirst+1, 1300)...)
	s := w.ada.stream(connect)
	first, before := s.until("lines")
	if len(before) != 1 || before[0].name != "began" || before[0].id != "500" || before[0].size < 2<<10 || before[0].retry != "1000" {
		t.Errorf("before the first lines came %+v, want more than a proxy holds back", before)
	}
	seen = append(seen, lineNumbers(t, first.data)...)
	if first.id != strconv.Itoa(seen[len(seen)-1]) {
		t.Errorf("the event's id is %s, its last line %d", first.id, seen[len(seen)-1])
	}
	s.body.Body.Close() // the connection breaks; what came after the first event is lost

	s = w.ada.stream(connect, "Last-Event-ID", first.id)
	w.say(lease, 1301, texts(1301, 1310)...)
	for last := 0; last < 1310; {
		e, _ := s.until("lines")
		got := lineNumbers(t, e.data)
		seen, last = append(seen, got...), got[len(got)-1]
	}
	w.say(lease, 1311, "line 1311")
	w.finish(lease, coderunner.RunSucceeded, nil)
	end, before := s.until("end")
	if strings.TrimSpace(end.data) != "1311" {
		t.Errorf("the end is that of line %q", end.data)
	}
	state := ""
	for _, e := range before {
		seen = append(seen, lineNumbers(t, e.data)...)
		if e.name == "" {
			state = e.data
		}
	}
	if _, more := s.next(); more {
		t.Error("the stream goes on after its end")
	}
	if !slices.Equal(seen, numbers(1, 1311)) {
		t.Errorf("%d lines seen, want each of 1311 once and in order", len(seen))
	}
	if !strings.Contains(state, `data-state="SUCCEEDED"`) || !strings.Contains(state, "<title>") {
		t.Errorf("before the end it is not said how it ended: %.300s", state)
	}
	// Who comes after the end gets the end at once.
	_, before = w.ada.stream("/runs/" + run.ID + "/events?after=1311").until("end")
	if len(before) != 2 || before[1].name != "" {
		t.Errorf("%d events before the end, want how it ended", len(before))
	}
}

func TestStreamTellsOfSteps(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *web.Services) { s.KeepAlive = 20 * time.Millisecond })
	_, run, lease := w.deployed(w.ada, "shop")
	s := w.ada.stream("/runs/" + run.ID + "/events")
	e, _ := s.until("")
	if page := must(goquery.NewDocumentFromReader(strings.NewReader(e.data)))(t); page.Find("#run-steps[hx-swap-oob] .step").Length() != 2 {
		t.Errorf("the first event has no steps: %.300s", e.data)
	}
	if _, err := w.store.StartStep(t.Context(), lease, "install", false); err != nil {
		t.Fatal(err)
	}
	e, _ = s.until("")
	if !strings.Contains(e.data, "In progress") || e.id != "" {
		t.Errorf("the step's begin is not told, or moves the cursor to %q", e.id)
	}
	// Silence is filled with comments and nothing is told twice.
	for range 5 {
		if e, ok := s.next(); !ok || e.name != ":" {
			t.Fatalf("got event %+v (%v) while nothing changed, want comments", e, ok)
		}
	}
	if _, err := w.store.RequestCancel(t.Context(), run.ID); err != nil {
		t.Fatal(err)
	}
	e, _ = s.until("")
	if !strings.Contains(e.data, "Cancelling") {
		t.Errorf("cancelling is not told: %.300s", e.data)
	}
}

func TestStreamHeadersAndEndOfServer(t *testing.T) {
	t.Parallel()
	hub := &stoppedHub{closed: make(chan struct{})}
	w := newWorld(t, func(s *web.Services) { s.Hub = hub })
	_, run, _ := w.deployed(w.ada, "shop")
	s := w.ada.stream("/runs/" + run.ID + "/events")
	if s.body.Header.Get("X-Accel-Buffering") != "no" || !strings.Contains(s.body.Header.Get("Cache-Control"), "no-store") {
		t.Errorf("headers %v", s.body.Header)
	}
	s.until("")
	close(hub.closed)
	if e, ok := s.next(); ok {
		t.Errorf("got event %+v from a server that stops, want the end of the stream", e)
	}
}

func TestStreamEndsWithItsSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *web.Services) { s.KeepAlive = 20 * time.Millisecond })
	_, run, _ := w.deployed(w.ada, "shop")
	s := w.ada.stream("/runs/" + run.ID + "/events")
	s.until(":")
	if err := w.store.RevokeUser(t.Context(), w.ada.user.ID); err != nil {
		t.Fatal(err)
	}
	for { // the test's own time limit ends a stream that does not
		if _, ok := s.next(); !ok {
			break
		}
	}
	w.ada.get("/runs/"+run.ID+"/events", "Accept", "text/event-stream").want(http.StatusUnauthorized)
}

// Somebody with a page open in every tab gets one more that is live, and the oldest is
// told. The others go on.
func TestTheOldestOfAUsersPagesMakesRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, run, lease := w.deployed(w.ada, "shop")
	path := "/runs/" + run.ID + "/events"
	logs := w.ada.stream("/projects/" + p.ID + "/logs/events")
	if e, _ := logs.next(); e.name != "began" || e.size < 2<<10 || e.retry != "1000" {
		t.Errorf("the stream begins with %+v", e)
	}
	var runs []*stream
	for range coderunner.MaxStreams {
		s := w.ada.stream(path)
		s.until("began")
		runs = append(runs, s)
	}
	logs.until("crowded")
	if e, more := logs.next(); more {
		t.Errorf("after its last event comes %+v", e)
	}
	w.say(lease, 1, "still live")
	for _, s := range runs {
		s.until("lines")
	}
	w.ada.do(http.MethodHead, path, nil).want(http.StatusOK) // takes no place
	w.ada.stream(path).until("began")
	runs[0].until("crowded")
	w.finish(lease, coderunner.RunSucceeded, nil)
	for _, s := range runs[1:] {
		s.until("end")
	}
}

// stoppedHub is a hub of a server that is about to stop.
type stoppedHub struct {
	*runlog.Hub
	closed chan struct{}
}

func (h *stoppedHub) Subscribe(string) (<-chan struct{}, func()) {
	return make(chan struct{}), func() {}
}
func (h *stoppedHub) Closed() <-chan struct{} { return h.closed }

func TestSlowReaderOfTheStreamIsDropped(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *web.Services) { s.WriteTimeout = 100 * time.Millisecond })
	_, run, lease := w.deployed(w.ada, "shop")
	long := strings.Repeat("x", 16<<10)
	for i := range 32 { // 16 MiB: more than the sockets' buffers hold
		w.say(lease, int64(i)*32+1, slices.Repeat([]string{long}, 32)...)
	}
	s := w.ada.stream("/runs/" + run.ID + "/events")
	// Nothing is read until the server has given up, which it logs.
	deadline := time.After(20 * time.Second)
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for !strings.Contains(w.log.String(), "a stream broke off") {
		select {
		case <-poll.C:
		case <-deadline:
			t.Fatal("a reader that does not read is still waited for")
		}
	}
	s.body.Body.Close()
	w.ada.get("/runs/" + run.ID).want(http.StatusOK)
}

func TestRunPageShowsHowItEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, run, lease := w.deployed(w.ada, "shop")
	w.say(lease, 1, "\x1b[31mboom\x1b[0m")
	w.ada.get("/runs/"+run.ID).want(http.StatusOK).wantText(".run-bar", "Cancel").wantText("#log", "boom")
	w.finish(lease, coderunner.RunFailed, &coderunner.Failure{ID: "start.exited", Blame: coderunner.Theirs, Title: "The app ended.", Detail: "It printed an error.", Next: "Look at line 1.", Lines: []string{"boom"}})
	a := w.ada.get("/runs/"+run.ID).want(http.StatusOK).wantText(".outcome-bad", "The app ended.").wantText(".outcome-bad", "Look at line 1.").wantText(".evidence", "boom")
	if a.page().Find("#log-live").Length() != 0 || a.page().Find("form[action$='/cancel']").Length() != 0 {
		t.Error("an ended run can be followed or cancelled")
	}
	w.ada.post("/runs/"+run.ID+"/cancel", nil).wantRedirect("/runs/" + run.ID)
}

// What has taken over is running; a deploy before that only has succeeded.
func TestRunPageOfAReplacedDeploy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, run, lease := w.deployed(w.ada, "shop")
	ctx := t.Context()
	for _, status := range []coderunner.DeploymentStatus{coderunner.Provisioning, coderunner.Building} {
		if err := w.store.SetDeploymentStatus(ctx, run.DeploymentID, status); err != nil {
			t.Fatal(err)
		}
	}
	route := coderunner.Route{Host: "shop.localhost", ProjectID: p.ID, DeploymentID: run.DeploymentID, SandboxID: "app-1", Target: "10.0.0.2:3000"}
	if err := w.store.MoveRoute(ctx, route, "http://shop.localhost:8080"); err != nil {
		t.Fatal(err)
	}
	if err := w.store.Release(ctx, must(w.store.DeploymentByID(ctx, run.DeploymentID))(t), "app-1", nil); err != nil {
		t.Fatal(err)
	}
	w.finish(lease, coderunner.RunSucceeded, nil)
	w.ada.get("/runs/"+run.ID).wantText("#run-bar .state", "Running")
	if _, err := w.store.Pool().Exec(ctx, "UPDATE deployments SET status = 'STOPPED', public_url = NULL WHERE id = $1", run.DeploymentID); err != nil {
		t.Fatal(err)
	}
	w.ada.get("/runs/"+run.ID).wantText("#run-bar .state", "Succeeded")
}

func TestCancel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, run, _ := w.deployed(w.ada, "shop")
	w.engine.refuse(coderunner.Errorf(coderunner.Conflict, "A destroy cannot be cancelled."))
	w.ada.post("/runs/"+run.ID+"/cancel", nil).want(http.StatusConflict).wantText("main", "cannot be cancelled")
	w.ada.post("/runs/"+run.ID+"/cancel", nil).wantRedirect("/runs/" + run.ID)
	if after := must(w.store.RunByID(t.Context(), run.ID))(t); after.State != coderunner.RunCancelling {
		t.Errorf("the run is %s", after.State)
	}
	// What cannot be cancelled has no button for that.
	p, _, done := w.deployed(w.ada, "gone")
	w.finish(done, coderunner.RunSucceeded, nil)
	destroy := must(w.engine.Destroy(t.Context(), w.ada.user.ID, p.ID, "gone"))(t)
	if a := w.ada.get("/runs/"+destroy.ID).wantText("#run-bar", "cannot be cancelled"); a.page().Find("#run-cancel").Length() != 0 {
		t.Error("a destroy has a button to cancel it")
	}
	// A run that ends while it is being cancelled is simply shown.
	_, late, lease := w.deployed(w.ada, "book")
	w.engine.begin = func() { w.finish(lease, coderunner.RunSucceeded, nil) }
	w.ada.post("/runs/"+late.ID+"/cancel", nil).wantRedirect("/runs/" + late.ID)
}

func TestLogInPieces(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, run, lease := w.deployed(w.ada, "shop")
	const all = views.LogWindow + views.LogFirst + 100
	w.say(lease, 1, texts(1, all)...)
	page := w.ada.get("/runs/" + run.ID).want(http.StatusOK)
	if got := lineNumbers(t, page.body); !slices.Equal(got, numbers(all-views.LogFirst+1, all)) {
		t.Errorf("the page has %d lines, want the newest %d", len(got), views.LogFirst)
	}
	// Each piece of earlier lines ends where the last began, and brings the button for the next.
	for to := all - views.LogFirst; to > 0; to -= views.LogWindow {
		earlier, _ := page.page().Find("#log-earlier").Attr("hx-get")
		page = w.ada.get(earlier, "HX-Request", "true").want(http.StatusOK)
		if got := lineNumbers(t, page.body); !slices.Equal(got, numbers(max(1, to-views.LogWindow+1), to)) || strings.Contains(page.body, "<html") {
			t.Errorf("earlier lines up to %d: %d of them, in %.100s", to, len(got), page.body)
		}
	}
	if strings.Contains(page.body, "log-earlier") {
		t.Error("there are lines before the first")
	}
	// The polled update brings no state while there are more lines: a page that sees the end asks no more.
	w.finish(lease, coderunner.RunSucceeded, nil)
	a := w.ada.get("/runs/"+run.ID+"/log?after=0", "HX-Request", "true").want(http.StatusOK)
	if got := lineNumbers(t, a.body); !slices.Equal(got, numbers(1, views.LogWindow)) || strings.Contains(a.body, "run-bar") {
		t.Errorf("%d lines, or the state before the last line", len(got))
	}
	a = w.ada.get(fmt.Sprintf("/runs/%s/log?after=%d", run.ID, views.LogWindow), "HX-Request", "true").want(http.StatusOK)
	if got := lineNumbers(t, a.body); !slices.Equal(got, numbers(views.LogWindow+1, all)) || !strings.Contains(a.body, `data-state="SUCCEEDED"`) {
		t.Errorf("%d lines, or no state", len(got))
	}
}

func TestLogAsText(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, run, lease := w.deployed(w.ada, "shop")
	w.say(lease, 1, "\x1b[1;31mred\x1b[0m & <b>plain</b>")
	w.say(lease, 2, texts(2, 4500)...)
	a := w.ada.get("/runs/" + run.ID + "/log.txt").want(http.StatusOK)
	if kind := a.header.Get("Content-Type"); kind != "text/plain; charset=utf-8" {
		t.Errorf("content type %q", kind)
	}
	lines := strings.Split(strings.TrimSuffix(a.body, "\n"), "\n")
	if len(lines) != 4500 || !strings.HasSuffix(lines[0], " [install] red & <b>plain</b>") || !strings.HasSuffix(lines[4499], " line 4500") {
		t.Errorf("%d lines, the first %q, the last %q", len(lines), lines[0], lines[len(lines)-1])
	}
	if !strings.HasPrefix(a.header.Get("Content-Disposition"), "attachment") {
		t.Error("the log is shown instead of saved")
	}
}
