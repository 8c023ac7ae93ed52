package containerd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// startedProcess is what we remember of a long-lived process. Its end is written
// down when it is first seen: the engine forgets with the sandbox's task.
type startedProcess struct {
	ExecID    string        `json:"exec_id"` // the engine's
	StartedAt time.Time     `json:"started_at"`
	OOMKills  int64         `json:"oom_kills"` // of the sandbox, when it started
	EndedAt   time.Time     `json:"ended_at"`
	Exit      *sandbox.Exit `json:"exit,omitempty"`
}

// maxInput is how much input a process can be started with: what a pipe holds,
// so that nobody has to wait until it is read.
const maxInput = 64 << 10

// lost is the end of a process that nobody saw: its sandbox was cut off.
var lost = sandbox.Exit{Code: 128 + int(unix.SIGKILL), Signal: int(unix.SIGKILL)}

func (s startedProcess) status() sandbox.ProcessStatus {
	status := sandbox.ProcessStatus{StartedAt: s.StartedAt, EndedAt: s.EndedAt, Exit: lost}
	if s.Exit != nil {
		status.Exit = *s.Exit
	}
	return status
}

func processGroup(process string) string { return "p-" + process }

func (p *Provider) processFile(name, process string) string {
	return filepath.Join(p.sandboxDir(name), "processes", process+".json")
}

func (p *Provider) outputDir(name, process string) string {
	return filepath.Join(p.sandboxDir(name), "output", process)
}

// processNames lists what Start was asked for in a sandbox.
func (p *Provider) processNames(name string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(p.sandboxDir(name), "processes"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if process, is := strings.CutSuffix(e.Name(), ".json"); is {
			names = append(names, process)
		}
	}
	return names, err
}

// Start implements sandbox.Provider.
func (p *Provider) Start(ctx context.Context, name, process string, cmd sandbox.Command) error {
	if err := checkName("process", process); err != nil {
		return err
	}
	if err := checkCommand(cmd); err != nil {
		return err
	}
	if cmd.Stdin != nil {
		input, err := io.ReadAll(io.LimitReader(cmd.Stdin, maxInput+1))
		if err != nil {
			return fmt.Errorf("read the input of %s: %w", process, err)
		}
		if len(input) > maxInput {
			return coderunner.Errorf(coderunner.Invalid, "The input of %s is larger than %d KiB.", process, maxInput>>10)
		}
		cmd.Stdin = bytes.NewReader(input)
	}
	defer p.locks.lock(name)()
	container, task, err := p.running(ctx, name)
	if err != nil {
		return err
	}
	defer p.locks.lock(name + "/" + process)()
	group := processGroup(process)
	earlier, err := p.recorded(name, process)
	if err != nil && coderunner.KindOf(err) != coderunner.NotFound {
		return err
	}
	var previous client.Process
	if err == nil {
		if previous, err = task.LoadProcess(p.ctx(ctx), earlier.ExecID, nil); err == nil {
			status, err := previous.Status(p.ctx(ctx))
			if err == nil && status.Status == client.Running && !p.gate(name, group, earlier.ExecID).waiting() {
				return nil
			}
		} else {
			previous = nil
		}
	}
	if err := p.clear(ctx, name, container.ID(), group); err != nil {
		return err
	}
	// Its output has to be complete before that of another follows.
	if previous != nil {
		if _, err := previous.Delete(p.ctx(ctx), client.WithProcessKill); err != nil && !isGone(err) {
			return p.translate(err, "starting "+process+" in the sandbox "+name)
		}
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	dir := p.outputDir(name, process)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	record := startedProcess{ExecID: newExecID(), StartedAt: time.Now(), OOMKills: p.cgroups.oomKills(sandboxGroup(container.ID()))}
	if err := writeJSON(p.processFile(name, process), record); err != nil {
		return err
	}
	l, err := p.launch(ctx, launch{name: name, container: container, task: task, group: group, execID: record.ExecID, cmd: cmd,
		creator: cio.BinaryIO(program, map[string]string{logWriterCommand: dir})})
	if err != nil {
		return p.afterLaunch(ctx, name, err, cmd, "starting "+process)
	}
	select {
	case <-l.fed:
		return nil
	case <-l.exits: // it ended before it took its input; Process tells how
	case <-ctx.Done():
		err = ctx.Err()
	}
	l.gate.abandon()
	<-l.fed
	return err
}

// Process implements sandbox.Provider.
func (p *Provider) Process(ctx context.Context, name, process string) (sandbox.ProcessStatus, error) {
	container, err := p.load(ctx, name)
	if err != nil {
		return sandbox.ProcessStatus{}, err
	}
	defer p.locks.lock(name + "/" + process)()
	record, err := p.recorded(name, process)
	if err != nil {
		return sandbox.ProcessStatus{}, err
	}
	if record.Exit != nil {
		return record.status(), nil
	}
	running, status, err := p.inspect(ctx, container, record.ExecID)
	if isGone(err) {
		return record.status(), nil
	}
	if err != nil {
		return sandbox.ProcessStatus{}, p.translate(err, "observing "+process+" in the sandbox "+name)
	}
	if status.Status != tasktypes.Status_STOPPED {
		return sandbox.ProcessStatus{Running: true, PID: int(running.Pid()), StartedAt: record.StartedAt}, nil
	}
	exit := exitOf(status.ExitStatus)
	exit.OOMKilled = p.cgroups.oomKills(sandboxGroup(container.ID())) > record.OOMKills
	record.Exit, record.EndedAt = &exit, status.ExitedAt.AsTime()
	if err := writeJSON(p.processFile(name, process), record); err != nil {
		return sandbox.ProcessStatus{}, err
	}
	// What it left running would hold its ports and its output open.
	if err := p.cgroups.tree(container.ID(), processGroup(process)).kill(ctx); err != nil {
		return sandbox.ProcessStatus{}, err
	}
	// The engine ends the output with this, so that all of it is kept when we answer.
	if _, err := running.Delete(p.ctx(ctx)); err != nil && !isGone(err) {
		return sandbox.ProcessStatus{}, p.translate(err, "observing "+process+" in the sandbox "+name)
	}
	return record.status(), nil
}

// recorded is what we know of a process; NotFound when Start was never asked for it.
func (p *Provider) recorded(name, process string) (startedProcess, error) {
	var record startedProcess
	err := readJSON(p.processFile(name, process), &record)
	if errors.Is(err, os.ErrNotExist) {
		return record, coderunner.Errorf(coderunner.NotFound, "The sandbox %q has no process %q.", name, process)
	}
	return record, err
}

// inspect asks the engine about a process.
func (p *Provider) inspect(ctx context.Context, container client.Container, execID string) (client.Process, *tasktypes.Process, error) {
	task, err := container.Task(p.ctx(ctx), nil)
	if err != nil {
		return nil, nil, err
	}
	running, err := task.LoadProcess(p.ctx(ctx), execID, nil)
	if err != nil {
		return nil, nil, err
	}
	// Its Status leaves out when it ended.
	response, err := p.client.TaskService().Get(p.ctx(ctx), &tasks.GetRequest{ContainerID: container.ID(), ExecID: execID})
	return running, response.GetProcess(), err
}

// Wait implements sandbox.Provider.
func (p *Provider) Wait(ctx context.Context, name, process string) (sandbox.ProcessStatus, error) {
	status, err := p.Process(ctx, name, process)
	if err != nil || !status.Running {
		return status, err
	}
	record, err := p.recorded(name, process)
	if err != nil {
		return status, err
	}
	_, task, err := p.running(ctx, name)
	if err == nil {
		err = p.awaitEnd(ctx, task, record.ExecID)
	}
	if ctx.Err() != nil {
		return sandbox.ProcessStatus{}, ctx.Err()
	}
	if err != nil && !isGone(err) && coderunner.KindOf(err) != coderunner.NotFound {
		return sandbox.ProcessStatus{}, p.translate(err, "waiting for "+process+" in the sandbox "+name)
	}
	return p.Process(ctx, name, process)
}

func (p *Provider) awaitEnd(ctx context.Context, task client.Task, execID string) error {
	running, err := task.LoadProcess(p.ctx(ctx), execID, nil)
	if err != nil {
		return err
	}
	exits, err := running.Wait(p.ctx(ctx))
	if err != nil {
		return err
	}
	select {
	case exit := <-exits:
		return exit.Error()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stop implements sandbox.Provider.
func (p *Provider) Stop(ctx context.Context, name, process string, grace time.Duration) error {
	defer p.locks.lock(name)()
	container, task, err := p.running(ctx, name)
	if coderunner.KindOf(err) == coderunner.NotFound {
		if _, missing := p.load(ctx, name); missing != nil {
			return missing
		}
		return nil // the sandbox has no processes at all
	}
	if err != nil {
		return err
	}
	record, err := p.recorded(name, process)
	if coderunner.KindOf(err) == coderunner.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	running, err := task.LoadProcess(p.ctx(ctx), record.ExecID, nil)
	if err != nil && !isGone(err) {
		return p.translate(err, "stopping "+process+" in the sandbox "+name)
	}
	if err == nil && grace > 0 {
		tree := p.cgroups.tree(container.ID(), processGroup(process))
		if err := p.stopGently(ctx, running, tree, grace); err != nil {
			return p.translate(err, "stopping "+process+" in the sandbox "+name)
		}
	}
	if err := p.clear(ctx, name, container.ID(), processGroup(process)); err != nil {
		return p.translate(err, "stopping "+process+" in the sandbox "+name)
	}
	_, err = p.load(ctx, name) // it may have been destroyed meanwhile
	return err
}

// stopGently asks the whole tree to end and gives its first process time for it.
func (p *Provider) stopGently(ctx context.Context, running client.Process, group tree, grace time.Duration) error {
	limit, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	exits, err := running.Wait(p.ctx(limit))
	if isGone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	group.signal(unix.SIGTERM)
	select {
	case <-exits:
	case <-limit.Done():
	}
	return ctx.Err()
}
