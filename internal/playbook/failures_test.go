package playbook

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/analyzer"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/project"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/store"
	"github.com/coderunner/coderunner/internal/testdb"
)

var update = flag.Bool("update", false, "write the failures in testdata/failures and docs/FAILURES.md anew; read the difference before committing it")

// cause is a small app that fails, and what its page says then.
//
// Its file, testdata/failures/*.txtar, begins with a line for docs/FAILURES.md. Then come the files, each
// after a line "-- name --"; "-- settings --" has what is changed of the plan that the analyzer
// proposes ("press" is the button that puts it right), and "-- failure --", the last, a page as JSON.
type cause struct {
	file, title string
	tree        map[string]string
	settings    [][2]string
	want        page
}

// page is what of a failure does not differ from one run to the next.
type page struct {
	ID       string           `json:"id"`
	Blame    coderunner.Blame `json:"blame"`
	Title    string           `json:"title"`
	Detail   string           `json:"detail,omitempty"`
	Next     string           `json:"next,omitempty"`
	Evidence string           `json:"evidence,omitempty"` // the line that shows it
	Fixes    []coderunner.Fix `json:"fixes,omitempty"`
}

var (
	ranFor  = regexp.MustCompile(`(It ran for|asked for) [\d.]+ (?:ms|seconds?)`)
	pointer = regexp.MustCompile(`0x[0-9a-f]{6,}`)
	colours = regexp.MustCompile(`\x1b\[[\d;]*m`)
)

func tellFailure(f *coderunner.Failure) (t page) {
	t = page{ID: f.ID, Blame: f.Blame, Title: f.Title, Detail: ranFor.ReplaceAllString(f.Detail, "$1 a moment"), Next: f.Next, Fixes: f.Fixes}
	if f.Shown > 0 {
		t.Evidence = pointer.ReplaceAllString(strings.TrimSpace(colours.ReplaceAllString(f.Lines[f.Shown-1], "")), "0x…")
	}
	return t
}

func readCauses(t *testing.T) (all []cause) {
	t.Helper()
	names, err := filepath.Glob("testdata/failures/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		title, rest, _ := strings.Cut(string(data), "\n")
		c := cause{file: name, title: title, tree: map[string]string{}}
		part := ""
		for line := range strings.Lines(rest) {
			if inner, ok := strings.CutPrefix(strings.TrimSpace(line), "-- "); ok && strings.HasSuffix(inner, " --") {
				part = strings.TrimSuffix(inner, " --")
				line = ""
			}
			c.tree[part] += line
		}
		for line := range strings.Lines(c.tree["settings"]) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			c.settings = append(c.settings, [2]string{key, strings.TrimSpace(value)})
		}
		if text := c.tree["failure"]; text != "" {
			if err := json.Unmarshal([]byte(text), &c.want); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		delete(c.tree, "settings")
		delete(c.tree, "failure")
		all = append(all, c)
	}
	return all
}

// write puts a failure into the fixture's file.
func (c cause) write(t *testing.T, got page) {
	t.Helper()
	data, err := os.ReadFile(c.file)
	if err != nil {
		t.Fatal(err)
	}
	app, _, _ := strings.Cut(string(data), "-- failure --\n")
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(got); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.file, []byte(app+"-- failure --\n"+b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestLockfileOutOfStep: what we proposed to install by the lockfile is installed by package.json where
// the two differ, and the log warns of that.
func TestLockfileOutOfStep(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	p.engine.cfg.CABundle = p.provider.CABundle()
	for _, c := range readCauses(t) {
		name := strings.TrimSuffix(filepath.Base(c.file), ".txtar")
		if !strings.HasPrefix(name, "10-lockfile") {
			continue
		}
		s := p.proposed(t, c)
		p.builtTemplate(t, s.plan.Runtime.Appliance)
		run := p.succeeds(t, s)
		if text := p.logText(t, run.ID); !strings.Contains(text, "Warning: The lockfile does not match package.json.") || !strings.Contains(text, "in versions that may not be those on your computer") {
			t.Errorf("%s: nothing warns of it:\n%s", name, text)
		}
	}
}

// TestCauses deploys an app for each cause, and compares what its page says whole.
func TestCauses(t *testing.T) {
	t.Parallel()
	shared := startPlatform(t)
	for _, appliance := range []string{"nodejs-18", "nodejs-22", "python-3.11", "static", "postgres-15"} {
		shared.builtTemplate(t, appliance)
	}
	shared.engine.cfg.CABundle = shared.provider.CABundle()
	t.Run("all", func(t *testing.T) { // ends when all are done, before the platform does
		for _, c := range readCauses(t) {
			t.Run(strings.TrimSuffix(filepath.Base(c.file), ".txtar"), func(t *testing.T) {
				t.Parallel()
				p := shared
				if memory := c.setting("memory"); memory != "" {
					mib, err := strconv.Atoi(memory)
					if err != nil {
						t.Fatal(err)
					}
					p = startPlatformIn(t, t.TempDir(), testdb.New(t), func(p *platform) {
						p.engine.cfg.AppLimits = sandbox.Limits{MemoryBytes: int64(mib) << 20, PIDs: 256}
					})
				}
				s, run, got := p.fails(t, c)
				if button := c.setting("press"); button != "" {
					p.isPutRight(t, s, run, coderunner.FixKind(button))
				}
				if reflect.DeepEqual(got, c.want) {
					return
				}
				if *update {
					c.write(t, got)
					return
				}
				t.Errorf("it is told\n%+v\nwant\n%+v", got, c.want)
			})
		}
	})
}

func (c cause) setting(key string) (value string) {
	for _, s := range c.settings {
		if s[0] == key {
			value = s[1]
		}
	}
	return value
}

// proposed uploads the app of a cause, with the plan that the analyzer makes of it.
func (p *platform) proposed(t *testing.T, c cause) sample {
	t.Helper()
	name := strings.ReplaceAll(strings.TrimSuffix(filepath.Base(c.file), ".txtar"), "_", "-")
	s, err := p.newSample(t.Context(), "app-"+name, c.tree)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := p.bundles.FS(s.bundle.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	if s.plan, err = analyzer.Analyze(tree); err != nil {
		t.Fatal(err)
	}
	if s.bundle, err = p.newBundle(t.Context(), s.project.ID, c.tree, s.plan); err != nil {
		t.Fatal(err)
	}
	return s
}

// fails deploys the app of a cause, and answers what is told of its failure. One that is refused has
// the sentence and no more.
func (p *platform) fails(t *testing.T, c cause) (sample, coderunner.Run, page) {
	t.Helper()
	s := p.proposed(t, c)
	var databases []string
	for _, setting := range c.settings {
		switch key, value := setting[0], setting[1]; key {
		case "root":
			s.plan.Root = value
		case "runtime":
			s.plan = coderunner.NewFix(coderunner.FixRuntime, value).Apply(s.plan)
		case "install":
			s.plan.Install = coderunner.Choice{Value: value}
		case "build":
			s.plan.Build = coderunner.Choice{Value: value}
		case "start":
			s.plan.Start = coderunner.Choice{Value: value}
		case "static_dir":
			s.plan.StaticDir = coderunner.Choice{Value: value}
		case "port":
			s.plan = coderunner.NewFix(coderunner.FixPort, value).Apply(s.plan)
		case "database":
			databases = append(databases, value)
		case "variable":
			key, value, _ := strings.Cut(value, "=")
			sealed, err := p.engine.keys.Seal(s.project.ID, "variable/"+key, []byte(value))
			if err != nil {
				t.Fatal(err)
			}
			if err := p.store.SetVariable(t.Context(), s.project.ID, store.SealedVariable{Key: key, Sealed: sealed}); err != nil {
				t.Fatal(err)
			}
		case "memory", "press": // of the platform; what to do then
		default:
			t.Fatalf("%s: there is no setting %q", c.file, key)
		}
	}
	_, run, err := p.engine.Deploy(t.Context(), s.user.ID, DeployRequest{ProjectID: s.project.ID, BundleID: s.bundle.ID, Plan: s.plan, Databases: databases})
	if coderunner.KindOf(err) == coderunner.Invalid {
		var refusal *coderunner.Error
		errors.As(err, &refusal)
		return s, run, page{ID: "plan." + refusal.Field, Blame: coderunner.Theirs, Title: coderunner.Sentence(err)}
	}
	if err != nil {
		t.Fatal(err)
	}
	run = p.ended(t, run.ID)
	if run.State != coderunner.RunFailed || run.Failure == nil {
		t.Fatalf("the deploy ended %s\n%s", run.State, p.logText(t, run.ID))
	}
	if testing.Verbose() {
		t.Log(p.logText(t, run.ID))
	}
	return s, run, tellFailure(run.Failure)
}

// isPutRight presses a button of a failure: the app then runs. A second press begins nothing.
func (p *platform) isPutRight(t *testing.T, s sample, failed coderunner.Run, button coderunner.FixKind) {
	t.Helper()
	mended, err := project.New(p.store, p.bundles, p.engine.keys).Mend(t.Context(), s.user.ID, failed.ID, button)
	if err != nil {
		t.Fatal(err)
	}
	request := DeployRequest{ProjectID: s.project.ID, BundleID: mended.Failed.BundleID, Plan: mended.Plan, Databases: mended.Databases, After: mended.Failed.ID}
	_, run, err := p.engine.Deploy(t.Context(), s.user.ID, request)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.engine.Deploy(t.Context(), s.user.ID, request); !errors.Is(err, ErrSuperseded) {
		t.Errorf("a second press answers %v", err)
	}
	if run = p.ended(t, run.ID); run.State != coderunner.RunSucceeded {
		t.Errorf("with its button pressed it ended %s: %s\n%s", run.State, told(run.Failure), p.logText(t, run.ID))
	}
}
