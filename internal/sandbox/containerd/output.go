package containerd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/sandbox/containerd/inside"
)

// Output implements sandbox.Provider.
func (p *Provider) Output(ctx context.Context, name, process string, from int64, follow bool, yield func(sandbox.OutputChunk) error) error {
	if _, err := p.Process(ctx, name, process); err != nil {
		return err
	}
	r := &outputReader{dir: p.outputDir(name, process), at: from, from: from, yield: yield}
	defer r.close()
	if !follow {
		return r.drain(ctx)
	}
	watch, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch the output of %s: %w", process, err)
	}
	defer watch.Close()
	if err := watch.Add(r.dir); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := p.ended(ctx, name, process)
	for {
		// In this order: a process that has ended has nothing more to print.
		status, err := p.Process(ctx, name, process)
		if err != nil {
			return err
		}
		if err := r.drain(ctx); err != nil || !status.Running {
			return err
		}
		select {
		case <-ended: // and yet it runs: it was started again
			ended = p.ended(ctx, name, process)
		default:
		}
		if err := awaitNews(ctx, watch, ended); err != nil {
			return err
		}
	}
}

// ended is closed when the process has ended, or the engine does not tell any
// more; the next question to it then says so.
func (p *Provider) ended(ctx context.Context, name, process string) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = p.Wait(ctx, name, process)
	}()
	return done
}

// awaitNews returns when there may be something to read or the process may have ended.
func awaitNews(ctx context.Context, watch *fsnotify.Watcher, ended <-chan struct{}) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-watch.Events:
	case err := <-watch.Errors:
		if !errors.Is(err, fsnotify.ErrEventOverflow) {
			return err
		}
	case <-ended:
	}
	return nil
}

// outputReader delivers records in order.
type outputReader struct {
	dir   string
	at    int64
	from  int64 // at, but for records that are not delivered
	file  *os.File
	start int64
	buf   []byte
	yield func(sandbox.OutputChunk) error
}

func (r *outputReader) close() {
	if r.file != nil {
		r.file.Close()
	}
}

// drain delivers all whole records that are there.
func (r *outputReader) drain(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if r.file == nil {
			if err := r.find(); err != nil || r.file == nil {
				return err
			}
		}
		more, err := r.next()
		if err != nil {
			return err
		}
		if more {
			continue
		}
		// The end of a file that was rotated away from is the beginning of another.
		starts, err := inside.OutputStarts(r.dir)
		if err != nil {
			return r.gone(err)
		}
		if len(starts) == 0 || starts[len(starts)-1] <= r.start {
			return nil
		}
		if more, err = r.next(); err != nil { // what came before the rotation
			return err
		}
		if !more {
			r.file.Close()
			r.file = nil
			for _, s := range starts {
				if s > r.start {
					r.skipTo(s)
					break
				}
			}
		}
	}
}

// find opens the file that has the offset, or the oldest one after it.
func (r *outputReader) find() error {
	starts, err := inside.OutputStarts(r.dir)
	if err != nil {
		return r.gone(err)
	}
	for i := len(starts) - 1; i >= 0; i-- {
		if starts[i] > r.at && i > 0 {
			continue
		}
		f, err := os.Open(inside.OutputFile(r.dir, starts[i]))
		if errors.Is(err, os.ErrNotExist) {
			return nil // rotated away just now; the next drain looks again
		}
		if err != nil {
			return err
		}
		r.file, r.start = f, starts[i]
		r.skipTo(starts[i])
		return nil
	}
	return nil
}

// skipTo goes on at an offset, if it is not there or further already.
func (r *outputReader) skipTo(offset int64) {
	if offset > r.at {
		r.at, r.from = offset, offset
	}
}

// next delivers one record; false when there is no whole one yet.
func (r *outputReader) next() (bool, error) {
	var header [inside.RecordHeader]byte
	if _, err := r.file.ReadAt(header[:], r.at-r.start); errors.Is(err, io.EOF) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	size := int(binary.BigEndian.Uint32(header[9:]))
	if size > inside.RecordMax {
		return false, coderunner.Errorf(coderunner.Invalid, "The output cannot be read from offset %d: that is not the beginning of a record.", r.at)
	}
	if cap(r.buf) < size {
		r.buf = make([]byte, inside.RecordMax)
	}
	data := r.buf[:size]
	if _, err := r.file.ReadAt(data, r.at-r.start+inside.RecordHeader); errors.Is(err, io.EOF) && size > 0 {
		return false, nil
	} else if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	r.at += inside.RecordHeader + int64(size)
	if header[0] == inside.RecordEnd {
		return true, nil
	}
	stream := "stdout"
	if header[0] == inside.RecordErr {
		stream = "stderr"
	}
	at := time.Unix(0, int64(binary.BigEndian.Uint64(header[1:])))
	from := r.from
	r.from = r.at
	return true, r.yield(sandbox.OutputChunk{Stream: stream, At: at, Data: data, From: from, Next: r.at})
}

// gone is the answer when the directory was removed with its sandbox.
func (r *outputReader) gone(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return coderunner.Wrap(err, coderunner.NotFound, "The sandbox whose output this is does not exist any more.")
	}
	return err
}
