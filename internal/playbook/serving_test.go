package playbook

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// TestFilesAreServed as they were uploaded: types, caching, hidden files, pages for what is not there.
func TestFilesAreServed(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	s, err := p.newSample(t.Context(), "site", map[string]string{
		"public/index.html": "<h1>home</h1>", "public/about.html": "about", "public/docs/index.html": "docs", "public/404.html": "not here",
		"public/app.3f9a1c2b.js": "console.log(1)", "public/style.css": "body{}", "public/.env": "SECRET=1", "public/.well-known/security.txt": "contact", "server.key": "above",
		"public/big.txt": strings.Repeat("compress me ", 1000),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.plan = coderunner.Plan{Type: "static", Root: ".", Runtime: coderunner.Runtime{Name: "static", Appliance: "static"}, StaticDir: coderunner.Choice{Value: "public"}, Port: 8080}
	p.succeeds(t, s)
	for path, want := range map[string]struct {
		status int
		body   string
		header string
	}{
		"/":                            {200, "<h1>home</h1>", "Content-Type: text/html; charset=utf-8"},
		"/about":                       {200, "about", "Cache-Control: no-cache"},
		"/docs/":                       {200, "docs", ""},
		"/style.css":                   {200, "body{}", "Content-Type: text/css; charset=utf-8"},
		"/app.3f9a1c2b.js":             {200, "console.log(1)", "Cache-Control: public, max-age=31536000, immutable"},
		"/missing":                     {404, "not here", "Cache-Control: no-cache"},
		"/.env":                        {404, "not here", ""},
		"/../server.key":               {404, "not here", ""},
		"/.well-known/security.txt":    {200, "contact", ""},
		"/docs/../../server.key?x=%2e": {404, "not here", ""},
	} {
		res, body := p.answer(t, "site", path, nil)
		name, value, _ := strings.Cut(want.header, ": ")
		if res.StatusCode != want.status || body != want.body || res.Header.Get(name) != value {
			t.Errorf("%s answers %d %q with %v", path, res.StatusCode, body, res.Header)
		}
	}
	if res, _ := p.answer(t, "site", "/docs", nil); res.StatusCode != http.StatusPermanentRedirect || res.Header.Get("Location") != "/docs/" {
		t.Errorf("a folder without its slash answers %d, to %q", res.StatusCode, res.Header.Get("Location"))
	}
	res, body := p.answer(t, "site", "/big.txt", http.Header{"Accept-Encoding": {"gzip"}})
	if res.Header.Get("Content-Encoding") != "gzip" || len(body) > 1000 {
		t.Errorf("a large text comes as %q in %d bytes", res.Header.Get("Content-Encoding"), len(body))
	}
	res, _ = p.answer(t, "site", "/style.css", nil)
	if again, _ := p.answer(t, "site", "/style.css", http.Header{"If-None-Match": {res.Header.Get("Etag")}}); again.StatusCode != http.StatusNotModified {
		t.Errorf("what has not changed is sent again: %d", again.StatusCode)
	}
}

// answer is what the app answers, as it comes: nothing is followed or decompressed.
func (p *platform) answer(t *testing.T, slug, path string, header http.Header) (*http.Response, string) {
	t.Helper()
	conn, err := net.Dial("tcp", p.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	request := "GET " + path + " HTTP/1.1\r\nHost: " + slug + ".apps.test\r\nConnection: close\r\n" // the path byte for byte
	for name := range header {
		request += name + ": " + header.Get(name) + "\r\n"
	}
	if _, err := io.WriteString(conn, request+"\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

// TestBuiltFilesMoveToTheirServer, which has no tools of the build; one page answers for all addresses.
func TestBuiltFilesMoveToTheirServer(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	s := p.upload(t, "built", answer)
	s.plan.Root, s.plan.Start.Value = ".", ""
	s.plan.Install.Value, s.plan.Build.Value = "", "mkdir dist && echo one page > dist/index.html && echo built > dist/made.txt"
	s.plan.StaticDir, s.plan.StaticFallback = coderunner.Choice{Value: "dist"}, coderunner.Choice{Value: "/index.html"}
	first := p.succeeds(t, s)
	d, err := p.store.DeploymentByID(t.Context(), first.DeploymentID)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/": "one page\n", "/made.txt": "built\n", "/some/route": "one page\n"} {
		if status, body := p.get(t, "built", path); status != 200 || body != want {
			t.Errorf("%s answers %d %q", path, status, body)
		}
	}
	if _, err := p.provider.ReadFile(t.Context(), d.AppSandboxID, "/usr/bin/node", 1); coderunner.KindOf(err) != coderunner.NotFound {
		t.Errorf("what it was built with is where it is served: %v", err)
	}
	if infos, err := p.provider.List(t.Context(), nil); err != nil || len(infos) != 1 {
		t.Errorf("there are %+v, %v", infos, err)
	}
	run, err := p.engine.RestartApp(t.Context(), s.user.ID, s.project.ID)
	if err != nil {
		t.Fatal(err)
	}
	if run = p.ended(t, run.ID); run.State != coderunner.RunSucceeded {
		t.Errorf("a restart ends %s, %s", run.State, told(run.Failure))
	}
	if status, body := p.get(t, "built", "/"); status != 200 || body != "one page\n" {
		t.Errorf("after a restart it answers %d %q", status, body)
	}

	s.plan.Build.Value = "mkdir elsewhere"
	_, run = p.deploy(t, s)
	if run = p.ended(t, run.ID); run.State != coderunner.RunFailed || run.Failure == nil || run.Failure.ID != "build.no_output" || run.Failure.Blame != coderunner.Theirs {
		t.Errorf("a build that writes elsewhere ends %s, %s", run.State, told(run.Failure))
	}
	if infos, err := p.provider.List(t.Context(), nil); err != nil || len(infos) != 1 {
		t.Errorf("there are %+v, %v", infos, err)
	}
}

// TestReleaseCommandComesBeforeTheSwitch: it sees the database and the app's variables, and when it fails the version
// before goes on.
func TestReleaseCommandComesBeforeTheSwitch(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	s := p.upload(t, "released", versioned("one"))
	s.plan.Install.Value, s.plan.Build.Value, s.plan.Start.Value = "", "", "cat migrated.txt && exec node index.js"
	s.plan.Processes = map[string]string{"release": `echo "at $DATABASE_URL" | sed 's/:[^:]*@.*//' && echo migrated > migrated.txt`, "web": "node index.js"}
	run := p.succeeds(t, s, "postgres-15")
	log := p.logText(t, run.ID)
	at := strings.Index(log, "at postgres://app")
	if at < 0 || at > strings.Index(log, "Waiting for an answer") {
		t.Errorf("the log is\n%s", log)
	}
	s.plan.Processes["release"] = "echo no column x; exit 3"
	_, run = p.deploy(t, s)
	if run = p.ended(t, run.ID); run.State != coderunner.RunFailed || run.Failure == nil || run.Failure.ID != "release.failed" || !strings.Contains(run.Failure.Title, "release") {
		t.Errorf("a failed release command ends the run %s, %s", run.State, told(run.Failure))
	}
	if status, body := p.get(t, "released", "/"); status != 200 || !strings.Contains(body, "one") {
		t.Errorf("the version before answers %d %q", status, body)
	}
	if infos, err := p.provider.List(t.Context(), nil); err != nil || len(infos) != 2 { // the app and its database
		t.Errorf("there are %+v, %v", infos, err)
	}
}

// TestWorkersRunBesideTheApp, are started again, and end with it.
func TestWorkersRunBesideTheApp(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	s := p.upload(t, "workers", `const fs = require("fs");
require("http").createServer((q, r) => r.end(fs.readFileSync("runs.txt"))).listen(process.env.PORT);`)
	s.plan.Install.Value, s.plan.Build.Value, s.plan.Start.Value = "", "", "touch runs.txt; exec node index.js"
	s.plan.Processes = map[string]string{"web": "node index.js", "worker": `echo "it's at work"; echo one >> runs.txt`, "clock": "exec sleep 1000.5", "release": "true"}
	run := p.succeeds(t, s)
	limit := time.After(time.Minute)
	for {
		if status, body := p.get(t, "workers", "/"); status == 200 && strings.Count(body, "one") > 1 {
			break
		}
		select {
		case <-limit:
			t.Fatalf("the worker is not started again\n%s", p.logText(t, run.ID))
		case <-time.After(50 * time.Millisecond):
		}
	}
	if log := p.logText(t, run.ID); !strings.Contains(log, "[worker] it's at work") {
		t.Errorf("the log is\n%s", log)
	}
	d, err := p.store.DeploymentByID(t.Context(), run.DeploymentID)
	if err != nil {
		t.Fatal(err)
	}
	left := func() string {
		t.Helper()
		var out strings.Builder
		if _, err := p.provider.Exec(t.Context(), d.AppSandboxID, sandbox.Command{Argv: []string{"sh", "-c", `cat /proc/[0-9]*/cmdline | tr '\0' ' ' | grep -o 'sleep 1000[.]5' || true`}, Stdout: &out}); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	if left() == "" {
		t.Error("the clock does not run")
	}
	if err := p.provider.Stop(t.Context(), d.AppSandboxID, appProcess, time.Second); err != nil {
		t.Fatal(err)
	}
	if left() != "" {
		t.Error("the clock goes on without the app")
	}
}
