package containerd

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// tally counts the disk that a sandbox takes while the sandbox may do anything to be counted wrong:
// no link leads out of the tree, a directory of millions of files is never in memory as a
// whole, one that is nested without an end holds few files open, an empty file counts
// as well, and so does what has no name any more.
type tally struct {
	ctx    context.Context
	enough int64 // it stops counting beyond
	bytes  int64
	seen   map[uint64]bool // files of several names, or of none, counted already
}

// done reports whether counting on tells nothing, or nobody waits for it.
func (t *tally) done() bool { return t.bytes > t.enough || t.ctx.Err() != nil }

// add counts one file.
func (t *tally) add(st *unix.Stat_t) {
	if st.Nlink != 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		if t.seen[st.Ino] {
			return
		}
		if t.seen == nil {
			t.seen = map[uint64]bool{}
		}
		t.seen[st.Ino] = true
	}
	t.bytes += max(st.Blocks*512, inodeBytes)
}

// tree counts what lies in a directory. What cannot be looked at, because it has gone or
// become something else meanwhile, counts nothing.
func (t *tally) tree(dir string) error {
	root, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer root.Close()
	return t.below(root)
}

// deep is how many directories lie in each other below one that is held open.
const deep = 64

// below counts what lies below a directory. The error is that of the first step.
func (t *tally) below(root *os.File) error {
	pending := []string{"."}
	for first := true; len(pending) > 0 && !t.done(); first = false {
		dir := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		if strings.Count(dir, "/") >= deep {
			if sub, err := openBelow(root, dir, unix.O_PATH); err == nil {
				_ = t.below(sub)
				sub.Close()
			}
			continue
		}
		f, err := openBelow(root, dir, unix.O_RDONLY)
		if err != nil && first {
			return err
		}
		if err != nil {
			continue
		}
		t.names(f, func(name string) {
			var st unix.Stat_t
			if unix.Fstatat(int(f.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
				return
			}
			t.add(&st)
			if st.Mode&unix.S_IFMT == unix.S_IFDIR {
				pending = append(pending, path.Join(dir, name))
			}
		})
		f.Close()
	}
	return nil
}

// openBelow opens a directory below another; no link leads there.
func openBelow(root *os.File, dir string, flags uint64) (*os.File, error) {
	how := unix.OpenHow{Flags: flags | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS}
	fd, err := unix.Openat2(int(root.Fd()), dir, &how)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return os.NewFile(uintptr(fd), dir), nil
}

// names reads a directory piece by piece.
func (t *tally) names(dir *os.File, yield func(name string)) {
	for !t.done() {
		names, err := dir.Readdirnames(512)
		for _, name := range names {
			yield(name)
		}
		if err != nil { // its end
			return
		}
	}
}

// deleted counts files of the processes' root that have no name any more: those they
// have open, and those they have mapped. Processes that go meanwhile have none.
func (t *tally) deleted(pids []int) {
	for _, pid := range pids {
		proc := fmt.Sprintf("/proc/%d", pid)
		var root unix.Stat_t
		if unix.Stat(proc+"/root/", &root) != nil {
			continue
		}
		count := func(file string) {
			var st unix.Stat_t
			// Memory that looks like a file is on another device, as a volume is.
			if unix.Stat(file, &st) == nil && st.Nlink == 0 && st.Dev == root.Dev && st.Mode&unix.S_IFMT == unix.S_IFREG {
				t.add(&st)
			}
		}
		t.open(filepath.Join(proc, "fd"), count)
		t.mapped(proc, count)
	}
}

func (t *tally) open(dir string, count func(file string)) {
	f, err := os.Open(dir)
	if err != nil {
		return
	}
	defer f.Close()
	t.names(f, func(name string) { count(filepath.Join(dir, name)) })
}

func (t *tally) mapped(proc string, count func(file string)) {
	f, err := os.Open(filepath.Join(proc, "maps"))
	if err != nil {
		return
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() && !t.done() {
		if area, _, is := strings.Cut(lines.Text(), " "); is && strings.HasSuffix(lines.Text(), " (deleted)") {
			count(filepath.Join(proc, "map_files", area))
		}
	}
}
