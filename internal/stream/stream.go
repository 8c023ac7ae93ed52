// Package stream sends answers that take as long as they take, to pages and programs
// alike, and bounds how many streams of events a user has open.
//
// A reader that does not take its bytes in time is dropped: nobody waits for it but
// its own request. A stream of events begins with so many bytes that proxies which
// hold back small answers pass them on, and says how soon to reconnect.
package stream

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// Events is the content type of server-sent events.
const Events = "text/event-stream; charset=utf-8"

// writeSize is how many bytes a reader is given its time for.
const writeSize = 64 << 10

// opening is a comment that fills the buffers of proxies, and the time before a
// reconnect. Its last line is part of the first event: htmx reads it only there.
var opening = ":" + strings.Repeat(" ", 2<<10) + "\nretry: 1000\n"

// Writer is an answer on its way to one reader.
type Writer struct {
	w       http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
	broken  bool
}

// Open begins an answer. The reader has timeout for each write.
func Open(w http.ResponseWriter, contentType string, timeout time.Duration) *Writer {
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Cache-Control", "no-store, no-transform")
	header.Set("X-Accel-Buffering", "no") // proxies pass each event on at once
	w.WriteHeader(http.StatusOK)
	return &Writer{w: w, control: http.NewResponseController(w), timeout: timeout}
}

// Begin sends what a stream of events begins with, and with it the first event, which
// may be an empty line.
func (s *Writer) Begin(first string) error { return s.Write([]byte(opening + first)) }

// Comment is ignored by whoever reads it; it keeps the connection from looking dead.
func (s *Writer) Comment(text string) error { return s.Write([]byte(": " + text + "\n\n")) }

// Crowded is the last event of a stream that made room for a newer one; see Places.
func (s *Writer) Crowded() error {
	return s.Write(fmt.Appendf(nil, "event: crowded\ndata: {\"limit\":%d}\n\n", coderunner.MaxStreams))
}

// Write sends b now.
func (s *Writer) Write(b []byte) (err error) {
	defer func() { s.broken = s.broken || err != nil }()
	for len(b) > 0 {
		n := min(len(b), writeSize)
		if err := s.control.SetWriteDeadline(time.Now().Add(s.timeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		if _, err := s.w.Write(b[:n]); err != nil {
			return err
		}
		if err := s.control.Flush(); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// Close leaves a connection that still works without a deadline, for its next request.
func (s *Writer) Close() {
	if !s.broken {
		_ = s.control.SetWriteDeadline(time.Time{})
	}
}
