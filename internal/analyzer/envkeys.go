package analyzer

import (
	"bytes"
	"slices"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

const maxEnvKeys = 200

// isPlatformKey reports whether a variable is set by the platform, the system or
// the tools, so that nobody has to be asked for it.
func isPlatformKey(key string) bool {
	switch key {
	case "PORT", "HOST", "HOSTNAME", "PATH", "HOME", "PWD", "USER", "SHELL", "LANG", "TZ", "TERM", "TMPDIR", "TEMP", "TMP",
		"CI", "DEBUG", "COLORTERM", "FORCE_COLOR", "NO_COLOR", "NODE_ENV", "NODE_OPTIONS", "NODE_PATH", "BABEL_ENV", "VITEST", "JEST_WORKER_ID":
		return true
	}
	return strings.HasPrefix(key, "npm_")
}

// envKeys are the variables that the code reads, sorted, each with the first place.
func (s source) envKeys() []coderunner.EnvKey {
	var keys []coderunner.EnvKey
	seen := map[string]bool{}
	for _, f := range s.findings {
		if f.kind == readsVariable && !isPlatformKey(f.text) && !seen[f.text] {
			seen[f.text] = true
			keys = append(keys, coderunner.EnvKey{Key: f.text, Why: f.at()})
		}
	}
	if len(keys) > maxEnvKeys {
		keys = keys[:maxEnvKeys]
	}
	slices.SortFunc(keys, func(a, b coderunner.EnvKey) int { return strings.Compare(a.Key, b.Key) })
	return keys
}

// lookEnv reads process.env.KEY, process.env["KEY"] and { KEY, OTHER: name } = process.env.
func lookEnv(data []byte, at int, add func(finding)) {
	rest := window(data, at+len("process.env"), 160)
	rest = bytes.TrimPrefix(rest, []byte("?"))
	switch {
	case len(rest) > 1 && rest[0] == '.' && (rest[1] == '[' || isWordByte(rest[1])):
		rest = rest[1:]
		if rest[0] != '[' {
			key := word(rest)
			if !assigned(rest[len(key):]) {
				addKey(key, add)
			}
			return
		}
		fallthrough
	case len(rest) > 2 && rest[0] == '[':
		quote := rest[1]
		if quote != '"' && quote != '\'' && quote != '`' {
			return
		}
		end := bytes.IndexByte(rest[2:], quote)
		if end < 0 || len(rest) < end+4 || rest[2+end+1] != ']' {
			return
		}
		if key := rest[2 : 2+end]; !assigned(rest[end+4:]) {
			addKey(key, add)
		}
	case len(rest) == 0 || !isWordByte(rest[0]):
		lookDestructured(data[max(at-1024, 0):at], add)
	}
}

// lookDestructured reads the names in "{ A, B: b, C = 1 } =" at the end of before.
func lookDestructured(before []byte, add func(finding)) {
	before = bytes.TrimRight(before, " \t\r\n")
	before, ok := bytes.CutSuffix(before, []byte("="))
	if !ok {
		return
	}
	before, ok = bytes.CutSuffix(bytes.TrimRight(before, " \t\r\n"), []byte("}"))
	if !ok {
		return
	}
	open := bytes.LastIndexByte(before, '{')
	if open < 0 {
		return
	}
	for item := range bytes.SplitSeq(before[open+1:], []byte(",")) {
		addKey(word(bytes.TrimSpace(item)), add)
	}
}

func addKey(key []byte, add func(finding)) {
	if len(key) == 0 || len(key) > 128 || key[0] >= '0' && key[0] <= '9' || len(word(key)) != len(key) {
		return
	}
	add(finding{kind: readsVariable, text: string(key)})
}

func isWordByte(b byte) bool {
	return b == '_' || b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z' || b >= '0' && b <= '9'
}

// word is the name that text begins with.
func word(text []byte) []byte {
	n := 0
	for n < len(text) && isWordByte(text[n]) {
		n++
	}
	return text[:n]
}

// assigned reports whether what stands before rest is written, not read.
func assigned(rest []byte) bool {
	rest = bytes.TrimLeft(rest, " \t")
	return len(rest) > 1 && rest[0] == '=' && rest[1] != '=' && rest[1] != '>'
}
