package daemon

import (
	"os"
	"runtime/debug"
	"sync"

	"golang.org/x/sys/unix"
)

// logBytes bounds one file of the log; the former one is kept beside it.
const logBytes = 4 << 20

// boundedLog writes to a file that is open at path, and opens another there when
// that is full, under the same descriptor: what a crash prints to it is there as well.
type boundedLog struct {
	path string
	file *os.File
	mu   sync.Mutex
}

func (l *boundedLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if info, err := l.file.Stat(); err == nil && info.Size() >= logBytes {
		l.turn()
	}
	return l.file.Write(b)
}

func (l *boundedLog) turn() {
	// An edge that leaves writes to the same file and may have moved it already.
	if info, err := os.Stat(l.path); err == nil && info.Size() >= logBytes {
		if err := os.Rename(l.path, l.path+".1"); err != nil {
			return
		}
	}
	next, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return
	}
	defer next.Close()
	_ = unix.Dup3(int(next.Fd()), int(l.file.Fd()), 0)
}

// frugal makes the collector prefer little memory: an edge has few objects that
// live long, so that collecting often costs little.
func frugal() { debug.SetGCPercent(50) }
