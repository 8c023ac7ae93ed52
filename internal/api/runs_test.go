package api_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/api"
	"github.com/coderunner/coderunner/internal/coderunner"
)

// event is one server-sent event; a comment has the name ":".
type event struct {
	name, id, data, retry string
	size                  int // of the whole of it, in bytes
}

// stream reads the events of an open answer.
type stream struct {
	t        *testing.T
	response *http.Response
	in       *bufio.Reader
}

func (p program) stream(path string, headers ...string) *stream {
	p.w.Helper()
	response := p.open("GET", path, nil, headers...)
	p.w.Cleanup(func() { response.Body.Close() })
	if response.StatusCode != http.StatusOK || !strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream") {
		p.w.Fatalf("%s: status %d, type %q", path, response.StatusCode, response.Header.Get("Content-Type"))
	}
	return &stream{t: p.w.T, response: response, in: bufio.NewReader(response.Body)}
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
			e.data += value
		}
	}
}

// until reads events up to one of that name and answers those before it as well.
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

// seqs are the numbers of the log events among them, each equal to its id.
func seqs(t *testing.T, events []event) (numbers []int) {
	t.Helper()
	for _, e := range events {
		if e.name != "log" {
			continue
		}
		var line api.LogLine
		if err := json.Unmarshal([]byte(e.data), &line); err != nil {
			t.Fatal(err)
		}
		if strconv.FormatInt(line.Seq, 10) != e.id {
			t.Errorf("line %d has the id %q", line.Seq, e.id)
		}
		numbers = append(numbers, int(line.Seq))
	}
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

func TestRunAndCancel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small())
	_, started, lease := w.ada.deployed("shop")
	if _, err := w.store.StartStep(t.Context(), lease, "install", false); err != nil {
		t.Fatal(err)
	}
	var run api.Run
	path := "/runs/" + started.Run.ID
	w.ada.get(path).want(http.StatusOK).into(&run)
	if run.State != "RUNNING" || run.DeploymentID != started.Deployment.ID || len(run.Steps) != 2 || run.Steps[0].State != "RUNNING" || run.Steps[0].Attempts != 1 || !slices.Equal(run.Steps[1].After, []string{"install"}) {
		t.Errorf("the run is %+v", run)
	}
	w.ada.send("POST", path+"/cancel", nil).want(http.StatusAccepted).into(&run)
	if run.State != "CANCELLING" || run.CancelRequestedAt == nil {
		t.Errorf("cancelled, the run is %+v", run)
	}
	w.finish(lease, coderunner.RunFailed, &coderunner.Failure{ID: "start.exited", Blame: coderunner.Theirs, Title: "The app ended.", Next: "Look at line 1."})
	w.ada.get(path).want(http.StatusOK).into(&run)
	if run.State != "FAILED" || run.Failure == nil || run.Failure.Title != "The app ended." || run.FinishedAt == nil {
		t.Errorf("ended, the run is %+v", run)
	}
	w.ada.send("POST", path+"/cancel", nil).wantProblem(http.StatusConflict, coderunner.Conflict)
}

// TestFixesOfAFailure deploy the same upload again, once.
func TestFixesOfAFailure(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small())
	_, started, lease := w.ada.deployed("shop")
	path := "/runs/" + started.Run.ID
	w.finish(lease, coderunner.RunFailed, &coderunner.Failure{ID: "health.wrong_port", Blame: coderunner.Theirs, Title: "It failed.", Lines: []string{"a"}, Shown: 1, Fixes: []coderunner.Fix{coderunner.NewFix(coderunner.FixPort, "4555")}})
	var run api.Run
	w.ada.get(path).want(http.StatusOK).into(&run)
	if f := run.Failure; f == nil || f.Shown != 1 || len(f.Fixes) != 1 || f.Fixes[0] != (coderunner.Fix{Kind: "port", Value: "4555", Label: "Use port 4555"}) {
		t.Errorf("the failure is %+v", run.Failure)
	}
	kind := func(k string) map[string]string { return map[string]string{"kind": k} }
	w.ada.send("POST", path+"/fix", kind("runtime")).wantProblem(http.StatusConflict, coderunner.Conflict)
	w.bob.send("POST", path+"/fix", kind("port")).wantProblem(http.StatusNotFound, coderunner.NotFound)
	var again api.StartedDeployment
	w.ada.send("POST", path+"/fix", kind("port")).want(http.StatusAccepted).into(&again)
	if again.Deployment.Plan.Port != 4555 || again.Run.ID == started.Run.ID {
		t.Errorf("begun: %+v", again)
	}
	w.ada.send("POST", path+"/fix", kind("port")).wantProblem(http.StatusConflict, coderunner.Conflict)
}

func TestLogIsLinesOfJSON(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small())
	_, started, lease := w.ada.deployed("shop")
	path := "/runs/" + started.Run.ID + "/log"
	if a := w.ada.get(path).want(http.StatusOK); a.body != "" {
		t.Errorf("the empty log is %q", a.body)
	}
	w.say(lease, 1, "\x1b[31mred\x1b[0m <b>\"plain\"</b> \u2028 end")
	w.say(lease, 2, texts(2, 1000)...)
	for after, want := range map[string]int{"": 1, "?after=0": 1, "?after=400": 401, "?after=1000": 1001, "?after=5000": 1001} {
		a := w.ada.get(path + after).want(http.StatusOK)
		if kind := a.header.Get("Content-Type"); kind != "application/x-ndjson" {
			t.Errorf("content type %q", kind)
		}
		seq := want
		for line := range strings.Lines(a.body) {
			var l api.LogLine
			if err := json.Unmarshal([]byte(line), &l); err != nil || l.Seq != int64(seq) || l.Step != "install" || l.Stream != "stdout" || l.At.IsZero() {
				t.Fatalf("%s: line %d is %q (%v)", after, seq, line, err)
			}
			if seq == 1 && l.Text != "\x1b[31mred\x1b[0m <b>\"plain\"</b> \u2028 end" {
				t.Errorf("the first line says %q", l.Text)
			}
			seq++
		}
		if seq != 1001 {
			t.Errorf("%q: the log ends before line %d, want all up to 1000", after, seq)
		}
	}
	for _, wrong := range []string{"?after=-1", "?after=x", "?after=99999999999999999999"} {
		w.ada.get(path+wrong).wantProblem(http.StatusUnprocessableEntity, coderunner.Invalid)
	}
}

func TestEventsShowEachLineOnceAcrossReconnects(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small())
	_, started, lease := w.ada.deployed("shop")
	path := "/runs/" + started.Run.ID + "/events"
	w.say(lease, 1, texts(1, 700)...)
	s := w.ada.stream(path)
	if s.response.Header.Get("X-Accel-Buffering") != "no" || !strings.Contains(s.response.Header.Get("Cache-Control"), "no-store") {
		t.Errorf("the headers are %v", s.response.Header)
	}
	if opening, ok := s.next(); !ok || opening.name != ":" || opening.size < 2<<10 || opening.retry != "1000" {
		t.Fatalf("the stream begins with %+v", opening)
	}
	if first, ok := s.next(); !ok || first.name != "run" || first.id != "" || !strings.Contains(first.data, `"state":"RUNNING"`) {
		t.Errorf("the first event is %+v, want the run", first)
	}
	var seen []event
	for len(seen) < 450 {
		e, _ := s.until("log")
		seen = append(seen, e)
	}
	s.response.Body.Close() // the connection breaks; what came after is lost

	s = w.ada.stream(path+"?after=3", "Last-Event-ID", seen[len(seen)-1].id)
	w.say(lease, 701, texts(701, 1300)...)
	for len(seen) < 1300 {
		e, _ := s.until("log")
		seen = append(seen, e)
	}
	w.say(lease, 1301, "boom\n\nevent: end\ndata: {}\n\n") // a line cannot begin an event of its own
	w.finish(lease, coderunner.RunFailed, &coderunner.Failure{ID: "start.exited", Blame: coderunner.Theirs, Title: "The app ended."})
	end, before := s.until("end")
	seen = append(seen, before...)
	if end.data != `{"state":"FAILED"}` || end.id != "" {
		t.Errorf("the end is %+v", end)
	}
	if last := before[len(before)-1]; last.name != "run" || !strings.Contains(last.data, "The app ended.") {
		t.Errorf("before the end it is not said how it ended, but %+v", last)
	}
	if _, more := s.next(); more {
		t.Error("the stream goes on after its end")
	}
	if got := seqs(t, seen); !slices.Equal(got, numbers(1, 1301)) {
		t.Errorf("%d lines were seen, want each of 1301 once and in order", len(got))
	}
	// Who comes after the end gets the end at once.
	if _, before = w.ada.stream(path + "?after=1301").until("end"); len(seqs(t, before)) != 0 || len(before) != 2 {
		t.Errorf("after the end came %+v", before)
	}
	w.ada.get(path, "Last-Event-ID", "x").wantProblem(http.StatusUnprocessableEntity, coderunner.Invalid)
}

func TestEventsTellOfStepsAndKeepAlive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small(), func(s *api.Services) { s.KeepAlive = 20 * time.Millisecond })
	_, started, lease := w.ada.deployed("shop")
	s := w.ada.stream("/runs/" + started.Run.ID + "/events")
	s.until("run")
	if _, err := w.store.StartStep(t.Context(), lease, "install", false); err != nil {
		t.Fatal(err)
	}
	if e, _ := s.until("run"); !strings.Contains(e.data, `"name":"install","title":"Install dependencies","state":"RUNNING"`) {
		t.Errorf("the step's begin is told as %s", e.data)
	}
	for range 5 {
		if e, ok := s.next(); !ok || e.name != ":" {
			t.Fatalf("%+v came (%v) while nothing changed, want comments", e, ok)
		}
	}
}

func TestEventsEndWithTheLogIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small(), func(s *api.Services) { s.KeepAlive = 20 * time.Millisecond })
	_, started, _ := w.ada.deployed("shop")
	s := w.ada.stream("/runs/" + started.Run.ID + "/events")
	s.until(":")
	program{w: w}.send("POST", "/auth/logout", map[string]string{"refresh_token": w.ada.refresh}).want(http.StatusNoContent)
	for { // the test's own time limit ends a stream that does not
		e, ok := s.next()
		if !ok {
			break
		}
		if e.name == "end" {
			t.Error("it is said that the run has ended")
		}
	}
}

func TestEventsEndWithTheServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small())
	_, started, _ := w.ada.deployed("shop")
	s := w.ada.stream("/runs/" + started.Run.ID + "/events")
	s.until("run")
	w.stopHub()
	if e, ok := s.next(); ok {
		t.Errorf("%+v came from a server that stops, want the end of the stream", e)
	}
}

func TestSlowReaderIsDroppedAndSlowsNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small(), func(s *api.Services) { s.WriteTimeout = 200 * time.Millisecond })
	_, started, lease := w.ada.deployed("shop")
	path := "/runs/" + started.Run.ID
	const lines = 1024
	long := strings.Repeat("x", 16<<10)
	for i := range lines / 32 { // 16 MiB: more than the sockets' buffers hold
		w.say(lease, int64(i)*32+1, slices.Repeat([]string{long}, 32)...)
	}
	w.finish(lease, coderunner.RunSucceeded, nil)
	slow := w.ada.stream(path + "/events") // of which nothing is read
	_, before := w.ada.stream(path + "/events").until("end")
	if got := seqs(t, before); !slices.Equal(got, numbers(1, lines)) {
		t.Errorf("beside a slow reader another saw %d lines, want %d", len(got), lines)
	}
	deadline, poll := time.After(30*time.Second), time.NewTicker(10*time.Millisecond)
	defer poll.Stop()
	for !strings.Contains(w.log.String(), "a stream broke off") {
		select {
		case <-poll.C:
		case <-deadline:
			t.Fatal("a reader that does not read is still waited for")
		}
	}
	slow.response.Body.Close()
}

// Somebody who has streams open everywhere gets one more, and the oldest ends with the
// reason. The others go on.
func TestTheOldestOfAUsersStreamsMakesRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small())
	p, started, lease := w.ada.deployed("shop")
	_, bobs, _ := w.bob.deployed("blog")
	path := "/runs/" + started.Run.ID + "/events"
	his := w.bob.stream("/runs/" + bobs.Run.ID + "/events")
	his.until("run")
	logs := w.ada.stream("/projects/" + p.ID + "/logs/events")
	logs.until(":")
	var runs []*stream
	for range coderunner.MaxStreams {
		s := w.ada.stream(path)
		s.until("run")
		runs = append(runs, s)
	}
	if e, _ := logs.until("crowded"); e.data != `{"limit":128}` {
		t.Errorf("the oldest ends with %+v", e)
	}
	if e, more := logs.next(); more {
		t.Errorf("after its last event comes %+v", e)
	}
	w.say(lease, 1, "still live")
	for _, s := range runs {
		s.until("log")
	}
	w.ada.stream(path).until("run")
	if _, before := runs[0].until("crowded"); len(seqs(t, before)) != 0 {
		t.Errorf("before it ended it sent %+v", before)
	}
	w.finish(lease, coderunner.RunSucceeded, nil)
	for _, s := range runs[1:] {
		s.until("end")
	}
	if _, err := w.store.RequestCancel(t.Context(), bobs.Run.ID); err != nil {
		t.Fatal(err)
	}
	his.until("run")
}
