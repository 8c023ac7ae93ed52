package containerd

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	client "github.com/containerd/containerd/v2/client"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/sandbox/containerd/inside"
)

// Exec implements sandbox.Provider. What the command leaves running is killed when it ends.
func (p *Provider) Exec(ctx context.Context, name string, cmd sandbox.Command) (sandbox.Exit, error) {
	p.standbys.commands.Add(1)
	defer p.standbys.commands.Add(-1)
	container, init, err := p.inside(ctx, name)
	if err != nil {
		return sandbox.Exit{}, err
	}
	if err := checkCommand(cmd); err != nil {
		return sandbox.Exit{}, err
	}
	group := "x-" + strings.ToLower(rand.Text())
	if cmd.ID != "" {
		group = "i-" + cmd.ID
		if err := p.clear(ctx, name, container.ID(), group); err != nil {
			return sandbox.Exit{}, err
		}
	}
	timed, cancel := ctx, context.CancelFunc(func() {})
	if cmd.Timeout > 0 {
		timed, cancel = context.WithTimeout(ctx, cmd.Timeout)
	}
	defer cancel()
	kills := p.cgroups.OOMKills(inside.SandboxGroup(container.ID()))
	entry, err := p.entry(timed, container, init, group, cmd)
	var begun *inside.Launched
	if err == nil {
		begun, err = inside.Launch(timed, p.cgroups, entry, p.gatePath(name, group), cmd)
	}
	if err != nil {
		err = p.afterExec(ctx, timed, name, err, cmd)
		return sandbox.Exit{TimedOut: err == nil}, err
	}
	exit, err := begun.Await(timed)
	exit.OOMKilled = p.cgroups.OOMKills(inside.SandboxGroup(container.ID())) > kills
	if err != nil {
		err = p.afterExec(ctx, timed, name, err, cmd)
		exit.TimedOut = err == nil
	} else if exit.Code != 0 {
		// It may have been killed with its sandbox.
		over, missing := p.overDisk(context.WithoutCancel(ctx), name)
		exit.OverDisk = !over.IsZero()
		if exit.Signal == int(unix.SIGKILL) && coderunner.KindOf(missing) == coderunner.NotFound {
			err = missing
		}
	}
	return exit, err
}

// afterExec tells the caller's end from the command's own timeout (which is no
// error) and from the end of the sandbox.
func (p *Provider) afterExec(ctx, timed context.Context, name string, err error, cmd sandbox.Command) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case timed.Err() != nil && cmd.Timeout > 0:
		return nil
	}
	return p.afterLaunch(ctx, name, err, cmd, "running a command")
}

// afterLaunch tells why a process could not begin or be seen to its end.
func (p *Provider) afterLaunch(ctx context.Context, name string, err error, cmd sandbox.Command, doing string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if _, missing := p.load(context.WithoutCancel(ctx), name); coderunner.KindOf(missing) == coderunner.NotFound {
		return missing
	}
	if info, known := p.Get(context.WithoutCancel(ctx), name); known == nil && info.State == sandbox.StateStopped {
		return stopped(name)
	}
	var path *os.PathError
	switch {
	case errors.As(err, &path) && path.Op == "chdir":
		return coderunner.Wrap(err, coderunner.Invalid, "The directory %q cannot be entered in the sandbox. Check that it exists.", cmd.Dir)
	case errors.Is(err, unix.EAGAIN) || p.cgroups.Full(inside.SandboxGroup(p.id(name))):
		return coderunner.Wrap(err, coderunner.Unavailable, "The sandbox %s is full: it runs as many processes as it may. Stop some, then try again.", name)
	}
	return p.translate(err, doing+" in the sandbox "+name)
}

// entry prepares a process that is to begin in a sandbox.
func (p *Provider) entry(ctx context.Context, container client.Container, init int, group string, cmd sandbox.Command) (inside.Entry, error) {
	meta, err := container.Info(p.ctx(ctx), client.WithoutRefreshedMetadata)
	if err != nil {
		return inside.Entry{}, err
	}
	var spec specs.Spec
	if err := json.Unmarshal(meta.Spec.GetValue(), &spec); err != nil {
		return inside.Entry{}, fmt.Errorf("read the specification of %s: %w", container.ID(), err)
	}
	process, err := processSpec(spec.Process, cmd, meta.Labels)
	if err != nil {
		return inside.Entry{}, err
	}
	filters, err := p.filtersLike(spec, container.ID(), init)
	if err != nil {
		return inside.Entry{}, err
	}
	return inside.Entry{ID: container.ID(), Init: init, Group: group, Process: process, Filters: filters}, nil
}

// filtersLike are the system call filters of a sandbox's first process, or those of
// another one that has the same.
func (p *Provider) filtersLike(spec specs.Spec, id string, init int) ([][]unix.SockFilter, error) {
	text, err := json.Marshal(spec.Linux.Seccomp)
	if err != nil {
		return nil, err
	}
	if known, is := p.filters.Load(string(text)); is {
		return known.([][]unix.SockFilter), nil
	}
	p.locks.lock(initLock(id))()
	filters, err := inside.FiltersOf(init)
	if err == nil {
		p.filters.Store(string(text), filters)
	}
	return filters, err
}

// checkCommand refuses what can never be run.
func checkCommand(cmd sandbox.Command) error {
	if len(cmd.Argv) == 0 || cmd.Argv[0] == "" {
		return coderunner.Errorf(coderunner.Invalid, "The command is empty.")
	}
	for _, arg := range append(slices.Clone(cmd.Argv), cmd.Dir) {
		if !isText(arg) {
			return coderunner.Errorf(coderunner.Invalid, "The command has bytes in %q that are no text.", arg)
		}
	}
	if cmd.ID != "" {
		if err := checkName("command", cmd.ID); err != nil {
			return err
		}
	}
	return checkEnv(cmd.Env)
}

// processSpec is the sandbox's own process with what the command changes.
func processSpec(base *specs.Process, cmd sandbox.Command, labels map[string]string) (*specs.Process, error) {
	process := *base
	env := map[string]string{}
	for _, pair := range base.Env {
		key, value, _ := strings.Cut(pair, "=")
		env[key] = value
	}
	switch cmd.User {
	case "", env["USER"]:
	case "root":
		process.User = specs.User{}
		process.Capabilities = &specs.LinuxCapabilities{Bounding: rootCapabilities, Effective: rootCapabilities, Permitted: rootCapabilities}
		env["USER"], env["HOME"] = "root", "/root"
	default:
		return nil, coderunner.Errorf(coderunner.Invalid, "The template %s has no user %q.", labels[labelTemplateName], cmd.User)
	}
	maps.Copy(env, cmd.Env)
	process.Env = pairs(env)
	if cmd.Dir != "" {
		process.Cwd = cmd.Dir
	}
	process.Terminal = false
	return &process, nil
}

// ReadFile implements sandbox.Provider.
func (p *Provider) ReadFile(ctx context.Context, name, path string, limit int64) (io.ReadCloser, error) {
	if limit < 0 {
		return nil, coderunner.Errorf(coderunner.Invalid, "%d is no limit of a file's size.", limit)
	}
	var content, complaint bytes.Buffer
	const absent = 66 // EX_NOINPUT
	exit, err := p.Exec(ctx, name, sandbox.Command{
		Argv: []string{"/bin/sh", "-c", `test -f "$1" || exit 66; exec head --bytes="$2" -- "$1"`, "read", path, strconv.FormatInt(limit, 10)},
		Dir:  "/", Stdout: &content, Stderr: &complaint,
	})
	switch {
	case err != nil:
		return nil, err
	case exit.Code == absent:
		return nil, coderunner.Errorf(coderunner.NotFound, "The sandbox has no regular file %q.", path)
	case exit.Code != 0:
		return nil, coderunner.Errorf(coderunner.Invalid, "The file %q cannot be read: %s", path, strings.TrimSpace(complaint.String()))
	}
	return io.NopCloser(&content), nil
}
