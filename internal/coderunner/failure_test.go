package coderunner

import (
	"reflect"
	"testing"
)

// TestFixesChangeOneThing of a plan, say so, and leave other copies of it alone.
func TestFixesChangeOneThing(t *testing.T) {
	t.Parallel()
	base := Plan{Port: 3000, Runtime: Runtime{Name: "nodejs", Version: "18", Appliance: "nodejs-18"}, Install: Choice{Value: "npm ci"},
		Databases: make([]DatabaseNeed, 0, 4), Processes: map[string]string{"web": "node ."}}
	chosen := func(value string) Choice { return Choice{Value: value, Why: "your choice"} }
	for _, c := range []struct {
		kind         FixKind
		value, label string
		change       func(*Plan)
	}{
		{FixVariable, "API_KEY", "Set API_KEY", func(*Plan) {}},
		{FixDatabase, "postgres-15", "Add PostgreSQL and deploy again", func(p *Plan) { p.Databases = []DatabaseNeed{{Appliance: "postgres-15", Why: "your choice"}} }},
		{FixPort, "4555", "Use port 4555", func(p *Plan) { p.Port, p.PortWhy = 4555, "your choice" }},
		{FixRuntime, "nodejs-22", "Run on Node.js 22", func(p *Plan) {
			p.Runtime = Runtime{Name: "nodejs", Version: "22", Appliance: "nodejs-22", Why: "your choice"}
		}},
		{FixRoot, "server", "Use the folder server", func(*Plan) {}},
		{FixStaticDir, "build", "Serve the folder build", func(p *Plan) { p.StaticDir = chosen("build") }},
		{FixInstall, "npm install", "Install with “npm install”", func(p *Plan) { p.Install = chosen("npm install") }},
		{FixStart, "node a.js", "Start with “node a.js”", func(p *Plan) { p.Start = chosen("node a.js") }},
		{FixRelease, "npm run migrate", "Run “npm run migrate” before it starts", func(p *Plan) { p.SetProcess(ReleaseProcess, "npm run migrate") }},
		{FixPlan, "", "Use the proposed plan", func(*Plan) {}},
		{FixAgain, "", "Deploy again", func(*Plan) {}},
	} {
		fix := NewFix(c.kind, c.value)
		want := base
		c.change(&want)
		if got := fix.Apply(base); fix.Label != c.label || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q makes %+v", c.kind, fix.Label, got)
		}
	}
	if len(base.Processes) != 1 || base.Databases[:1][0].Appliance != "" {
		t.Errorf("the plan that was there is now %+v", base)
	}
}
