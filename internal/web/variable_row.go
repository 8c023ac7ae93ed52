package web

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/project"
	"github.com/coderunner/coderunner/views"
)

// seen is what a row showed when its page was made: enough to tell what the user has
// changed since, and whether somebody else has.
type seen struct {
	version string
	secret  bool
	scope   coderunner.VariableScope
	value   string // a digest of the value of one that is no secret, "" of a secret
}

func seenOf(v coderunner.Variable) seen {
	s := seen{version: project.VariableVersion(v), secret: v.Secret, scope: v.Scope}
	if !v.Secret {
		s.value = digestOf(views.VariableRow{Value: v.Value}.Lines())
	}
	return s
}

func digestOf(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:8])
}

// String is the form that a hidden field carries.
func (s seen) String() string {
	return strings.Join([]string{s.version, strconv.FormatBool(s.secret), string(s.scope), s.value}, ".")
}

// parseSeen reads what String wrote; anything else is what nobody has seen.
func parseSeen(text string) seen {
	parts := strings.Split(text, ".")
	if len(parts) != 4 {
		return seen{}
	}
	return seen{version: parts[0], secret: parts[1] == "true", scope: coderunner.VariableScope(parts[2]), value: parts[3]}
}

// newValue reports whether the row has a value to be saved.
func newValue(row views.VariableRow, was seen) bool {
	switch {
	case row.From == "":
		return true
	case was.secret:
		return row.Replace || row.Value != ""
	}
	return digestOf(row.Value) != was.value
}

// touched reports whether the user changed the row of a stored variable.
func touched(row views.VariableRow) bool {
	was := parseSeen(row.Was)
	return row.Remove || row.Key != row.From || newValue(row, was) || row.Secret != was.secret || row.Scope != was.scope
}

// editOf is what a row asks for.
func editOf(row views.VariableRow) project.VariableEdit {
	was := parseSeen(row.Was)
	edit := project.VariableEdit{From: row.From, Remove: row.Remove, Key: row.Key, Secret: &row.Secret, Scope: row.Scope, Version: &was.version}
	if newValue(row, was) {
		edit.Value = &row.Value
	}
	return edit
}
