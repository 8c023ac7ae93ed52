package containerd

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// worksite is one process's hold on the making of one thing in the template
// directory, named by key. The lock is the file's, so that a process that dies
// lets go of it; what is said is written beside it, where those who wait read it.
type worksite struct {
	mu       sync.Mutex
	lock     *os.File
	progress *os.File
	out      io.Writer
}

// followInterval is how often somebody who waits looks for news.
const followInterval = 100 * time.Millisecond

// enterWorksite waits until nobody else makes the same thing and meanwhile
// repeats on out what those before say, from now on.
func enterWorksite(ctx context.Context, dir, key string, out io.Writer) (*worksite, error) {
	lock, err := os.OpenFile(filepath.Join(dir, key+".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	progress, err := os.OpenFile(filepath.Join(dir, key+".progress"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		lock.Close()
		return nil, err
	}
	site := &worksite{lock: lock, progress: progress, out: out}
	if err := site.wait(ctx); err != nil {
		progress.Close()
		lock.Close()
		return nil, err
	}
	err = progress.Truncate(0)
	if err == nil {
		_, err = progress.Seek(0, io.SeekStart)
	}
	if err != nil {
		site.leave()
		return nil, err
	}
	return site, nil
}

func (s *worksite) wait(ctx context.Context) error {
	tick := time.NewTicker(followInterval)
	defer tick.Stop()
	told := int64(-1)
	for {
		err := unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			if told >= 0 {
				s.repeat(&told)
			}
			return nil
		}
		if err != unix.EWOULDBLOCK && err != unix.EINTR {
			return fmt.Errorf("lock %s: %w", s.lock.Name(), err)
		}
		if told < 0 {
			info, err := s.progress.Stat()
			if err != nil {
				return err
			}
			told = info.Size()
		}
		s.repeat(&told)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// repeat copies the whole lines after told.
func (s *worksite) repeat(told *int64) {
	info, err := s.progress.Stat()
	if err != nil {
		return
	}
	if info.Size() < *told { // somebody began anew
		*told = 0
	}
	news, err := io.ReadAll(io.NewSectionReader(s.progress, *told, info.Size()-*told))
	if err != nil {
		return
	}
	end := strings.LastIndexByte(string(news), '\n') + 1
	*told += int64(end)
	_, _ = s.out.Write(news[:end])
}

// say tells one line to the caller and to all who wait. What cannot be told is no reason to stop.
func (s *worksite) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...) + "\n"
	s.mu.Lock()
	defer s.mu.Unlock()
	io.WriteString(s.out, line)
	_, _ = s.progress.WriteString(line)
}

func (s *worksite) leave() {
	s.progress.Close()
	s.lock.Close()
}

// clearAbandoned removes the working directories of builds that died.
func clearAbandoned(dir string) {
	left, err := filepath.Glob(filepath.Join(dir, "*.work"))
	if err != nil {
		return
	}
	for _, work := range left {
		lock, err := os.OpenFile(strings.TrimSuffix(work, ".work")+".lock", os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			continue
		}
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			os.RemoveAll(work)
		}
		lock.Close()
	}
}
