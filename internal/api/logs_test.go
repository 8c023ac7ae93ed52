package api_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/api"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

// printer adds to a project's runtime log, as the sandbox of one deployment.
type printer struct {
	w      *world
	cursor store.RuntimeCursor
}

func (w *world) printer(d api.Deployment) *printer {
	w.Helper()
	id := "app-" + d.ID
	if err := w.store.ExpectSandbox(w.Context(), coderunner.SandboxRecord{Purpose: coderunner.ForApp, ID: id, Provider: "test", ProjectID: d.ProjectID, DeploymentID: d.ID, Appliance: "nodejs-18"}); err != nil {
		w.Fatal(err)
	}
	cursor, ours, err := w.store.ClaimRuntimeCursor(w.Context(), id, "test", false)
	if err != nil || !ours {
		w.Fatalf("claimed: %v, %v", ours, err)
	}
	return &printer{w, cursor}
}

func (p *printer) print(kind coderunner.Stream, at time.Time, texts ...string) {
	p.w.Helper()
	var lines []coderunner.RuntimeLine
	for _, text := range texts {
		lines = append(lines, coderunner.RuntimeLine{At: at, Stream: kind, Text: text})
	}
	if err := p.w.store.AppendRuntimeLog(p.w.Context(), p.cursor, []byte("{}"), lines); err != nil {
		p.w.Fatal(err)
	}
	p.cursor.Version++
}

// runtimeLines reads lines of JSON.
func runtimeLines(t *testing.T, body string) (lines []api.RuntimeLine) {
	t.Helper()
	for text := range strings.Lines(body) {
		var l api.RuntimeLine
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
	}
	return lines
}

func TestRuntimeLogIsLinesOfJSON(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small())
	p, started, _ := w.ada.deployed("shop")
	path := "/projects/" + p.ID + "/logs"
	if a := w.ada.get(path).want(http.StatusOK); a.body != "" || a.header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("the empty log is %q of %s", a.body, a.header.Get("Content-Type"))
	}
	app := w.printer(started.Deployment)
	old := time.Now().Add(-3 * time.Hour).UTC()
	app.print(coderunner.Stderr, old, "\x1b[31mred\x1b[0m <b>\"plain\"</b>")
	app.print(coderunner.Stdout, time.Now(), texts(2, 1000)...)
	for query, want := range map[string][]int{
		"": numbers(1, 1000), "?after=400": numbers(401, 1000), "?after=1000": nil, "?stream=stderr": {1}, "?deployment=1&after=998": {999, 1000},
		"?until=" + old.Add(time.Hour).Format(time.RFC3339): {1}, "?since=" + old.Add(time.Hour).Format(time.RFC3339): numbers(2, 1000),
		"?q=LINE+77": {77, 770, 771, 772, 773, 774, 775, 776, 777, 778, 779}, "?q=red+%3Cb": {1}, "?q=line+77&before=772": {77, 770, 771},
	} {
		a := w.ada.get(path + query).want(http.StatusOK)
		var got []int
		for _, l := range runtimeLines(t, a.body) {
			got = append(got, int(l.Seq))
			if l.DeploymentID != started.Deployment.ID || l.At.IsZero() {
				t.Fatalf("a line is %+v", l)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q answers %v, want %v", query, got, want)
		}
		if search := strings.Contains(query, "q="); search && a.header.Get("X-Searched-From") != "1" {
			t.Errorf("%q has looked from %q on", query, a.header.Get("X-Searched-From"))
		}
	}
	for _, wrong := range []string{"?after=-1", "?stream=stdin", "?since=yesterday", "?deployment=x", "?q=" + url.QueryEscape(strings.Repeat("x", 401))} {
		w.ada.get(path+wrong).wantProblem(http.StatusUnprocessableEntity, coderunner.Invalid)
	}
	w.ada.get(path+"?deployment=2").wantProblem(http.StatusNotFound, coderunner.NotFound)
}

func TestRunLogIsSearched(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small())
	_, started, lease := w.ada.deployed("shop")
	w.say(lease, 1, texts(1, 1500)...)
	a := w.ada.get("/runs/" + started.Run.ID + "/log?q=LINE").want(http.StatusOK)
	if n := strings.Count(a.body, "\n"); n != 1000 || a.header.Get("X-Searched-From") != "501" {
		t.Errorf("%d lines are found, from %q on", n, a.header.Get("X-Searched-From"))
	}
	a = w.ada.get("/runs/" + started.Run.ID + "/log?q=LINE&before=501").want(http.StatusOK)
	if n := strings.Count(a.body, "\n"); n != 500 || a.header.Get("X-Searched-From") != "1" {
		t.Errorf("%d more lines are found, from %q on", n, a.header.Get("X-Searched-From"))
	}
}

func TestRuntimeEventsShowEachLineOnceAcrossReconnects(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small(), func(s *api.Services) { s.KeepAlive = 20 * time.Millisecond })
	p, started, _ := w.ada.deployed("shop")
	app := w.printer(started.Deployment)
	app.print(coderunner.Stdout, time.Now(), texts(1, 1200)...)
	path := "/projects/" + p.ID + "/logs/events"
	s := w.ada.stream(path + "?after=0")
	var seen []int
	last := ""
	read := func(until int) {
		for len(seen) == 0 || seen[len(seen)-1] < until {
			e, _ := s.until("log")
			var l api.RuntimeLine
			if err := json.Unmarshal([]byte(e.data), &l); err != nil || strconv.FormatInt(l.Seq, 10) != e.id {
				t.Fatalf("an event is %+v (%v)", e, err)
			}
			seen, last = append(seen, int(l.Seq)), e.id
		}
	}
	read(450)
	s.response.Body.Close() // the connection breaks; what came after is lost
	s = w.ada.stream(path+"?after=3", "Last-Event-ID", last)
	read(1200)
	fresh := w.ada.stream(path) // from now on
	fresh.until(":")
	for i := 1201; i <= 1250; i++ {
		app.print(coderunner.Stdout, time.Now(), texts(i, i)...)
	}
	read(1250)
	if !slices.Equal(seen, numbers(1, 1250)) {
		t.Errorf("%d lines seen, want each of 1250 once and in order", len(seen))
	}
	if e, _ := fresh.until("log"); e.id != "1201" {
		t.Errorf("a stream from now on begins with line %s", e.id)
	}
	app.print(coderunner.Stderr, time.Now(), "boom\n\nevent: end\ndata: {}\n\n") // a line cannot begin an event of its own
	if e, _ := w.ada.stream(path + "?after=0&stream=stderr").until("log"); e.id != "1251" {
		t.Errorf("the filtered stream begins with line %s", e.id)
	}
	w.ada.get(path, "Last-Event-ID", "x").wantProblem(http.StatusUnprocessableEntity, coderunner.Invalid)
	w.stopHub()
	for {
		if _, ok := s.next(); !ok {
			break
		}
	}
}
