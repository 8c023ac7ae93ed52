package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/sandbox/containerd/inside"
)

// What sandboxes write lies on this machine's own file system, which keeps no account of
// it: ext4's quotas need an option that a root file system is mounted with. So we watch.
// How much room there is costs nothing to ask, and while it does not shrink nobody is over
// a limit who was not before. Only when it has, the roots of those that may be are
// measured (see tally), and who is over is marked and ended. The mark stays with the engine's
// record: it tells whoever waits for a command or a process, and Create makes such a sandbox anew.

const (
	diskLook   = 2 * time.Second // how often the room is looked at
	diskStep   = 64 << 20        // what may be written before anything is measured
	diskAnyway = 5 * time.Minute // at the latest the roots are measured after: who writes what another removes is not seen in the room
	inodeBytes = 4096            // what a file counts at least, of the machine's inodes
)

// diskWatch is what the watch remembers. It is its goroutine's alone.
type diskWatch struct {
	dir  string // on the file system of the roots; "" until it is known
	room room   // the most there was since the roots were measured
	at   time.Time
	step int64 // how much the room may shrink until they are again
}

// room is what a file system has left.
type room struct{ bytes, inodes int64 }

func roomOf(dir string) (room, error) {
	var found unix.Statfs_t
	if err := unix.Statfs(dir, &found); err != nil {
		return room{}, err
	}
	return room{bytes: int64(found.Bfree) * found.Bsize, inodes: int64(found.Ffree)}, nil
}

// watchDisk ends sandboxes that are over their limit, until ctx ends.
func (p *Provider) watchDisk(ctx context.Context) {
	w := diskWatch{}
	if p.cfg.Address == "" {
		w.dir = p.cfg.EngineDir
	}
	tick := time.NewTicker(diskLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now, err := roomOf(w.dir)
		if err == nil && !w.due(now) {
			continue
		}
		if p.endOverDisk(ctx, &w) == nil { // else it is tried again with the next look
			w.room, w.at = now, time.Now()
		}
	}
}

// due reports whether the roots have to be measured.
func (w *diskWatch) due(now room) bool {
	if w.at.IsZero() || time.Since(w.at) > diskAnyway {
		return true
	}
	shrunk := max(w.room.bytes-now.bytes, (w.room.inodes-now.inodes)*inodeBytes)
	w.room.bytes, w.room.inodes = max(w.room.bytes, now.bytes), max(w.room.inodes, now.inodes)
	return shrunk >= w.step
}

// endOverDisk measures the roots of all sandboxes of the instance that have a limit, and
// ends those that are over it. What others may still write before they are to be measured
// again is a quarter of what the fullest has left: meanwhile something else may be
// removed, and hide as much.
func (p *Provider) endOverDisk(ctx context.Context, w *diskWatch) error {
	found, err := p.client.ContainerService().List(p.ctx(ctx), fmt.Sprintf("labels.%q==%s,labels.%q", labelInstance, p.cfg.Instance, labelDisk))
	if err != nil {
		return err
	}
	w.step = diskStep
	var failed error
	least := int64(-1)
	for _, record := range found {
		limit, _ := strconv.ParseInt(record.Labels[labelDisk], 10, 64)
		if limit <= 0 || record.Labels[labelOverDisk] != "" || record.Labels[labelEnding] != "" {
			continue
		}
		dir, bytes, err := p.written(ctx, record.ID, limit)
		if err == nil {
			var more int64
			more, err = p.beyondRoom(ctx, record.Labels[labelRoom], limit)
			bytes += more
		}
		switch {
		case errdefs.IsNotFound(err) || errors.Is(err, fs.ErrNotExist): // it is not there yet, or no more
			continue
		case err == nil && bytes > limit:
			err = p.endForDisk(ctx, record)
		}
		failed = errors.Join(failed, err)
		if dir != "" {
			w.dir = dir
		}
		if left := max(limit-bytes, 0); least < 0 || left < least {
			least = left
		}
	}
	if least >= 0 {
		w.step = max(least/4, diskStep)
	}
	return failed
}

// written is how much a sandbox has written to its root: what lies in the overlay's upper
// directory, and what is deleted and open still. It stops counting beyond enough. It answers
// the engine's directory of all roots as well.
func (p *Provider) written(ctx context.Context, id string, enough int64) (dir string, bytes int64, err error) {
	mounts, err := p.roots().Mounts(p.ctx(ctx), id)
	if err != nil {
		return "", 0, err
	}
	for _, m := range mounts {
		for _, option := range m.Options {
			if upper, is := strings.CutPrefix(option, "upperdir="); is {
				dir = upper
			}
		}
	}
	if dir == "" {
		return "", 0, fmt.Errorf("the root of %s has no directory of its own", id)
	}
	t := tally{ctx: ctx, enough: enough}
	if err := t.tree(dir); err != nil {
		return "", 0, fmt.Errorf("measure the root of %s: %w", id, err)
	}
	t.deleted(p.cgroups.Processes(inside.SandboxGroup(id)))
	return filepath.Dir(filepath.Dir(dir)), t.bytes, ctx.Err()
}

// roomLabel is labelRoom's value, "" for none.
func roomLabel(volumes []sandbox.Mount) string {
	var parts []string
	for _, v := range volumes {
		if v.Room > 0 {
			parts = append(parts, fmt.Sprintf("%s=%d", v.Volume, v.Room))
		}
	}
	return strings.Join(parts, " ")
}

// beyondRoom is how much volumes have that is more than their own. It stops counting beyond enough.
func (p *Provider) beyondRoom(ctx context.Context, label string, enough int64) (bytes int64, err error) {
	for _, part := range strings.Fields(label) {
		name, text, _ := strings.Cut(part, "=")
		room, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read the room of the volume %s: %w", name, err)
		}
		t := tally{ctx: ctx, enough: room + enough}
		if err := t.tree(p.volumeData(name)); err != nil {
			return 0, fmt.Errorf("measure the volume %s: %w", name, err)
		}
		bytes += max(t.bytes-room, 0)
	}
	return bytes, ctx.Err()
}

// endForDisk marks a sandbox as over its limit and ends all that runs in it. The mark comes
// first, for those who see the end.
func (p *Provider) endForDisk(ctx context.Context, record containers.Container) error {
	container, err := p.client.LoadContainer(p.ctx(ctx), record.ID)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	now, err := container.Info(p.ctx(ctx))
	if err != nil {
		return err
	}
	if !now.CreatedAt.Equal(record.CreatedAt) { // another one of its name
		return nil
	}
	if _, err := container.SetLabels(p.ctx(ctx), map[string]string{labelOverDisk: time.Now().UTC().Format(time.RFC3339Nano)}); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	return p.endTask(ctx, container)
}

// overDisk answers when a sandbox was ended for its disk; the zero time if it was not.
func (p *Provider) overDisk(ctx context.Context, name string) (time.Time, error) {
	container, err := p.load(ctx, name)
	if err != nil {
		return time.Time{}, err
	}
	labels, err := container.Labels(p.ctx(ctx))
	if err != nil || labels[labelOverDisk] == "" {
		return time.Time{}, p.translate(err, "looking for the sandbox "+name)
	}
	return time.Parse(time.RFC3339Nano, labels[labelOverDisk])
}
