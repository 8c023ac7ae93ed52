package playbook

import (
	"maps"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/coderunner/coderunner/internal/analyzer"
	"github.com/coderunner/coderunner/internal/coderunner"
)

// quotes is a web app with a dependency from the Go proxy, and a file that it reads when it is asked.
var quotes = map[string]string{
	"go.mod": `module example.com/quotes

go 1.24

require rsc.io/quote v1.5.2

require (
	golang.org/x/text v0.0.0-20170915032832-14c0d48ead0c // indirect
	rsc.io/sampler v1.3.0 // indirect
)
`,
	"go.sum": `golang.org/x/text v0.0.0-20170915032832-14c0d48ead0c h1:qgOY6WgZOaTkIIMiVjBQcw93ERBE4m30iBm00nkL0i8=
golang.org/x/text v0.0.0-20170915032832-14c0d48ead0c/go.mod h1:NqM8EUOU14njkJ3fqMW+pc6Ldnwhi/IjpwHt7yyuwOQ=
rsc.io/quote v1.5.2 h1:w5fcysjrx7yqtD/aO+QwRjYZOKnaM9Uh2b40tElTs3Y=
rsc.io/quote v1.5.2/go.mod h1:LzX7hefJvL54yjefDEDHNONDjII0t9xZLPXsUe+TKr0=
rsc.io/sampler v1.3.0 h1:7uVkIFmeBqHfdjD+gZwtXXI+RODJ2Wc4O7MPEh/QiW4=
rsc.io/sampler v1.3.0/go.mod h1:T1hPZKmBbMNahiBKFy5HrXp6adAjACjK9JXDnKaTXpA=
`,
	"main.go": `package main

import (
	"net/http"
	"os"

	"rsc.io/quote"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		greeting, err := os.ReadFile("public/greeting.txt")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Write([]byte(string(greeting) + ": " + quote.Go()))
	})
	http.ListenAndServe(":"+os.Getenv("PORT"), nil)
}
`,
	"public/greeting.txt": "first",
}

// TestGoRuns as the analyzer plans it: its modules are fetched and it is compiled by the builder, and what serves,
// also after a restart, has its files and no compiler. Other code with the same modules fetches none.
func TestGoRuns(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	p.builtTemplate(t, "go")
	p.builtTemplate(t, "generic-builder")
	tree := fstest.MapFS{}
	for name, text := range quotes {
		tree[name] = &fstest.MapFile{Data: []byte(text)}
	}
	plan, err := analyzer.Analyze(tree)
	if err != nil || plan.Runtime.Appliance != "go" || plan.Install.Value == "" || plan.Build.Value == "" {
		t.Fatalf("the plan is %+v, %v", plan, err)
	}
	s, err := p.newSample(t.Context(), "quotes", quotes)
	if err != nil {
		t.Fatal(err)
	}
	if s.bundle, err = p.newBundle(t.Context(), s.project.ID, quotes, plan); err != nil {
		t.Fatal(err)
	}
	s.plan = plan
	run := p.succeeds(t, s)
	const says = ": Don't communicate by sharing memory, share memory by communicating."
	if status, body := p.get(t, "quotes", "/"); status != 200 || body != "first"+says {
		t.Errorf("it answers %d %q\n%s", status, body, p.logText(t, run.ID))
	}
	if run, err = p.engine.RestartApp(t.Context(), s.user.ID, s.project.ID); err != nil {
		t.Fatal(err)
	}
	if run = p.ended(t, run.ID); run.State != coderunner.RunSucceeded {
		t.Fatalf("a restart ends %s, %s", run.State, told(run.Failure))
	}
	if status, body := p.get(t, "quotes", "/"); status != 200 || body != "first"+says {
		t.Errorf("after a restart it answers %d %q", status, body)
	}
	d, err := p.store.DeploymentByID(t.Context(), run.DeploymentID)
	if err != nil {
		t.Fatal(err)
	}
	if file, err := p.provider.ReadFile(t.Context(), d.AppSandboxID, "/app/bin/app", 1); err != nil {
		t.Errorf("the program is not where it runs: %v", err)
	} else {
		file.Close()
	}
	for _, tool := range []string{"/usr/local/go/bin/go", "/usr/local/bin/go", "/usr/bin/cc", "/usr/bin/git", "/home/app/go/pkg/mod/rsc.io/quote@v1.5.2/quote.go"} {
		if file, err := p.provider.ReadFile(t.Context(), d.AppSandboxID, tool, 1); coderunner.KindOf(err) != coderunner.NotFound {
			t.Errorf("%s is where it runs: %v, %v", tool, file, err)
		}
	}

	changed := maps.Clone(quotes)
	changed["public/greeting.txt"] = "second"
	if s.bundle, err = p.newBundle(t.Context(), s.project.ID, changed, plan); err != nil {
		t.Fatal(err)
	}
	run = p.succeeds(t, s)
	if log := p.logText(t, run.ID); !strings.Contains(log, "nothing to install") || strings.Contains(log, "go: downloading") {
		t.Errorf("the log is\n%s", log)
	}
	if status, body := p.get(t, "quotes", "/"); status != 200 || body != "second"+says {
		t.Errorf("the second version answers %d %q", status, body)
	}
	if infos, err := p.provider.List(t.Context(), nil); err != nil || len(infos) != 1 {
		t.Errorf("there are %+v, %v", infos, err)
	}
}

// TestWhatIsNotBuiltRunsOnItsBuilder: go run needs the compiler where it serves, make and cc are there for those
// whose language no analyzer knows.
func TestWhatIsNotBuiltRunsOnItsBuilder(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	p.builtTemplate(t, "go")
	p.builtTemplate(t, "generic-builder")
	s, err := p.newSample(t.Context(), "script", map[string]string{"go.mod": "module script\n\ngo 1.24\n", "main.go": `package main

import (
	"net/http"
	"os"
	"os/exec"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		out, _ := exec.Command("./hello").CombinedOutput()
		w.Write(out)
	})
	http.ListenAndServe(":"+os.Getenv("PORT"), nil)
}
`, "c/hello.c": "#include <stdio.h>\nint main(void) { puts(\"hello from C\"); }\n", "Makefile": "hello: c/hello.c\n\tcc -o $@ $<\n"})
	if err != nil {
		t.Fatal(err)
	}
	s.plan = coderunner.Plan{Type: "go", Root: ".", Runtime: coderunner.Runtime{Name: "go", Appliance: "go"},
		Start: coderunner.Choice{Value: "make hello && go run ."}, Port: 8080}
	p.succeeds(t, s)
	if status, body := p.get(t, "script", "/"); status != 200 || body != "hello from C\n" {
		t.Errorf("it answers %d %q", status, body)
	}
}
