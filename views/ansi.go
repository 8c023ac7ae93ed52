package views

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// span is a stretch of a log line with one look.
type span struct {
	class string // CSS classes, "" for plain text
	text  string // not yet escaped
}

// look is what SGR sequences have switched on. A colour is 0 to 255, or -1 for
// the default.
type look struct {
	fore, back                                    int
	bold, dim, italic, underline, strike, inverse bool
}

// class answers the classes of static/src/ansi.css for the look.
func (l look) class() string {
	fore, back := l.fore, l.back
	var classes []string
	if l.inverse {
		if fore, back = back, fore; fore < 0 && back < 0 {
			classes = append(classes, "inv")
		}
	}
	if back >= 0 {
		classes = append(classes, "b"+strconv.Itoa(back))
	}
	if fore >= 0 {
		classes = append(classes, "f"+strconv.Itoa(fore))
	}
	for _, flag := range [...]struct {
		on   bool
		name string
	}{{l.bold, "sb"}, {l.dim, "sd"}, {l.italic, "si"}, {l.underline, "su"}, {l.strike, "ss"}} {
		if flag.on {
			classes = append(classes, flag.name)
		}
	}
	return strings.Join(classes, " ")
}

// ansi splits a log line into spans. Colours and styles (SGR) become classes;
// every other escape sequence (cursor moves, titles, clipboard, hyperlinks),
// every control character but the tab and everything that reorders text is
// dropped. A carriage return begins the line anew, as on a terminal, so that of
// a progress bar the last state remains. Concealed text is shown.
func ansi(line string) []span {
	line = strings.ToValidUTF8(line, "\uFFFD")
	line = strings.TrimRight(line, "\r\n")
	if i := strings.LastIndexAny(line, "\r\n"); i >= 0 {
		line = line[i+1:]
	}
	var spans []span
	var text strings.Builder
	now := look{fore: -1, back: -1}
	flush := func() {
		if text.Len() > 0 {
			spans = append(spans, span{now.class(), text.String()})
			text.Reset()
		}
	}
	for len(line) > 0 {
		r, n := utf8.DecodeRuneInString(line)
		switch {
		case r == 0x1b || r == 0x9b || r == 0x90 || r >= 0x9d && r <= 0x9f || r == 0x98:
			codes, rest := escape(line)
			line = rest
			if codes != nil {
				flush()
				now.apply(*codes)
			}
			continue
		case r < 0x20 && r != '\t', r >= 0x7f && r < 0xa0, reorders(r):
		default:
			text.WriteRune(r)
		}
		line = line[n:]
	}
	flush()
	return spans
}

// reorders reports whether r makes text read in another order than it is stored:
// the bidirectional embeddings, overrides and isolates, and the line separators.
func reorders(r rune) bool {
	return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x2028 || r == 0x2029
}

// escape takes the escape sequence that line begins with. codes is set for SGR
// only; rest is what follows. A sequence that does not end takes the whole line
// if it is a string (OSC, DCS, …), otherwise what belongs to it.
func escape(line string) (codes *string, rest string) {
	intro, n := utf8.DecodeRuneInString(line)
	rest = line[n:]
	if intro == 0x1b {
		if rest == "" {
			return nil, ""
		}
		kind := rest[0]
		switch kind {
		case '[':
			intro, rest = 0x9b, rest[1:]
		case ']':
			intro, rest = 0x9d, rest[1:]
		case 'P', 'X', '^', '_':
			intro, rest = 0x90, rest[1:]
		default: // intermediates and one final byte, as in ESC ( B
			i := 0
			for i < len(rest) && rest[i] >= 0x20 && rest[i] <= 0x2f {
				i++
			}
			if i < len(rest) && rest[i] >= 0x30 && rest[i] <= 0x7e {
				i++
			}
			return nil, rest[i:]
		}
	}
	if intro != 0x9b {
		for i, r := range rest { // a string: up to BEL or ST
			switch {
			case r == 0x07:
				return nil, rest[i+1:]
			case r == 0x9c:
				return nil, rest[i+utf8.RuneLen(r):]
			case r == 0x1b && strings.HasPrefix(rest[i+1:], `\`):
				return nil, rest[i+2:]
			case r == 0x1b:
				return nil, rest[i:]
			}
		}
		return nil, ""
	}
	i := 0
	for i < len(rest) && rest[i] >= 0x20 && rest[i] <= 0x3f {
		i++
	}
	if i == len(rest) || rest[i] < 0x40 || rest[i] > 0x7e {
		return nil, rest[i:]
	}
	parameters := rest[:i]
	if rest[i] == 'm' && strings.Trim(parameters, "0123456789;:") == "" {
		return &parameters, rest[i+1:]
	}
	return nil, rest[i+1:]
}

// apply changes the look as the parameters of one SGR sequence say. Unknown ones
// change nothing.
func (l *look) apply(parameters string) {
	fields := strings.Split(parameters, ";")
	for i := 0; i < len(fields); i++ {
		codes := numbers(strings.Split(fields[i], ":"))
		switch code := codes[0]; {
		case code == 38 || code == 48 || code == 58:
			parts := codes[1:]
			var colour int
			if len(parts) == 0 { // the usual way: fields of their own
				var used int
				colour, used = palette(numbers(fields[i+1:]))
				i += used
			} else {
				if len(parts) > 4 && parts[0] == 2 { // after the colour space, which is not looked at
					parts = append([]int{2}, parts[2:]...)
				}
				colour, _ = palette(parts)
			}
			switch {
			case colour >= 0 && code == 38:
				l.fore = colour
			case colour >= 0 && code == 48:
				l.back = colour
			}
		case code == 4 && len(codes) > 1: // 4:0 is none, the others are kinds of lines
			l.underline = codes[1] != 0
		case len(codes) == 1:
			l.set(code)
		}
	}
}

// set applies one plain code.
func (l *look) set(code int) {
	switch {
	case code == 0:
		*l = look{fore: -1, back: -1}
	case code == 1:
		l.bold = true
	case code == 2:
		l.dim = true
	case code == 3:
		l.italic = true
	case code == 4 || code == 21:
		l.underline = true
	case code == 7:
		l.inverse = true
	case code == 9:
		l.strike = true
	case code == 22:
		l.bold, l.dim = false, false
	case code == 23:
		l.italic = false
	case code == 24:
		l.underline = false
	case code == 27:
		l.inverse = false
	case code == 29:
		l.strike = false
	case code >= 30 && code <= 37:
		l.fore = code - 30
	case code == 39:
		l.fore = -1
	case code >= 40 && code <= 47:
		l.back = code - 40
	case code == 49:
		l.back = -1
	case code >= 90 && code <= 97:
		l.fore = code - 90 + 8
	case code >= 100 && code <= 107:
		l.back = code - 100 + 8
	}
}

// numbers reads parameters: 0 where one is left out, -1 for what is no number.
func numbers(fields []string) []int {
	codes := make([]int, len(fields))
	for i, field := range fields {
		if field == "" {
			continue
		}
		code, err := strconv.Atoi(field)
		if err != nil {
			code = -1
		}
		codes[i] = code
	}
	return codes
}

// palette reads what follows 38 or 48: "5;n", or "2;r;g;b" as the nearest of the
// 256 colours. It answers -1 for anything else, and how many codes it used.
func palette(codes []int) (colour, used int) {
	switch {
	case len(codes) >= 2 && codes[0] == 5:
		if codes[1] < 0 || codes[1] > 255 {
			return -1, 2
		}
		return codes[1], 2
	case len(codes) >= 4 && codes[0] == 2:
		return nearest(codes[1], codes[2], codes[3]), 4
	}
	return -1, len(codes)
}

// nearest answers the colour of the 6×6×6 cube or the grey ramp that is closest
// to the given one; -1 if a part is not a byte.
func nearest(red, green, blue int) int {
	levels := [...]int{0, 95, 135, 175, 215, 255}
	cube, distance := 0, 0
	for _, part := range [...]int{red, green, blue} {
		if part < 0 || part > 255 {
			return -1
		}
		best := 0
		for i, level := range levels {
			if abs(level-part) < abs(levels[best]-part) {
				best = i
			}
		}
		cube = cube*6 + best
		distance += (levels[best] - part) * (levels[best] - part)
	}
	step := min(max(((red+green+blue)/3-8+5)/10, 0), 23)
	level := 8 + 10*step
	grey := (level-red)*(level-red) + (level-green)*(level-green) + (level-blue)*(level-blue)
	if grey < distance {
		return 232 + step
	}
	return 16 + cube
}

func abs(n int) int { return max(n, -n) }
