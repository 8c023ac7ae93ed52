package views

import (
	"net/url"
	"strings"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// VariablesPage edits a project's variables. The form posts to
// /projects/{project}/variables; its fields are those that ReadVariablesForm reads.
type VariablesPage struct {
	ProjectPage // Variables is not read here
	Rows        []VariableRow
	DotEnv      string      // what is in the box for a .env file
	Notes       []string    // how the box was read
	Problems    []string    // what is wrong in the box, with the line
	Run         string      // the failed run that wants a variable; saving leads back to it
	Errors      FieldErrors // "key.<row>", "value.<row>" or "scope.<row>", the rows counted from 0; "" is about all
}

// VariableRow is one variable of the form.
type VariableRow struct {
	From    string // the variable that is stored, by its key; "" for a new row
	Was     string // what the row was filled from, for the handler
	Key     string
	Value   string // as it was typed, or as it is stored where that may be shown
	Replace bool   // the value of a stored secret is to be replaced
	Secret  bool
	Scope   coderunner.VariableScope
	Remove  bool // goes when the form is saved
	Asked   bool // a failed run wants it: its value is typed next
	Offered bool // the code reads it and it is not set; without a value it stays so

	Sealed    bool       // a secret is stored: its value is not here
	UpdatedAt *time.Time // of what is stored
	Why       string     // where the code reads it
}

// ReadVariablesForm reads the posted form: for each "row" N the fields from.N, was.N,
// key.N, value.N, replace.N, secret.N, scope.N, remove.N and offered.N. Rows without
// anything in them are dropped.
func ReadVariablesForm(posted url.Values) (rows []VariableRow, dotEnv string) {
	for _, n := range posted["row"] {
		field := func(name string) string { return posted.Get(name + "." + n) }
		row := VariableRow{
			From: field("from"), Was: field("was"), Key: strings.TrimSpace(field("key")), Value: lines(field("value")), Replace: field("replace") != "",
			Secret: field("secret") != "", Scope: coderunner.VariableScope(field("scope")), Remove: field("remove") != "", Offered: field("offered") != "",
		}
		if row.From != "" || row.Key != "" || row.Value != "" {
			rows = append(rows, row)
		}
	}
	return rows, lines(posted.Get("dotenv"))
}

// lines ends each line of a text area as they were typed: forms send CR LF.
func lines(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
}

// Lines is what a form sends back of a value that was shown in it.
func (r VariableRow) Lines() string { return lines(r.Value) }

// newVariable is an empty row.
func newVariable() VariableRow { return VariableRow{Secret: true, Scope: coderunner.BothScopes} }

// hidden reports whether the row shows that there is a value, and not the value.
func (r VariableRow) hidden() bool { return r.Sealed && r.Value == "" && !r.Replace }

// height is how many lines a value needs, within reason.
func (r VariableRow) height() int { return min(1+strings.Count(r.Value, "\n"), 12) }

// missing counts the keys that the code reads and that are not set.
func (p VariablesPage) missing() (n int) {
	for _, row := range p.Rows {
		if row.Offered && row.Value == "" {
			n++
		}
	}
	return n
}

// scopeName is a scope as people say it.
func scopeName(scope coderunner.VariableScope) string {
	switch scope {
	case coderunner.BuildScope:
		return "Build"
	case coderunner.RunScope:
		return "App"
	}
	return "Build and app"
}

// changeWords says what is saved and not applied, and who would notice.
func changeWords(c coderunner.VariableChange) string {
	who := "the app"
	switch {
	case c.Build && c.Run:
		who = "build and app"
	case c.Build:
		who = "the build"
	}
	return string(c.Kind) + " for " + who
}

// pendingWords says what applies the changes.
func pendingWords(c coderunner.VariableChanges, stopped bool) string {
	again := "A restart"
	if stopped {
		again = "A start"
	}
	switch {
	case !c.Rebuild():
		return "Only the app is given it: " + strings.ToLower(again) + " is enough, and nothing is built."
	case !c.Restart():
		return "The build is given it, so the app has to be built again."
	}
	return again + " gives the app its part and builds nothing. The build is given some of it as well: for that the app has to be built again."
}

// restartOr is what gives an app its variables without a build.
func restartOr(stopped bool) string {
	if stopped {
		return "start"
	}
	return "restart"
}

func restartLabel(stopped bool) string {
	if stopped {
		return "Start"
	}
	return "Restart"
}

func restartIcon(stopped bool) string {
	if stopped {
		return "play"
	}
	return "rotate-cw"
}

// variantOf makes one of several buttons the one to press.
func variantOf(first bool) string {
	if first {
		return "primary"
	}
	return "outline"
}
