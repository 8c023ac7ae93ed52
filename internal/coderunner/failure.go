package coderunner

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Blame says whose fault a failure is.
type Blame string

const (
	Theirs   Blame = "user"     // the deployed code or its settings
	Ours     Blame = "platform" // CodeRunner or the machine
	Upstream Blame = "upstream" // a service that neither can put right, such as a package registry
)

// Failure is why a run or step ended badly, told to the user.
type Failure struct {
	ID       string   `json:"id" example:"start.exited" doc:"Stable; docs/FAILURES.md lists them."`
	Blame    Blame    `json:"blame" enum:"user,platform,upstream"`
	Title    string   `json:"title" doc:"What happened, in one sentence."`
	Detail   string   `json:"detail" doc:"What was looked for and found."`
	Next     string   `json:"next" doc:"The smallest thing to do about it."`
	ExitCode *int     `json:"exit_code,omitempty"`
	Lines    []string `json:"lines,omitempty" nullable:"false" doc:"The last lines that the program printed."`
	Shown    int      `json:"shown,omitempty" doc:"Which of the lines shows the cause, counted from 1; left out if none does."`
	Fixes    []Fix    `json:"fixes,omitempty" nullable:"false" doc:"What can be done about it at a click."`
}

// Crashed is the id of the failure of an app that served and did not stay up.
const Crashed = "run.crashed"

func (f *Failure) Error() string { return f.Title }

// Fix answers the fix of a kind, and whether the failure has one.
func (f *Failure) Fix(kind FixKind) (Fix, bool) {
	if f == nil {
		return Fix{}, false
	}
	i := slices.IndexFunc(f.Fixes, func(x Fix) bool { return x.Kind == kind })
	if i < 0 {
		return Fix{}, false
	}
	return f.Fixes[i], true
}

// FixKind is what a fix changes. All but FixVariable deploy the same upload again.
type FixKind string

const (
	FixVariable  FixKind = "variable"   // Value is a key; its value is for the user to give
	FixDatabase  FixKind = "database"   // an appliance: the project gets this database
	FixPort      FixKind = "port"       // where the app is expected to listen
	FixRuntime   FixKind = "runtime"    // an appliance
	FixRoot      FixKind = "root"       // a folder of the upload, with the plan that it gives
	FixStaticDir FixKind = "static_dir" // the folder whose files are served
	FixInstall   FixKind = "install"    // a command
	FixStart     FixKind = "start"      // a command
	FixRelease   FixKind = "release"    // a command that runs before the new version serves
	FixPlan      FixKind = "plan"       // the plan that was proposed, in place of what was changed; no Value
	FixAgain     FixKind = "again"      // nothing is changed; no Value
)

// Fix is a change that CodeRunner makes when it is asked to. A failure has at most one of each kind.
type Fix struct {
	Kind  FixKind `json:"kind" enum:"variable,database,port,runtime,root,static_dir,install,start,release,plan,again"`
	Value string  `json:"value,omitempty"`
	Label string  `json:"label" doc:"What its button says."`
}

// NewFix makes a fix with its label.
func NewFix(kind FixKind, value string) Fix {
	label := map[FixKind]string{
		FixVariable: "Set %s", FixDatabase: "Add %s and deploy again", FixPort: "Use port %s", FixRuntime: "Run on %s", FixRoot: "Use the folder %s",
		FixStaticDir: "Serve the folder %s", FixInstall: "Install with “%s”", FixStart: "Start with “%s”", FixRelease: "Run “%s” before it starts",
		FixPlan: "Use the proposed plan", FixAgain: "Deploy again",
	}[kind]
	if strings.Contains(label, "%s") {
		what := value
		switch kind {
		case FixDatabase:
			what = ProtocolOf(value).Title()
		case FixRuntime:
			name, version, _ := strings.Cut(value, "-")
			what = strings.TrimSpace(RuntimeTitle(name) + " " + version)
		}
		label = fmt.Sprintf(label, clip(what, 60))
	}
	return Fix{Kind: kind, Value: value, Label: label}
}

// YourChoice is the reason of a value that the user put in place of the analyzer's.
const YourChoice = "your choice"

// Apply answers the plan with the fix's change. FixRoot and FixPlan need another plan
// altogether, and change nothing here; nor do FixVariable and FixAgain.
func (f Fix) Apply(plan Plan) Plan {
	choice := Choice{Value: f.Value, Why: YourChoice}
	switch f.Kind {
	case FixDatabase:
		plan.Databases = append(slices.Clone(plan.Databases), DatabaseNeed{Appliance: f.Value, Why: YourChoice})
	case FixPort:
		if port, err := strconv.Atoi(f.Value); err == nil {
			plan.Port, plan.PortWhy = port, YourChoice
		}
	case FixRuntime:
		name, version, _ := strings.Cut(f.Value, "-")
		plan.Runtime = Runtime{Name: name, Version: version, Appliance: f.Value, Why: YourChoice}
	case FixStaticDir:
		plan.StaticDir = choice
	case FixInstall:
		plan.Install = choice
	case FixStart:
		plan.Start = choice
	case FixRelease:
		plan.SetProcess(ReleaseProcess, f.Value)
	case FixVariable, FixRoot, FixPlan, FixAgain:
	}
	return plan
}
