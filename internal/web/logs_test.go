package web_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
	"github.com/coderunner/coderunner/internal/web"
	"github.com/coderunner/coderunner/views"
)

// printer adds to a project's runtime log, as the sandbox of one deployment.
type printer struct {
	w      *world
	cursor store.RuntimeCursor
}

func (w *world) printer(deploymentID string) *printer {
	w.Helper()
	d := must(w.store.DeploymentByID(w.Context(), deploymentID))(w)
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

func TestLogsWithoutALine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, _, _ := w.deployed(w.ada, "shop")
	page := w.ada.get("/projects/"+p.ID+"/logs").want(http.StatusOK).wantText("nav.tabbar [aria-current]", "Logs").wantText("#log-end", "Waiting for the next line…")
	if connect, _ := page.page().Find("#log-live").Attr("hx-sse:connect"); connect != "/projects/"+p.ID+"/logs/events?after=0" {
		t.Errorf("the page connects to %q", connect)
	}
	for _, path := range []string{"/logs", "/logs/lines?after=0", "/logs/events", "/logs.txt", "/logs.ndjson"} {
		w.bob.get("/projects/" + p.ID + path).want(http.StatusNotFound)
	}
	for _, wrong := range []string{"?stream=stdin", "?range=1y", "?range=custom&from=yesterday"} {
		w.ada.get("/projects/" + p.ID + "/logs" + wrong).want(http.StatusUnprocessableEntity)
	}
	w.ada.get("/projects/" + p.ID + "/logs?deployment=7").want(http.StatusNotFound)
}

func TestLogsStreamShowsEachLineOnceAcrossReconnects(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *web.Services) { s.KeepAlive = 20 * time.Millisecond })
	p, run, _ := w.deployed(w.ada, "shop")
	app := w.printer(run.DeploymentID)
	app.print(coderunner.Stdout, time.Now(), texts(1, 700)...)
	page := w.ada.get("/projects/" + p.ID + "/logs").want(http.StatusOK)
	seen := lineNumbers(t, page.body)
	if !slices.Equal(seen, numbers(201, 700)) {
		t.Fatalf("the page begins with %d lines", len(seen))
	}
	earlier, _ := page.page().Find("#log-earlier").Attr("hx-get")
	seen = append(lineNumbers(t, w.ada.get(earlier, "HX-Request", "true").want(http.StatusOK).body), seen...)
	connect, _ := page.page().Find("#log-live").Attr("hx-sse:connect")
	app.print(coderunner.Stdout, time.Now(), texts(701, 1900)...)
	s := w.ada.stream(connect)
	first, _ := s.until("lines")
	seen = append(seen, lineNumbers(t, first.data)...)
	if first.id != strconv.Itoa(seen[len(seen)-1]) {
		t.Errorf("the event's id is %s, its last line %d", first.id, seen[len(seen)-1])
	}
	s.body.Body.Close()

	s = w.ada.stream(connect, "Last-Event-ID", first.id)
	late := w.ada.stream(connect, "Last-Event-ID", "1900")
	s.until("began")
	late.until("began")
	for i := 1901; i <= 1950; i++ {
		app.print(coderunner.Stdout, time.Now(), texts(i, i)...)
	}
	for last := 0; last < 1950; {
		e, _ := s.until("lines")
		got := lineNumbers(t, e.data)
		seen, last = append(seen, got...), got[len(got)-1]
	}
	if !slices.Equal(seen, numbers(1, 1950)) {
		t.Errorf("%d lines seen, want each of 1950 once and in order", len(seen))
	}
	var both []int
	for len(both) < 50 {
		e, _ := late.until("lines")
		both = append(both, lineNumbers(t, e.data)...)
	}
	if !slices.Equal(both, numbers(1901, 1950)) {
		t.Errorf("another reader saw %v", both)
	}
	// The log goes on as long as the session does.
	if err := w.store.RevokeUser(t.Context(), w.ada.user.ID); err != nil {
		t.Fatal(err)
	}
	for { // the test's own time limit ends a stream that does not
		if _, ok := s.next(); !ok {
			break
		}
	}
}

func TestLogsAreFiltered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, run, lease := w.deployed(w.ada, "shop")
	one := w.printer(run.DeploymentID)
	w.finish(lease, coderunner.RunSucceeded, nil)
	bundle := must(w.store.LatestBundle(t.Context(), w.ada.user.ID, p.ID))(t)
	d := must(w.store.CreateDeployment(t.Context(), store.NewDeployment{ProjectID: p.ID, BundleID: bundle.ID, Plan: bundle.Plan}))(t)
	two := w.printer(d.ID)
	old := time.Now().Add(-3 * time.Hour)
	one.print(coderunner.System, old, "Deployment #1 started.")
	one.print(coderunner.Stdout, old, "first version")
	one.print(coderunner.Stderr, old, "an error of the first version")
	two.print(coderunner.System, time.Now(), "Deployment #2 started.")
	two.print(coderunner.Stdout, time.Now(), "second version")
	path := "/projects/" + p.ID + "/logs"
	at := func(when time.Time) string { return when.UTC().Format("2006-01-02T15:04") }
	for query, want := range map[string][]int{
		"":                              {1, 2, 3, 4, 5},
		"?deployment=1":                 {1, 2, 3},
		"?deployment=2&stream=stdout":   {5},
		"?stream=stderr":                {3},
		"?stream=system":                {1, 4},
		"?range=1h":                     {4, 5},
		"?range=24h&deployment=1":       {1, 2, 3},
		"?range=custom&from=" + at(old): {1, 2, 3, 4, 5},
		"?range=custom&to=" + at(old.Add(time.Hour)):                                            {1, 2, 3},
		"?range=custom&from=" + at(old.Add(time.Hour)) + "&to=" + at(time.Now().Add(time.Hour)): {4, 5},
	} {
		a := w.ada.get(path + query).want(http.StatusOK)
		if got := lineNumbers(t, a.body); !slices.Equal(got, want) {
			t.Errorf("%s shows %v, want %v", query, got, want)
		}
		page := a.page()
		for extension, kind := range map[string]string{"txt": "text/plain; charset=utf-8", "ndjson": "application/x-ndjson"} {
			link, found := page.Find(`.log-tools a[href*="/logs.` + extension + `"]`).Attr("href")
			file := w.ada.get(link).want(http.StatusOK)
			if lines := strings.Count(file.body, "\n"); !found || lines != len(want) || file.header.Get("Content-Type") != kind {
				t.Errorf("%s: %q has %d lines of %s", query, link, lines, file.header.Get("Content-Type"))
			}
		}
	}
	page := w.ada.get(path+"?deployment=1").want(http.StatusOK).wantText(".seg-head", "Deployment #1").page()
	if page.Find("#log-live[data-gaps]").Length() != 1 || page.Find("select[name=deployment] option[selected]").AttrOr("value", "") != "1" {
		t.Error("the page does not say that it is filtered")
	}
	if w.ada.get(path+"?range=custom&to="+at(old)).want(http.StatusOK).page().Find("#log-live").Length() != 0 {
		t.Error("the past is followed")
	}
	// What is followed is filtered as well.
	connect, _ := page.Find("#log-live").Attr("hx-sse:connect")
	s := w.ada.stream(connect)
	two.print(coderunner.Stdout, time.Now(), "not this")
	one.print(coderunner.Stdout, time.Now(), "but this")
	if e, _ := s.until("lines"); e.id != "7" || !slices.Equal(lineNumbers(t, e.data), []int{7}) {
		t.Errorf("the stream has %q", e.data)
	}
	var line struct {
		Seq, Deployment int
		Stream, Text    string
	}
	file := w.ada.get(path + ".ndjson?stream=stderr").want(http.StatusOK)
	if err := json.Unmarshal([]byte(file.body), &line); err != nil || line.Seq != 3 || line.Deployment != 1 || line.Stream != "stderr" || line.Text != "an error of the first version" {
		t.Errorf("a line is %q (%v)", file.body, err)
	}
	if text := w.ada.get(path + ".txt?stream=stderr").want(http.StatusOK).body; !strings.HasSuffix(text, " [#1] an error of the first version\n") {
		t.Errorf("a line is %q", text)
	}
}

func TestLogsAreSearchedOnTheServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, run, _ := w.deployed(w.ada, "shop")
	app := w.printer(run.DeploymentID)
	for i := range 10 {
		app.print(coderunner.Stdout, time.Now(), texts(i*100+1, i*100+100)...)
	}
	app.print(coderunner.Stderr, time.Now(), "100% of <b>Größe</b>", "\x1b[32mfet\x1b[0mched all", "a_b", "axb")
	path := "/projects/" + p.ID + "/logs"
	for text, want := range map[string][]string{
		"100%": {"1001"}, "GRÖSSE": nil, "größe": {"1001"}, "Fetched ALL": {"1002"}, "a_b": {"1003"}, "LINE 77": {"77", "770", "771", "772", "773", "774", "775", "776", "777", "778", "779"}, "nothing like it": nil,
	} {
		a := w.ada.get(path + "?q=" + strings.ReplaceAll(strings.ReplaceAll(text, "%", "%25"), " ", "+")).want(http.StatusOK)
		var got []string
		for _, link := range a.page().Find(".found-line a").EachIter() {
			href, _ := link.Attr("href")
			got = append(got, href[strings.Index(href, "#L")+2:])
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q is found in %v, want %v", text, got, want)
		}
	}
	w.ada.get(path+"?q=g%C3%B6").want(http.StatusOK).wantText(".log-found", "Nothing found for “gö”").wantText(".log-found", "Everything up to the beginning")
	a := w.ada.get(path+"?q=%3Cb%3E").want(http.StatusOK).wantText(".found-line mark", "<b>").wantText(".found-facts", "Deployment #1")
	link, _ := a.page().Find(".found-line a").Attr("href")
	around := w.ada.get(link).want(http.StatusOK)
	if got := lineNumbers(t, around.body); !slices.Equal(got, numbers(752, 1004)) || around.page().Find("#log-live").Length() != 0 {
		t.Errorf("around the line are %d lines", len(got))
	}
	// More than fits on a page: the search goes on from there.
	first := w.ada.get(path + "?q=line").want(http.StatusOK)
	older, _ := first.page().Find(".log-found > .btn").Attr("href")
	second := w.ada.get(older).want(http.StatusOK)
	if first.page().Find(".found-line").Length() != views.FoundLimit || !strings.Contains(second.text(".found-line"), "line 800") || strings.Contains(second.text(".found-line"), "line 801 ") {
		t.Errorf("%q goes on with %.200s", older, second.text(".found-line"))
	}
	// The same for a run's log.
	_, other, lease := w.deployed(w.ada, "book")
	w.say(lease, 1, texts(1, 3000)...)
	w.ada.get("/runs/"+other.ID+"?q=LINE+2999").want(http.StatusOK).wantText(".found-line mark", "line 2999").wantText(".found-facts", "Install dependencies")
	if file := w.ada.get("/runs/" + other.ID + "/log.ndjson").want(http.StatusOK); strings.Count(file.body, "\n") != 3000 || !strings.Contains(file.body, `"step":"install","text":"line 3000"`) {
		t.Errorf("the file has %d bytes", len(file.body))
	}
}

func TestLogsAroundALineGoOnBothWays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, run, _ := w.deployed(w.ada, "shop")
	w.printer(run.DeploymentID).print(coderunner.Stdout, time.Now(), texts(1, 2000)...)
	path := "/projects/" + p.ID + "/logs"
	page := w.ada.get(path + "?at=1000").want(http.StatusOK)
	if got := lineNumbers(t, page.body); !slices.Equal(got, numbers(751, 1250)) {
		t.Errorf("%d lines are shown", len(got))
	}
	later, _ := page.page().Find(".log-around a").First().Attr("href")
	if later != path+"?at=1250#L1250" {
		t.Errorf("later lines are at %q", later)
	}
	earlier, _ := page.page().Find("#log-earlier").Attr("hx-get")
	if earlier != path+"/lines?before=751" {
		t.Errorf("earlier lines are at %q", earlier)
	}
	if got := lineNumbers(t, w.ada.get(path+"/lines?after=1990").want(http.StatusOK).body); !slices.Equal(got, numbers(1991, 2000)) {
		t.Errorf("polled are %v", got)
	}
}
