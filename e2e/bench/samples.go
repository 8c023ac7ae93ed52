package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// samples are measurements of one thing.
type samples []float64

func (s *samples) add(v float64)        { *s = append(*s, v) }
func (s *samples) took(d time.Duration) { s.add(float64(d) / float64(time.Millisecond)) }

// quantile is the smallest measurement that the share q of all does not exceed.
func (s samples) quantile(q float64) float64 {
	sorted := slices.Sorted(slices.Values(s))
	i := int(q*float64(len(sorted))+0.999999) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

func (s samples) median() float64 {
	sorted := slices.Sorted(slices.Values(s))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// ratios divides pairs that were measured beside each other.
func ratios(a, b samples) samples {
	var r samples
	for i := range a {
		r.add(a[i] / b[i])
	}
	return r
}

// row is one line of the table.
type row struct {
	what, unit string
	values     samples
	p95        bool    // judged and shown by the 95th percentile instead of the median
	target     float64 // at most; 0 for none
}

func (r row) judged() float64 {
	if r.p95 {
		return r.values.quantile(0.95)
	}
	return r.values.median()
}

func (r row) verdict() string {
	switch {
	case r.target == 0:
		return ""
	case r.judged() <= r.target:
		return "ok"
	}
	return "MISSED"
}

// report is the table.
type report struct{ rows []row }

func (r *report) add(rows ...row) { r.rows = append(r.rows, rows...) }

func (r *report) print(out io.Writer) {
	fmt.Fprintf(out, "%-52s %14s %9s %9s %9s %9s %5s  %s\n", "", "target", "min", "median", "p95", "max", "n", "")
	for _, row := range r.rows {
		target := ""
		if row.target > 0 {
			kind := "median"
			if row.p95 {
				kind = "p95"
			}
			target = fmt.Sprintf("%s ≤ %s", kind, number(row.target))
		}
		what := row.what
		if row.unit != "" {
			what += ", " + row.unit
		}
		line := fmt.Sprintf("%-52s %14s %9s %9s %9s %9s %5d  %s", what, target, number(row.values.quantile(0)), number(row.values.median()),
			number(row.values.quantile(0.95)), number(row.values.quantile(1)), len(row.values), row.verdict())
		fmt.Fprintln(out, strings.TrimRight(line, " "))
	}
}

// number has three digits that count.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
