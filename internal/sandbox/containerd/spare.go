package containerd

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/continuity/fs"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// A volume begins as a copy of what the template has at its place. Copying a
// database's files takes as long as the database takes to start, so one copy is kept
// ready for the next volume of each kind that was asked for:
//
//	spares/<template>/<what it is a copy of>/
//
// A copy has its name only when it is whole and on the disk.

// spareDelay is for how long no volume must have been made before a copy is got
// ready: what the volume was made for has the machine first.
const spareDelay = 15 * time.Second

// copying is the beginning of the name of a copy that is not whole.
const copying = ".copying-"

// seed is what a volume begins as.
type seed struct {
	template sandbox.TemplateRef
	parent   string // the template's name at the engine; "" for an empty directory
	path     string // in the template
	owner    account
}

// spares gets copies ready in the background.
type spares struct {
	mu     sync.Mutex
	wanted map[string]seed // by the directory of the copy
	timer  *time.Timer     // nil until one was wanted
	closed bool
	work   sync.WaitGroup
}

func (p *Provider) sparesDir() string { return filepath.Join(p.cfg.StateDir, "spares") }

func (p *Provider) spareDir(s seed) string {
	sum := sha256.Sum256([]byte(s.parent + "\x00" + s.path))
	return filepath.Join(p.sparesDir(), s.template.Name, hex.EncodeToString(sum[:12]))
}

// plant makes the directory of a volume's data, if it is not there: of the copy that
// is ready, or of a new one.
func (p *Provider) plant(ctx context.Context, data string, s seed) error {
	if _, err := os.Lstat(data); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	spare := p.spareDir(s)
	err := os.Rename(spare, data)
	found := err == nil
	if errors.Is(err, os.ErrNotExist) {
		if err := dropCopies(filepath.Dir(data)); err != nil {
			return err
		}
		found, err = p.copyOut(ctx, data, s)
	}
	if err != nil {
		return err
	}
	if found {
		p.wantSpare(spare, s)
	}
	return syncPath(filepath.Dir(data))
}

// dropCopies removes what copies that were cut off have left in a volume's directory.
func dropCopies(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, copying+"*"))
	for _, path := range left {
		err = errors.Join(err, os.RemoveAll(path))
	}
	return err
}

// syncPath writes a file, or the names in a directory, to the disk.
func syncPath(path string) error {
	return withDir(path, (*os.File).Sync)
}

// syncTree writes everything of the directory's file system to the disk.
func syncTree(dir string) error {
	return withDir(dir, func(d *os.File) error { return unix.Syncfs(int(d.Fd())) })
}

func withDir(dir string, do func(*os.File) error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return do(d)
}

// wantSpare has a copy got ready once the machine has had its time.
func (p *Provider) wantSpare(spare string, s seed) {
	k := &p.spares
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return
	}
	if k.wanted == nil {
		k.wanted = map[string]seed{}
	}
	k.wanted[spare] = s
	if k.timer != nil {
		k.timer.Stop()
	}
	k.timer = time.AfterFunc(spareDelay, p.makeSpares)
}

// makeSpares makes the copies that are wanted. One that does not succeed is wanted
// again with the next volume, which tells why.
func (p *Provider) makeSpares() {
	k := &p.spares
	k.mu.Lock()
	if k.closed {
		k.mu.Unlock()
		return
	}
	wanted := k.wanted
	k.wanted = nil
	k.work.Add(1)
	k.mu.Unlock()
	defer k.work.Done()
	for spare, s := range wanted {
		if err := os.MkdirAll(filepath.Dir(spare), 0o700); err != nil {
			continue
		}
		dropOthers(spare)
		if _, err := os.Lstat(spare); errors.Is(err, os.ErrNotExist) {
			_, _ = p.copyOut(context.Background(), spare, s)
		}
	}
}

// dropOthers removes what is beside a copy and older than a copy takes: of a template
// that was defined anew, or never made to the end.
func dropOthers(spare string) {
	entries, _ := os.ReadDir(filepath.Dir(spare))
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || e.Name() == filepath.Base(spare) || time.Since(info.ModTime()) < time.Hour && strings.HasPrefix(e.Name(), copying) {
			continue
		}
		_ = os.RemoveAll(filepath.Join(filepath.Dir(spare), e.Name()))
	}
}

// close begins nothing more, and waits for the copy that is being made.
func (k *spares) close() {
	k.mu.Lock()
	k.closed = true
	if k.timer != nil {
		k.timer.Stop()
	}
	k.mu.Unlock()
	k.work.Wait()
}

// copyOut copies what the template has at the path, if it has a directory there, whole
// and on the disk, or not at all. Else there is an empty one, the owner's.
func (p *Provider) copyOut(ctx context.Context, to string, s seed) (found bool, err error) {
	work, err := os.MkdirTemp(filepath.Dir(to), copying)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	data := filepath.Join(work, "data")
	found, err = p.copyDir(ctx, data, s)
	if err != nil {
		return false, coderunner.Wrap(err, coderunner.Internal, "The directory %s of the template %s could not be copied to a volume.", s.path, s.template.Name)
	}
	if !found {
		err = errors.Join(os.Mkdir(data, 0o700), os.Chown(data, int(s.owner.uid), int(s.owner.gid)))
	} else {
		err = syncTree(data)
	}
	if err := errors.Join(err, ctx.Err()); err != nil {
		return false, err
	}
	return found, os.Rename(data, to)
}

// copyDir copies the directory, if the template has one there.
func (p *Provider) copyDir(ctx context.Context, to string, s seed) (found bool, err error) {
	if s.parent == "" {
		return false, nil
	}
	lease, release, err := p.client.WithLease(p.ctx(ctx))
	if err != nil {
		return false, err
	}
	defer func() { _ = release(context.WithoutCancel(lease)) }()
	view := p.cfg.Instance + "/view-" + strings.ToLower(rand.Text())
	mounts, err := p.roots().View(lease, view, s.parent)
	if err != nil {
		return false, err
	}
	defer func() {
		if gone := p.roots().Remove(context.WithoutCancel(lease), view); !errdefs.IsNotFound(gone) {
			err = errors.Join(err, gone)
		}
	}()
	tree, err := openTree(mounts)
	if err != nil {
		return false, err
	}
	defer tree.Close()
	from, err := fs.RootPath(fmt.Sprintf("/proc/self/fd/%d", tree.Fd()), s.path)
	if err != nil {
		return false, err
	}
	if info, err := os.Lstat(from); errors.Is(err, os.ErrNotExist) || err == nil && !info.IsDir() {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return true, fs.CopyDir(to, from)
}

// openTree opens a tree that is mounted nowhere, so that nothing of it can be left behind.
func openTree(mounts []mount.Mount) (*os.File, error) {
	if len(mounts) != 1 {
		return nil, fmt.Errorf("a template consists of %d mounts", len(mounts))
	}
	m := mounts[0]
	if m.Type == "bind" {
		fd, err := unix.OpenTree(unix.AT_FDCWD, m.Source, unix.OPEN_TREE_CLOEXEC|unix.OPEN_TREE_CLONE)
		return os.NewFile(uintptr(fd), m.Source), err
	}
	context, err := unix.Fsopen(m.Type, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer unix.Close(context)
	for _, option := range m.Options {
		if key, value, has := strings.Cut(option, "="); has {
			err = unix.FsconfigSetString(context, key, value)
		} else if option != "ro" {
			err = unix.FsconfigSetFlag(context, option)
		}
		if err != nil {
			return nil, fmt.Errorf("the option %s of the template's root: %w", option, err)
		}
	}
	if err := unix.FsconfigCreate(context); err != nil {
		return nil, fmt.Errorf("open the template's root: %w", err)
	}
	fd, err := unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("open the template's root: %w", err)
	}
	return os.NewFile(uintptr(fd), m.Type), nil
}
