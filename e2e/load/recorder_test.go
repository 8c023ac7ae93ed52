package load

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestRecorder(t *testing.T) {
	r := NewRecorder(time.Second)
	if r.Report().Held() {
		t.Error("nothing was asked, and it held")
	}
	r.Record(time.Now(), nil)
	if report := r.Report(); !report.Held() || report.Requests != 1 {
		t.Errorf("one that is well: %s", report)
	}
	r.Record(time.Now().Add(-2*time.Second), nil)
	if report := r.Report(); report.Held() || report.Delayed != 1 || report.Slowest < 2*time.Second || !strings.Contains(report.String(), "took 20") {
		t.Errorf("one that is late: %s", report)
	}
	for range 2 * keptFailures {
		r.Record(time.Now(), errors.New("refused"))
	}
	if report := r.Take(); report.Failed != 2*keptFailures || len(report.Failures) != keptFailures || report.Requests != 2+2*keptFailures {
		t.Errorf("some that failed: %s", report)
	}
	if report := r.Report(); report.Requests != 0 {
		t.Errorf("after Take there is %s", report)
	}
}

// TestEveryRequestIsRecorded: those that fail are not lost, and the rate does not depend on the answers.
func TestEveryRequestIsRecorded(t *testing.T) {
	var mu sync.Mutex
	asked, posts := 0, 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked++
		if r.Method == http.MethodPost {
			posts++
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	defer server.Close()
	r := NewRecorder(time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	Target{Address: server.Listener.Addr().String(), Host: "app.localhost"}.Requests(ctx, 100, r)
	mu.Lock()
	defer mu.Unlock()
	if report := r.Report(); report.Requests != asked || report.Failed != posts || asked < 10 || asked > 31 || asked-2*posts > 1 {
		t.Errorf("%d requests, %d of them posts, are recorded as %s", asked, posts, report)
	}
}
