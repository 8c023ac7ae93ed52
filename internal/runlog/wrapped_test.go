package runlog

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// broken is base64 in lines of so many columns.
func broken(text string, columns int) []string {
	var lines []string
	for line := range slices.Chunk([]byte(base64.StdEncoding.EncodeToString([]byte(text))), columns) {
		lines = append(lines, string(line))
	}
	return lines
}

// told answers the longest part of the secret's base64 that can be seen in the lines.
func told(secret string, lines []string) string {
	longest := ""
	for _, form := range inBase64(secret) {
		for _, line := range lines {
			for from := range len(form) {
				for to := from + len(longest) + 1; to <= len(form) && strings.Contains(line, form[from:to]); to++ {
					longest = form[from:to]
				}
			}
		}
	}
	return longest
}

func TestBrokenBase64IsHidden(t *testing.T) {
	t.Parallel()
	const short, long = "k3Jx8sQpZ1vR7tWm", "k3Jx8sQpZ1vR7tWmN5bY2cHd9fGj4LaE"
	huge := long
	for i := range 20 {
		huge += fmt.Sprintf("%d-%s", i*7919, long[i:])
	}
	for _, secret := range []string{short, long, huge} {
		redact := NewRedactor(secret)
		for _, columns := range []int{64, 76} {
			for before := range 80 {
				text := strings.Repeat("postgres://app:", 6)[:before] + secret + "@db.internal:5432/app?sslmode=disable&application_name=web"
				lines := broken(text, columns)
				printed := strings.Join(lines, "\n")
				for name, got := range map[string][]string{
					"whole":    cut(t, redact, printed),
					"bytewise": cut(t, redact, bytewise(printed)...),
					"CRLF":     cut(t, redact, strings.Join(lines, "\r\n")),
					"indented": cut(t, redact, "key: |\n  "+strings.Join(lines, "\n  ")),
				} {
					if part := told(secret, got); len(part) >= pieceLength {
						t.Fatalf("%s, %d columns, %d bytes before %d: %q can be seen in\n%s", name, columns, before, len(secret), part, strings.Join(got, "\n"))
					}
				}
				quoted, _ := json.Marshal(printed)
				if got := cut(t, redact, string(quoted)); len(told(secret, got)) >= pieceLength {
					t.Fatalf("in JSON, %d columns, %d bytes before: %q", columns, before, got)
				}
			}
		}
	}
}

// What is around the secret, and what only looks like base64, is shown.
func TestOrdinaryTextIsNotTakenForBrokenBase64(t *testing.T) {
	t.Parallel()
	redact := NewRedactor("k3Jx8sQpZ1vR7tWmN5bY2cHd9fGj4LaE", "my-secret-token", "development-key")
	for _, line := range []string{
		"added 57 packages, and audited 58 packages in 2s",
		"sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==",
		"at Module._compile (node:internal/modules/cjs/loader:1105:14)",
		"/app/node_modules/express/lib/router/layer.js",
		"my-secret development token key",
		"a+b/c-d_e " + strings.Repeat("A", 300),
	} {
		if got := cut(t, redact, line); !slices.Equal(got, []string{line}) {
			t.Errorf("%q became %q", line, got)
		}
	}
	lines := broken(strings.Repeat("public ", 20)+"k3Jx8sQpZ1vR7tWmN5bY2cHd9fGj4LaE"+strings.Repeat(" public", 20), 76)
	got := cut(t, redact, strings.Join(lines, "\n"))
	for i, line := range lines {
		if shown := strings.Split(got[i], Redacted); len(strings.Join(shown, "")) < len(line)-44 || !strings.HasPrefix(line, shown[0]) || !strings.HasSuffix(line, shown[len(shown)-1]) {
			t.Errorf("%q became %q", line, got[i])
		}
	}
}
