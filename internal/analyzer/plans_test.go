package analyzer

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
)

var update = flag.Bool("update", false, "write the plans in testdata/plans and docs/FRAMEWORKS.md anew; read the difference before committing it")

// fixture is a small tree and the whole plan that it gives.
//
// Its file, testdata/plans/*.txtar, begins with a line for docs/FRAMEWORKS.md:
// "Python: FastAPI | a module-level FastAPI()". A line without a bar is left out there.
// Then come the files, each after a line "-- name --", and last the plan after "-- plan --",
// as JSON without what is empty, or the sentence with which the tree is refused.
type fixture struct {
	title, sign string
	tree        []string // names and contents
	want        string
}

func readFixture(t *testing.T, name string) fixture {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, _ := strings.Cut(string(data), "\n")
	var f fixture
	f.title, f.sign, _ = strings.Cut(head, " | ")
	file := ""
	for line := range strings.Lines(rest) {
		if inner, ok := strings.CutPrefix(strings.TrimSpace(line), "-- "); ok && strings.HasSuffix(inner, " --") {
			file = strings.TrimSuffix(inner, " --")
			if file != "plan" {
				f.tree = append(f.tree, file, "")
			}
		} else if file == "plan" {
			f.want += line
		} else if file != "" {
			f.tree[len(f.tree)-1] += line
		}
	}
	return f
}

// TestPlans compares the plan of each tree in testdata/plans whole.
func TestPlans(t *testing.T) {
	t.Parallel()
	for _, name := range fixtures(t) {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			t.Parallel()
			f := readFixture(t, name)
			plan, err := Analyze(files(f.tree...))
			checkSane(t, plan, err)
			got := compact(t, plan)
			if err != nil {
				got = coderunner.Sentence(err) + "\n"
			}
			if got == f.want {
				return
			}
			if *update {
				data, _ := os.ReadFile(name)
				tree, _, _ := strings.Cut(string(data), "-- plan --\n")
				if err := os.WriteFile(name, []byte(strings.TrimRight(tree, "\n")+"\n-- plan --\n"+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			t.Errorf("plan is\n%s\nwant\n%s", got, f.want)
		})
	}
}

func fixtures(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("testdata/plans/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	return names
}

// compact is a plan as JSON without what is empty.
func compact(t *testing.T, plan coderunner.Plan) string {
	t.Helper()
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(plan); err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(strings.NewReader(b.String()))
	var lines []string
	if _, err := decoder.Token(); err != nil {
		t.Fatal(err)
	}
	for decoder.More() {
		key, _ := decoder.Token()
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			t.Fatal(err)
		}
		switch text := string(value); {
		case text == `""` || text == "0" || text == "[]" || text == "{}" || text == `{"value":""}`:
		case strings.HasPrefix(text, "["):
			var list []json.RawMessage
			if err := json.Unmarshal(value, &list); err != nil {
				t.Fatal(err)
			}
			parts := make([]string, len(list))
			for i, part := range list {
				parts[i] = "    " + string(part)
			}
			lines = append(lines, `  "`+key.(string)+"\": [\n"+strings.Join(parts, ",\n")+"\n  ]")
		default:
			lines = append(lines, `  "`+key.(string)+`": `+text)
		}
	}
	return "{\n" + strings.Join(lines, ",\n") + "\n}\n"
}
