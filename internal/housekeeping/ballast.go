package housekeeping

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The ballast is a file that takes disk while there is plenty. It goes when nothing
// is left, so that the platform's database has room for what it must write
// while the rest is cleaned up, and comes back when there is room again. It goes only
// once the disk is seen full twice: most of what fills a disk gives up at its end,
// and would have taken the ballast as well.
//
// It is one of two reserves. The other is what the file system keeps back for the
// system, which the private database may use where we can let it (see pglocal) and no
// sandbox can: that one holds also against an app that goes on writing.
const (
	ballastBytes = 64 << 20
	fullBytes    = 1 << 20 // with less than this free, a disk is full
)

// balance gives the ballast up or makes it again. roomy says that there is room;
// fullBefore is what the look before answered.
func (k *Keeper) balance(roomy, fullBefore bool) (full bool, err error) {
	var disk unix.Statfs_t
	if err := unix.Statfs(k.cfg.DataDir, &disk); err != nil {
		return false, fmt.Errorf("look at the disk of %s: %w", k.cfg.DataDir, err)
	}
	full = int64(disk.Bavail)*disk.Bsize < fullBytes
	switch {
	case full && fullBefore:
		if err = os.Remove(k.ballast()); errors.Is(err, fs.ErrNotExist) {
			return full, nil
		}
		k.log.Error("the disk is full: the reserve is given up for the platform's database", "bytes", ballastBytes)
	case roomy && k.ballastMissing() > 0:
		err = makeBallast(k.ballast())
	}
	return full, err
}

func (k *Keeper) ballast() string { return filepath.Join(k.cfg.DataDir, "ballast") }

// ballastMissing is what the ballast will take when it is made. It is not free.
func (k *Keeper) ballastMissing() int64 {
	if info, err := os.Stat(k.ballast()); err == nil && info.Size() == ballastBytes {
		return 0
	}
	return ballastBytes
}

func makeBallast(path string) (err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, file.Close()); err != nil {
			_ = os.Remove(path)
		}
	}()
	err = unix.Fallocate(int(file.Fd()), 0, 0, ballastBytes)
	if errors.Is(err, unix.EOPNOTSUPP) { // such a file system has no reserve of ours
		err = file.Truncate(ballastBytes)
	}
	if err != nil {
		return fmt.Errorf("make the reserve: %w", err)
	}
	return nil
}
