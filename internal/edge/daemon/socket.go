package daemon

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxSocketPath is what fits sockaddr_un.sun_path with its final NUL.
const maxSocketPath = 107

// listenUnix listens at the path, for this account only, in place of whatever
// is there. Nobody finds the socket before it is ready. Closing it leaves the file.
func listenUnix(path string) (listener *net.UnixListener, err error) {
	begun := path + ".new"
	if err := os.Remove(begun); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	err = short(begun, func(path string) (err error) {
		listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false)
	if err := os.Chmod(begun, 0o600); err != nil {
		listener.Close()
		return nil, err
	}
	if err := os.Rename(begun, path); err != nil {
		listener.Close()
		return nil, err
	}
	return listener, nil
}

func dialUnix(ctx context.Context, path string) (conn *net.UnixConn, err error) {
	err = short(path, func(path string) error {
		dialled, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
		if err == nil {
			conn = dialled.(*net.UnixConn)
		}
		return err
	})
	return conn, err
}

// short calls use with a path that fits a socket's address and means the same.
func short(path string, use func(path string) error) error {
	if len(path) <= maxSocketPath {
		return use(path)
	}
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	defer unix.Close(dir)
	return use(fmt.Sprintf("/proc/self/fd/%d/%s", dir, filepath.Base(path)))
}
