package playbook

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/edge/daemon"
)

// childVariable makes the test program a CodeRunner that does what the order in
// it says, stops dead in one step and waits to be killed. It is the engine as serve has
// it, on a real containerd, PostgreSQL and edge; it lacks the pages, and can stop in a
// step. The program itself is killed by e2e, in the middle of a deploy.
const childVariable = "PLAYBOOK_TEST_CHILD"

func TestMain(m *testing.M) {
	if text := os.Getenv(childVariable); text != "" {
		if err := child(text); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// order is what a child is told.
type order struct {
	Place   place
	Request request
	Step    string
	Done    bool // stop after the step's work, not as it begins
}

// request is what a user asks for.
type request struct {
	Playbook              string
	User, Project, Bundle string
	Plan                  coderunner.Plan
	To                    string // the deployment to roll back to
	Confirm               string // the project's name
}

// ask presses the button.
func (r request) ask(ctx context.Context, e *Engine) (run coderunner.Run, err error) {
	switch r.Playbook {
	case DeployPlaybook, RedeployPlaybook:
		_, run, err = e.Deploy(ctx, r.User, DeployRequest{ProjectID: r.Project, BundleID: r.Bundle, Plan: r.Plan, Databases: []string{"postgres-15"}})
	case RollbackPlaybook:
		_, run, err = e.Rollback(ctx, r.User, r.To)
	case RestartPlaybook:
		run, err = e.RestartApp(ctx, r.User, r.Project)
	case StartPlaybook:
		run, err = e.StartApp(ctx, r.User, r.Project)
	case StopPlaybook:
		run, err = e.StopApp(ctx, r.User, r.Project, true)
	case AttachPlaybook:
		run, err = e.AttachDatabase(ctx, r.User, r.Project, "postgres-15", true)
	case DetachPlaybook:
		run, err = e.DetachDatabase(ctx, r.User, r.Project, "postgres-15", true)
	case DeleteDatabasePlaybook:
		run, err = e.DeleteDatabase(ctx, r.User, r.Project, "postgres-15", "postgres-15")
	case DestroyPlaybook:
		run, err = e.Destroy(ctx, r.User, r.Project, r.Confirm)
	default:
		err = fmt.Errorf("nobody can ask for a %q", r.Playbook)
	}
	if err == nil && run.Playbook != r.Playbook {
		err = fmt.Errorf("a %s was begun as a %s", r.Playbook, run.Playbook)
	}
	return run, err
}

// child makes the request and stops where it was told, saying so on standard output.
func child(text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	ctx := context.Background()
	p, err := open(ctx, o.Place)
	if err != nil {
		return err
	}
	if p.engine, err = p.newEngine(ctx, p.edgeProcess()); err != nil {
		return err
	}
	var stop trap
	reached, _ := stop.set(o.Step, o.Done)
	p.engine.breakpoint = stop.breakpoint
	if err := p.engine.Start(ctx); err != nil {
		return err
	}
	run, err := o.Request.ask(ctx, p.engine)
	if err != nil {
		return err
	}
	said := make(chan string, 2)
	go func() {
		<-reached
		said <- "reached"
	}()
	go func() {
		if p.whenEnded(ctx, run.ID) == nil {
			said <- "ended"
		}
	}()
	fmt.Println(<-said, run.ID)
	select {}
}

// whenEnded returns when the run has ended.
func (p *platform) whenEnded(ctx context.Context, runID string) error {
	wake, unsubscribe := p.hub.Subscribe(runID)
	defer unsubscribe()
	for {
		run, err := p.store.RunByID(ctx, runID)
		if err != nil || run.State.Ended() {
			return err
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// edgeProcess is the edge that runs for the platform's directory, seen from outside.
func (p *platform) edgeProcess() Edge {
	client := daemon.NewClient(p.place.Dir, p.store.Routes, slog.New(slog.NewTextHandler(io.Discard, nil)))
	return Edge{Refresh: client.Refresh, Probe: client.Probe, Drain: client.Drain}
}

// killable is a child that has reached its moment.
type killable struct {
	program *exec.Cmd
	runID   string
}

// startChild returns when the child has stopped where it was told. With an error comes
// the run if there is one: it ended before it got there.
func startChild(ctx context.Context, o order) (*killable, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	program := exec.CommandContext(ctx, os.Args[0])
	program.Env = append(os.Environ(), childVariable+"="+string(text))
	program.Stderr = os.Stderr
	program.Cancel = func() error { return program.Process.Signal(syscall.SIGQUIT) } // it says where it stands
	out, err := program.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := program.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	k := &killable{program: program}
	word, runID, _ := strings.Cut(strings.TrimSpace(line), " ")
	k.runID = runID
	if word != "reached" {
		k.kill()
		return k, errors.Join(fmt.Errorf("the child said %q", line), err)
	}
	return k, nil
}

// kill ends the child without warning.
func (k *killable) kill() {
	_ = k.program.Process.Kill()
	_ = k.program.Wait()
}
