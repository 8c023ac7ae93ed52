package analyzer

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
)

const frameworksHead = `# What runs, and how

What is recognised in an upload and how it is run, made by ` + "`go test ./internal/analyzer -update`" + ` from the trees in
internal/analyzer/testdata/plans; a test fails when this page is stale. Every value is a proposal with its reason, which the page of the plan
lets you change. ` + "`coderunner analyze FOLDER`" + ` prints the plan of a project of yours.

A ` + "`Procfile`" + ` comes first in every kind of project: ` + "`web:`" + ` is started; ` + "`worker:`, `release:`" + ` and others are kept as processes of the plan,
as are the migrations of the column release. That runs before each new version serves, the others beside it.
A ` + "`Dockerfile`" + ` is not used. A plan may name something to run on that this server does not have yet; the page says so.
`

// TestFrameworksPage keeps docs/FRAMEWORKS.md as the fixtures say.
func TestFrameworksPage(t *testing.T) {
	t.Parallel()
	const page = "../../docs/FRAMEWORKS.md"
	want := frameworksPage(t)
	got, err := os.ReadFile(page)
	if err == nil && string(got) == want {
		return
	}
	if !*update {
		t.Fatalf("%s is stale (%v): run go test ./internal/analyzer -update", page, err)
	}
	if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func frameworksPage(t *testing.T) string {
	t.Helper()
	groups := map[string][]fixture{}
	for _, name := range fixtures(t) {
		f := readFixture(t, name)
		group, title, ok := strings.Cut(f.title, ": ")
		if ok && f.sign != "" {
			f.title = title
			groups[group] = append(groups[group], f)
		}
	}
	var b strings.Builder
	b.WriteString(frameworksHead)
	for _, group := range []string{"Node.js", "Python", "Go", "Manifest", "Static site"} {
		b.WriteString("\n## " + group + "\n\n| project | recognised by | runs on | install, build | start | release |\n|---|---|---|---|---|---|\n")
		for _, f := range groups[group] {
			var p coderunner.Plan
			if err := json.Unmarshal([]byte(f.want), &p); err != nil {
				t.Fatalf("%s: %v", f.title, err)
			}
			made := code(p.Install.Value)
			if p.Build.Value != "" {
				made = strings.TrimPrefix(made+"<br>"+code(p.Build.Value), "<br>")
			}
			runs := code(p.Start.Value)
			if p.Static() {
				runs = "the files of " + code(p.StaticDir.Value)
				if p.StaticFallback.Value != "" {
					runs += ", " + code(p.StaticFallback.Value) + " for all else"
				}
			}
			b.WriteString("| " + strings.Join([]string{f.title, f.sign, code(p.Runtime.Appliance), made, runs, code(p.Processes["release"])}, " | ") + " |\n")
		}
		delete(groups, group)
	}
	for group := range groups {
		t.Errorf("the page has no part for %q", group)
	}
	return b.String()
}

func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + strings.ReplaceAll(text, "|", `\|`) + "`"
}
