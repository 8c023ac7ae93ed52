package runlog

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"sync"
)

// Redacted stands where a secret was.
const Redacted = "••••••"

// shortestSecret is in bytes. Shorter values are too common to be hidden: a
// variable DEBUG=true must not blank every "true" of the log.
const shortestSecret = 6

// ordinary values are no secrets, and logs are full of them.
var ordinary = map[string]bool{
	"production": true, "development": true, "staging": true, "localhost": true, "127.0.0.1": true, "0.0.0.0": true,
	"nodejs": true, "python": true, "postgres": true, "postgresql": true, "warning": true, "verbose": true,
}

// Redactor hides secret values in text. It is safe for concurrent use.
type Redactor struct {
	mu      sync.RWMutex
	plain   [][]byte // as they were given, line by line; looked for in URL-encoded text as well
	coded   [][]byte // as JSON and base64 write them
	broken  pieces   // base64 in lines
	longest int
}

// NewRedactor returns one that hides the values.
func NewRedactor(values ...string) *Redactor {
	r := &Redactor{}
	r.Add(values...)
	return r
}

// Add hides more values: each of their lines, since a log has lines, and what
// becomes of them in URLs, in JSON strings and in base64, alone or among other text
// (after a user's name in basic authentication, say), also if that is broken into lines.
func (r *Redactor) Add(values ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, value := range values {
		if len(strings.TrimSpace(value)) < shortestSecret || ordinary[strings.ToLower(strings.TrimSpace(value))] {
			continue
		}
		for _, line := range strings.FieldsFunc(value, func(c rune) bool { return c == '\n' || c == '\r' }) {
			r.plain = r.keep(r.plain, line, 3) // %XX for each byte
			r.plain = r.keep(r.plain, shown(line), 3)
			r.coded = r.keep(r.coded, inJSON(line, true), 1)
			r.coded = r.keep(r.coded, inJSON(line, false), 1)
		}
		for _, form := range inBase64(value) {
			known := len(r.coded)
			if r.coded = r.keep(r.coded, form, 1); len(r.coded) > known {
				r.broken.add(r.coded[known])
			}
		}
	}
}

// keep adds a form to a list. widening is how many bytes one of its bytes may
// take in the log.
func (r *Redactor) keep(list [][]byte, form string, widening int) [][]byte {
	form = strings.TrimSpace(form)
	known := func(v []byte) bool { return string(v) == form }
	if len(form) < shortestSecret || slices.ContainsFunc(r.plain, known) || slices.ContainsFunc(r.coded, known) {
		return list
	}
	r.longest = max(r.longest, len(form)*widening)
	return append(list, []byte(form))
}

// shown is what the log keeps of a line.
func shown(line string) string {
	var out strings.Builder
	var clean sanitizer
	emit := func(c rune) { out.WriteRune(c) }
	clean.write([]byte(line), emit, func(string) {})
	clean.end(emit)
	return out.String()
}

// inJSON is a line within a JSON string.
func inJSON(line string, escapeHTML bool) string {
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(escapeHTML)
	_ = encoder.Encode(line) // a string can always be encoded
	quoted := strings.TrimSuffix(out.String(), "\n")
	return quoted[1 : len(quoted)-1]
}

// inBase64 is what of a value's base64 does not depend on what stands before and
// after it, for each of the three places where it can begin.
func inBase64(value string) []string {
	var forms []string
	for before := range 3 {
		text := append(make([]byte, before), value...)
		for _, encoding := range [...]*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			from, to := (before*8+5)/6, len(text)*8/6
			forms = append(forms, encoding.EncodeToString(text)[from:to])
		}
	}
	return forms
}

// Redact returns text with every value replaced.
func (r *Redactor) Redact(text []byte) []byte {
	hidden := r.find(text)
	if len(hidden) == 0 {
		return text
	}
	var out []byte
	end := 0
	for _, h := range hidden {
		out = append(append(out, text[end:h.from]...), Redacted...)
		end = h.to
	}
	return append(out, text[end:]...)
}

// stretch is a part of a text, from its first byte to the one after its last.
type stretch struct{ from, to int }

// find lists where the values are, in order, those that overlap as one.
func (r *Redactor) find(text []byte) []stretch {
	r.mu.RLock()
	defer r.mu.RUnlock()
	found := search(nil, text, r.plain, nil)
	found = search(found, text, r.coded, nil)
	found = r.broken.find(found, text)
	if len(r.plain) > 0 && bytes.IndexByte(text, '%') >= 0 {
		decoded, at := decode(text, false)
		found = search(found, decoded, r.plain, at)
	}
	if len(r.plain) > 0 && bytes.IndexByte(text, '+') >= 0 {
		decoded, at := decode(text, true)
		found = search(found, decoded, r.plain, at)
	}
	slices.SortFunc(found, func(a, b stretch) int { return a.from - b.from })
	merged := found[:0]
	for _, s := range found {
		if n := len(merged); n > 0 && s.from < merged[n-1].to {
			merged[n-1].to = max(merged[n-1].to, s.to)
			continue
		}
		merged = append(merged, s)
	}
	return merged
}

// search adds where the values are in text. With at, they are places in another
// text: what text[i] stands for begins at at[i] there.
func search(found []stretch, text []byte, values [][]byte, at []int) []stretch {
	for _, v := range values {
		for from := 0; ; {
			i := bytes.Index(text[from:], v)
			if i < 0 {
				break
			}
			s := stretch{from + i, from + i + len(v)}
			from += i + 1
			if at != nil {
				s = stretch{at[s.from], at[s.to]}
			}
			found = append(found, s)
		}
	}
	return found
}

// decode undoes the percent-encoding of URLs, and with spaces that of forms. The
// second slice says where in text each byte comes from; it has one more, for the end.
func decode(text []byte, spaces bool) (decoded []byte, at []int) {
	decoded, at = make([]byte, 0, len(text)), make([]int, 0, len(text)+1)
	for i := 0; i < len(text); i++ {
		at = append(at, i)
		c := text[i]
		switch {
		case c == '%' && i+2 < len(text) && digit(text[i+1]) >= 0 && digit(text[i+2]) >= 0:
			c = byte(digit(text[i+1])<<4 | digit(text[i+2]))
			i += 2
		case c == '+' && spaces:
			c = ' '
		}
		decoded = append(decoded, c)
	}
	return decoded, append(at, len(text))
}

// digit is the value of a hexadecimal digit, -1 for any other byte.
func digit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// reach is the length in bytes of the longest stretch that a value can take.
func (r *Redactor) reach() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.longest
}

// safeCut returns the first place at or after cut where text can be parted
// without parting a value.
func (r *Redactor) safeCut(text []byte, cut int) int {
	for _, s := range r.find(text) {
		if s.from < cut && cut < s.to {
			return s.to
		}
	}
	return cut
}
