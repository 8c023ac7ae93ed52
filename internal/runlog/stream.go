package runlog

import (
	"sync"
	"time"
	"unicode/utf8"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// maxLine is the longest stored line in bytes; a longer one becomes several.
const maxLine = 16 << 10

// stream cuts what is written to it into lines. A lone carriage return begins
// the line again, as on a terminal, so that a progress bar is one line.
type stream struct {
	writer *Writer
	step   string
	stream coderunner.Stream

	mu       sync.Mutex
	clean    sanitizer
	line     []byte
	returned bool // a carriage return was the last thing
	closed   bool
}

// Write never fails for what p contains. It blocks while the log is far behind,
// and fails when the run is no longer ours.
func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	s.clean.write(p, func(r rune) {
		if e := s.put(r); e != nil && err == nil {
			err = e
		}
	}, func(seq string) { s.line = append(s.line, seq...) })
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
		return s.emit()
	}
	return nil
}

func (s *stream) put(r rune) error {
	switch r {
	case '\n':
		s.returned = false
		return s.emit()
	case '\r':
		s.returned = true
		return nil
	}
	if s.returned {
		s.returned = false
		s.line = s.line[:0]
	}
	s.line = utf8.AppendRune(s.line, r)
	// A secret that begins before the cut has to be seen whole.
	if reach := s.writer.redact.reach(); len(s.line) >= maxLine+reach+utf8.UTFMax {
		cut := s.writer.redact.safeCut(s.line, runeStart(s.line, maxLine))
		rest := append([]byte(nil), s.line[cut:]...)
		s.line = s.line[:cut]
		err := s.emit()
		s.line = append(s.line[:0], rest...)
		return err
	}
	return nil
}

// runeStart is the last place at or before i where a character begins.
func runeStart(b []byte, i int) int {
	for i > 0 && !utf8.RuneStart(b[i]) {
		i--
	}
	return i
}

func (s *stream) emit() error {
	text := string(s.writer.redact.Redact(s.line))
	s.line = s.line[:0]
	return s.writer.add(coderunner.LogLine{At: time.Now(), Stream: s.stream, Step: s.step, Text: text})
}
