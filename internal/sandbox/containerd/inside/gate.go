package inside

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Every process begins as one of these scripts, which wait for a line on a pipe
// of ours: by then the process is in a cgroup of its own, from which nothing that
// it starts can leave. What follows on the pipe is the process's own input. The
// command is passed as arguments; nothing of it is read as shell text.
const (
	startScript = `ulimit -c 0 && ulimit -n "$1" && shift && exec <"$0.in" && read -r _ && exec "$@"`
	execScript  = `ulimit -c 0 && ulimit -n "$1" && shift && exec <"$0.in" && read -r _ && exec >"$0.out" 2>"$0.err" && exec "$@"`
)

// RunMount is where a sandbox has its pipes.
const RunMount = "/run/coderunner"

// gate is where a new process waits: pipes in the sandbox's run directory, named
// by the process's group and id. The first is there until the process has begun.
type gate struct {
	path   string // on the host, without the pipe's suffix
	inside string
	closed sync.Once
	ends   []*os.File // write ends of ours, which keep the readers from an early end
	copies sync.WaitGroup
}

// newGate makes the pipe at which the process waits.
func newGate(path string) (*gate, error) {
	g := &gate{path: path, inside: RunMount + "/" + filepath.Base(path)}
	return g, makePipe(g.path+".in", 0o644)
}

// makeGate makes the pipes of a command whose output comes to us, and begins to read that.
func makeGate(path string, stdout, stderr io.Writer) (*gate, error) {
	g, err := newGate(path)
	if err != nil {
		return nil, err
	}
	for suffix, to := range map[string]io.Writer{".out": stdout, ".err": stderr} {
		if err := g.receive(g.path+suffix, to); err != nil {
			g.close()
			return nil, err
		}
	}
	return g, nil
}

// makePipe gives the sandbox's user, who is not the owner, its rights whatever the umask.
func makePipe(path string, mode os.FileMode) error {
	if err := unix.Mkfifo(path, uint32(mode)); err != nil {
		return &os.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	return os.Chmod(path, mode)
}

// receive copies what comes through a new pipe.
func (g *gate) receive(path string, to io.Writer) error {
	if to == nil {
		to = io.Discard
	}
	if err := makePipe(path, 0o622); err != nil {
		return err
	}
	reader, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	writer, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		reader.Close()
		return err
	}
	g.ends = append(g.ends, writer)
	g.copies.Go(func() {
		defer reader.Close()
		if _, err := io.Copy(to, reader); err != nil {
			// Whoever wanted it does not any more; the process must not wait for that.
			_, _ = io.Copy(io.Discard, reader)
		}
	})
	return nil
}

// arguments are those of the process at the gate. It limits itself there: nobody
// else may, unless the host gives us CAP_SYS_RESOURCE.
func (g *gate) arguments(script string, process *specs.Process, command []string) []string {
	args := []string{"/bin/sh", "-c", script, g.inside}
	for _, limit := range process.Rlimits {
		if limit.Type == "RLIMIT_NOFILE" {
			args = append(args, strconv.FormatUint(limit.Hard, 10))
		}
	}
	return append(args, command...)
}

// open lets the process begin and passes it input. It returns when all is
// passed or the process reads no more. Its error is the input's own.
func (g *gate) open(input io.Reader) error {
	defer os.Remove(g.path + ".in")
	pipe, err := os.OpenFile(g.path+".in", os.O_WRONLY, 0) // waits for the reader
	if err != nil {
		return nil
	}
	defer pipe.Close()
	// The name goes at once: no other process of the sandbox can open it then.
	os.Remove(g.path + ".in")
	if input == nil {
		input = bytes.NewReader(nil)
	}
	// A process that ends without reading is its own business.
	source := &Source{Reader: io.MultiReader(strings.NewReader("\n"), input)}
	_, _ = io.Copy(pipe, source)
	return source.Err
}

// Source remembers why it could not be read to the end.
type Source struct {
	io.Reader
	Err error
}

func (s *Source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && err != io.EOF {
		s.Err = fmt.Errorf("read the command's input: %w", err)
	}
	return n, err
}

// abandon ends an open that waits for a reader which will not come.
func (g *gate) abandon() {
	if reader, err := os.OpenFile(g.path+".in", os.O_RDONLY|unix.O_NONBLOCK, 0); err == nil {
		defer reader.Close() // after the name is gone: an open that comes late finds a reader or no pipe
	}
	os.Remove(g.path + ".in")
}

// close returns when all output has been delivered. The process must be dead.
func (g *gate) close() {
	g.closed.Do(func() {
		g.abandon()
		for _, end := range g.ends {
			end.Close()
		}
		g.copies.Wait()
		os.Remove(g.path + ".out")
		os.Remove(g.path + ".err")
	})
}
