package inside

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// Keeping is what a keeper is told: a process to begin, and where its output and its
// record are kept.
type Keeping struct {
	Entry  Entry
	Argv   []string
	Input  []byte
	Gate   string // where its pipe is to be made
	Output string // the directory for what it prints
	File   string // where its record is kept
	Record Record // as it begins
}

// A keeper begins here, before the packages that sort after those which this one imports
// are set up (The Go Programming Language Specification, "Package initialization"):
// that would take three times as long, and memory for as long as the process lives.
// Of packages that sort late, such as net, this one keeps away for that.
func init() {
	if len(os.Args) != 2 || os.Args[1] != keeperCommand {
		return
	}
	if err := keep(); err != nil {
		fmt.Fprintln(os.Stderr, "keeping a process:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// kept is what a keeper answers once the process has begun.
type kept struct {
	Error string
	Chdir bool // the directory could not be entered
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
	out, err := OpenOutput(k.Output)
	if err != nil {
		return answer(err)
	}
	defer out.Close()
	groups := FindCgroups()
	tree := groups.Tree(k.Entry.ID, k.Entry.Group)
	var copies sync.WaitGroup
	exits, err := k.begin(groups, out, &copies)
	if err != nil {
		return answer(errors.Join(err, tree.Kill(context.Background())))
	}
	_ = answer(nil) // it lives, whether somebody hears of it or not
	exit := <-exits
	exit.OOMKilled = groups.OOMKills(SandboxGroup(k.Entry.ID)) > k.Record.OOMKills
	k.Record.Exit, k.Record.EndedAt = &exit, time.Now()
	// What it left running would hold its ports and its output open.
	err = tree.Kill(context.Background())
	copies.Wait()
	return errors.Join(err, out.Record(RecordEnd, nil), k.finish())
}

// receiveKeeping waits until the keeper is told what to keep; no connection when
// nobody will. With the first byte comes the lifeline: it is open from here on until
// the keeper ends.
func receiveKeeping() (k Keeping, conn *os.File, err error) {
	conn = os.Stdin
	attached := make([]byte, unix.CmsgSpace(4))
	var n, length int
	for {
		if n, length, _, _, err = unix.Recvmsg(int(conn.Fd()), make([]byte, 1), attached, unix.MSG_CMSG_CLOEXEC); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil || n == 0 { // whoever might have needed us is gone
		return k, nil, err
	}
	messages, err := unix.ParseSocketControlMessage(attached[:length])
	if err != nil || len(messages) != 1 {
		return k, nil, errors.Join(errors.New("there is no lifeline"), err)
	}
	if _, err := unix.ParseUnixRights(&messages[0]); err != nil {
		return k, nil, err
	}
	return k, conn, json.NewDecoder(conn).Decode(&k)
}

// begin starts the process and lets it on, with its output coming to the keeper.
func (k *Keeping) begin(groups Cgroups, out *Writer, copies *sync.WaitGroup) (<-chan sandbox.Exit, error) {
	nothing, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer nothing.Close()
	files := [3]*os.File{nothing}
	for i, kind := range []byte{RecordOut, RecordErr} {
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
	pid, left, err := k.Entry.enterAtOnce(groups, files)
	if err != nil {
		return nil, err
	}
	k.Record.PID = pid
	if err := WriteJSON(k.File, k.Record); err != nil {
		return nil, err
	}
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		_ = gate.open(bytes.NewReader(k.Input)) // which can always be read
	}()
	exits := make(chan sandbox.Exit, 1)
	go func() {
		_ = join(left, pid) // before it is reaped: the number is its own until then
		exits <- reap(pid)
	}()
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
func (k *Keeping) finish() error {
	if _, err := os.Stat(k.File); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return WriteJSON(k.File, k.Record)
}

// keeper is one that has not been told yet what to keep.
type keeper struct {
	conn *os.File // our end of its standard input, a socket
}

// Keepers has at most one in reserve: a program takes longer to start than what it
// is needed for. One is got ready while a sandbox is being made.
type Keepers struct {
	mu     sync.Mutex
	spare  *keeper
	closed bool
}

// Prepare gets one ready if there is none.
func (k *Keepers) Prepare() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.spare == nil && !k.closed {
		k.spare, _ = newKeeper() // whoever needs it tries again, and tells
	}
}

// take returns the one in reserve, or a new one.
func (k *Keepers) take() (*keeper, error) {
	k.mu.Lock()
	spare := k.spare
	k.spare = nil
	k.mu.Unlock()
	if spare != nil {
		return spare, nil
	}
	return newKeeper()
}

// Close ends the one in reserve.
func (k *Keepers) Close() {
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
	theirs := os.NewFile(uintptr(pair[1]), "keeper")
	defer theirs.Close()
	err = unix.SetNonblock(pair[0], true) // so that closing it ends a read
	ours := os.NewFile(uintptr(pair[0]), "keeper")
	if err != nil {
		ours.Close()
		return nil, err
	}
	cmd := exec.Command(program, keeperCommand)
	cmd.Stdin, cmd.Dir, cmd.Env, cmd.SysProcAttr = theirs, "/", []string{}, &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		ours.Close()
		return nil, err
	}
	go func() { _ = cmd.Wait() }() // for as long as we are here
	return &keeper{ours}, nil
}

// errNoKeeper: it had ended before it was told anything.
var errNoKeeper = errors.New("the keeper is gone")

// tell hands over the lifeline and what to keep, and returns the answer.
func (k *keeper) tell(ctx context.Context, what Keeping, alive *os.File) (answer kept, err error) {
	defer k.conn.Close()
	defer context.AfterFunc(ctx, func() { k.conn.Close() })() // nobody hears its answer then
	if err := k.attach(alive); err != nil {
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

// attach sends a file along with the first byte.
func (k *keeper) attach(f *os.File) (err error) {
	conn, err := k.conn.SyscallConn()
	if err != nil {
		return err
	}
	waited := conn.Write(func(fd uintptr) bool {
		err = unix.Sendmsg(int(fd), []byte{1}, unix.UnixRights(int(f.Fd())), nil, unix.MSG_NOSIGNAL)
		return !errors.Is(err, unix.EAGAIN)
	})
	return errors.Join(waited, err)
}

// Start has a keeper begin a process and keep it, whatever becomes of us. The keeper
// gets the lifeline, a file that is open until it ends. The error is an *os.PathError of
// "chdir" when the process's directory cannot be entered.
func (k *Keepers) Start(ctx context.Context, what Keeping, lifeline *os.File) error {
	var answer kept
	var err error
	for range 2 { // the one in reserve may have been killed
		var one *keeper
		if one, err = k.take(); err != nil {
			return err
		}
		if answer, err = one.tell(ctx, what, lifeline); !errors.Is(err, errNoKeeper) {
			break
		}
	}
	switch {
	case err != nil:
		return fmt.Errorf("the keeper does not answer: %w", err)
	case answer.Chdir:
		return &os.PathError{Op: "chdir", Path: what.Entry.Process.Cwd, Err: errors.New(answer.Error)}
	case answer.Error != "":
		return errors.New(answer.Error)
	}
	return nil
}
