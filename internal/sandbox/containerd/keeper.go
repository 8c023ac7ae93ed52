package containerd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/sandbox"
)

// keeperCommand is the argument with which this program keeps a long-lived process.
const keeperCommand = "sandbox-keeper"

// keeping is what a keeper is told, on its standard input.
type keeping struct {
	Entry  entry
	Argv   []string
	Input  []byte
	Gate   string         // where its pipe is to be made
	Output string         // the directory for what it prints
	File   string         // where its record is kept
	Record startedProcess // as it begins
}

// kept is what a keeper answers, on its standard output, once the process has begun.
type kept struct {
	Error string
	Chdir bool // the directory could not be entered
}

// Dispatch runs what a sandbox needs of this same program and reports whether
// there was such a thing to do. Call it first in main, and in TestMain.
func Dispatch(args []string) bool {
	if len(args) != 2 || args[1] != keeperCommand {
		return false
	}
	if err := keep(); err != nil {
		fmt.Fprintln(os.Stderr, "keeping a process:", err)
		os.Exit(1)
	}
	return true
}

// lifeline is the file descriptor of a keeper's write end of a pipe that nobody
// else has: while it is open the keeper lives.
const lifeline = 3

// keep is the keeper: the parent of a long-lived process, which outlives the rest of
// CodeRunner. It keeps what the process prints and how it ends, and then ends itself.
func keep() error {
	unix.CloseOnExec(lifeline)
	// Caught and not ignored: the process must not inherit that.
	signal.Notify(make(chan os.Signal, 1), unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGPIPE)
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return err
	}
	var k keeping
	if err := json.NewDecoder(os.Stdin).Decode(&k); err != nil {
		return err // whoever started us is gone
	}
	answer := func(err error) error {
		var path *os.PathError
		a := kept{Chdir: errors.As(err, &path) && path.Op == "chdir"}
		if err != nil {
			a.Error = err.Error()
		}
		return errors.Join(err, json.NewEncoder(os.Stdout).Encode(a), os.Stdout.Close())
	}
	out, err := openOutput(k.Output)
	if err != nil {
		return answer(err)
	}
	defer out.file.Close()
	groups := findCgroups()
	tree := groups.tree(k.Entry.ID, k.Entry.Group)
	var copies sync.WaitGroup
	exits, err := k.begin(groups, out, &copies)
	if err != nil {
		return answer(errors.Join(err, tree.kill(context.Background())))
	}
	_ = answer(nil) // it lives, whether somebody hears of it or not
	exit := <-exits
	exit.OOMKilled = groups.oomKills(sandboxGroup(k.Entry.ID)) > k.Record.OOMKills
	k.Record.Exit, k.Record.EndedAt = &exit, time.Now()
	// What it left running would hold its ports and its output open.
	err = tree.kill(context.Background())
	copies.Wait()
	return errors.Join(err, out.record(recordEnd, nil), k.finish())
}

// begin starts the process and lets it on, with its output coming to the keeper.
func (k *keeping) begin(groups cgroups, out *outputWriter, copies *sync.WaitGroup) (<-chan sandbox.Exit, error) {
	nothing, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer nothing.Close()
	files := [3]*os.File{nothing}
	for i, kind := range []byte{recordOut, recordErr} {
		read, write, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		defer write.Close()
		// Its user may open it again, as /dev/stdout.
		if err := write.Chown(int(k.Entry.Process.User.UID), int(k.Entry.Process.User.GID)); err != nil {
			return nil, err
		}
		files[i+1] = write
		copies.Go(func() {
			defer read.Close()
			out.copy(read, kind)
		})
	}
	gate, err := newGate(k.Gate)
	if err != nil {
		return nil, err
	}
	defer gate.close()
	k.Entry.Process.Args = gate.arguments(startScript, k.Entry.Process, k.Argv)
	pid, err := k.Entry.enter(groups, files)
	if err != nil {
		return nil, err
	}
	k.Record.PID = pid
	if err := writeJSON(k.File, k.Record); err != nil {
		return nil, err
	}
	fed := make(chan error, 1)
	go func() { fed <- gate.open(bytes.NewReader(k.Input)) }()
	exits := make(chan sandbox.Exit, 1)
	go func() { exits <- reap(pid) }()
	select {
	case <-fed:
	case exit := <-exits: // before it came to its input
		gate.abandon()
		<-fed
		exits <- exit
	}
	return exits, nil
}

// finish writes down how the process ended, unless its sandbox is gone.
func (k *keeping) finish() error {
	if _, err := os.Stat(k.File); err != nil {
		return nil
	}
	return writeJSON(k.File, k.Record)
}

// lifelinePath is a pipe that has a writer as long as the process is kept.
func (p *Provider) lifelinePath(name, process string) string {
	return p.processFile(name, process) + ".alive"
}

// startKeeper begins a process that is kept from now on, whatever becomes of us.
func (p *Provider) startKeeper(ctx context.Context, name, process string, k keeping) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	path := p.lifelinePath(name, process)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return &os.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	alive, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer alive.Close()
	request, err := json.Marshal(k)
	if err != nil {
		return err
	}
	var complaint bytes.Buffer
	keeper := exec.Command(program, keeperCommand)
	keeper.Stdin, keeper.ExtraFiles, keeper.SysProcAttr = bytes.NewReader(request), []*os.File{alive}, &syscall.SysProcAttr{Setsid: true}
	keeper.Dir = "/"
	stdout, err := keeper.StdoutPipe()
	if err != nil {
		return err
	}
	if err := keeper.Start(); err != nil {
		return err
	}
	answered := make(chan error, 1)
	var answer kept
	go func() {
		_, err := io.Copy(&complaint, stdout)
		if err == nil {
			err = json.Unmarshal(complaint.Bytes(), &answer)
		}
		answered <- err
		_ = keeper.Wait() // for as long as we are here
	}()
	select {
	case err = <-answered:
	case <-ctx.Done():
		_ = keeper.Process.Kill()
		<-answered
		return ctx.Err()
	}
	switch {
	case err != nil:
		return fmt.Errorf("the keeper of %s ended: %w", process, err)
	case answer.Chdir:
		return &os.PathError{Op: "chdir", Path: k.Entry.Process.Cwd, Err: errors.New(answer.Error)}
	case answer.Error != "":
		return errors.New(answer.Error)
	}
	return nil
}

// kept reports whether a process has a keeper.
func (p *Provider) kept(name, process string) (bool, error) {
	f, err := p.openLifeline(name, process)
	if f == nil || err != nil {
		return false, err
	}
	defer f.Close()
	conn, err := f.SyscallConn()
	if err != nil {
		return false, err
	}
	var lives bool
	err = conn.Read(func(fd uintptr) bool {
		n, err := unix.Read(int(fd), make([]byte, 1))
		lives = n < 0 && errors.Is(err, unix.EAGAIN)
		return true
	})
	return lives, err
}

// awaitKeeper returns when the keeper has ended, or there is none.
func (p *Provider) awaitKeeper(ctx context.Context, name, process string) error {
	f, err := p.openLifeline(name, process)
	if f == nil || err != nil {
		return err
	}
	defer f.Close()
	defer context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })()
	if _, err := f.Read(make([]byte, 1)); ctx.Err() != nil {
		return ctx.Err()
	} else if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// openLifeline opens the reading end; nil when there is none.
func (p *Provider) openLifeline(name, process string) (*os.File, error) {
	f, err := os.OpenFile(p.lifelinePath(name, process), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return f, err
}
