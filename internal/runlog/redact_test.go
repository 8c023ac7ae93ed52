package runlog

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

const password = `p@ss/w:rd+"quoted" & <50%>!`

func TestRedact(t *testing.T) {
	t.Parallel()
	inJSON, _ := json.Marshal(map[string]string{"password": password})
	key := "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhki\r\nG9w0BAQEFAASCBKcwgg\n-----END PRIVATE KEY-----\n"
	keyJSON, _ := json.Marshal(key)
	for name, test := range map[string]struct{ secret, printed, want string }{
		"alone":              {"s3cr3t-value", "s3cr3t-value", Redacted},
		"within a line":      {"s3cr3t-value", "url=postgres://app:s3cr3t-value@db", "url=postgres://app:" + Redacted + "@db"},
		"twice":              {"s3cr3t-value", "s3cr3t-values3cr3t-value s3cr3t-value", Redacted + Redacted + " " + Redacted},
		"nothing":            {"s3cr3t-value", "no secret", "no secret"},
		"blanks around":      {"  s3cr3t-value\n", "x s3cr3t-value y", "x " + Redacted + " y"},
		"short":              {"true", "it is true", "it is true"},
		"short in blanks":    {"  true   ", "it is  true   .", "it is  true   ."},
		"ordinary":           {"production", "NODE_ENV=production", "NODE_ENV=production"},
		"characters":         {"пароль-日本", "это пароль-日本.", "это " + Redacted + "."},
		"path escape":        {password, "x" + url.PathEscape(password) + "y", "x" + Redacted + "y"},
		"query escape":       {password, "x=" + url.QueryEscape(password) + "&y", "x=" + Redacted + "&y"},
		"user info":          {password, url.URL{Scheme: "postgres", User: url.UserPassword("app", password), Host: "db"}.User.String() + "@db", "app:" + Redacted + "@db"},
		"encodeURIComponent": {password, "p%40ss%2Fw%3Ard%2B%22quoted%22%20%26%20%3C50%25%3E!", Redacted},
		"lower-case hex":     {password, "p%40ss%2fw%3ard%2b%22quoted%22%20%26%20%3c50%25%3e!", Redacted},
		"all encoded":        {"s3cr3t", "%73%33%63%72%33%74", Redacted},
		"percent elsewhere":  {"s3cr3t", "100%25 s3cr3t %zz %4", "100%25 " + Redacted + " %zz %4"},
		"JSON":               {password, string(inJSON), `{"password":"` + Redacted + `"}`},
		"JSON of Node.js":    {password, `{"password":"p@ss/w:rd+\"quoted\" & <50%>!"}`, `{"password":"` + Redacted + `"}`},
		"base64":             {password, "x " + base64.StdEncoding.EncodeToString([]byte(password)) + " y", "x " + Redacted + " y"},
		"lines of a key":     {key, "MIIEvQIBADANBgkqhki", Redacted},
		"a key in JSON":      {key, string(keyJSON), `"` + Redacted + `\n` + Redacted + `\r\n` + Redacted + `\n` + Redacted + `\n"`},
		"colours in it":      {"ab\x1b[31mcdefgh", "ab\x1b[31mcdefgh", Redacted},
		"controls in it":     {"abc\x01\x02def", "=abc\x01\x02def=", "=" + Redacted + "="},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			redact := NewRedactor(test.secret)
			if got := strings.Join(cut(t, redact, test.printed), "\n"); got != test.want {
				t.Errorf("%q became %q, want %q", test.printed, got, test.want)
			}
			if got := strings.Join(cut(t, redact, bytewise(test.printed)...), "\n"); got != test.want {
				t.Errorf("%q in single bytes became %q, want %q", test.printed, got, test.want)
			}
		})
	}
}

func TestRedactBasicAuthentication(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t-value-of-some-length"
	for _, user := range []string{"", "a", "ab", "abc", "abcd"} {
		for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawURLEncoding} {
			coded := encoding.EncodeToString([]byte(user + ":" + secret + "?>~"))
			got := string(NewRedactor(secret).Redact([]byte("Authorization: Basic " + coded)))
			_, rest, found := strings.Cut(got, Redacted)
			if !found || len(rest) > 8 {
				t.Errorf("%s became %s", coded, got)
			}
		}
	}
}

func TestSecretsThatOverlap(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		secrets []string
		printed string
		want    string
	}{
		"one within another": {[]string{"inside", "around-inside-around"}, "around-inside-around inside", Redacted + " " + Redacted},
		"half of each":       {[]string{"abcdefgh", "efghijkl"}, "<abcdefghijkl>", "<" + Redacted + ">"},
		"side by side":       {[]string{"abcdef", "ghijkl"}, "abcdefghijkl", Redacted + Redacted},
		"with itself":        {[]string{"aaaaaaaa"}, strings.Repeat("a", 21), Redacted},
		"plain and encoded":  {[]string{"ab%41cdef"}, "ab%41cdef ab%2541cdef", Redacted + " " + Redacted},
	} {
		if got := string(NewRedactor(test.secrets...).Redact([]byte(test.printed))); got != test.want {
			t.Errorf("%s: %q became %q, want %q", name, test.printed, got, test.want)
		}
	}
}

func TestSecretAddedLaterIsHidden(t *testing.T) {
	t.Parallel()
	redact := NewRedactor()
	if got := string(redact.Redact([]byte("s3cr3t-value"))); got != "s3cr3t-value" {
		t.Fatalf("nothing to hide, and yet %q", got)
	}
	redact.Add("other-secret", "s3cr3t-value")
	if got := string(redact.Redact([]byte("s3cr3t-value other-secret"))); got != Redacted+" "+Redacted {
		t.Errorf("it is shown as %q", got)
	}
}

// Wherever a secret stands, no part of it shows where a long line is parted.
func TestLongLineIsNotPartedWithinASecret(t *testing.T) {
	t.Parallel()
	const secret = "XSECRETX-with/more"
	for _, form := range []string{secret, url.QueryEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret))} {
		for at := maxLine - len(form) - 2; at <= maxLine+2; at++ {
			printed := strings.Repeat(".", at) + form + strings.Repeat(".", maxLine/2)
			lines := cut(t, NewRedactor(secret), printed)
			want := strings.Repeat(".", at) + Redacted + strings.Repeat(".", maxLine/2)
			if got := strings.Join(lines, ""); got != want || len(lines) < 2 {
				t.Fatalf("%q at %d shows as %q in %d lines", form, at, strings.Trim(got, "."), len(lines))
			}
		}
	}
}

func BenchmarkRedact(b *testing.B) {
	redact := NewRedactor()
	for i := range 50 {
		redact.Add(fmt.Sprintf("s3cr3t-value-number-%d", i))
	}
	line := []byte(strings.Repeat("npm warn deprecated something@1.2.3 ", 4))
	for b.Loop() {
		redact.Redact(line)
	}
}
