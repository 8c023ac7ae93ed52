package views

import (
	"fmt"
	"time"
)

// relative says how long before now t was. static/js/time.js says the same
// while the page stays open.
func relative(now, t time.Time) string {
	seconds := int64(now.Sub(t) / time.Second)
	count := func(n int64, unit string) string {
		if n == 1 {
			return "1 " + unit + " ago"
		}
		return fmt.Sprintf("%d %ss ago", n, unit)
	}
	switch {
	case seconds < 5:
		return "just now"
	case seconds < 60:
		return count(seconds, "second")
	case seconds < 3600:
		return count(seconds/60, "minute")
	case seconds < 86400:
		return count(seconds/3600, "hour")
	case seconds < 30*86400:
		return count(seconds/86400, "day")
	case seconds < 365*86400:
		return count(seconds/(30*86400), "month")
	}
	return count(seconds/(365*86400), "year")
}

// exact is t in full, for titles.
func exact(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04:05 UTC") }

// machine is t as the datetime attribute wants it.
func machine(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// duration says d as a person reads it off a stopwatch: 0.4 s, 12 s, 3 min 05 s.
func duration(d time.Duration) string {
	if d < 0 {
		d = 0
	}
	switch seconds := int64(d / time.Second); {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", float64(d/(100*time.Millisecond))/10)
	case seconds < 60:
		return fmt.Sprintf("%d s", seconds)
	case seconds < 3600:
		return fmt.Sprintf("%d min %02d s", seconds/60, seconds%60)
	default:
		return fmt.Sprintf("%d h %02d min", seconds/3600, seconds/60%60)
	}
}
