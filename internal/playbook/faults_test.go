package playbook

import (
	"context"
	"crypto/rand"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/testdb"
)

// away is a provider that cannot be reached for its first few calls of Create and Exec.
type away struct {
	sandbox.Provider
	sandbox.Snapshotter
	calls atomic.Int64
}

func (a *away) unreachable() error {
	if a.calls.Add(-1) < 0 {
		return nil
	}
	return coderunner.Errorf(coderunner.Unavailable, "containerd, which runs the sandboxes, does not answer.")
}

func (a *away) Create(ctx context.Context, spec sandbox.Spec) (sandbox.Info, error) {
	if err := a.unreachable(); err != nil {
		return sandbox.Info{}, err
	}
	return a.Provider.Create(ctx, spec)
}

func (a *away) Exec(ctx context.Context, name string, cmd sandbox.Command) (sandbox.Exit, error) {
	if err := a.unreachable(); err != nil {
		return sandbox.Exit{}, err
	}
	return a.Provider.Exec(ctx, name, cmd)
}

// TestProviderAway loses containerd for a while: the run says so, waits, and goes on.
func TestProviderAway(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	p, err := openPlatform(ctx, t.TempDir(), testdb.New(t), "away-"+strings.ToLower(rand.Text()[:10]))
	if err != nil {
		t.Fatal(err)
	}
	flaky := &away{Provider: p.provider}
	flaky.calls.Store(2)
	p.engine.provider = flaky
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
	s := p.upload(t, "patient", answer)
	run := p.succeeds(t, s)
	if text := p.logText(t, run.ID); !strings.Contains(text, "containerd, which runs the sandboxes, does not answer. Trying again in") {
		t.Errorf("the log does not say what it waited for:\n%s", text)
	}
	steps, err := p.store.Steps(t.Context(), run.ID)
	if err != nil {
		t.Fatal(err)
	}
	tries := 0
	for _, step := range steps {
		tries += step.Attempts
	}
	if tries != len(steps)+2 {
		t.Errorf("%d steps were tried %d times, want two more", len(steps), tries)
	}
}

// TestFullDiskBeginsNothing refuses a deploy before it writes a row.
func TestFullDiskBeginsNothing(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	s := p.upload(t, "full", answer)
	p.engine.cfg.Room = coderunner.Disk{MinFree: 10, FileSystems: []coderunner.FileSystem{{Holds: "the apps", Size: 2000 << 20, Free: 100 << 20}}}.Room
	_, _, err := p.engine.Deploy(t.Context(), s.user.ID, DeployRequest{ProjectID: s.project.ID, BundleID: s.bundle.ID, Plan: s.plan})
	if coderunner.KindOf(err) != coderunner.Unavailable || !strings.Contains(coderunner.Sentence(err), "short of disk: 5 % of the disk of the apps is free (100 MB of 2.0 GB)") {
		t.Errorf("a deploy onto a full disk answers %v", err)
	}
	deployments, err := p.store.ProjectDeployments(t.Context(), s.user.ID, s.project.ID, 10, 0)
	if err != nil || len(deployments) > 0 {
		t.Errorf("it left %+v (%v)", deployments, err)
	}
}

// TestNextRunWaits behind the one at work; of those that wait the newest is done.
func TestNextRunWaits(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	s := p.upload(t, "twice", answer)
	quick := s
	s.plan.Install.Value = "sleep 1000"
	_, run := p.deploy(t, s)
	p.reached(t, run.ID, "install", coderunner.StepRunning)
	older, replaced := p.deploy(t, quick)
	_, newer := p.deploy(t, quick)
	if replaced = p.ended(t, replaced.ID); replaced.State != coderunner.RunCancelled || replaced.ReplacedBy != newer.ID {
		t.Errorf("the deploy that waited first is %+v", replaced)
	}
	if d, err := p.store.DeploymentByID(t.Context(), older.ID); err != nil || d.Status != coderunner.Stopped {
		t.Errorf("its deployment is %s (%v)", d.Status, err)
	}
	begin := time.Now()
	if _, err := p.engine.Cancel(t.Context(), s.user.ID, run.ID); err != nil {
		t.Fatal(err)
	}
	if newer = p.ended(t, newer.ID); newer.State != coderunner.RunSucceeded {
		t.Fatalf("the deploy that waited ended %s: %+v\n%s", newer.State, newer.Failure, p.logText(t, newer.ID))
	}
	if run = p.ended(t, run.ID); newer.StartedAt.Sub(*run.FinishedAt) > time.Second {
		t.Errorf("the next run began %s after the cancelled one had ended", newer.StartedAt.Sub(*run.FinishedAt))
	}
	if run.FinishedAt.Sub(begin) > 5*time.Second {
		t.Errorf("cancelling took %s", run.FinishedAt.Sub(begin))
	}
	if text := p.logText(t, newer.ID); !strings.Contains(text, "took its place") {
		t.Errorf("its log does not say what it replaced:\n%s", text)
	}
}

// TestDestroyCancelsTheRunAtWork and those that wait.
func TestDestroyCancelsTheRunAtWork(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	s := p.upload(t, "twice", answer)
	s.plan.Install.Value = "sleep 1000"
	_, run := p.deploy(t, s)
	p.reached(t, run.ID, "install", coderunner.StepRunning)
	_, waiting := p.deploy(t, s)
	// Destroying does not wait for it.
	destroy, err := p.engine.Destroy(t.Context(), s.user.ID, s.project.ID, "twice")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := p.engine.Destroy(t.Context(), s.user.ID, s.project.ID, "twice"); err != nil || again.ID != destroy.ID {
		t.Errorf("destroying twice answers run %s (%v), want %s", again.ID, err, destroy.ID)
	}
	if destroy = p.ended(t, destroy.ID); destroy.State != coderunner.RunSucceeded {
		t.Errorf("the destroy ended %s\n%s", destroy.State, p.logText(t, destroy.ID))
	}
	if run = p.ended(t, run.ID); run.State != coderunner.RunCancelled {
		t.Errorf("the deploy ended %s", run.State)
	}
	if waiting = p.ended(t, waiting.ID); waiting.State != coderunner.RunCancelled {
		t.Errorf("the deploy that waited ended %s", waiting.State)
	}
	p.nothingLeft(t)
}
