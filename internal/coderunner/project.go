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
