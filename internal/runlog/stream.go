package runlog

import (
	"bytes"
	"os"
	"sync"
	"unicode/utf8"
)

// maxLine is the longest stored line in bytes, but for a secret that is longer
// than that; a longer line becomes several.
const maxLine = 16 << 10

// stream cuts what is written to it into lines. A lone carriage return begins
// the line again, as on a terminal, so that a progress bar is one line.
type stream struct {
	redact  *Redactor
	emitted func(text string) error // takes each line

	mu       sync.Mutex
	clean    sanitizer
	line     []byte
	returned bool   // a carriage return was the last thing but colours
	colours  []byte // those that came after it; they belong to what follows
	closed   bool
}

// Write never fails for what p contains. It blocks while the log is far behind,
// and fails when the run is no longer ours or the stream is closed.
func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, os.ErrClosed
	}
	var err error
	keep := func(e error) {
		if err == nil {
			err = e
		}
	}
	s.clean.write(p, func(r rune) { keep(s.put(r)) }, func(seq string) { keep(s.colour(seq)) })
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close stores what has no newline yet.
func (s *stream) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.clean.end(func(r rune) { _ = s.put(r) })
	if len(s.line) > 0 {
		s.line = append(s.line, s.colours...)
		return s.emit()
	}
	return nil
}

// reset forgets what has no newline yet.
func (s *stream) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clean, s.line, s.returned, s.colours = sanitizer{}, s.line[:0], false, s.colours[:0]
}

func (s *stream) put(r rune) error {
	switch r {
	case '\n':
		s.line = append(s.line, s.colours...)
		s.returned, s.colours = false, s.colours[:0]
		return s.emit()
	case '\r':
		s.returned = true
		return nil
	}
	if s.returned {
		s.line = append(s.line[:0], s.colours...)
		s.returned, s.colours = false, s.colours[:0]
	}
	s.line = utf8.AppendRune(s.line, r)
	return s.split()
}

func (s *stream) colour(seq string) error {
	if s.returned && len(s.colours)+len(seq) <= maxLine {
		s.colours = append(s.colours, seq...)
		return nil
	}
	s.line = append(s.line, seq...)
	return s.split()
}

// split emits the first part of a line that has become too long.
func (s *stream) split() error {
	// A secret that begins before the cut has to be seen whole.
	if len(s.line) < maxLine || len(s.line) < maxLine+s.redact.reach()+maxColour {
		return nil
	}
	cut := s.redact.safeCut(s.line, wholeCut(s.line, maxLine))
	rest := append([]byte(nil), s.line[cut:]...)
	s.line = s.line[:cut]
	err := s.emit()
	s.line = append(s.line[:0], rest...)
	return err
}

// wholeCut is the last place at or before i that is neither within a character
// nor within a colour sequence.
func wholeCut(b []byte, i int) int {
	if esc := bytes.LastIndexByte(b[:i], 0x1b); esc >= 0 && bytes.IndexByte(b[esc:i], 'm') < 0 {
		return esc
	}
	for i > 0 && !utf8.RuneStart(b[i]) {
		i--
	}
	return i
}

func (s *stream) emit() error {
	text := string(s.redact.Redact(s.line))
	s.line = s.line[:0]
	return s.emitted(text)
}
