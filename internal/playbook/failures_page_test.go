package playbook

import (
	"os"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
)

const failuresHead = `# When a deploy fails

What the page of a run says when it fails, whose fault it is, and what it offers. Each row is an app in
` + "`internal/playbook/testdata/failures`" + ` that a test deploys in a real sandbox; this page is made from what it is told
then (` + "`go test ./internal/playbook -run 'TestCauses|TestFailuresPage' -update`" + `). The ` + "`id`" + ` is stable, and the API has it with everything below as ` + "`failure`" + ` of a run;
` + "`POST /api/v1/runs/{id}/fix`" + ` is the button.

Other causes are told in the same way: ` + "`internal/diagnosis`" + ` has them, with what the tools print. What no rule knows is told by how it ended
and by its last lines.

| cause | id | whose fault | what is told | what shows it | what to do | button |
|---|---|---|---|---|---|---|
`

// TestFailuresPage keeps docs/FAILURES.md as the fixtures say.
func TestFailuresPage(t *testing.T) {
	t.Parallel()
	const page = "../../docs/FAILURES.md"
	var b strings.Builder
	b.WriteString(failuresHead)
	blames := map[coderunner.Blame]string{coderunner.Theirs: "yours", coderunner.Ours: "ours", coderunner.Upstream: "upstream"}
	for _, c := range readCauses(t) {
		var buttons []string
		for _, fix := range c.want.Fixes {
			buttons = append(buttons, tableCell(fix.Label))
		}
		evidence := ""
		if c.want.Evidence != "" {
			evidence = "`" + tableCell(strings.ReplaceAll(c.want.Evidence, "`", "'")) + "`"
		}
		b.WriteString("| " + strings.Join([]string{c.title, "`" + c.want.ID + "`", blames[c.want.Blame], tableCell(c.want.Title), evidence, tableCell(c.want.Next), strings.Join(buttons, "<br>")}, " | ") + " |\n")
	}
	got, err := os.ReadFile(page)
	if err == nil && string(got) == b.String() {
		return
	}
	if !*update {
		t.Fatalf("%s is stale (%v): run go test ./internal/playbook -run TestFailuresPage -update", page, err)
	}
	if err := os.WriteFile(page, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// tableCell is text of a fixture within a table.
func tableCell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
