package containerd

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/sandbox/containerd/inside"
)

// lifelinePath is a pipe that has a writer as long as the process is kept.
func (p *Provider) lifelinePath(name, process string) string {
	return p.processFile(name, process) + ".alive"
}

// startKeeper begins a process that is kept from now on, whatever becomes of us.
func (p *Provider) startKeeper(ctx context.Context, name, process string, what inside.Keeping) error {
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
	return p.keepers.Start(ctx, what, alive)
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
