package views

import (
	"slices"
	"strings"
	"testing"
)

func TestANSI(t *testing.T) {
	t.Parallel()
	for printed, want := range map[string][]span{
		"":                                    nil,
		"plain":                               {{"", "plain"}},
		"\x1b[31mred":                         {{"f1", "red"}},
		"\x1b[31mred\x1b[0m plain":            {{"f1", "red"}, {"", " plain"}},
		"\x1b[31mred\x1b[m plain":             {{"f1", "red"}, {"", " plain"}},
		"\x1b[1;4;33;44mx":                    {{"b4 f3 sb su", "x"}},
		"\x1b[97;100mx\x1b[39my\x1b[49mz":     {{"b8 f15", "x"}, {"b8", "y"}, {"", "z"}},
		"\x1b[1;2;3;4;9mx":                    {{"sb sd si su ss", "x"}},
		"\x1b[1;2;3mx\x1b[22my\x1b[23mz":      {{"sb sd si", "x"}, {"si", "y"}, {"", "z"}},
		"\x1b[4;9mx\x1b[24my\x1b[29mz":        {{"su ss", "x"}, {"ss", "y"}, {"", "z"}},
		"\x1b[21mx":                           {{"su", "x"}},
		"\x1b[7mx\x1b[27my":                   {{"inv", "x"}, {"", "y"}},
		"\x1b[7;31mx":                         {{"b1", "x"}},
		"\x1b[7;31;42mx":                      {{"b1 f2", "x"}},
		"\x1b[38;5;208mx":                     {{"f208", "x"}},
		"\x1b[48;5;0mx":                       {{"b0", "x"}},
		"\x1b[38;5;300mx":                     {{"", "x"}},
		"\x1b[38;5mx":                         {{"", "x"}},
		"\x1b[38;2;255;0;0mx":                 {{"f196", "x"}},
		"\x1b[38;2;128;128;128mx":             {{"f244", "x"}},
		"\x1b[38;2;256;0;0mx":                 {{"", "x"}},
		"\x1b[38;2;255;0;0;1mx":               {{"f196 sb", "x"}},
		"\x1b[38;2;;;mx":                      {{"f16", "x"}},
		"\x1b[38:5:208mx":                     {{"f208", "x"}},
		"\x1b[38:2:255:0:0mx":                 {{"f196", "x"}},
		"\x1b[38:2::255:0:0;1mx":              {{"f196 sb", "x"}},
		"\x1b[58;5;1mx":                       {{"", "x"}},
		"\x1b[58:2::1:2:3mx":                  {{"", "x"}},
		"\x1b[4:3mx\x1b[4:0my":                {{"su", "x"}, {"", "y"}},
		"\x1b[1m\x1b[;31mx":                   {{"f1", "x"}},
		"\x1b[31;mx":                          {{"", "x"}},
		"\x1b[99999999999999999999mx":         {{"", "x"}},
		"\x1b[5;6;8;53;73mshown":              {{"", "shown"}},
		"\x1b[31m\x1b[32m\x1b[0m":             nil,
		"\x1b[?25lx\x1b[2Ky\x1b[10;20Hz":      {{"", "xyz"}},
		"\x1b[>4;1mx\x1b[0 qy":                {{"", "xy"}},
		"\x1b]0;title\x07x":                   {{"", "x"}},
		"\x1b]8;;http://evil\x1b\\x":          {{"", "x"}},
		"\x1b]0;never ends":                   nil,
		"\x1b]0;cut\x1b[31mx":                 {{"f1", "x"}},
		"\x1bPq\x1b\\x\x1b(By\x1b7z\x1b":      {{"", "xyz"}},
		"\u009b31mx\u009d0;t\u009cy":          {{"f1", "xy"}},
		"a\x00b\x07c\x08d\x7fe\u0085f\tg":     {{"", "abcdef\tg"}},
		"a\u202eb\u202cc\u2066d\u2069e\u2028": {{"", "abcde"}},
		"a\xffb\xc3(":                         {{"", "a\ufffdb\ufffd("}},
		"10%\r100%":                           {{"", "100%"}},
		"100%\r":                              {{"", "100%"}},
		"<b>&amp;\"'":                         {{"", "<b>&amp;\"'"}},
	} {
		if got := ansi(printed); !slices.Equal(got, want) {
			t.Errorf("%q shows as %q, want %q", printed, got, want)
		}
	}
}

func FuzzANSI(f *testing.F) {
	f.Add("\x1b[1;38;2;1;2;3mx\x1b]8;;\x1b\\\u009b0m\u202e\xff\r<")
	f.Fuzz(func(t *testing.T, printed string) {
		for _, span := range ansi(printed) {
			if span.text == "" || strings.ContainsFunc(span.text, func(r rune) bool { return r < 0x20 && r != '\t' || r >= 0x7f && r < 0xa0 || reorders(r) }) {
				t.Errorf("%q shows as %q", printed, span.text)
			}
			if strings.Trim(span.class, "0123456789bfdisuvn ") != "" {
				t.Errorf("%q has the class %q", printed, span.class)
			}
		}
	})
}
