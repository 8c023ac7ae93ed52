// Package load asks an app again and again and records every request: whether it
// failed, and how long whoever asked had to wait.
package load

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// keptFailures are told in words; the others are counted.
const keptFailures = 10

// Report is what was recorded.
type Report struct {
	Requests int
	Failed   int
	Delayed  int           // that took longer than they may
	Slowest  time.Duration // of all
	Failures []string      // the first of them
}

// Held reports whether there were requests and each got what it asked for in time.
func (r Report) Held() bool { return r.Requests > 0 && r.Failed == 0 && r.Delayed == 0 }

func (r Report) String() string {
	text := fmt.Sprintf("%d requests, %d failed, %d delayed, slowest %d ms", r.Requests, r.Failed, r.Delayed, r.Slowest.Milliseconds())
	return strings.Join(append([]string{text}, r.Failures...), "\n  ")
}

// Recorder collects what several clients saw. It is safe for concurrent use.
type Recorder struct {
	within time.Duration
	mu     sync.Mutex
	report Report
}

// NewRecorder counts a request as delayed when it takes longer than within.
func NewRecorder(within time.Duration) *Recorder { return &Recorder{within: within} }

// Record adds one request that was due at begin and has just ended.
func (r *Recorder) Record(begin time.Time, err error) {
	took := time.Since(begin)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Requests++
	r.report.Slowest = max(r.report.Slowest, took)
	note := ""
	if took > r.within {
		r.report.Delayed++
		note = fmt.Sprintf("took %d ms", took.Milliseconds())
	}
	if err != nil {
		r.report.Failed++
		note = err.Error()
	}
	if note != "" && len(r.report.Failures) < keptFailures {
		r.report.Failures = append(r.report.Failures, begin.Format("15:04:05.000 ")+note)
	}
}

// Report is what was recorded so far.
func (r *Recorder) Report() Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	report := r.report
	report.Failures = append([]string(nil), r.report.Failures...)
	return report
}

// Take is Report, and begins anew.
func (r *Recorder) Take() Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	report := r.report
	r.report = Report{}
	return report
}
