package stream_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coderunner/coderunner/internal/stream"
)

// What a proxy's buffer holds back is pushed through, and the time before a reconnect
// is in the block of the first event, where htmx reads it.
func TestAStreamBeginsWithTwoKibibytes(t *testing.T) {
	t.Parallel()
	answer := httptest.NewRecorder()
	out := stream.Open(answer, stream.Events, time.Second)
	if err := out.Begin("event: began\nid: 7\n\n"); err != nil || !answer.Flushed {
		t.Fatalf("flushed %v, %v", answer.Flushed, err)
	}
	comment, rest, _ := strings.Cut(answer.Body.String(), "\n")
	if !strings.HasPrefix(comment, ":") || len(comment) < 2<<10 || rest != "retry: 1000\nevent: began\nid: 7\n\n" {
		t.Errorf("a comment of %d bytes, then %q", len(comment), rest)
	}
	for name, want := range map[string]string{"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no", "Cache-Control": "no-store, no-transform"} {
		if got := answer.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// deadlines notes those that are set, as time from then.
type deadlines struct {
	http.ResponseWriter
	set []time.Duration
}

func (d *deadlines) SetWriteDeadline(at time.Time) error {
	if at.IsZero() {
		d.set = append(d.set, 0)
	} else {
		d.set = append(d.set, time.Until(at))
	}
	return nil
}
func (d *deadlines) Flush() {}

// A peer that is gone holds its request up for no longer than one write of 64 KiB may take.
func TestEveryWriteHasADeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &deadlines{ResponseWriter: httptest.NewRecorder()}
		out := stream.Open(d, stream.Events, 10*time.Second)
		for _, write := range []func() error{
			func() error { return out.Begin("\n") }, func() error { return out.Comment("still here") }, out.Crowded,
			func() error { return out.Write(make([]byte, 65<<10)) },
		} {
			if err := write(); err != nil {
				t.Fatal(err)
			}
		}
		out.Close()
		if len(d.set) != 6 || d.set[5] != 0 {
			t.Fatalf("deadlines %v, want one for each write and none in the end", d.set)
		}
		for _, after := range d.set[:5] {
			if after != 10*time.Second {
				t.Errorf("deadlines %v, want each 10 s from then", d.set)
			}
		}
	})
}
