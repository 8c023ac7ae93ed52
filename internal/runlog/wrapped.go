package runlog

import "bytes"

// Programs break long base64 into lines (base64 at 76 columns, PEM at 64), so that a value
// comes in pieces, and each line has to be judged alone. In a line, a piece stands at the
// beginning or the end of a run of base64's characters:
//
//	…run that ends with the beginning of a value's base64
//	or is all of it something from the middle
//	or begins with its end…
//
// Shorter pieces than pieceLength are let through: they tell at most four bytes of a
// value, and ordinary words would be taken for them.
const pieceLength = 6

// pieces finds parts of broken base64.
type pieces struct {
	forms [][]byte
	// seen has a bit for each sequence of pieceLength bytes in forms, by its hash. Nearly
	// all runs of a log are done with after a look at it.
	seen []uint64
}

const seenBits = 20 // of a hash; 128 KiB

func place(piece []byte) (word int, bit uint64) {
	var packed uint64
	for _, c := range piece[:pieceLength] {
		packed = packed<<8 | uint64(c)
	}
	hash := packed * 0x9e3779b97f4a7c15 >> (64 - seenBits)
	return int(hash >> 6), 1 << (hash & 63)
}

// add takes what of a value's base64 does not depend on what is around it.
func (p *pieces) add(form []byte) {
	if len(form) <= pieceLength {
		return
	}
	if p.seen == nil {
		p.seen = make([]uint64, 1<<seenBits/64)
	}
	p.forms = append(p.forms, form)
	for i := range len(form) - pieceLength + 1 {
		word, bit := place(form[i:])
		p.seen[word] |= bit
	}
}

// find adds where pieces are in text.
func (p *pieces) find(found []stretch, text []byte) []stretch {
	if len(p.forms) == 0 {
		return found
	}
	for from := 0; from < len(text); from++ {
		if !inAlphabet(text[from]) {
			continue
		}
		to := from + 1
		for to < len(text) && inAlphabet(text[to]) {
			to++
		}
		// A newline within a string is written \n.
		if from > 0 && text[from-1] == '\\' && (text[from] == 'n' || text[from] == 'r') {
			from++
		}
		if to-from >= pieceLength {
			found = p.inRun(found, text, from, to)
		}
		from = to
	}
	return found
}

// inRun looks at both ends of text[from:to].
func (p *pieces) inRun(found []stretch, text []byte, from, to int) []stretch {
	run := text[from:to]
	begin, end := run[:pieceLength], run[len(run)-pieceLength:]
	if p.maybe(begin) {
		for _, form := range p.forms {
			for i := range occurrences(form, begin) {
				if n := min(len(form)-i, len(run)); bytes.Equal(run[:n], form[i:i+n]) {
					found = append(found, stretch{from, from + n})
				}
			}
		}
	}
	if p.maybe(end) {
		for _, form := range p.forms {
			for i := range occurrences(form, end) {
				if n := i + pieceLength; n <= len(run) && bytes.HasSuffix(run, form[:n]) {
					found = append(found, stretch{to - n, to})
				}
			}
		}
	}
	return found
}

func (p *pieces) maybe(piece []byte) bool {
	word, bit := place(piece)
	return p.seen[word]&bit != 0
}

// occurrences yields where piece begins in form.
func occurrences(form, piece []byte) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for from := 0; ; {
			i := bytes.Index(form[from:], piece)
			if i < 0 || !yield(from+i) {
				return
			}
			from += i + 1
		}
	}
}

// inAlphabet reports whether base64 is written with c, in either of its alphabets.
func inAlphabet(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '+' || c == '/' || c == '-' || c == '_'
}
