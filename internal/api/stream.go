package api

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// maxStreams is how many streams one user may have open at once, and writeSize how
// many bytes a reader is given WriteTimeout for.
const (
	maxStreams = 64
	writeSize  = 64 << 10
)

// streams counts the open ones of each user.
type streams struct {
	mu   sync.Mutex
	open map[string]int
}

// enter answers a function that ends the stream, or Throttled.
func (s *streams) enter(userID string) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[userID] >= maxStreams {
		return nil, coderunner.Errorf(coderunner.Throttled, "You have %d streams open, which is the limit. Close some, then try again.", maxStreams)
	}
	s.open[userID]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.open[userID]--; s.open[userID] == 0 {
			delete(s.open, userID)
		}
	}, nil
}

// stream is an answer that takes as long as it takes. A reader that does not take
// its bytes in time is dropped: nobody waits for it but its own request.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
	broken  bool
}

func (s *server) openStream(w http.ResponseWriter, contentType string) *stream {
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Cache-Control", "no-store, no-transform")
	header.Set("X-Accel-Buffering", "no") // proxies pass each event on at once
	w.WriteHeader(http.StatusOK)
	return &stream{w: w, control: http.NewResponseController(w), timeout: s.WriteTimeout}
}

// write sends b now.
func (s *stream) write(b []byte) (err error) {
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

// close leaves a connection that still works without a deadline, for its next request.
func (s *stream) close() {
	if !s.broken {
		_ = s.control.SetWriteDeadline(time.Time{})
	}
}
