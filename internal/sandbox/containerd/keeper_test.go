package containerd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/sandbox"
)

// TestKeeperBeginsEarly: a keeper is there for as long as its process, so it has to be
// small: most of this program is never set up in it.
func TestKeeperBeginsEarly(t *testing.T) {
	t.Parallel()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	keeper := exec.Command(program, "sandbox-keeper")
	keeper.Env = []string{"GODEBUG=inittrace=1"} // which tells each package that is set up (runtime, "GODEBUG")
	trace, err := keeper.CombinedOutput()        // without a socket it ends
	if !strings.Contains(string(trace), "init os ") || !strings.Contains(string(trace), "keeping a process") {
		t.Fatalf("the keeper says %v:\n%s", err, trace)
	}
	for _, late := range []string{"net/http", "regexp", "google.golang.org/grpc", "github.com/containerd/containerd/v2/client"} {
		if strings.Contains(string(trace), "init "+late+" ") {
			t.Errorf("the keeper has set up %s", late)
		}
	}
}

// TestStartWhileKeeperEnds: between writing down how a process ended and its own end a
// keeper is still there. A Start in that moment is not lost.
func TestStartWhileKeeperEnds(t *testing.T) {
	t.Parallel()
	p := open(t, newConfig(t))
	makeBox(t, p, sandbox.Spec{Name: "box", Template: ready(t, p, bare)})
	if err := p.Start(within(t), "box", "app", script(`exit 1`)); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(within(t), "box", "app"); err != nil {
		t.Fatal(err)
	}
	if err := p.awaitKeeper(within(t), "box", "app"); err != nil {
		t.Fatal(err)
	}
	lifeline, err := filepath.Abs(p.lifelinePath("box", "app"))
	if err != nil {
		t.Fatal(err)
	}
	keeper, err := os.OpenFile(lifeline, os.O_RDWR, 0) // as it has it
	if err != nil {
		t.Fatal(err)
	}
	defer keeper.Close()
	started := make(chan error, 1)
	go func() { started <- p.Start(within(t), "box", "app", script(`exit 2`)) }()
	until(t, "the start waits, or has ended", func() bool {
		found, _ := filepath.Glob("/proc/self/fd/*")
		open := 0
		for _, fd := range found {
			if path, _ := os.Readlink(fd); path == lifeline {
				open++
			}
		}
		return open > 1 || len(started) > 0
	})
	keeper.Close()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	if status, err := p.Wait(within(t), "box", "app"); err != nil || status.Exit.Code != 2 {
		t.Errorf("what was started then ended with %d, %v", status.Exit.Code, err)
	}
}
