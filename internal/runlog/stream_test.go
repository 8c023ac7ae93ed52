package runlog

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestHostileOutputBecomesText(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		printed string
		want    []string
	}{
		"plain":                {"hello\nworld\n", []string{"hello", "world"}},
		"empty lines":          {"a\n\n\nb\n", []string{"a", "", "", "b"}},
		"nothing":              {"", []string{}},
		"no newline":           {"a\nlast", []string{"a", "last"}},
		"CRLF":                 {"a\r\nb\r\n", []string{"a", "b"}},
		"CR CR LF":             {"a\r\r\n", []string{"a"}},
		"tab":                  {"a\tb\n", []string{"a\tb"}},
		"HTML":                 {"<script>alert(1)</script> &amp; \"'\n", []string{"<script>alert(1)</script> &amp; \"'"}},
		"SSE fields":           {"data: x\nevent: end\n\nid: 7\n", []string{"data: x", "event: end", "", "id: 7"}},
		"SSE framing by CR":    {"data: x\rdata: y\revent: end\r\r", []string{"event: end"}},
		"NUL":                  {"a\x00b\n", []string{"ab"}},
		"bell and backspace":   {"a\a\b\v\fb\x7f\n", []string{"ab"}},
		"C1 controls":          {"a\u0085b\u009b31mc\n", []string{"ab31mc"}},
		"invalid UTF-8":        {"a\xff\xc3(\xed\xa0\x80b\n", []string{"a\ufffd\ufffd(\ufffd\ufffd\ufffdb"}},
		"half a character":     {"a\xe2\x82", []string{"a\ufffd"}},
		"bidi override":        {"a\u202egnp.exe\u202c b\u2066c\u2069\u200f\u061c\n", []string{"agnp.exe bc"}},
		"wide characters":      {"✓ größer 日本語 👍🏽\n", []string{"✓ größer 日本語 👍🏽"}},
		"colours":              {"\x1b[1;31mred\x1b[0m \x1b[38;5;208mx\x1b[m\n", []string{"\x1b[1;31mred\x1b[0m \x1b[38;5;208mx\x1b[m"}},
		"true colour":          {"\x1b[38;2;1;2;3mx\x1b[38:2::1:2:3my\n", []string{"\x1b[38;2;1;2;3mx\x1b[38:2::1:2:3my"}},
		"no SGR with m":        {"\x1b[>4;1mx\x1b[?25my\n", []string{"xy"}},
		"cursor and erase":     {"\x1b[2J\x1b[H\x1b[1Aup\x1b[K\x1b[?25l\n", []string{"up"}},
		"title by BEL":         {"\x1b]0;owned\x07text\n", []string{"text"}},
		"link by ST":           {"\x1b]8;;http://evil\x1b\\text\x1b]8;;\x1b\\\n", []string{"text"}},
		"clipboard":            {"\x1b]52;c;ZXZpbA==\x1b\\text\n", []string{"text"}},
		"DCS, SOS, PM and APC": {"\x1bPq#0\x1b\\a\x1bXb\x1b\\c\x1b^d\x1b\\e\x1b_f\x1b\\g\n", []string{"aceg"}},
		"string without end":   {"a\x1b]0;never\nb\n", []string{"a", "b"}},
		"sequence without end": {"a\x1b[31\nb\n", []string{"a", "b"}},
		"ESC at the end":       {"a\x1b\nb\x1b", []string{"a", "b"}},
		"ESC ESC":              {"\x1b\x1b[31mx\n", []string{"\x1b[31mx"}},
		"character sets":       {"\x1b(Ba\x1b)0b\x1b#8c\x1bcd\n", []string{"abcd"}},
		"restart of a string":  {"\x1b]0;a\x1b[31mx\n", []string{"\x1b[31mx"}},
		"endless parameters":   {"\x1b[" + strings.Repeat("1;", 1000) + "mx\n", []string{"x"}},
		"progress bar":         {"10%\r50%\r100%\ndone\n", []string{"100%", "done"}},
		"progress in colours":  {"\x1b[31m10%\x1b[0m\r\x1b[32m100%\x1b[0m\n", []string{"\x1b[32m100%\x1b[0m"}},
		"colours before CR":    {"10%\r\x1b[32m\r100%\n", []string{"\x1b[32m100%"}},
		"bar, then reset":      {"100%\r\x1b[0m\n", []string{"100%\x1b[0m"}},
		"bar without newline":  {"50%\r\x1b[0m", []string{"50%\x1b[0m"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := cut(t, NewRedactor(), test.printed); !slices.Equal(got, test.want) {
				t.Errorf("%q became %q, want %q", test.printed, got, test.want)
			}
			if got := cut(t, NewRedactor(), bytewise(test.printed)...); !slices.Equal(got, test.want) {
				t.Errorf("%q in single bytes became %q, want %q", test.printed, got, test.want)
			}
		})
	}
}

func TestLongLinesAreParted(t *testing.T) {
	t.Parallel()
	for name, printed := range map[string]string{
		"ASCII":       strings.Repeat("0123456789", 20_000),
		"characters":  strings.Repeat("日本👍é", 20_000),
		"colours":     strings.Repeat("\x1b[1;38;5;208mx\x1b[0m", 10_000),
		"colour only": strings.Repeat("\x1b[31m", 40_000),
		"after CR":    "x\r" + strings.Repeat("\x1b[31m", 40_000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lines := cut(t, NewRedactor("a secret of some length"), printed)
			for _, line := range lines {
				if len(line) > 2*maxLine {
					t.Errorf("a line has %d bytes", len(line))
				}
				wantClean(t, line)
			}
			if got := strings.Join(lines, ""); name != "after CR" && got != printed {
				t.Errorf("the parts are not the whole: %d bytes of %d", len(got), len(printed))
			}
		})
	}
}

// sgr is the one kind of escape sequence that a stored line may have.
var sgr = regexp.MustCompile("\x1b\\[[0-9;:]{0,64}m")

func wantClean(t *testing.T, line string) {
	t.Helper()
	if !utf8.ValidString(line) {
		t.Errorf("%q is not UTF-8", clip(line))
	}
	for _, r := range sgr.ReplaceAllString(line, "") {
		if r < 0x20 && r != '\t' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			t.Errorf("%q has %U", clip(line), r)
			return
		}
	}
}

func clip(line string) string { return line[:min(len(line), 200)] }

func FuzzStream(f *testing.F) {
	f.Add([]byte("plain\nlines\r\n"), 3)
	f.Add([]byte("\x1b[31mred\x1b]0;x\x07\x1b[?25l\xe2\x82\xac\x00\u202e"), 7)
	f.Add([]byte("a\r\x1b[32mb\x9b\x90\x1b\\"), 1)
	f.Fuzz(func(t *testing.T, printed []byte, size int) {
		size = max(1, size%100)
		whole := cut(t, NewRedactor(), string(printed))
		var chunks []string
		for chunk := range slices.Chunk(printed, size) {
			chunks = append(chunks, string(chunk))
		}
		if parts := cut(t, NewRedactor(), chunks...); !slices.Equal(whole, parts) {
			t.Errorf("%q becomes %q, in chunks of %d %q", printed, whole, size, parts)
		}
		for _, line := range whole {
			wantClean(t, line)
		}
	})
}
