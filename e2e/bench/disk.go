package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// diskBytes is how large the image may become; it takes only what is written to it.
const diskBytes = 16 << 30

// disk is an ext4 with a journal in a file, so that results do not depend on
// what the machine's own disk went through before.
type disk struct {
	dir   string // has the image and the mount point
	mount string
}

// mountDisk makes and mounts a disk in a new directory below scratch.
func mountDisk(ctx context.Context, scratch string) (*disk, error) {
	dir, err := os.MkdirTemp(scratch, "coderunner-bench-")
	if err != nil {
		return nil, err
	}
	d := &disk{dir: dir, mount: filepath.Join(dir, "disk")}
	fail := func(err error) (*disk, error) { return nil, errors.Join(err, d.remove()) }
	// The private database's own account has to pass.
	if err := os.Chmod(dir, 0o711); err != nil {
		return fail(err)
	}
	image := filepath.Join(dir, "disk.img")
	file, err := os.Create(image)
	if err != nil {
		return fail(err)
	}
	if err := errors.Join(file.Truncate(diskBytes), file.Close(), os.Mkdir(d.mount, 0o711)); err != nil {
		return fail(err)
	}
	// Nothing is written in the background later: inode tables and journal are made now.
	for _, argv := range [][]string{
		{"mkfs.ext4", "-q", "-F", "-O", "has_journal", "-E", "lazy_itable_init=0,lazy_journal_init=0", image},
		{"mount", "-o", "loop", image, d.mount},
	} {
		if out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return fail(fmt.Errorf("%s: %w: %s", argv[0], err, strings.TrimSpace(string(out))))
		}
	}
	if err := os.Chmod(d.mount, 0o711); err != nil {
		return fail(err)
	}
	return d, nil
}

// remove unmounts the disk and deletes it. The loop device goes with the mount.
func (d *disk) remove() error {
	if err := unix.Unmount(d.mount, 0); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		// Better a disk that is still there than one that is half deleted.
		return fmt.Errorf("unmounting %s: %w; look what still uses it (fuser -vm), unmount it and remove %s", d.mount, err, d.dir)
	}
	return os.RemoveAll(d.dir)
}
