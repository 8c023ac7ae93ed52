package runlog

import (
	"bytes"
	"encoding/base64"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// Redacted stands where a secret was.
const Redacted = "••••••"

// shortestSecret is in bytes. Shorter values are too common to be hidden: a
// variable DEBUG=true must not blank every "true" of the log.
const shortestSecret = 6

// Redactor hides secret values in text. It is safe for concurrent use.
type Redactor struct {
	mu      sync.RWMutex
	values  [][]byte // longest first, so that a secret within a secret does not leave the rest
	longest int
}

// NewRedactor returns one that hides the values.
func NewRedactor(values ...string) *Redactor {
	r := &Redactor{}
	r.Add(values...)
	return r
}

// Add hides more values: each of their lines, since a log has lines, and the forms
// that they take in URLs and basic authentication.
func (r *Redactor) Add(values ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, value := range values {
		forms := append(strings.FieldsFunc(value, func(c rune) bool { return c == '\n' || c == '\r' }),
			url.QueryEscape(value), url.PathEscape(value), url.UserPassword("", value).String()[1:],
			base64.StdEncoding.EncodeToString([]byte(value)), base64.RawURLEncoding.EncodeToString([]byte(value)))
		for _, form := range forms {
			form = strings.TrimSpace(form)
			if len(form) < shortestSecret || len(strings.TrimSpace(value)) < shortestSecret || slices.ContainsFunc(r.values, func(v []byte) bool { return string(v) == form }) {
				continue
			}
			r.values = append(r.values, []byte(form))
			r.longest = max(r.longest, len(form))
		}
	}
	slices.SortFunc(r.values, func(a, b []byte) int { return len(b) - len(a) })
}

// Redact returns text with every value replaced.
func (r *Redactor) Redact(text []byte) []byte {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, v := range r.values {
		if bytes.Contains(text, v) {
			text = bytes.ReplaceAll(text, v, []byte(Redacted))
		}
	}
	return text
}

// reach is the length in bytes of the longest value.
func (r *Redactor) reach() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.longest
}

// safeCut returns the first place at or after cut where text can be parted
// without parting a value.
func (r *Redactor) safeCut(text []byte, cut int) int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for moved := true; moved; {
		moved = false
		for _, v := range r.values {
			from := max(0, cut-len(v)+1)
			to := min(len(text), cut+len(v)-1)
			if at := bytes.Index(text[from:to], v); at >= 0 && from+at < cut {
				cut, moved = from+at+len(v), true
			}
		}
	}
	return cut
}
