// Package testdisk gives tests a small disk of their own that they can fill: an ext4
// in a file. It needs the rights of root.
//
// Only tests import this package.
package testdisk

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// nobody is an account without rights, like those that sandboxes run as.
const nobody = 65534

// New returns the directory of an empty file system of size bytes, of which reserved
// percent are kept back for the system. Everybody may pass it. It goes with the test.
func New(t testing.TB, size int64, reserved int, options ...string) string {
	t.Helper()
	top, err := os.MkdirTemp("", "testdisk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(top) })
	image, dir := filepath.Join(top, "image"), filepath.Join(top, "disk")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(top, 0o711); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.ext4", append([]string{"-q", "-F", "-m", strconv.Itoa(reserved)}, append(options, image)...)...)
	run(t, "mount", "-o", "loop", image, dir)
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("testdisk: unmount: %v", err)
		}
	})
	return dir
}

func run(t testing.TB, program string, args ...string) {
	t.Helper()
	if output, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		t.Fatalf("testdisk: %s %v: %v: %s", program, args, err, output)
	}
}

// Fill writes to the disk, as an account without rights, until nothing more fits. It
// answers how to make the room again.
func Fill(t testing.TB, dir string) (empty func()) {
	t.Helper()
	own, empty := room(t, dir)
	cmd := exec.Command("dd", "if=/dev/zero", "of="+filepath.Join(own, "zeros"), "bs=64K", "conv=fsync")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if err := cmd.Run(); err == nil {
		t.Fatal("testdisk: the disk has no end")
	}
	return empty
}

// FillAsRoot takes all that is left with all rights, at once: what somebody gives up
// because the disk is full is not taken as well.
func FillAsRoot(t testing.TB, dir string) (empty func()) {
	t.Helper()
	own, empty := room(t, dir)
	file, err := os.Create(filepath.Join(own, "zeros"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	size := int64(0)
	for step := int64(64 << 20); step >= 4096; {
		err := unix.Fallocate(int(file.Fd()), 0, size, step)
		if err != nil && !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("testdisk: fill %s: %v", dir, err)
		}
		if err != nil {
			step /= 2
		} else {
			size += step
		}
	}
	return empty
}

// room is a directory for what fills the disk.
func room(t testing.TB, dir string) (own string, empty func()) {
	t.Helper()
	own, err := os.MkdirTemp(dir, "filled")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(own, 0o777); err != nil {
		t.Fatal(err)
	}
	return own, func() {
		if err := os.RemoveAll(own); err != nil {
			t.Error(err)
		}
	}
}
