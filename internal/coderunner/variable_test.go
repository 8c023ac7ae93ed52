package coderunner_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
)

func TestEnvironmentHasWhatItsPhaseIsGiven(t *testing.T) {
	t.Parallel()
	vs := coderunner.Variables{{Key: "B", Value: "1", Scope: coderunner.BuildScope}, {Key: "R", Value: "2", Scope: coderunner.RunScope, Secret: true}, {Key: "X", Value: "3", Scope: coderunner.BothScopes, Secret: true}, {Key: "OLD", Value: "4"}}
	if env := vs.Environment(coderunner.BuildScope); fmt.Sprint(env) != "map[B:1 OLD:4 X:3]" {
		t.Errorf("the build gets %v", env)
	}
	if env := vs.Environment(coderunner.RunScope); fmt.Sprint(env) != "map[OLD:4 R:2 X:3]" {
		t.Errorf("the app gets %v", env)
	}
	if secrets := vs.Secrets(); !slices.Equal(secrets, []string{"2", "3"}) {
		t.Errorf("the secrets are %q", secrets)
	}
}

func TestCompareVariables(t *testing.T) {
	t.Parallel()
	const build, run, both = coderunner.BuildScope, coderunner.RunScope, coderunner.BothScopes
	one := func(value string, scope coderunner.VariableScope) coderunner.Variables {
		return coderunner.Variables{{Key: "A", Value: value, Scope: scope}}
	}
	for what, c := range map[string]struct {
		before, after coderunner.Variables
		want          string // kind, Build, Run
	}{
		"nothing":               {nil, nil, ""},
		"the same":              {one("1", run), one("1", run), ""},
		"old lists are both":    {one("1", ""), one("1", both), ""},
		"hidden":                {one("1", run), coderunner.Variables{{Key: "A", Value: "1", Scope: run, Secret: true}}, ""},
		"added for both":        {nil, one("1", both), "added true true"},
		"added for the app":     {nil, one("", run), "added false true"},
		"added for the build":   {nil, one("1", build), "added true false"},
		"removed from both":     {one("1", both), nil, "removed true true"},
		"removed from the app":  {one("1", run), nil, "removed false true"},
		"another value":         {one("1", run), one("2", run), "changed false true"},
		"another build value":   {one("1", build), one("2", build), "changed true false"},
		"for the app only now":  {one("1", both), one("1", run), "changed true false"},
		"for the build as well": {one("1", run), one("1", both), "changed true false"},
		"from build to run":     {one("1", build), one("1", run), "changed true true"},
	} {
		got := coderunner.CompareVariables(c.before, c.after)
		text := ""
		if len(got) > 0 {
			text = fmt.Sprint(got[0].Kind, " ", got[0].Build, " ", got[0].Run)
		}
		if text != c.want || len(got) > 1 || got.Rebuild() != strings.Contains(c.want, " true ") {
			t.Errorf("%s: %+v, want %q", what, got, c.want)
		}
	}
	got := coderunner.CompareVariables(coderunner.Variables{{Key: "B", Value: "canary"}, {Key: "C", Value: "1"}}, coderunner.Variables{{Key: "A", Value: "canary"}, {Key: "B", Value: "canary2"}})
	if keys := fmt.Sprint(got[0].Key, got[1].Key, got[2].Key); keys != "ABC" || strings.Contains(fmt.Sprintf("%+v", got), "canary") {
		t.Errorf("compared: %+v", got)
	}
	if change, ok := got.Of("C"); !ok || change.Kind != coderunner.VariableRemoved {
		t.Errorf("C is %+v, %v", change, ok)
	}
}

// A restart gives the app what is saved and leaves the build with what it was given.
func TestRestartedVariables(t *testing.T) {
	t.Parallel()
	const build, run, both = coderunner.BuildScope, coderunner.RunScope, coderunner.BothScopes
	built := coderunner.Variables{{Key: "BOTH", Value: "1", Scope: both, Secret: true}, {Key: "BUILD", Value: "1", Scope: build}, {Key: "GONE", Value: "1"}, {Key: "MOVED", Value: "1", Scope: build}, {Key: "RUN", Value: "1", Scope: run}, {Key: "SAME", Value: "1"}}
	saved := coderunner.Variables{{Key: "BOTH", Value: "2", Scope: both, Secret: true}, {Key: "BUILD", Value: "2", Scope: build}, {Key: "MOVED", Value: "1", Scope: run}, {Key: "NEW", Value: "2"}, {Key: "RUN", Value: "2", Scope: run}, {Key: "SAME", Value: "1"}}
	got := built.Restarted(saved)
	if env := got.Environment(build); fmt.Sprint(env) != fmt.Sprint(built.Environment(build)) {
		t.Errorf("the build has %v", env)
	}
	if env := got.Environment(run); fmt.Sprint(env) != fmt.Sprint(saved.Environment(run)) {
		t.Errorf("the app has %v", env)
	}
	if secrets := got.Secrets(); !slices.Equal(secrets, []string{"1", "2"}) {
		t.Errorf("the secrets are %q", secrets)
	}
	left := coderunner.CompareVariables(got, saved)
	var text []string
	for _, c := range left {
		text = append(text, fmt.Sprint(c.Key, " ", c.Kind, " ", c.Before, " ", c.After))
	}
	if want := "BOTH changed both both|BUILD changed build build|GONE removed build |MOVED changed both run|NEW changed run both"; strings.Join(text, "|") != want || !left.Rebuild() || left.Restart() {
		t.Errorf("a redeploy applies %q, want %q", text, want)
	}
	if again := got.Restarted(saved); fmt.Sprint(again) != fmt.Sprint(got) {
		t.Errorf("once more it is %v", again)
	}
	if changes := coderunner.CompareVariables(saved, saved.Restarted(saved)); len(changes) != 0 {
		t.Errorf("nothing was changed, and %+v", changes)
	}
}
