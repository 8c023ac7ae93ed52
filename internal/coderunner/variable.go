package coderunner

import (
	"strings"
	"time"
	"unicode/utf8"
)

// Variable is one environment variable of a project. Value is plain text here;
// it is encrypted before it reaches the database. The JSON form is for keeping a
// whole list encrypted, and never for an answer to anybody.
type Variable struct {
	Key       string        `json:"key"`
	Value     string        `json:"value"`
	Secret    bool          `json:"secret"` // never shown again once saved, and kept out of logs
	Scope     VariableScope `json:"scope"`
	UpdatedAt time.Time     `json:"updated_at"`
}

// VariableScope says which commands get a variable.
type VariableScope string

const (
	BuildScope VariableScope = "build" // install and build commands
	RunScope   VariableScope = "run"   // the app itself
	BothScopes VariableScope = "both"
)

// covers reports whether a variable of scope s is given to commands of phase,
// which is BuildScope or RunScope. A scope of "" is that of old lists: both.
func (s VariableScope) covers(phase VariableScope) bool {
	return s == phase || s == BothScopes || s == ""
}

// CheckVariableScope says whether a scope is one of the three.
func CheckVariableScope(scope VariableScope) error {
	switch scope {
	case BuildScope, RunScope, BothScopes:
		return nil
	}
	return FieldError("scope", "%q is no scope of a variable. It is build, run or both.", clip(string(scope), 20))
}

// Variables are those of one project, by key.
type Variables []Variable

// Environment is what commands of a phase are given: BuildScope or RunScope.
func (vs Variables) Environment(phase VariableScope) map[string]string {
	env := make(map[string]string, len(vs))
	for _, v := range vs {
		if v.Scope.covers(phase) {
			env[v.Key] = v.Value
		}
	}
	return env
}

// Secrets are the values that no log may show: all but those that their owner has
// said are none.
func (vs Variables) Secrets() []string {
	var values []string
	for _, v := range vs {
		if v.Secret {
			values = append(values, v.Value)
		}
	}
	return values
}

// Limits on what a project may set.
const (
	MaxVariableKey   = 128      // bytes
	MaxVariableValue = 32 << 10 // bytes
	MaxVariables     = 200
	// MaxVariableBytes is for all keys and values together: the kernel gives a new
	// process at most 2 MiB of arguments and environment, and the platform adds its own.
	MaxVariableBytes = 1 << 20
)

// ReservedVariables are set by the platform or by the shell that starts commands;
// a project cannot define them, and the reason is told. What only changes the
// user's own programs inside the user's own sandbox, such as NODE_OPTIONS,
// PYTHONSTARTUP or BASH_ENV, is the user's to set.
var ReservedVariables = map[string]string{
	"PORT":            "the platform chooses the port and tells the app through it",
	"HOST":            "the app must listen on all interfaces of its sandbox",
	"HOSTNAME":        "the app must listen on all interfaces of its sandbox",
	"PATH":            "the appliance sets it",
	"HOME":            "the appliance sets it",
	"LD_PRELOAD":      "it would change programs of the appliance itself",
	"LD_LIBRARY_PATH": "it would change programs of the appliance itself",
	"LD_AUDIT":        "it would change programs of the appliance itself",
	"PWD":             "the shell that starts the app sets it",
	"OLDPWD":          "the shell that starts the app sets it",
	"SHLVL":           "the shell that starts the app sets it",
	"_":               "the shell that starts the app sets it",
	"IFS":             "the shell that starts the app does not pass it on",
	"OPTIND":          "the shell that starts the app does not pass it on",
	"PPID":            "the shell that starts the app does not pass it on",
}

// CheckVariable says whether key and value may be stored.
func CheckVariable(key, value string) error {
	if err := CheckVariableKey(key); err != nil {
		return err
	}
	if len(value) > MaxVariableValue {
		return FieldError("value", "The value of %s is %d bytes; at most %d are kept.", key, len(value), MaxVariableValue)
	}
	if strings.IndexByte(value, 0) >= 0 || !utf8.ValidString(value) {
		return FieldError("value", "The value of %s has bytes that no environment variable can carry (NUL or invalid UTF-8).", key)
	}
	return nil
}

// CheckVariableKey says whether a variable may be called key.
func CheckVariableKey(key string) error {
	if key == "" || len(key) > MaxVariableKey {
		return FieldError("key", "A variable's name has 1 to %d characters.", MaxVariableKey)
	}
	for i, r := range key {
		if r != '_' && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (i == 0 || r < '0' || r > '9') {
			return FieldError("key", "%q is not a variable name. Use letters, digits and underscores, and do not begin with a digit.", clip(key, 60))
		}
	}
	if why, reserved := ReservedVariables[key]; reserved {
		return FieldError("key", "%s cannot be set: %s.", key, why)
	}
	if strings.HasPrefix(key, "CODERUNNER_") {
		return FieldError("key", "%s cannot be set: names that begin with CODERUNNER_ are the platform's.", clip(key, 60))
	}
	return nil
}

// CheckVariables says whether a project may have all of them.
func CheckVariables(vs Variables) error {
	if len(vs) > MaxVariables {
		return FieldError("key", "A project has at most %d environment variables, and these would be %d. Leave some out.", MaxVariables, len(vs))
	}
	total := 0
	for _, v := range vs {
		total += len(v.Key) + len(v.Value) + 2
	}
	if total > MaxVariableBytes {
		return FieldError("value", "The environment variables of a project are at most %d KiB in all, and these would be %d KiB. Put large values into a file of the upload.", MaxVariableBytes>>10, (total+1023)>>10)
	}
	return nil
}
