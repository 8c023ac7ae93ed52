package containerd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/sandbox/containerd/inside"
)

// maxInput is how much input a process can be started with: what a pipe holds,
// so that nobody has to wait until it is read.
const maxInput = 64 << 10

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
	var input []byte
	if cmd.Stdin != nil {
		var err error
		if input, err = io.ReadAll(io.LimitReader(cmd.Stdin, maxInput+1)); err != nil {
			return fmt.Errorf("read the input of %s: %w", process, err)
		}
		if len(input) > maxInput {
			return coderunner.Errorf(coderunner.Invalid, "The input of %s is larger than %d KiB.", process, maxInput>>10)
		}
	}
	defer p.locks.lock(name)()
	container, init, err := p.inside(ctx, name)
	if err != nil {
		return err
	}
	defer p.locks.lock(name + "/" + process)()
	group := processGroup(process)
	kept, err := p.kept(name, process)
	if err != nil {
		return err
	}
	if kept {
		record, err := p.recorded(name, process)
		if err == nil && record.Exit == nil {
			return nil // it runs
		}
		if err != nil && coderunner.KindOf(err) != coderunner.NotFound {
			return err
		}
	}
	if err := p.clear(ctx, name, container.ID(), group); err != nil {
		return err
	}
	if kept { // it has ended, as whoever asks is told, and its keeper is about to
		if err := p.awaitKeeper(ctx, name, process); err != nil {
			return err
		}
	}
	e, err := p.entry(ctx, container, init, group, cmd)
	if err != nil {
		return p.afterLaunch(ctx, name, err, cmd, "starting "+process)
	}
	record := inside.Record{StartedAt: time.Now(), OOMKills: p.cgroups.OOMKills(inside.SandboxGroup(container.ID()))}
	if err := inside.WriteJSON(p.processFile(name, process), record); err != nil {
		return err
	}
	k := inside.Keeping{Entry: e, Argv: cmd.Argv, Input: input, Gate: p.gatePath(name, group), Output: p.outputDir(name, process), File: p.processFile(name, process), Record: record}
	if err := p.startKeeper(ctx, name, process, k); err != nil {
		return errors.Join(p.afterLaunch(ctx, name, err, cmd, "starting "+process), p.clear(context.WithoutCancel(ctx), name, container.ID(), group))
	}
	return nil
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
		return p.howEnded(ctx, name, record)
	}
	runs, err := p.kept(name, process)
	if err != nil {
		return sandbox.ProcessStatus{}, err
	}
	if runs {
		return sandbox.ProcessStatus{Running: true, PID: record.PID, StartedAt: record.StartedAt}, nil
	}
	// Its keeper may have ended meanwhile, with all written down.
	if record, err = p.recorded(name, process); err != nil {
		return record.Status(), err
	}
	if record.Exit == nil {
		// Without one, what it prints is kept no more, and nobody would see its end.
		if err := p.cgroups.Tree(container.ID(), processGroup(process)).Kill(ctx); err != nil {
			return record.Status(), err
		}
	}
	return p.howEnded(ctx, name, record)
}

// howEnded is the status of a process that has ended. Its keeper does not know whether the
// whole sandbox was.
func (p *Provider) howEnded(ctx context.Context, name string, record inside.Record) (sandbox.ProcessStatus, error) {
	status := record.Status()
	if status.Exit.Code == 0 {
		return status, nil
	}
	over, err := p.overDisk(ctx, name)
	status.Exit.OverDisk = !over.IsZero() && (status.EndedAt.IsZero() || !status.EndedAt.Before(over))
	return status, err
}

// recorded is what we know of a process; NotFound when Start was never asked for it.
func (p *Provider) recorded(name, process string) (inside.Record, error) {
	var record inside.Record
	err := readJSON(p.processFile(name, process), &record)
	if errors.Is(err, os.ErrNotExist) {
		return record, coderunner.Errorf(coderunner.NotFound, "The sandbox %q has no process %q.", name, process)
	}
	return record, err
}

// Wait implements sandbox.Provider.
func (p *Provider) Wait(ctx context.Context, name, process string) (sandbox.ProcessStatus, error) {
	status, err := p.Process(ctx, name, process)
	if err != nil || !status.Running {
		return status, err
	}
	if err := p.awaitKeeper(ctx, name, process); err != nil {
		return sandbox.ProcessStatus{}, err
	}
	return p.Process(ctx, name, process)
}

// Stop implements sandbox.Provider.
func (p *Provider) Stop(ctx context.Context, name, process string, grace time.Duration) error {
	defer p.locks.lock(name)()
	container, _, err := p.running(ctx, name)
	if coderunner.KindOf(err) == coderunner.NotFound {
		if _, missing := p.load(ctx, name); missing != nil {
			return missing
		}
		return nil // the sandbox has no processes at all
	}
	if err != nil {
		return err
	}
	if _, err := p.recorded(name, process); err != nil {
		if coderunner.KindOf(err) == coderunner.NotFound {
			return nil
		}
		return err
	}
	if grace > 0 {
		limit, cancel := context.WithTimeout(ctx, grace)
		defer cancel()
		p.cgroups.Tree(container.ID(), processGroup(process)).Signal(unix.SIGTERM)
		if err := p.awaitKeeper(limit, name, process); err != nil && limit.Err() == nil || ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
	}
	if err := p.clear(ctx, name, container.ID(), processGroup(process)); err != nil {
		return p.translate(err, "stopping "+process+" in the sandbox "+name)
	}
	// All that it printed is kept, and how it ended.
	limit, cancel := context.WithTimeout(ctx, inside.KillTime)
	defer cancel()
	if err := p.awaitKeeper(limit, name, process); err != nil {
		return fmt.Errorf("wait for the keeper of %s in the sandbox %s: %w", process, name, err)
	}
	_, err = p.load(ctx, name) // it may have been destroyed meanwhile
	return err
}

// gatePath is a new place for the pipes of a process of the group. No place is
// used twice: whoever made one before may have died at any moment.
func (p *Provider) gatePath(name, group string) string {
	return filepath.Join(p.sandboxDir(name), "run", group+"."+strings.ToLower(rand.Text()))
}

// clear ends what earlier launches of the group left, at the gate or beyond it.
func (p *Provider) clear(ctx context.Context, name, containerID, group string) error {
	left, err := filepath.Glob(filepath.Join(p.sandboxDir(name), "run", group+".*"))
	if err != nil {
		return err
	}
	for _, path := range left {
		// A process that waits is let go without its line, and ends.
		if writer, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0); err == nil {
			writer.Close()
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return p.cgroups.Tree(containerID, group).Kill(ctx)
}
