package containerd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"github.com/vishvananda/netlink"

	"github.com/coderunner/coderunner/internal/sandbox"
)

// Most of what a sandbox's making takes is its first process: the engine's shim, the
// runtime, the namespaces. A standby is just that, made while nobody waits: the
// first process of the sandbox that comes next, with a network namespace
// without a way out, on a root that nothing can be written to and that has nothing
// but Debian. A sandbox that takes it gets its own root, files, network and limits
// put in (see furnish); from the engine's record on it is one like any other.
//
// Standbys end with the provider that keeps them.

// standbyQuiet is for how long no sandbox must have been made and no command must have
// run before a standby is made: whoever waits has the machine first.
const standbyQuiet = 2 * time.Second

// standby is one that is ready.
type standby struct {
	id  string // at the engine; the sandbox's that takes it
	pid uint32 // its first process, as the host counts
}

// standbys are those that are kept ready.
type standbys struct {
	commands atomic.Int64 // that run now
	mu       sync.Mutex
	closed   bool
	keep     int           // how many
	quiet    time.Duration // standbyQuiet
	ready    []standby
	timer    *time.Timer // nil until there is something to make
	work     sync.WaitGroup
}

// standbyMark is in the engine's name of a standby, and of no other sandbox.
const standbyMark = "_"

func isStandby(id string) bool { return strings.Contains(id, standbyMark) }

// standbyUser runs the first process of a standby: nobody, who has nothing.
var standbyUser = account{uid: 65534, gid: 65534}

// KeepStandbys has up to n sandboxes prepared ahead of time from now on, until Close. One
// provider of an instance may do so. What another one left, that ended without
// Close, is removed first.
func (p *Provider) KeepStandbys(n int) {
	s := &p.standbys
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.work.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), standbyTime)
		defer cancel()
		_ = p.dropStandbys(ctx) // what stays is in nobody's way
		s.mu.Lock()
		s.keep, s.quiet = n, standbyQuiet
		s.mu.Unlock()
		s.later(p.makeStandbys)
	})
}

// take answers the oldest that is ready.
func (s *standbys) take() (standby, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ready) == 0 {
		return standby{}, false
	}
	first := s.ready[0]
	s.ready = s.ready[1:]
	return first, true
}

// later does work once nothing is under way.
func (s *standbys) later(work func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keep == 0 || s.closed {
		return
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	s.timer = time.AfterFunc(s.quiet, work)
}

// begin reports whether one more has to be made, which ends with done.
func (s *standbys) begin() (done func(), is bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.ready) >= s.keep {
		return nil, false
	}
	s.work.Add(1)
	return s.work.Done, true
}

// put adds one, unless none are kept any more.
func (s *standbys) put(made standby) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.ready = append(s.ready, made)
	return true
}

// makeStandbys makes those that are missing. One that cannot be made is tried again
// after the next sandbox, whose own making tells what is wrong.
func (p *Provider) makeStandbys() {
	for {
		if p.standbys.commands.Load() > 0 {
			p.standbys.later(p.makeStandbys)
			return
		}
		if more, err := p.addStandby(context.Background()); !more || err != nil {
			return
		}
	}
}

// standbyTime bounds the making of one.
const standbyTime = 30 * time.Second

// addStandby makes one if one is missing.
func (p *Provider) addStandby(ctx context.Context) (more bool, err error) {
	done, more := p.standbys.begin()
	if !more {
		return false, nil
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, standbyTime)
	defer cancel()
	root, err := p.standbyRoot(ctx)
	if err != nil || root == nil {
		return false, err
	}
	made := standby{id: p.cfg.Instance + standbyMark + strings.ToLower(rand.Text())}
	made.pid, err = p.makeStandby(ctx, made.id, root)
	if err != nil || !p.standbys.put(made) {
		err = errors.Join(err, p.dropStandby(context.WithoutCancel(ctx), made.id))
	}
	return true, err
}

func (p *Provider) makeStandby(ctx context.Context, id string, root []mount.Mount) (uint32, error) {
	if err := makeNetns(netnsPath(id), func(*netlink.Handle, int) error { return nil }); err != nil {
		return 0, err
	}
	record := containers.Container{ID: id, Labels: map[string]string{labelStandby: p.cfg.Instance}, Snapshotter: snapshotter, SnapshotKey: id, Runtime: containers.RuntimeInfo{Name: p.cfg.Runtime}}
	spec, err := oci.GenerateSpec(p.ctx(ctx), p.client, &record, p.confinement(id, standbyUser)...)
	if err != nil {
		return 0, err
	}
	if record.Spec, err = typeurl.MarshalAny(spec); err != nil {
		return 0, err
	}
	if _, err := p.client.ContainerService().Create(p.ctx(ctx), record); err != nil {
		return 0, err
	}
	pid, err := p.launchInit(ctx, id, root)
	if err != nil {
		return 0, err
	}
	_, err = p.client.TaskService().Start(p.ctx(ctx), &tasks.StartRequest{ContainerID: id})
	return pid, err
}

// standbyRoot is the root of all standbys: the base of the templates, read only. There is none
// as long as this engine has no template.
func (p *Provider) standbyRoot(ctx context.Context) ([]mount.Mount, error) {
	base, err := p.templates.base(p.ctx(ctx))
	if err != nil || base == "" {
		return nil, err
	}
	key := p.standbyRootKey()
	found, err := p.roots().Stat(p.ctx(ctx), key)
	if err == nil && found.Parent == base {
		return p.roots().Mounts(p.ctx(ctx), key)
	}
	if err == nil {
		err = p.roots().Remove(p.ctx(ctx), key) // those who have it mounted go on having it
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return nil, err
	}
	mounts, err := p.roots().View(p.ctx(ctx), key, base, snapshots.WithLabels(map[string]string{labelKeep: "true"}))
	if errdefs.IsAlreadyExists(err) {
		return p.roots().Mounts(p.ctx(ctx), key)
	}
	return mounts, err
}

func (p *Provider) standbyRootKey() string { return p.cfg.Instance + "/standby_root" } // no snapshot is called that

// dropStandby removes one that no sandbox has taken.
func (p *Provider) dropStandby(ctx context.Context, id string) error {
	container, err := p.client.LoadContainer(p.ctx(ctx), id)
	if err == nil {
		if err = p.killTask(ctx, container); err == nil {
			err = container.Delete(p.ctx(ctx))
		}
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	return removeNetns(netnsPath(id))
}

// dropStandbys removes all of the instance that no sandbox has taken, and their root.
func (p *Provider) dropStandbys(ctx context.Context) error {
	found, err := p.client.Containers(p.ctx(ctx), fmt.Sprintf("labels.%q==%s", labelStandby, p.cfg.Instance))
	for _, c := range found {
		err = errors.Join(err, p.dropStandby(ctx, c.ID()))
	}
	return errors.Join(err, p.dropStandbyRoot(ctx))
}

func (p *Provider) dropStandbyRoot(ctx context.Context) error {
	err := p.roots().Remove(p.ctx(ctx), p.standbyRootKey())
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// closeStandbys removes those that are ready, and makes none any more.
func (p *Provider) closeStandbys() error {
	s := &p.standbys
	s.mu.Lock()
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Unlock()
	s.work.Wait()
	if s.keep == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), standbyTime)
	defer cancel()
	var err error
	for _, one := range s.ready {
		err = errors.Join(err, p.dropStandby(ctx, one.id))
	}
	return errors.Join(err, p.dropStandbyRoot(ctx))
}

// fromStandby makes the sandbox out of a standby. Where that does not succeed nothing is left of both.
func (p *Provider) fromStandby(ctx context.Context, s standby, spec sandbox.Spec, hash string, from origin, user account) error {
	err := p.furnishStandby(ctx, s, spec, hash, from, user)
	if err == nil {
		return nil
	}
	cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), standbyTime)
	defer cancel()
	return errors.Join(err, p.destroy(cleanup, spec.Name), p.dropStandby(cleanup, s.id))
}

func (p *Provider) furnishStandby(ctx context.Context, s standby, spec sandbox.Spec, hash string, from origin, user account) error {
	networked := make(chan error, 1)
	go func() { networked <- p.connect(ctx, spec, s.id) }()
	record, err := p.recordOf(ctx, s.id, spec, hash, from, user)
	if err == nil {
		// With these labels it is the sandbox.
		record.Labels[labelCreated] = time.Now().UTC().Format(time.RFC3339Nano)
		_, err = p.client.ContainerService().Update(p.ctx(ctx), record, "labels", "spec")
	}
	var mounts []mount.Mount
	if err == nil {
		mounts, err = p.prepareRoot(ctx, s.id, spec, from)
	}
	if err := errors.Join(<-networked, err); err != nil {
		return err
	}
	limits := limitsOf(spec)
	if err := p.cgroups.Limit(s.id, limits.MemoryBytes, limits.PIDs, limits.CPUs); err != nil {
		return err
	}
	return furnish(s.id, s.pid, mounts, p.mounts(spec), hostnameOf(spec))
}
