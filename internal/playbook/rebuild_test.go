package playbook

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/testdb"
)

// unbuilt is a provider that never has a template and whose builds fail with err,
// the first few of them.
type unbuilt struct {
	sandbox.Provider
	err    error
	fails  int64 // how many builds fail
	builds atomic.Int64
}

func (u *unbuilt) HasTemplate(context.Context, sandbox.TemplateRef) (bool, error) { return false, nil }

func (u *unbuilt) BuildTemplate(_ context.Context, _ sandbox.Template, out io.Writer) error {
	try := u.builds.Add(1)
	_, _ = io.WriteString(out, "Asking for Debian's list of packages …\nE: ")
	_, _ = io.WriteString(out, "the rest of the line\n")
	_, _ = fmt.Fprintf(out, "line of try %d\n", try)
	if try <= u.fails {
		return u.err
	}
	return nil
}

// deploy deploys on a provider whose template does not exist.
func (u *unbuilt) deploy(t *testing.T) (run coderunner.Run, log string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p, err := openPlatform(ctx, t.TempDir(), testdb.New(t), "unbuilt-"+strings.ToLower(rand.Text()[:10]))
	if err != nil {
		t.Fatal(err)
	}
	u.Provider, p.engine.provider = p.provider, u
	if err := p.engine.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		p.engine.Wait()
		p.wipe(t)
		p.store.Close()
		p.provider.Close()
	})
	_, run = p.deploy(t, p.upload(t, "unbuilt", answer))
	run = p.ended(t, run.ID)
	return run, p.logText(t, run.ID)
}

func TestBuildThatCannotSucceedIsTriedOnce(t *testing.T) {
	t.Parallel()
	const sentence = "The template nodejs-18 could not be built: dpkg ended badly."
	u := &unbuilt{err: coderunner.Errorf(coderunner.Invalid, sentence), fails: 1 << 30}
	run, log := u.deploy(t)
	if run.State != coderunner.RunFailed || run.Failure == nil || run.Failure.Title != sentence || run.Failure.Blame != coderunner.Ours {
		t.Errorf("the run ended %s with %+v", run.State, run.Failure)
	}
	if n := u.builds.Load(); n != 1 || strings.Contains(log, "Trying again") {
		t.Errorf("the template was built %d times:\n%s", n, log)
	}
}

func TestBuildThatIsTriedAgainIsToldOnce(t *testing.T) {
	t.Parallel()
	u := &unbuilt{err: coderunner.Errorf(coderunner.Unavailable, "Debian's packages could not be downloaded."), fails: 3}
	run, log := u.deploy(t)
	if run.State != coderunner.RunSucceeded || u.builds.Load() < 4 {
		t.Fatalf("after %d builds the run ended %s with %+v", u.builds.Load(), run.State, run.Failure)
	}
	for line, want := range map[string]int{
		"is not on this machine yet": 1, "Asking for Debian's list of packages …": 1, "E: the rest of the line": 1,
		"line of try 1\n": 1, "line of try 4\n": 1, "could not be downloaded. Trying again in": 3,
	} {
		if got := strings.Count(log, line); got != want {
			t.Errorf("%q is told %d times, want %d", line, got, want)
		}
	}
	if t.Failed() {
		t.Log(log)
	}
}
