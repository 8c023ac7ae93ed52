package containerd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
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

// keeping is what a keeper is told.
type keeping struct {
	Entry  entry
	Argv   []string
	Input  []byte
	Gate   string         // where its pipe is to be made
	Output string         // the directory for what it prints
	File   string         // where its record is kept
	Record startedProcess // as it begins
}

// kept is what a keeper answers once the process has begun.
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

// keep is the keeper: the parent of a long-lived process, which outlives the rest of
// CodeRunner. It keeps what the process prints and how it ends, and then ends itself.
// Its standard input is a socket, on which it is told what to keep, and answers.
func keep() error {
	// Caught and not ignored: the process must not inherit that.
	signal.Notify(make(chan os.Signal, 1), unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGPIPE)
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return err
	}
	k, conn, err := receiveKeeping()
	if err != nil || conn == nil {
		return err
	}
	answer := func(err error) error {
		var path *os.PathError
		a := kept{Chdir: errors.As(err, &path) && path.Op == "chdir"}
		if err != nil {
			a.Error = err.Error()
		}
		return errors.Join(err, json.NewEncoder(conn).Encode(a), conn.Close())
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

// receiveKeeping waits until the keeper is told what to keep; no connection when
// nobody will. With the first byte comes the lifeline: it is open from here on until
// the keeper ends.
func receiveKeeping() (k keeping, conn *net.UnixConn, err error) {
	c, err := net.FileConn(os.Stdin)
	if err != nil {
		return k, nil, err
	}
	os.Stdin.Close()
	conn = c.(*net.UnixConn)
	attached := make([]byte, unix.CmsgSpace(4))
	n, length, _, _, err := conn.ReadMsgUnix(make([]byte, 1), attached)
	if err != nil || n == 0 { // whoever might have needed us is gone
		return k, nil, err
	}
	messages, err := unix.ParseSocketControlMessage(attached[:length])
	if err != nil || len(messages) != 1 {
		return k, nil, errors.Join(errors.New("there is no lifeline"), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return k, nil, err
	}
	unix.CloseOnExec(fds[0])
	return k, conn, json.NewDecoder(conn).Decode(&k)
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
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		_ = gate.open(bytes.NewReader(k.Input)) // which can always be read
	}()
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
	if _, err := os.Stat(k.File); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return writeJSON(k.File, k.Record)
}

// lifelinePath is a pipe that has a writer as long as the process is kept.
func (p *Provider) lifelinePath(name, process string) string {
	return p.processFile(name, process) + ".alive"
}

// keeper is one that has not been told yet what to keep.
type keeper struct {
	conn *net.UnixConn
}

// keepers has at most one in reserve: a program takes longer to start than what it
// is needed for. One is got ready while a sandbox is being made.
type keepers struct {
	mu     sync.Mutex
	spare  *keeper
	closed bool
}

// prepare gets one ready if there is none.
func (k *keepers) prepare() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.spare == nil && !k.closed {
		k.spare, _ = newKeeper() // whoever needs it tries again, and tells
	}
}

// take returns the one in reserve, or a new one.
func (k *keepers) take() (*keeper, error) {
	k.mu.Lock()
	spare := k.spare
	k.spare = nil
	k.mu.Unlock()
	if spare != nil {
		return spare, nil
	}
	return newKeeper()
}

// close ends the one in reserve.
func (k *keepers) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	if k.spare != nil {
		k.spare.conn.Close()
	}
}

func newKeeper() (*keeper, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "keeper"), os.NewFile(uintptr(pair[1]), "keeper")
	defer ours.Close()
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, keeperCommand)
	cmd.Stdin, cmd.Dir, cmd.Env, cmd.SysProcAttr = theirs, "/", []string{}, &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		conn.Close()
		return nil, err
	}
	go func() { _ = cmd.Wait() }() // for as long as we are here
	return &keeper{conn.(*net.UnixConn)}, nil
}

// errNoKeeper: it had ended before it was told anything.
var errNoKeeper = errors.New("the keeper is gone")

// tell hands over the lifeline and what to keep, and returns the answer.
func (k *keeper) tell(ctx context.Context, what keeping, alive *os.File) (answer kept, err error) {
	defer k.conn.Close()
	defer context.AfterFunc(ctx, func() { k.conn.Close() })() // nobody hears its answer then
	if _, _, err := k.conn.WriteMsgUnix([]byte{1}, unix.UnixRights(int(alive.Fd())), nil); err != nil {
		return answer, errors.Join(errNoKeeper, ctx.Err())
	}
	if err = json.NewEncoder(k.conn).Encode(what); err == nil {
		err = json.NewDecoder(k.conn).Decode(&answer)
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return answer, err
}

// startKeeper begins a process that is kept from now on, whatever becomes of us.
func (p *Provider) startKeeper(ctx context.Context, name, process string, what keeping) error {
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
	var answer kept
	for range 2 { // the one in reserve may have been killed
		var k *keeper
		if k, err = p.keepers.take(); err != nil {
			return err
		}
		if answer, err = k.tell(ctx, what, alive); !errors.Is(err, errNoKeeper) {
			break
		}
	}
	switch {
	case err != nil:
		return fmt.Errorf("the keeper of %s does not answer: %w", process, err)
	case answer.Chdir:
		return &os.PathError{Op: "chdir", Path: what.Entry.Process.Cwd, Err: errors.New(answer.Error)}
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
