package containerd

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/sandbox/containerd/inside"
)

// unpack puts the archives into a sandbox whose first process is pid, as its
// own user. It works from within the sandbox's mounts (see visit), and an
// os.Root holds each entry within the archive's directory.
func (p *Provider) unpack(ctx context.Context, id string, pid uint32, user account, archives []sandbox.Archive) error {
	for _, a := range archives {
		if !filepath.IsAbs(a.Dir) || !isText(a.Dir) {
			return coderunner.Errorf(coderunner.Invalid, "Files cannot be unpacked at %q: that is not an absolute path.", a.Dir)
		}
		stream, err := a.Tar()
		if err != nil {
			return fmt.Errorf("open the files for %s: %w", a.Dir, err)
		}
		// The source is read on a thread of ours, with our rights, and may block.
		reading, writing := io.Pipe()
		stop := context.AfterFunc(ctx, func() { reading.CloseWithError(ctx.Err()) })
		go func() {
			_, err := io.Copy(writing, stream)
			writing.CloseWithError(errors.Join(err, stream.Close()))
		}()
		err = visit(id, pid, user, func() error { return unpackAt(a.Dir, reading) })
		stop()
		reading.Close()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unpackAt unpacks a tar stream under dir, where the calling thread is.
func unpackAt(dir string, stream io.Reader) error {
	refused := func(err error) error {
		if isDiskFull(err) || errors.Is(err, unix.EIO) {
			return err
		}
		return coderunner.Wrap(err, coderunner.Invalid, "The files cannot be unpacked at %s: %s.", dir, reason(err))
	}
	root, err := openDir(dir)
	if err != nil {
		return refused(err)
	}
	defer root.Close()
	watched := &inside.Source{Reader: stream}
	buffered := bufio.NewReaderSize(watched, 64<<10)
	for archive := (&unpacker{root: root, tar: tar.NewReader(buffered)}); ; {
		err := archive.next()
		if watched.Err != nil {
			return watched.Err
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return refused(err)
		}
	}
	// What checks the stream as a whole does so at its end.
	_, err = io.Copy(io.Discard, buffered)
	return err
}

// openDir makes the directory if it is absent. No link of /proc is followed, which
// might lead to where the sandbox's first process came from.
func openDir(dir string) (*os.Root, error) {
	root, err := os.OpenRoot("/")
	if err != nil {
		return nil, err
	}
	defer root.Close()
	below, err := filepath.Rel("/", dir)
	if err == nil {
		err = root.MkdirAll(below, 0o755)
	}
	if err != nil {
		return nil, err
	}
	return root.OpenRoot(below)
}

// reason is what an error says without the operation and our path.
func reason(err error) string {
	if inner := (*fs.PathError)(nil); errors.As(err, &inner) {
		return fmt.Sprintf("%q: %s", inner.Path, inner.Err)
	}
	if inner := (*os.LinkError)(nil); errors.As(err, &inner) {
		return fmt.Sprintf("%q: %s", inner.New, inner.Err)
	}
	return err.Error()
}

// unpacker makes the entries of an archive under root.
type unpacker struct {
	root *os.Root
	tar  *tar.Reader
}

// next makes the next entry; io.EOF after the last.
func (u *unpacker) next() error {
	header, err := u.tar.Next()
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	if err != nil {
		return fmt.Errorf("the archive is damaged: %w", err)
	}
	name := strings.TrimRight(header.Name, "/")
	if path.IsAbs(header.Name) {
		return &fs.PathError{Op: "unpack", Path: header.Name, Err: errors.New("the name is absolute")}
	}
	mode := fs.FileMode(header.Mode & 0o777)
	switch header.Typeflag {
	case tar.TypeXGlobalHeader:
		return nil
	case tar.TypeDir:
		return u.directory(path.Clean(name), mode|0o700)
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		return u.file(name, mode)
	case tar.TypeSymlink:
		return u.place(name, func() error { return u.root.Symlink(header.Linkname, name) })
	case tar.TypeLink:
		return u.place(name, func() error { return u.root.Link(header.Linkname, name) })
	}
	return &fs.PathError{Op: "unpack", Path: header.Name, Err: errors.New("it is neither a file nor a directory nor a link")}
}

// directory keeps a directory that is there as it is.
func (u *unpacker) directory(name string, mode fs.FileMode) error {
	if info, err := u.root.Lstat(name); err == nil && info.IsDir() {
		return nil
	}
	return u.place(name, func() error { return u.root.Mkdir(name, mode) })
}

func (u *unpacker) file(name string, mode fs.FileMode) error {
	var f *os.File
	err := u.place(name, func() (err error) {
		// Nothing that is there is opened: it might be a pipe.
		f, err = u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		return err
	})
	if err != nil {
		return err
	}
	_, err = io.Copy(f, u.tar)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the archive is damaged: it ends within %q", name)
	}
	return err
}

// place makes an entry, and before that its parent if it is missing and room
// if something else has its name.
func (u *unpacker) place(name string, do func() error) error {
	err := do()
	if errors.Is(err, fs.ErrNotExist) {
		if err := u.root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
		err = do()
	}
	if errors.Is(err, fs.ErrExist) {
		if err := u.root.Remove(name); err != nil {
			return err
		}
		err = do()
	}
	return err
}

// uploadLock keeps a root from becoming a snapshot while an upload writes to it.
func uploadLock(name string) string { return name + "/upload" }

// Upload implements sandbox.Provider.
func (p *Provider) Upload(ctx context.Context, name, dir string, stream io.Reader) error {
	container, task, err := p.running(ctx, name)
	if err != nil {
		return err
	}
	defer p.locks.lock(uploadLock(name))()
	spec, err := container.Spec(p.ctx(ctx))
	if err != nil {
		return p.afterLaunch(ctx, name, err, sandbox.Command{}, "unpacking files")
	}
	limit, cancel := context.WithCancel(ctx)
	defer cancel()
	exits, err := task.Wait(p.ctx(limit))
	if err != nil {
		return p.afterLaunch(ctx, name, err, sandbox.Command{}, "unpacking files")
	}
	go func() {
		<-exits // also when limit has ended
		cancel()
	}()
	err = p.unpack(limit, container.ID(), task.Pid(), account{spec.Process.User.UID, spec.Process.User.GID},
		[]sandbox.Archive{{Dir: dir, Tar: func() (io.ReadCloser, error) { return io.NopCloser(stream), nil }}})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if _, _, gone := p.running(ctx, name); gone != nil {
		return gone
	}
	return p.translate(err, "unpacking files in the sandbox "+name)
}
