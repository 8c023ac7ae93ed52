package runlog

import (
	"unicode/utf8"
)

// sanitizer turns what a program printed into text that is safe to store and to
// show: valid UTF-8 without control bytes, escape sequences other than colours
// (SGR), or characters that reorder the text around them. It keeps its state
// between chunks, so that nothing slips through in two halves.
type sanitizer struct {
	state   escapeState
	params  []byte // of the control sequence under way
	partial []byte // of a character that the chunk cut
}

type escapeState int

const (
	ground  escapeState = iota
	escaped             // after ESC
	control             // within ESC [ …
	command             // within ESC ] …, ESC P … and the like, until their end
	ending              // after an ESC within such
)

// maxParams bounds the parameters of one colour sequence; longer ones are
// dropped. maxColour is the longest sequence as a whole.
const (
	maxParams = 64
	maxColour = len("\x1b[") + maxParams + len("m")
)

// write passes clean characters and colour sequences to emit, '\n' and '\r' included.
func (s *sanitizer) write(chunk []byte, emit func(r rune), colour func(seq string)) {
	if len(s.partial) > 0 {
		chunk = append(s.partial, chunk...)
		s.partial = nil
	}
	for len(chunk) > 0 {
		r, size := utf8.DecodeRune(chunk)
		if r == utf8.RuneError && size == 1 && !utf8.FullRune(chunk) {
			s.partial = append([]byte(nil), chunk...)
			return
		}
		chunk = chunk[size:]
		s.rune(r, emit, colour)
	}
}

// end passes on what an unfinished character left.
func (s *sanitizer) end(emit func(r rune)) {
	if len(s.partial) > 0 && s.state == ground {
		emit(utf8.RuneError)
	}
	*s = sanitizer{}
}

func (s *sanitizer) rune(r rune, emit func(r rune), colour func(seq string)) {
	switch s.state {
	case ground:
		switch {
		case r == 0x1b:
			s.state = escaped
		case r == '\n' || r == '\r' || r == '\t':
			emit(r)
		case r < 0x20 || r >= 0x7f && r < 0xa0 || reorders(r):
		default:
			emit(r)
		}
	case escaped:
		switch r {
		case '[':
			s.state, s.params = control, s.params[:0]
		case ']', 'P', 'X', '^', '_':
			s.state = command
		case 0x1b:
		case '\n':
			s.state = ground
			emit(r)
		default:
			if r < 0x20 || r > 0x2f { // else an intermediate byte: one more follows
				s.state = ground
			}
		}
	case control:
		switch {
		case r >= 0x40 && r <= 0x7e:
			if r == 'm' && len(s.params) <= maxParams && onlySGR(s.params) {
				colour("\x1b[" + string(s.params) + "m")
			}
			s.state = ground
		case r == 0x1b:
			s.state = escaped
		case r == '\n':
			s.state = ground
			emit(r)
		case len(s.params) <= maxParams && r < 0x80:
			s.params = append(s.params, byte(r))
		}
	case command:
		switch r {
		case 0x07, 0x9c:
			s.state = ground
		case 0x1b:
			s.state = ending
		case '\n': // no such string has one: the program did not mean it
			s.state = ground
			emit(r)
		}
	case ending:
		if r == '\\' {
			s.state = ground
			return
		}
		s.state = escaped
		s.rune(r, emit, colour)
	}
}

// reorders reports the characters that show text in another order than it has.
func reorders(r rune) bool {
	return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200e || r == 0x200f || r == 0x061c
}

func onlySGR(params []byte) bool {
	for _, b := range params {
		if (b < '0' || b > '9') && b != ';' && b != ':' {
			return false
		}
	}
	return true
}
