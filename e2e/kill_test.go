package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
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
	if n := page.count("#log-live"); n != 1 {
		t.Errorf("the page was loaded again: %d streams", n)
	}
}

// TestTheProgramEndsWellWithNobodyToReadItsLog is Ctrl-C on "make run | tee log".
func TestTheProgramEndsWellWithNobodyToReadItsLog(t *testing.T) {
	t.Parallel()
	s := &server{dataDir: t.TempDir(), instance: "nothing is deployed here"}
	must(t, os.Chmod(s.dataDir, 0o711))
	must(t, os.Chmod(filepath.Dir(s.dataDir), 0o711))
	out, in, err := os.Pipe()
	must(t, err)
	command := exec.Command(*program, "serve", "--listen", "127.0.0.1:0", "--data-dir", s.dataDir)
	command.Env, command.Stdout, command.Stderr = environment(), in, in
	must(t, command.Start())
	in.Close()
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.Contains(lines.Text(), "is ready: ") {
	}
	must(t, lines.Err())
	out.Close()
	must(t, command.Process.Signal(syscall.SIGTERM))
	if err := command.Wait(); err != nil {
		t.Errorf("the program ended with %v", err)
	}
	// The edge goes on, and nothing else does.
	if left, err := leftBehind(s); err != nil || len(left) != 1 || !strings.Contains(left[0], "coderunner edge ") {
		t.Errorf("it left %q, %v", left, err)
	}
	must(t, s.down())
	if left, err := leftBehind(s); err != nil || len(left) > 0 {
		t.Errorf("after down there is %q, %v", left, err)
	}
}
