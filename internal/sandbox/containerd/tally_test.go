package containerd

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestTally counts trees that are made to be counted wrong.
func TestTally(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "outside")
	write := func(path string, kib int) {
		if err := os.WriteFile(path, make([]byte, kib<<10), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(outside, 4096)
	for name, tt := range map[string]struct {
		make        func(dir string) error
		least, most int64 // in KiB
	}{
		"files": {func(dir string) error { write(dir+"/a", 1024); return os.Mkdir(dir+"/b", 0o755) }, 1028, 1032},
		"hard links": {func(dir string) error {
			write(dir+"/a", 1024)
			return os.Link(dir+"/a", dir+"/b")
		}, 1024, 1028},
		"a link that leads out": {func(dir string) error {
			return os.Symlink(filepath.Dir(outside), dir+"/a")
		}, 4, 4},
		"a hole": {func(dir string) error {
			write(dir+"/a", 0)
			return os.Truncate(dir+"/a", 1<<30)
		}, 4, 8},
		"empty files": {func(dir string) error {
			for i := range 1000 {
				write(fmt.Sprintf("%s/%d", dir, i), 0)
			}
			return nil
		}, 4000, 4000},
		"a tree deeper than any path": {func(dir string) error { return nest(dir, 2100) }, 8400, 8500},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := tt.make(dir); err != nil {
				t.Fatal(err)
			}
			all := tally{ctx: t.Context(), enough: math.MaxInt64}
			if err := all.tree(dir); err != nil || all.bytes < tt.least<<10 || all.bytes > tt.most<<10 {
				t.Errorf("it takes %d KiB, %v", all.bytes>>10, err)
			}
			some := tally{ctx: t.Context(), enough: 1}
			if err := some.tree(dir); err != nil || some.bytes <= 1 {
				t.Errorf("until it is enough it takes %d, %v", some.bytes, err)
			}
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			none := tally{ctx: ended, enough: math.MaxInt64}
			if err := none.tree(dir); err != nil || none.bytes != 0 {
				t.Errorf("for nobody it takes %d, %v", none.bytes, err)
			}
		})
	}
}

// nest makes directories in each other.
func nest(dir string, levels int) error {
	at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	for range levels {
		if err != nil {
			return err
		}
		if err := unix.Mkdirat(at, "d", 0o755); err != nil {
			return err
		}
		var below int
		below, err = unix.Openat(at, "d", unix.O_PATH|unix.O_DIRECTORY, 0)
		unix.Close(at)
		at = below
	}
	unix.Close(at)
	return err
}

// TestDiskIsMeasuredWhenItShrinks, by bytes or by files, since there was most of it.
func TestDiskIsMeasuredWhenItShrinks(t *testing.T) {
	t.Parallel()
	const full, files = 10 << 30, 1 << 20
	w := diskWatch{}
	if !w.due(room{full, files}) {
		t.Error("at first it is not measured")
	}
	w = diskWatch{room: room{full, files}, at: time.Now(), step: diskStep}
	for _, look := range []struct {
		now  room
		want bool
	}{
		{room{full, files}, false},
		{room{full - diskStep + 1, files}, false},
		{room{full + diskStep, files + 5}, false}, // something was removed
		{room{full + 1, files}, false},
		{room{full, files}, true},
		{room{full + diskStep, files + 5 - diskStep/inodeBytes}, true},
	} {
		if got := w.due(look.now); got != look.want {
			t.Errorf("with %+v it is measured: %v", look.now, got)
		}
	}
	w.at = time.Now().Add(-diskAnyway - time.Second)
	if !w.due(room{full + diskStep, files + 5}) {
		t.Error("after long it is not measured")
	}
}
