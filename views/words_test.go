package views

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
)

func TestRelativeTimes(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		seconds int64
		want    string
	}{
		{0, "just now"}, {-90, "just now"}, {4, "just now"}, {5, "5 seconds ago"}, {59, "59 seconds ago"},
		{60, "1 minute ago"}, {119, "1 minute ago"}, {120, "2 minutes ago"}, {3599, "59 minutes ago"},
		{3600, "1 hour ago"}, {86399, "23 hours ago"}, {86400, "1 day ago"}, {29 * 86400, "29 days ago"},
		{30 * 86400, "1 month ago"}, {364 * 86400, "12 months ago"}, {365 * 86400, "1 year ago"}, {800 * 86400, "2 years ago"},
	} {
		if got := relative(now, now.Add(-time.Duration(test.seconds)*time.Second)); got != test.want {
			t.Errorf("%d seconds are %q, want %q", test.seconds, got, test.want)
		}
	}
}

func TestDurations(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		milliseconds int64
		want         string
	}{
		{-1, "0.0 s"}, {0, "0.0 s"}, {449, "0.4 s"}, {9999, "9.9 s"}, {10000, "10 s"}, {59999, "59 s"},
		{60000, "1 min 00 s"}, {185000, "3 min 05 s"}, {3599999, "59 min 59 s"}, {3600000, "1 h 00 min"}, {7505000, "2 h 05 min"},
	} {
		if got := duration(time.Duration(test.milliseconds) * time.Millisecond); got != test.want {
			t.Errorf("%d ms are %q, want %q", test.milliseconds, got, test.want)
		}
	}
}

func TestExactTimes(t *testing.T) {
	t.Parallel()
	at := time.Date(2030, 5, 1, 1, 2, 3, 4_500_000, time.FixedZone("", 2*3600))
	if got, want := exact(at), "30 April 2030, 23:02:03 UTC"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := machine(at), "2030-04-30T23:02:03.004Z"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	for bytes, want := range map[int64]string{
		0: "0 bytes", 1023: "1023 bytes", 1024: "1 KB", 1024 * 1023: "1023 KB", 1 << 20: "1.0 MB", 1536 << 10: "1.5 MB",
		99 << 20: "99.0 MB", 256 << 20: "256 MB", 1 << 30: "1.0 GB", 1536 << 20: "1.5 GB", 2048 << 30: "2048.0 GB",
	} {
		if got := size(bytes); got != want {
			t.Errorf("%d bytes are %q, want %q", bytes, got, want)
		}
	}
}

func TestCounts(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{0: "0 files", 1: "1 file", 2: "2 files", 999: "999 files", 1000: "1,000 files", 12_400: "12,400 files", 1_234_567: "1,234,567 files", 1_000_001: "1,000,001 files"} {
		if got := count(n, "file"); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

func TestAddressesAsPeopleSayThem(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"http://guest-book.localhost:8080/": "guest-book.localhost:8080", "https://x.example": "x.example",
		"https://x.example/a/": "x.example/a", "x.example": "x.example", "": "",
	} {
		if got := shortURL(address); got != want {
			t.Errorf("%q is %q, want %q", address, got, want)
		}
	}
}

func TestBrowsers(t *testing.T) {
	t.Parallel()
	long := "an-agent-with-a-name-that-is-a-good-deal-longer-than-anything-that-fits"
	for agent, want := range map[string]string{
		"": "An unnamed program", "curl/8.5.0": "curl", "something/1.0": "something/1.0", long: long[:60] + "…",
		"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0":                                                           "Firefox on Linux",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0":    "Edge on Windows",
		"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36":                  "Chrome on Android",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile Safari/604.1": "Safari on iPhone",
	} {
		if got := browser(agent); got != want {
			t.Errorf("%q is %q, want %q", agent, got, want)
		}
	}
}

// What is saved is applied by what the app can do next: one that is stopped is started.
func TestPendingVariables(t *testing.T) {
	t.Parallel()
	run, build := coderunner.VariableChange{Key: "R", Run: true}, coderunner.VariableChange{Key: "B", Build: true}
	for _, test := range []struct {
		changes coderunner.VariableChanges
		stopped bool
		want    string // the buttons
		words   string
	}{
		{coderunner.VariableChanges{run}, false, "restart redeploy", "a restart is enough"}, {coderunner.VariableChanges{run}, true, "start redeploy", "a start is enough"},
		{coderunner.VariableChanges{build}, true, "redeploy", "built again"}, {coderunner.VariableChanges{build, run}, true, "start redeploy", "A start gives the app its part"},
	} {
		var page strings.Builder
		if err := PendingVariables("p", test.changes, test.stopped).Render(t.Context(), &page); err != nil {
			t.Fatal(err)
		}
		var buttons []string
		for _, m := range regexp.MustCompile(`action="/projects/p/(\w+)"`).FindAllStringSubmatch(page.String(), -1) {
			buttons = append(buttons, m[1])
		}
		if got := strings.Join(buttons, " "); got != test.want || !strings.Contains(page.String(), test.words) {
			t.Errorf("%+v, stopped %v: the buttons are %q, want %q, and %q", test.changes, test.stopped, got, test.want, test.words)
		}
	}
}
