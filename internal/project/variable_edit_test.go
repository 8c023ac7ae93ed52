package project_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/quick"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/project"
	"github.com/coderunner/coderunner/internal/secret"
)

func value[T any](v T) *T { return &v }

// shop is a project with two variables, and what its owner sees of them.
func (w world) shop(t *testing.T) (p coderunner.Project, see func() map[string]coderunner.Variable, edit func(...project.VariableEdit) error) {
	t.Helper()
	p = must(w.Create(t.Context(), w.ada.ID, "Shop"))(t)
	see = func() map[string]coderunner.Variable {
		m := map[string]coderunner.Variable{}
		for _, v := range must(w.Variables(t.Context(), w.ada.ID, p.ID))(t) {
			m[v.Key] = v
		}
		return m
	}
	edit = func(edits ...project.VariableEdit) error {
		return w.EditVariables(t.Context(), w.ada.ID, p.ID, edits)
	}
	if err := edit(project.VariableEdit{Key: "TOKEN", Value: value("hunter2")}, project.VariableEdit{Key: "LEVEL", Value: value("debug"), Secret: value(false), Scope: coderunner.RunScope}); err != nil {
		t.Fatal(err)
	}
	return p, see, edit
}

func (w world) env(t *testing.T, projectID string) map[string]string {
	t.Helper()
	return must(w.Decrypted(t.Context(), projectID))(t).Environment(coderunner.RunScope)
}

func TestSecretsAreWriteOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, see, edit := w.shop(t)
	if v := see(); v["TOKEN"].Value != "" || !v["TOKEN"].Secret || v["TOKEN"].Scope != coderunner.BothScopes || v["LEVEL"].Value != "debug" || v["LEVEL"].Secret || v["LEVEL"].Scope != coderunner.RunScope {
		t.Errorf("its owner sees %+v", v)
	}
	wantKind(t, "a secret made plain", edit(project.VariableEdit{From: "TOKEN", Key: "TOKEN", Secret: value(false)}), coderunner.Invalid)
	if err := edit(project.VariableEdit{From: "TOKEN", Key: "TOKEN", Secret: value(false), Value: value("new")}, project.VariableEdit{From: "LEVEL", Key: "LEVEL", Secret: value(true)}); err != nil {
		t.Fatal(err)
	}
	if v := see(); v["TOKEN"].Value != "new" || v["LEVEL"].Value != "" {
		t.Errorf("its owner sees %+v", v)
	}
	if env := w.env(t, p.ID); env["LEVEL"] != "debug" {
		t.Errorf("hiding a value changed it: %v", env)
	}
	if scope := see()["TOKEN"].Scope; scope != coderunner.BothScopes {
		t.Errorf("a new value changed the scope to %q", scope)
	}
	wantKind(t, "an unknown scope", edit(project.VariableEdit{From: "TOKEN", Key: "TOKEN", Scope: "moon"}), coderunner.Invalid)
}

func TestRenamedVariableKeepsItsValue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, _, edit := w.shop(t)
	wantKind(t, "onto another", edit(project.VariableEdit{From: "TOKEN", Key: "LEVEL"}), coderunner.Conflict)
	wantKind(t, "to no name", edit(project.VariableEdit{From: "TOKEN", Key: "A B"}), coderunner.Invalid)
	if env := w.env(t, p.ID); env["TOKEN"] != "hunter2" || env["LEVEL"] != "debug" {
		t.Errorf("refused renames left %v", env)
	}
	if err := edit(project.VariableEdit{From: "TOKEN", Key: "LEVEL"}, project.VariableEdit{From: "LEVEL", Key: "TOKEN"}); err != nil {
		t.Fatal(err) // swapped
	}
	if env := w.env(t, p.ID); env["LEVEL"] != "hunter2" || env["TOKEN"] != "debug" {
		t.Errorf("after the swap %v", env)
	}
}

// Two windows: what one saves is neither dropped nor overwritten by the other unawares.
func TestEditOfWhatHasChangedIsRefusedWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, see, edit := w.shop(t)
	seen := see()
	token, level := project.VariableVersion(seen["TOKEN"]), project.VariableVersion(seen["LEVEL"])
	if err := edit(project.VariableEdit{From: "TOKEN", Key: "TOKEN", Value: value("first window"), Version: &token}, project.VariableEdit{Key: "NEW", Value: value("1"), Version: value("")}); err != nil {
		t.Fatal(err)
	}
	for what, e := range map[string]project.VariableEdit{
		"changed":         {From: "TOKEN", Key: "TOKEN", Value: value("second window"), Version: &token},
		"removed":         {From: "TOKEN", Remove: true, Version: &token},
		"renamed":         {From: "TOKEN", Key: "SECRET", Version: &token},
		"added by both":   {Key: "NEW", Value: value("2"), Version: value("")},
		"added and there": {Key: "TOKEN", Value: value("2"), Version: value("")},
	} {
		err := edit(project.VariableEdit{From: "LEVEL", Key: "LEVEL", Value: value("info"), Version: &level}, e)
		wantKind(t, what, err, coderunner.Conflict)
		var problems project.EditProblems
		if !errors.As(err, &problems) || len(problems) != 1 || problems[1] == nil || !strings.Contains(problems[1].Message, "Nothing was saved") {
			t.Errorf("%s: problems %v", what, err)
		}
	}
	if env := w.env(t, p.ID); len(env) != 3 || env["TOKEN"] != "first window" || env["LEVEL"] != "debug" || env["NEW"] != "1" {
		t.Errorf("after refused edits %v", env)
	}
	// What the second window did not touch is not in its way.
	if err := edit(project.VariableEdit{From: "LEVEL", Key: "LEVEL", Value: value("info"), Version: &level}); err != nil {
		t.Error(err)
	}
	if err := w.DeleteVariable(t.Context(), w.ada.ID, p.ID, "NEW"); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "changed and gone", edit(project.VariableEdit{From: "NEW", Key: "NEW", Value: value("x"), Version: value("1")}), coderunner.Conflict)
	wantKind(t, "gone", edit(project.VariableEdit{From: "NEW", Key: "NEW", Value: value("x")}), coderunner.NotFound)
	if err := edit(project.VariableEdit{From: "NEW", Remove: true, Version: value("1")}); err != nil {
		t.Errorf("removing what is gone: %v", err)
	}
}

// A ciphertext that was swapped with another's neither opens nor locks anybody out.
func TestWhatDoesNotOpenCanBeReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, see, edit := w.shop(t)
	if _, err := w.store.Pool().Exec(t.Context(), "UPDATE variables v SET value = o.value FROM variables o WHERE o.project_id = v.project_id AND o.key <> v.key"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Decrypted(t.Context(), p.ID); !errors.Is(err, secret.ErrCannotOpen) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("swapped values opened: %v", err)
	}
	if v := see(); len(v) != 2 || v["LEVEL"].Value != "" || !v["LEVEL"].Secret {
		t.Errorf("its owner sees %+v", v)
	}
	if err := edit(project.VariableEdit{From: "LEVEL", Key: "LEVEL2"}); !errors.Is(err, secret.ErrCannotOpen) {
		t.Errorf("renamed: %v", err)
	}
	if err := edit(project.VariableEdit{From: "TOKEN", Remove: true}, project.VariableEdit{From: "LEVEL", Key: "LEVEL", Value: value("info")}); err != nil {
		t.Fatal(err)
	}
	if env := w.env(t, p.ID); len(env) != 1 || env["LEVEL"] != "info" {
		t.Errorf("mended to %v", env)
	}
}

func TestReplaceNeedsWhatWasReadLast(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, _, edit := w.shop(t)
	version := project.VariablesVersion(must(w.Variables(t.Context(), w.ada.ID, p.ID))(t))
	if err := edit(project.VariableEdit{Key: "LATER", Value: value("1")}); err != nil {
		t.Fatal(err)
	}
	all := []project.VariableEdit{{Key: "TOKEN"}, {Key: "ADDED", Value: value("2")}}
	wantKind(t, "a stale list", w.ReplaceVariables(t.Context(), w.ada.ID, p.ID, version, all), coderunner.Conflict)
	if env := w.env(t, p.ID); len(env) != 3 {
		t.Errorf("a refused list left %v", env)
	}
	version = project.VariablesVersion(must(w.Variables(t.Context(), w.ada.ID, p.ID))(t))
	if err := w.ReplaceVariables(t.Context(), w.ada.ID, p.ID, version, all); err != nil {
		t.Fatal(err)
	}
	if env := w.env(t, p.ID); len(env) != 2 || env["TOKEN"] != "hunter2" || env["ADDED"] != "2" {
		t.Errorf("replaced by %v", env)
	}
	wantKind(t, "somebody else's", w.ReplaceVariables(t.Context(), w.bob.ID, p.ID, version, nil), coderunner.NotFound)
}

func TestLimitsAreSentences(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, _, edit := w.shop(t)
	var many, large []project.VariableEdit
	for i := range coderunner.MaxVariables - 1 {
		many = append(many, project.VariableEdit{Key: fmt.Sprint("V", i), Value: value("")})
	}
	for i := range coderunner.MaxVariableBytes/coderunner.MaxVariableValue + 1 {
		large = append(large, project.VariableEdit{Key: fmt.Sprint("L", i), Value: value(strings.Repeat("x", coderunner.MaxVariableValue))})
	}
	for what, c := range map[string]struct {
		edits []project.VariableEdit
		want  string
	}{
		"too many":       {many, "at most 200"},
		"too much":       {large, "1024 KiB in all"},
		"too long":       {[]project.VariableEdit{{Key: "A", Value: value(strings.Repeat("x", coderunner.MaxVariableValue+1))}}, "at most 32768"},
		"NUL":            {[]project.VariableEdit{{Key: "A", Value: value("a\x00b")}}, "NUL"},
		"invalid UTF-8":  {[]project.VariableEdit{{Key: "A", Value: value("\xff")}}, "UTF-8"},
		"a shell's":      {[]project.VariableEdit{{Key: "IFS", Value: value("x")}}, "does not pass it on"},
		"the platform's": {[]project.VariableEdit{{Key: "CODERUNNER_X", Value: value("x")}}, "the platform's"},
		"an equals sign": {[]project.VariableEdit{{Key: "A=B", Value: value("x")}}, "not a variable name"},
		"no value":       {[]project.VariableEdit{{Key: "A"}}, "no value yet"},
		"twice":          {[]project.VariableEdit{{Key: "A", Value: value("1")}, {Key: "A", Value: value("2")}}, "there twice"},
	} {
		if err := edit(c.edits...); err == nil || !strings.Contains(coderunner.Sentence(err), c.want) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
	if err := edit(project.VariableEdit{Key: "NODE_OPTIONS", Value: value("--max-old-space-size=400")}, project.VariableEdit{Key: "A", Value: value(strings.Repeat("x", coderunner.MaxVariableValue))}); err != nil {
		t.Error(err)
	}
	if env := w.env(t, p.ID); len(env) != 4 {
		t.Errorf("%d variables", len(env))
	}
}

// Any text without NUL is a value and comes back byte for byte.
func TestAnyValueComesBackAsItWas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, _, edit := w.shop(t)
	same := func(text string) bool {
		text = strings.ReplaceAll(strings.ToValidUTF8(text, "?"), "\x00", "")
		if err := edit(project.VariableEdit{Key: "ANY", Value: &text}); err != nil {
			t.Error(err)
		}
		return w.env(t, p.ID)["ANY"] == text
	}
	if err := quick.Check(same, &quick.Config{MaxCount: 100}); err != nil {
		t.Error(err)
	}
	for _, text := range []string{"", " ", "$HOME ${X} $(x) `x`", "a'b\"c\\", "a\r\nb\n\n", "=", "a=b", "\u2028\u202e\ufeff", "🚀", "%s%00", strings.Repeat("é", coderunner.MaxVariableValue/2)} {
		if !same(text) {
			t.Errorf("%q did not come back", text)
		}
	}
}

// Many windows at once, each with an own key: every save is there at the end.
func TestSavesAtOnceLoseNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, _, edit := w.shop(t)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			key := fmt.Sprint("KEY_", i)
			if err := edit(project.VariableEdit{Key: key, Value: value(fmt.Sprint(i)), Version: value("")}); err != nil {
				t.Error(err)
			}
			if i%2 == 0 {
				if err := edit(project.VariableEdit{From: key, Key: key + "_RENAMED"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	env := w.env(t, p.ID)
	for i := range 20 {
		key := fmt.Sprint("KEY_", i)
		if i%2 == 0 {
			key += "_RENAMED"
		}
		if env[key] != fmt.Sprint(i) {
			t.Errorf("%s is %q", key, env[key])
		}
	}
	if len(env) != 22 {
		t.Errorf("%d variables, want 22", len(env))
	}
}

func TestChangesAreInTheAuditWithoutValues(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, _, edit := w.shop(t)
	if err := edit(project.VariableEdit{From: "TOKEN", Key: "SECRET", Value: value("canary")}, project.VariableEdit{From: "LEVEL", Remove: true}, project.VariableEdit{Key: "B", Value: value("canary")}, project.VariableEdit{Key: "A", Value: value("")}); err != nil {
		t.Fatal(err)
	}
	if err := edit(project.VariableEdit{From: "A", Key: "A", Value: value("")}); err != nil { // no change, no entry
		t.Fatal(err)
	}
	if err := edit(project.VariableEdit{Key: "A", Value: value("canary")}); err != nil {
		t.Fatal(err)
	}
	rows := must(w.store.Pool().Query(t.Context(), "SELECT detail::text FROM audit_events WHERE project_id = $1 AND user_id = $2 AND action = 'variables.change' ORDER BY id", p.ID, w.ada.ID))(t)
	var got []string
	for rows.Next() {
		var detail string
		if err := rows.Scan(&detail); err != nil {
			t.Fatal(err)
		}
		got = append(got, detail)
	}
	want := []string{`{"added": "LEVEL, TOKEN"}`, `{"added": "A, B", "removed": "LEVEL", "renamed": "TOKEN to SECRET"}`, `{"changed": "A"}`}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the audit has %q, want %q", got, want)
	}
}

func TestChangesTellWhatIsNotApplied(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, _, edit := w.shop(t)
	applied := must(w.Decrypted(t.Context(), p.ID))(t)
	if changes := must(w.Changes(t.Context(), w.ada.ID, p.ID, applied))(t); len(changes) != 0 {
		t.Errorf("right after, %+v", changes)
	}
	if err := edit(project.VariableEdit{From: "LEVEL", Key: "LEVEL", Value: value("info")}); err != nil {
		t.Fatal(err)
	}
	changes := must(w.Changes(t.Context(), w.ada.ID, p.ID, applied))(t)
	if len(changes) != 1 || changes[0].Key != "LEVEL" || changes.Rebuild() {
		t.Errorf("changed %+v, want LEVEL without a build", changes)
	}
	_, err := w.Changes(t.Context(), w.bob.ID, p.ID, applied)
	wantKind(t, "somebody else's", err, coderunner.NotFound)
}

// Random edits: a key goes only if an edit of the list removes or renames it.
func TestNoKeyGoesThatNobodyRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, _, edit := w.shop(t)
	random := rand.New(rand.NewPCG(1, 2))
	keys := []string{"A", "B", "C", "D", "E"}
	for range 150 {
		before := w.env(t, p.ID)
		var edits []project.VariableEdit
		allowed := map[string]bool{}
		for range 1 + random.IntN(3) {
			e := project.VariableEdit{Key: keys[random.IntN(len(keys))]}
			switch random.IntN(4) {
			case 0:
				e.From, e.Remove = e.Key, true
				allowed[e.From] = true
			case 1:
				e.From = keys[random.IntN(len(keys))]
				allowed[e.From] = true
			default:
				e.Value = value(fmt.Sprint(random.IntN(100)))
			}
			edits = append(edits, e)
		}
		err := edit(edits...)
		after := w.env(t, p.ID)
		for key, was := range before {
			is, stays := after[key]
			if !stays && !allowed[key] || err != nil && is != was {
				t.Fatalf("%+v on %v made %v (%v)", edits, before, after, err)
			}
		}
	}
	if sealed := must(w.store.Variables(t.Context(), p.ID))(t); bytes.Contains(sealed[0].Sealed, []byte("debug")) {
		t.Error("a plain variable lies in the database in clear")
	}
}
