package housekeeping

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// look observes the file systems of the data directory and of the engine, which is
// one if they share it. What the ballast is to have is not free.
func (k *Keeper) look() ([]coderunner.FileSystem, error) {
	found, err := Look(k.cfg.DataDir, k.cfg.EngineDir)
	if err == nil {
		found[0].Free = max(0, found[0].Free-k.ballastMissing())
	}
	return found, err
}

// Look observes the file systems that the two directories are on, that of dataDir first.
func Look(dataDir, engineDir string) ([]coderunner.FileSystem, error) {
	data, err := observe(dataDir, "the data directory")
	if err != nil {
		return nil, err
	}
	if engineDir == "" || engineDir == dataDir {
		return []coderunner.FileSystem{data}, nil
	}
	one, err := sameDevice(dataDir, engineDir)
	if err != nil {
		return nil, err
	}
	if one {
		data.Holds = "the data directory and the sandboxes"
		return []coderunner.FileSystem{data}, nil
	}
	engine, err := observe(engineDir, "the sandboxes")
	return []coderunner.FileSystem{data, engine}, err
}

func observe(dir, holds string) (coderunner.FileSystem, error) {
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil {
		return coderunner.FileSystem{}, fmt.Errorf("look at the disk of %s: %w", dir, err)
	}
	// As df counts: of what is there for everybody, how much is free.
	block := disk.Bsize
	return coderunner.FileSystem{
		Holds: holds, Size: int64(disk.Blocks-disk.Bfree+disk.Bavail) * block, Free: int64(disk.Bavail) * block,
		Files: int64(disk.Files), FreeFiles: int64(disk.Ffree), KeptBack: int64(disk.Bfree-disk.Bavail) * block, ObservedAt: time.Now(),
	}, nil
}

func sameDevice(a, b string) (bool, error) {
	var devices [2]uint64
	for i, dir := range []string{a, b} {
		info, err := os.Stat(dir)
		if err != nil {
			return false, fmt.Errorf("look at the disk of %s: %w", dir, err)
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return false, fmt.Errorf("the disk of %s is not known", dir)
		}
		devices[i] = stat.Dev
	}
	return devices[0] == devices[1], nil
}
