package containerd

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// Exec implements sandbox.Provider. What the command leaves running is killed when it ends.
func (p *Provider) Exec(ctx context.Context, name string, cmd sandbox.Command) (sandbox.Exit, error) {
	container, task, err := p.running(ctx, name)
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
	kills := p.cgroups.oomKills(sandboxGroup(container.ID()))
	launched, err := p.launch(timed, launch{name: name, container: container, task: task, group: group, cmd: cmd, creator: cio.NullIO, read: true})
	if err != nil {
		err = p.afterExec(ctx, timed, name, err, cmd)
		return sandbox.Exit{TimedOut: err == nil}, err
	}
	exit, err := p.await(timed, launched)
	exit.OOMKilled = p.cgroups.oomKills(sandboxGroup(container.ID())) > kills
	if err != nil {
		err = p.afterExec(ctx, timed, name, err, cmd)
		exit.TimedOut = err == nil
	} else if exit.Signal == int(unix.SIGKILL) {
		// It may have been killed with its sandbox.
		if _, missing := p.load(context.WithoutCancel(ctx), name); coderunner.KindOf(missing) == coderunner.NotFound {
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
	switch text := err.Error(); { // the runtime has no other words
	case strings.Contains(text, "chdir"):
		return coderunner.Wrap(err, coderunner.Invalid, "The directory %q cannot be entered in the sandbox. Check that it exists.", cmd.Dir)
	case strings.Contains(text, unix.EAGAIN.Error()) || p.cgroups.full(sandboxGroup(p.containerID(name))):
		return coderunner.Wrap(err, coderunner.Unavailable, "The sandbox %s is full: it runs as many processes as it may. Stop some, then try again.", name)
	}
	return p.translate(err, doing+" in the sandbox "+name)
}

// launch is what is needed to begin a process.
type launch struct {
	name      string
	container client.Container
	task      client.Task
	group     string // the name of its cgroup
	execID    string // its id in the engine; "" for a random one
	cmd       sandbox.Command
	creator   cio.Creator // for what the engine does with its output
	read      bool        // or its output comes to us
}

// launched is a process that has begun.
type launched struct {
	process client.Process
	exits   <-chan client.ExitStatus
	tree    tree
	gate    *gate
	fed     chan struct{} // closed when its input has been written, or nobody reads it any more
	unread  error         // why its input could not be read to the end; valid once fed is closed
}

// launch begins a process in a cgroup of its own.
func (p *Provider) launch(ctx context.Context, l launch) (*launched, error) {
	spec, err := l.container.Spec(p.ctx(ctx))
	if err != nil {
		return nil, err
	}
	labels, err := l.container.Labels(p.ctx(ctx))
	if err != nil {
		return nil, err
	}
	process, err := processSpec(spec.Process, l.cmd, labels)
	if err != nil {
		return nil, err
	}
	if l.execID == "" {
		l.execID = newExecID()
	}
	gate, err := p.makeGate(l)
	if err != nil {
		return nil, err
	}
	process.Args = append(gate.arguments(), l.cmd.Argv...)
	begun := &launched{tree: p.cgroups.tree(l.container.ID(), l.group), gate: gate, fed: make(chan struct{})}
	fail := func(err error) (*launched, error) {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*killTime)
		defer cancel()
		err = errors.Join(err, begun.tree.kill(cleanup))
		gate.close()
		if begun.process != nil {
			_, _ = begun.process.Delete(p.ctx(cleanup), client.WithProcessKill)
		}
		return nil, err
	}
	if err := begun.tree.create(); err != nil {
		return fail(err)
	}
	if begun.process, err = l.task.Exec(p.ctx(ctx), l.execID, process, l.creator); err != nil {
		return fail(err)
	}
	// The watch outlives ctx: a killed command has an end as well.
	if begun.exits, err = begun.process.Wait(p.ctx(context.WithoutCancel(ctx))); err != nil {
		return fail(err)
	}
	if err := begun.process.Start(p.ctx(ctx)); err != nil {
		return fail(err)
	}
	if err := begun.tree.add(begun.process.Pid()); err != nil && !errors.Is(err, unix.ESRCH) {
		return fail(err)
	}
	go func() {
		defer close(begun.fed)
		begun.unread = gate.open(l.cmd.Stdin)
	}()
	return begun, nil
}

// inputTime is how long the reader of a command's input may hold up its end.
// Whoever reads from a connection may never come back; what is readable takes no time.
const inputTime = time.Second

// await waits for the end of a command and of all that it started.
func (p *Provider) await(ctx context.Context, l *launched) (sandbox.Exit, error) {
	var status client.ExitStatus
	var stopped error
	cleanup, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	select {
	case status = <-l.exits:
	case <-ctx.Done():
		stopped = ctx.Err()
	}
	limit, end := context.WithTimeout(cleanup, 2*killTime)
	defer end()
	killed := l.tree.kill(limit)
	if stopped != nil && killed == nil {
		select {
		case status = <-l.exits:
		case <-limit.Done():
			killed = fmt.Errorf("the engine did not tell the end of a killed command")
		}
	}
	l.gate.abandon()
	var unread error
	select {
	case <-l.fed:
		unread = l.unread
	case <-time.After(inputTime):
	}
	l.gate.close() // returns when all output has been delivered
	if _, err := l.process.Delete(p.ctx(limit), client.WithProcessKill); err != nil && !isGone(err) && stopped == nil && killed == nil {
		killed = err
	}
	if stopped != nil || killed != nil || unread != nil {
		return exitOf(status.ExitCode()), errors.Join(stopped, killed, unread)
	}
	return exitOf(status.ExitCode()), status.Error()
}

func exitOf(code uint32) sandbox.Exit {
	exit := sandbox.Exit{Code: int(code & 0xff)}
	if code > 128 && code <= 128+64 {
		exit.Signal = int(code - 128)
	}
	return exit
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
