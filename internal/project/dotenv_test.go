package project_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/project"
)

// The page's script and the server read .env files alike: the cases are the same file.
func TestDotEnvIsReadAsThePageReadsIt(t *testing.T) {
	t.Parallel()
	var cases []struct {
		Name, Text string
		Want       [][2]string
	}
	if err := json.Unmarshal(must(os.ReadFile("../../static/test/dotenv.json"))(t), &cases); err != nil || len(cases) < 10 {
		t.Fatalf("%d cases: %v", len(cases), err)
	}
	for _, c := range cases {
		got := [][2]string{}
		for _, v := range project.ParseDotEnv(c.Text).Variables {
			got = append(got, [2]string{v.Key, v.Value})
		}
		if want := append([][2]string{}, c.Want...); string(must(json.Marshal(got))(t)) != string(must(json.Marshal(want))(t)) {
			t.Errorf("%s: %q, want %q", c.Name, got, want)
		}
	}
}

func TestDotEnvSaysWhatIsWrongWithItsLines(t *testing.T) {
	t.Parallel()
	d := project.ParseDotEnv("A=1\r\nnonsense canary\r\nB=\"two\r\nlines\"\r\nPORT=80\r\nA=3\r\n1X=canary\r\nIFS=x")
	if len(d.Variables) != 2 || d.Variables[0] != (project.DotEnvVariable{Key: "A", Value: "3", Line: 6}) || d.Variables[1] != (project.DotEnvVariable{Key: "B", Value: "two\nlines", Line: 3}) {
		t.Errorf("read %+v", d.Variables)
	}
	if len(d.Notes) != 1 || !strings.Contains(d.Notes[0], "lines 1 and 6") {
		t.Errorf("notes %q", d.Notes)
	}
	all := strings.Join(d.Problems, "\n")
	for _, want := range []string{"Line 2: this is no NAME=value.", "Line 5: PORT cannot be set", `Line 7: "1X" is not a variable name`, "Line 8: IFS cannot be set"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is missing in %q", want, all)
		}
	}
	if len(d.Problems) != 4 || strings.Contains(all, "canary") {
		t.Errorf("problems %q", d.Problems)
	}
	if d := project.ParseDotEnv(strings.Repeat("x\n", 1000)); len(d.Problems) != 21 || d.Problems[20] != "980 more lines like these." {
		t.Errorf("%d problems, the last %q", len(d.Problems), d.Problems[len(d.Problems)-1])
	}
}

// Whatever is pasted, what comes out can be set, names each key once and points at its line.
func FuzzParseDotEnv(f *testing.F) {
	for _, seed := range []string{"", "A=1", "export A = \"b\\n\" # c", "A='x\ny'\r\nB=`z`", "A=\"\\", "=", "A=#", "\uFEFFA=\x00", "A=\"a\"b\nA=2"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d := project.ParseDotEnv(text)
		seen := map[string]bool{}
		for _, v := range d.Variables {
			if err := coderunner.CheckVariable(v.Key, v.Value); err != nil || seen[v.Key] {
				t.Errorf("%+v came out of %q: %v", v, text, err)
			}
			seen[v.Key] = true
			lines := strings.Split(strings.ReplaceAll(strings.ReplaceAll(strings.TrimPrefix(text, "\uFEFF"), "\r\n", "\n"), "\r", "\n"), "\n")
			if v.Line < 1 || v.Line > len(lines) || !strings.Contains(lines[v.Line-1], v.Key) {
				t.Errorf("%s is not in line %d of %q", v.Key, v.Line, text)
			}
		}
		if !utf8.ValidString(strings.Join(d.Notes, "")) {
			t.Errorf("notes %q", d.Notes)
		}
	})
}
