package analyzer

import (
	"encoding/json"
	"errors"
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// files makes a file tree of names and contents.
func files(pairs ...string) fstest.MapFS {
	tree := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		tree[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return tree
}

// node24 is the plan of a Node.js project about which nothing more is known.
func node24(change func(*coderunner.Plan)) coderunner.Plan {
	p := coderunner.Plan{
		Type: "nodejs", TypeWhy: "package.json", Root: ".",
		Runtime:        coderunner.Runtime{Name: "nodejs", Version: "24", Appliance: "nodejs-24", Why: "the default"},
		PackageManager: coderunner.Choice{Value: "npm", Why: "the default"},
		Install:        coderunner.Choice{Why: "package.json lists no dependencies"},
		Port:           8080, PortWhy: "the default, given to the app as PORT",
	}
	change(&p)
	return complete(p)
}

func checkPlan(t *testing.T, tree fs.FS, want coderunner.Plan) {
	t.Helper()
	got, err := Analyze(tree)
	if err != nil {
		t.Fatalf("Analyze: %v", err)
	}
	if a, b := text(t, got), text(t, complete(want)); a != b {
		t.Errorf("plan is\n%s\nwant\n%s", a, b)
	}
}

func text(t *testing.T, plan coderunner.Plan) string {
	t.Helper()
	data, err := json.MarshalIndent(plan, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// checkSentence expects a refusal whose sentence is exactly this.
func checkSentence(t *testing.T, tree fs.FS, kind coderunner.Kind, sentence string) {
	t.Helper()
	plan, err := Analyze(tree)
	var refused *coderunner.Error
	if !errors.As(err, &refused) {
		t.Fatalf("Analyze answers %v and plan %s, want a sentence", err, text(t, plan))
	}
	if refused.Kind != kind || refused.Message != sentence {
		t.Errorf("Analyze refuses with %s %q\nwant %s %q", refused.Kind, refused.Message, kind, sentence)
	}
}
