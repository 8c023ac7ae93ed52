package inside

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/sandbox"
)

// Launched is a command that has begun, as a child of this program.
type Launched struct {
	exits  <-chan sandbox.Exit
	tree   Tree
	gate   *gate
	fed    chan struct{} // closed when its input has been written, or nobody reads it any more
	unread error         // why its input could not be read to the end; valid once fed is closed
}

// Launch begins a command in a control group of its own. Its pipes are made at path,
// which is within the sandbox's RunMount and has not been used before.
func Launch(ctx context.Context, c Cgroups, e Entry, path string, cmd sandbox.Command) (*Launched, error) {
	gate, err := makeGate(path, cmd.Stdout, cmd.Stderr)
	if err != nil {
		return nil, err
	}
	e.Process.Args = gate.arguments(execScript, e.Process, cmd.Argv)
	nothing, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		gate.close()
		return nil, err
	}
	defer nothing.Close()
	pid, err := e.enter(c, [3]*os.File{nothing, nothing, nothing})
	if err != nil {
		gate.close()
		return nil, errors.Join(err, c.Tree(e.ID, e.Group).Kill(context.WithoutCancel(ctx)))
	}
	exits := make(chan sandbox.Exit, 1)
	go func() { exits <- reap(pid) }()
	begun := &Launched{exits: exits, tree: c.Tree(e.ID, e.Group), gate: gate, fed: make(chan struct{})}
	go func() {
		defer close(begun.fed)
		begun.unread = gate.open(cmd.Stdin)
	}()
	return begun, nil
}

// inputTime is how long the reader of a command's input may hold up its end.
// Whoever reads from a connection may never come back; what is readable takes no time.
const inputTime = time.Second

// Await waits for the end of a command and of all that it started.
func (l *Launched) Await(ctx context.Context) (exit sandbox.Exit, err error) {
	var stopped error
	select {
	case exit = <-l.exits:
	case <-ctx.Done():
		stopped = ctx.Err()
	}
	limit, end := context.WithTimeout(context.WithoutCancel(ctx), 2*KillTime)
	defer end()
	killed := l.tree.Kill(limit)
	if stopped != nil && killed == nil {
		exit = <-l.exits
	}
	l.gate.abandon()
	var unread error
	select {
	case <-l.fed:
		unread = l.unread
	case <-time.After(inputTime):
	}
	l.gate.close() // returns when all output has been delivered
	return exit, errors.Join(stopped, killed, unread)
}

// reap waits for the end of a child.
func reap(pid int) sandbox.Exit {
	var status unix.WaitStatus
	for {
		if _, err := unix.Wait4(pid, &status, 0, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if status.Signaled() {
		return sandbox.Exit{Code: 128 + int(status.Signal()), Signal: int(status.Signal())}
	}
	return exitOf(uint32(status.ExitStatus()))
}

func exitOf(code uint32) sandbox.Exit {
	exit := sandbox.Exit{Code: int(code & 0xff)}
	if code > 128 && code <= 128+64 {
		exit.Signal = int(code - 128)
	}
	return exit
}
