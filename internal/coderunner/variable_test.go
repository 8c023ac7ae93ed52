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
