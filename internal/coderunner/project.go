package coderunner

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Project is what a user owns: a name, a host label and everything deployed under it.
type Project struct {
	ID          string
	UserID      string
	Name        string
	Slug        string // DNS label; its host is <slug>.<apps domain>; never reused, even after destroy
	Description string
	Plan        Plan // as last confirmed by the user; zero until the first bundle
	CreatedAt   time.Time
	UpdatedAt   time.Time
	DestroyedAt *time.Time // set when nothing of it is left but its history
}

// MaxProjectName is in characters.
const MaxProjectName = 60

// NormalizeProjectName trims name and checks it. Any printable text is allowed:
// the name is only ever shown as text, the slug is what becomes a host name.
func NormalizeProjectName(name string) (string, error) {
	name = strings.TrimSpace(name)
	if name == "" {
		return "", FieldError("name", "The project needs a name.")
	}
	if !utf8.ValidString(name) || utf8.RuneCountInString(name) > MaxProjectName {
		return "", FieldError("name", "The project's name is too long or not valid text. Use at most %d characters.", MaxProjectName)
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return "", FieldError("name", "The project's name has a character that cannot be shown (%U). Leave it out.", r)
		}
	}
	return name, nil
}

// ReservedSlugs are host labels that no project gets.
var ReservedSlugs = map[string]bool{
	"www": true, "api": true, "admin": true, "app": true, "apps": true, "dashboard": true, "coderunner": true,
	"localhost": true, "mail": true, "status": true, "static": true, "login": true, "auth": true, "ns": true,
}

// MaxSlug leaves room in a 63-byte DNS label for a "-xxxxxx" suffix.
const MaxSlug = 48

// Slug makes a DNS label out of a project's name. It answers "" when nothing of
// the name can be used; the caller then picks a label of its own.
func Slug(name string) string {
	var b strings.Builder
	dash := false
	for _, r := range strings.ToLower(name) {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			if dash && b.Len() > 0 {
				b.WriteByte('-')
			}
			dash = false
			b.WriteRune(r)
		default:
			dash = true
		}
		if b.Len() >= MaxSlug {
			break
		}
	}
	slug := strings.Trim(b.String(), "-")
	if strings.HasPrefix(slug, "xn--") {
		return ""
	}
	return slug
}

// Variable is one environment variable of a project. Value is plain text here;
// it is encrypted before it reaches the database.
type Variable struct {
	Key       string
	Value     string
	UpdatedAt time.Time
}

// MaxVariableValue is in bytes.
const MaxVariableValue = 32 << 10

// ReservedVariables are set by the platform; a project cannot define them.
var ReservedVariables = map[string]string{
	"PORT":            "the platform chooses the port and tells the app through it",
	"HOST":            "the app must listen on all interfaces of its sandbox",
	"HOSTNAME":        "the app must listen on all interfaces of its sandbox",
	"PATH":            "the appliance sets it",
	"HOME":            "the appliance sets it",
	"LD_PRELOAD":      "it would change programs of the appliance itself",
	"LD_LIBRARY_PATH": "it would change programs of the appliance itself",
}

// CheckVariable says whether key and value may be stored.
func CheckVariable(key, value string) error {
	if key == "" || len(key) > 128 {
		return FieldError("key", "A variable's name has 1 to 128 characters.")
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
	if len(value) > MaxVariableValue {
		return FieldError("value", "The value of %s is %d bytes; at most %d are kept.", key, len(value), MaxVariableValue)
	}
	if strings.IndexByte(value, 0) >= 0 || !utf8.ValidString(value) {
		return FieldError("value", "The value of %s has bytes that no environment variable can carry (NUL or invalid UTF-8).", key)
	}
	return nil
}
