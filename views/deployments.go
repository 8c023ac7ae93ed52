package views

import (
	"fmt"
	"strconv"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// RollbackPage shows what a rollback changes. The form posts to /deployments/{id}/rollback.
type RollbackPage struct {
	Frame
	Project     coderunner.Project
	To, Current coderunner.Deployment
	Filename    string // of the upload that it goes back to; "" if that is forgotten
	Plan        []PlanChange
	Variables   coderunner.VariableChanges
	Detached    []coderunner.Database // that it had, and that are detached now
	Drops       []coderunner.Drop     // the columns that a Manifest backend would lose
}

// PlanChange is a field of the plan that differs.
type PlanChange struct{ Field, From, To string }

// ComparePlans lists what differs between two plans, in words.
func ComparePlans(from, to coderunner.Plan) []PlanChange {
	var changes []PlanChange
	for _, f := range []PlanChange{
		{"Appliance", from.Runtime.Appliance, to.Runtime.Appliance}, {"Root directory", from.Root, to.Root},
		{"Install", from.Install.Value, to.Install.Value}, {"Build", from.Build.Value, to.Build.Value}, {"Start", from.Start.Value, to.Start.Value},
		{"Port", strconv.Itoa(from.Port), strconv.Itoa(to.Port)}, {"Health path", from.HealthPath.Value, to.HealthPath.Value},
	} {
		if f.From != f.To {
			changes = append(changes, f)
		}
	}
	return changes
}

type variableGroup struct {
	title string
	keys  []string
}

func (p RollbackPage) variableGroups() []variableGroup {
	var groups []variableGroup
	for _, g := range []struct {
		kind      coderunner.VariableChangeKind
		one, many string
	}{
		{coderunner.VariableAdded, "comes back", "come back"}, {coderunner.VariableRemoved, "goes away", "go away"},
		{coderunner.VariableChanged, "gets the value of that time", "get the values of that time"},
	} {
		var keys []string
		for _, c := range p.Variables {
			if c.Kind == g.kind {
				keys = append(keys, c.Key)
			}
		}
		what := g.many
		if len(keys) == 1 {
			what = g.one
		}
		if len(keys) > 0 {
			groups = append(groups, variableGroup{count(len(keys), "variable") + " " + what, keys})
		}
	}
	return groups
}

// canRollBack reports whether a deployment's release is kept and is not the current one.
func (p ProjectPage) canRollBack(d coderunner.Deployment) bool {
	return p.Project.DestroyedAt == nil && d.ReleasedAt != nil && d.Release != nil && p.Live != nil && d.ID != p.Live.ID
}

// stateOf is a deployment's state in a list: one that served and was followed by
// another is not called stopped, which is what an owner does.
func (p ProjectPage) stateOf(d coderunner.Deployment) state {
	switch {
	case d.Status != coderunner.Stopped:
		return p.appState(d)
	case d.ReleasedAt == nil:
		return state{"Cancelled", "circle-slash", toneQuiet}
	case p.Live != nil && d.ID != p.Live.ID:
		return state{"Replaced", "circle-dashed", toneQuiet}
	}
	return p.appState(d)
}

// appState is the state of the version that serves or would, as far as it is known.
func (f Frame) appState(d coderunner.Deployment) state {
	switch d.Standing(f.Now) {
	case coderunner.StandingDown:
		return state{"Starting again", "loader-circle", toneWarn}
	case coderunner.StandingSilent:
		return state{"Not answering", "triangle-alert", toneWarn}
	case coderunner.StandingUnknown:
		return state{"Unknown", "circle-dashed", toneWarn}
	}
	if d.Status == coderunner.Failed && d.Failure != nil && d.Failure.ID == coderunner.Crashed {
		return state{"Crashed", "circle-x", toneBad}
	}
	return deploymentState(d.Status)
}

// originOf says what a deployment was made from.
func (p ProjectPage) originOf(d coderunner.Deployment) string {
	from := ""
	for _, row := range p.Deployments {
		if row.Deployment.ID == d.FromID {
			from = fmt.Sprintf(" #%d", row.Deployment.Number)
		}
	}
	switch {
	case d.Origin == coderunner.FromRollback && from != "":
		return "rolled back to" + from
	case d.Origin == coderunner.FromRollback:
		return "a rollback"
	case d.Origin == coderunner.FromRedeploy && from != "":
		return "the code of" + from + " again"
	case d.Origin == coderunner.FromRedeploy:
		return "the same code again"
	}
	if d.RuntimeType == "" {
		return ""
	}
	return typeName(d.RuntimeType)
}

// exitWords says how a process ended.
func exitWords(e coderunner.LastExit) string {
	switch {
	case e.OOMKilled:
		return "out of memory"
	case e.OverDisk:
		return "because it wrote more to its disk than it may"
	case e.Signal != 0:
		return fmt.Sprintf("by signal %d", e.Signal)
	}
	return fmt.Sprintf("with exit code %d", e.Code)
}
