package playbook

import (
	"testing"
	"time"
)

func TestBackoffGrowsToAMinute(t *testing.T) {
	t.Parallel()
	for tries, want := range map[int]time.Duration{0: 2 * time.Second, 1: 4 * time.Second, 4: 32 * time.Second, 5: time.Minute, 33: time.Minute, 62: time.Minute, 1 << 20: time.Minute} {
		if got := backoff(tries); got != want {
			t.Errorf("after %d tries the wait is %s, want %s", tries, got, want)
		}
	}
}
