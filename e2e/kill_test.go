package e2e

import (
	"fmt"
	"strings"
	"testing"
)

func TestTheProgramIsKilledInTheMiddleOfADeploy(t *testing.T) {
	t.Parallel()
	s := ownServer(t)
	u, page := member(t, s)
	page.proposed(hello(t, "phoenix", "risen"), map[string]string{
		"install": `node -e "let i = 0; const t = setInterval(() => { console.log('feather ' + ++i); if (i === 40) clearInterval(t) }, 100)"`,
	})
	page.deploy()
	page.going("feather 5")
	page.expecting("net::ERR_", "network error", "Failed to fetch", "status of 50")
	before := len(page.numbers())
	must(t, s.kill())
	page.sees(logEnd, "The connection is lost.")
	must(t, s.serve("127.0.0.1:"+s.port))
	page.ends("SUCCEEDED")
	page.sees(badge, "Running")
	if after := page.everyLineOnce(); after <= before {
		t.Errorf("%d lines before the end of the process, %d after it", before, after)
	}
	lines := page.text("[data-log-view]")
	for i := 1; i <= 40; i++ {
		if feather := fmt.Sprintf("feather %d ", i); !strings.Contains(lines+" ", feather) {
			t.Errorf("%q is not in the log", feather)
		}
	}
	u.says(page.address(), "risen")
	if n := page.count("#run-live"); n != 1 {
		t.Errorf("the page was loaded again: %d streams", n)
	}
}
