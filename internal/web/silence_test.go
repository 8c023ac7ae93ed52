package web_test

import (
	"testing"
	"time"
)

// TestASilentStreamIsKeptAliveEvery15Seconds has the server's own patience: nothing is
// set, and the comment is waited for. One that greets comes at once.
func TestASilentStreamIsKeptAliveEvery15Seconds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, run, _ := w.deployed(w.ada, "shop")
	for name, path := range map[string]string{"run": "/runs/" + run.ID + "/events", "logs": "/projects/" + p.ID + "/logs/events"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := w.ada.stream(path)
			began := time.Now()
			for {
				e, ok := s.next()
				if !ok {
					t.Fatal("the stream ended")
				}
				if after := time.Since(began); e.name == ":" && after > time.Second {
					if after < 14*time.Second || after > 20*time.Second {
						t.Errorf("the comment came after %s", after)
					}
					return
				}
			}
		})
	}
}
