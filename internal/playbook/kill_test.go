package playbook

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox/containerd"
	"github.com/coderunner/coderunner/internal/testdb"
)

// childVariable makes the test program a CodeRunner that stops dead in one step
// and waits to be killed: "dir|dsn|instance|user|project|bundle|step|before or after".
const childVariable = "PLAYBOOK_TEST_CHILD"

func TestMain(m *testing.M) {
	if containerd.Dispatch(os.Args) {
		return
	}
	if order := os.Getenv(childVariable); order != "" {
		if err := child(strings.Split(order, "|")); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child deploys and stops in the step that it was told, saying so on standard output.
func child(order []string) error {
	ctx := context.Background()
	p, err := openPlatform(ctx, order[0], order[1], order[2])
	if err != nil {
		return err
	}
	reached := make(chan struct{})
	p.engine.breakpoint = func(step string, done bool) {
		if step == order[6] && done == (order[7] == "after") {
			close(reached)
			select {}
		}
	}
	if err := p.engine.Start(ctx); err != nil {
		return err
	}
	bundle, err := p.store.Bundle(ctx, order[3], order[5])
	if err != nil {
		return err
	}
	_, run, err := p.engine.Deploy(ctx, order[3], DeployRequest{ProjectID: order[4], BundleID: order[5], Plan: bundle.Plan, Databases: []string{"postgres-15"}})
	if err != nil {
		return err
	}
	<-reached
	fmt.Println("reached", run.ID)
	select {}
}

// TestKilledInAnyStep kills the whole process, without warning, before and after
// the work of each step of a deploy. The next process must bring it to RUNNING,
// once, with nothing orphaned.
func TestKilledInAnyStep(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"database", "install", "build", "sandbox", "start", "health", "route", "drain"} {
		for _, moment := range []string{"before", "after"} {
			t.Run(step+"/"+moment, func(t *testing.T) {
				t.Parallel()
				killedIn(t, step, moment)
			})
		}
	}
}

func killedIn(t *testing.T, step, moment string) {
	dir, dsn, instance := t.TempDir(), testdb.New(t), "kill-"+strings.ToLower(rand.Text()[:10])
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p, err := openPlatform(ctx, dir, dsn, instance)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		p.engine.Wait()
		p.wipe(t)
	})
	s, err := p.newSample(ctx, "victim", map[string]string{"index.js": answer})
	if err != nil {
		t.Fatal(err)
	}

	program := exec.Command(os.Args[0])
	program.Env = append(os.Environ(), childVariable+"="+strings.Join([]string{dir, dsn, instance, s.user.ID, s.project.ID, s.bundle.ID, step, moment}, "|"))
	program.Stderr = os.Stderr
	out, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	runID, found := strings.CutPrefix(strings.TrimSpace(line), "reached ")
	_ = program.Process.Kill()
	_ = program.Wait()
	if !found {
		t.Fatalf("the child said %q (%v)", line, err)
	}

	if err := p.edge.Refresh(ctx); err != nil { // as a server does when it begins
		t.Fatal(err)
	}
	if err := p.engine.Start(ctx); err != nil {
		t.Fatal(err)
	}
	run := p.ended(t, runID)
	if run.State != coderunner.RunSucceeded {
		t.Fatalf("the resumed run ended %s: %+v\n%s", run.State, run.Failure, p.logText(t, runID))
	}
	d, err := p.store.DeploymentByID(ctx, run.DeploymentID)
	if err != nil || d.Status != coderunner.Running || d.PublicURL == "" {
		t.Errorf("the deployment is %s at %q (%v)", d.Status, d.PublicURL, err)
	}
	if status, body := p.get(t, s.project.Slug, "/"); status != 200 || !strings.HasPrefix(body, "hello") {
		t.Errorf("its URL answers %d %q", status, body)
	}
	infos, err := p.provider.List(ctx, nil)
	if err != nil || len(infos) != 2 {
		t.Errorf("there are %d sandboxes, want the app's and the database's: %+v (%v)", len(infos), infos, err)
	}
	lines, err := p.store.LogAfter(ctx, runID, 0, 5000)
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range lines {
		if l.Seq != int64(i+1) {
			t.Fatalf("line %d has number %d", i+1, l.Seq)
		}
	}
}
