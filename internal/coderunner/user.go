package coderunner

import (
	"strings"
	"time"
	"unicode/utf8"
)

// User is an account.
type User struct {
	ID           string
	Email        string // as typed at sign-up; compared without case
	PasswordHash string // argon2id, PHC string format
	PlanType     string // "free", "personal" or "team"
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// MaxStreams is how many streams of events, each a page that is live or a program that
// follows something, one user has open at once: a newer one takes the oldest's place.
const MaxStreams = 128

// Limits on what a person may type.
const (
	MaxEmailLength    = 254 // bytes, RFC 5321
	MinPasswordLength = 10  // characters
	MaxPasswordLength = 256 // bytes; bounds the work of one hash
)

// NormalizeEmail trims email and checks its form. It is deliberately loose:
// the only proof of an address is a message that arrives.
func NormalizeEmail(email string) (string, error) {
	email = strings.TrimSpace(email)
	at := strings.LastIndexByte(email, '@')
	if at <= 0 || at == len(email)-1 || len(email) > MaxEmailLength || !utf8.ValidString(email) ||
		strings.ContainsFunc(email, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '<' || r == '>' || r == ',' }) {
		return "", FieldError("email", "%q is not an e-mail address. Write it like name@example.com.", clip(email, 60))
	}
	return email, nil
}

// CheckPassword says whether a new password is acceptable.
func CheckPassword(password string) error {
	switch {
	case utf8.RuneCountInString(password) < MinPasswordLength:
		return FieldError("password", "The password is too short. Use at least %d characters; a few words in a row are fine.", MinPasswordLength)
	case len(password) > MaxPasswordLength:
		return FieldError("password", "The password is too long. Use at most %d bytes.", MaxPasswordLength)
	}
	return nil
}

func clip(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n]) + "…"
}
