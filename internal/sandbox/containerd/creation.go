package containerd

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// Create implements sandbox.Provider.
func (p *Provider) Create(ctx context.Context, spec sandbox.Spec) (sandbox.Info, error) {
	if err := checkSpec(spec); err != nil {
		return sandbox.Info{}, err
	}
	hash, err := specHash(spec)
	if err != nil {
		return sandbox.Info{}, err
	}
	defer p.locks.lock(spec.Name)()
	defer p.standbys.later(p.makeStandbys)
	container, err := p.find(ctx, spec.Name)
	switch {
	case errdefs.IsNotFound(err):
		err = p.make(ctx, spec, hash)
		if err != nil {
			// Nothing half made stays behind, whatever stopped us.
			cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
			defer cancel()
			err = errors.Join(p.translate(err, "making the sandbox "+spec.Name), p.destroy(cleanup, spec.Name))
		}
	case err == nil:
		err = p.adopt(ctx, container, spec, hash)
	}
	if err != nil {
		return sandbox.Info{}, p.translate(err, "making the sandbox "+spec.Name)
	}
	id := p.id(spec.Name)
	if _, starting := p.starting.Load(id); !starting {
		return p.Get(ctx, spec.Name)
	}
	meta, err := p.client.ContainerService().Get(p.ctx(ctx), id)
	return infoOf(meta, &tasktypes.Process{Status: tasktypes.Status_CREATED}), p.translate(err, "making the sandbox "+spec.Name)
}

// make makes a sandbox of which there is nothing but what a crash may have left.
// Its record in the engine comes first: it holds the root against collection.
func (p *Provider) make(ctx context.Context, spec sandbox.Spec, hash string) error {
	from, err := p.origin(ctx, spec)
	if err != nil {
		return err
	}
	user, err := parseAccount(from.config.User)
	if err != nil {
		return err
	}
	if err := p.ensureVolumes(ctx, spec, from, user); err != nil {
		return err
	}
	go p.keepers.Prepare()
	id, pid, started, err := p.body(ctx, spec, hash, from, user)
	if err != nil {
		return err
	}
	p.yield(id, spec.Yields)
	if err := p.unpack(ctx, id, pid, user, spec.Files); err != nil {
		return err
	}
	begun := p.locks.lock(initLock(id))
	p.starting.Store(id, int(pid))
	go func() {
		defer begun()
		defer p.starting.Delete(id)
		p.complete(context.WithoutCancel(ctx), id, started)
	}()
	return nil
}

// body makes the sandbox's first process, with its root and its network: of a standby,
// or anew where none is ready or does. It answers whether that process has been
// started already.
func (p *Provider) body(ctx context.Context, spec sandbox.Spec, hash string, from origin, user account) (id string, pid uint32, started bool, err error) {
	if s, ready := p.standbys.take(); ready {
		p.ids.Store(spec.Name, s.id)
		if err := p.fromStandby(ctx, s, spec, hash, from, user); err == nil || ctx.Err() != nil {
			return s.id, s.pid, true, err
		}
		p.ids.Delete(spec.Name)
	}
	id = p.containerID(spec.Name)
	networked := make(chan error, 1)
	go func() { networked <- p.connect(ctx, spec, id) }()
	mounts, err := p.record(ctx, id, spec, hash, from, user)
	if err := errors.Join(<-networked, err); err != nil {
		return id, 0, false, err
	}
	pid, err = p.launchInit(ctx, id, mounts)
	return id, pid, false, err
}

// initLock is held while a sandbox's first process is being started. Others can be
// in it by then: all that they need is there.
func initLock(id string) string { return "first process of " + id }

// startTime bounds the start of a first process.
const startTime = 30 * time.Second

// complete starts the first process, where that has not been done, and says that the
// sandbox is made. One where that does not succeed is one that has stopped.
func (p *Provider) complete(ctx context.Context, id string, started bool) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	var err error
	if !started {
		_, err = p.client.TaskService().Start(p.ctx(ctx), &tasks.StartRequest{ContainerID: id})
	}
	if err == nil {
		_, err = p.client.ContainerService().Update(p.ctx(ctx), containers.Container{ID: id, Labels: map[string]string{labelMaking: ""}}, "labels."+labelMaking)
	}
	if err == nil {
		return
	}
	if container, err := p.client.LoadContainer(p.ctx(ctx), id); err == nil {
		_ = p.killTask(ctx, container)
	}
}

// connect gives the sandbox its network and the files that say so.
func (p *Provider) connect(ctx context.Context, spec sandbox.Spec, id string) error {
	net, err := p.attach(ctx, spec.Name, id, networkOf(spec))
	if err != nil {
		return err
	}
	return p.writeFiles(spec, net)
}

// record makes the sandbox known to the engine, with its root.
func (p *Provider) record(ctx context.Context, id string, spec sandbox.Spec, hash string, from origin, user account) ([]mount.Mount, error) {
	record, err := p.recordOf(ctx, id, spec, hash, from, user)
	if err != nil {
		return nil, err
	}
	if _, err := p.client.ContainerService().Create(p.ctx(ctx), record); err != nil {
		return nil, err
	}
	return p.prepareRoot(ctx, id, spec, from)
}

// recordOf is the sandbox as the engine is told. It is marked as not made to the end.
func (p *Provider) recordOf(ctx context.Context, id string, spec sandbox.Spec, hash string, from origin, user account) (containers.Container, error) {
	labels, err := from.labels()
	if err != nil {
		return containers.Container{}, err
	}
	maps.Copy(labels, map[string]string{labelInstance: p.cfg.Instance, labelName: spec.Name, labelNetwork: spec.Network, labelSpec: hash, labelMaking: "true"})
	if spec.Limits.DiskBytes > 0 {
		labels[labelDisk] = strconv.FormatInt(spec.Limits.DiskBytes, 10)
	}
	if room := roomLabel(spec.Volumes); room != "" {
		labels[labelRoom] = room
	}
	addOwn(labels, spec.Labels)
	record := containers.Container{ID: id, Labels: labels, Snapshotter: snapshotter, SnapshotKey: id, Runtime: containers.RuntimeInfo{Name: p.cfg.Runtime}}
	runtime, err := oci.GenerateSpec(p.ctx(ctx), p.client, &record, p.runtimeSpec(id, spec, from.config, user)...)
	if err != nil {
		return containers.Container{}, err
	}
	record.Spec, err = typeurl.MarshalAny(runtime)
	return record, err
}

// prepareRoot makes the root, which the sandbox's record holds against collection.
func (p *Provider) prepareRoot(ctx context.Context, id string, spec sandbox.Spec, from origin) ([]mount.Mount, error) {
	prepare := func() ([]mount.Mount, error) {
		return p.roots().Prepare(p.ctx(ctx), id, from.parent, snapshots.WithLabels(map[string]string{labelName: spec.Name}))
	}
	mounts, err := prepare()
	if errdefs.IsAlreadyExists(err) { // a root without its sandbox is what a crash left
		if err := p.roots().Remove(p.ctx(ctx), id); err != nil && !errdefs.IsNotFound(err) {
			return nil, err
		}
		mounts, err = prepare()
	}
	if errdefs.IsNotFound(err) && spec.Snapshot != "" { // removed meanwhile
		err = noSnapshot(spec.Snapshot)
	}
	return mounts, err
}

// launchInit makes the sandbox's first process, which waits to be started. It is made
// to the end whatever becomes of ctx: an engine that is told to stop halfway forgets a
// shim that has just begun, and nobody would end it.
func (p *Provider) launchInit(ctx context.Context, id string, mounts []mount.Mount) (uint32, error) {
	whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTime)
	defer cancel()
	request := &tasks.CreateTaskRequest{ContainerID: id, Rootfs: mount.ToProto(mounts)}
	response, err := p.client.TaskService().Create(p.ctx(whole), request)
	return response.GetPid(), errors.Join(ctx.Err(), errgrpc.ToNative(err))
}

func networkOf(spec sandbox.Spec) string {
	if spec.Network == "" {
		return soloNetwork(spec.Name)
	}
	return spec.Network
}

// adopt takes a sandbox that is there already, and boots it if its processes are gone.
func (p *Provider) adopt(ctx context.Context, container client.Container, spec sandbox.Spec, hash string) error {
	p.locks.lock(initLock(container.ID()))()
	labels, err := container.Labels(p.ctx(ctx))
	if err != nil {
		return err
	}
	if labels[labelEnding] != "" || labels[labelMaking] != "" { // whoever destroyed or made it was cut off
		if err := p.destroy(ctx, spec.Name); err != nil {
			return err
		}
		return p.make(ctx, spec, hash)
	}
	if labels[labelOverDisk] != "" {
		if err := p.dismantle(ctx, spec.Name); err != nil {
			return err
		}
		return p.make(ctx, spec, hash)
	}
	if labels[labelSpec] != hash {
		return coderunner.Errorf(coderunner.Conflict, "There is a sandbox %q already, made from another specification.", spec.Name)
	}
	task, err := container.Task(p.ctx(ctx), nil)
	if err == nil {
		status, err := task.Status(p.ctx(ctx))
		if err == nil && (status.Status == client.Running || status.Status == client.Paused) {
			return nil
		}
		// Whoever made it came no further.
		if err == nil && status.Status == client.Created && task.Start(p.ctx(ctx)) == nil {
			return nil
		}
		if err := p.endTask(ctx, container); err != nil {
			return err
		}
	} else if !errdefs.IsNotFound(err) {
		return err
	} else if err := p.endShim(ctx, container.ID()); err != nil {
		return err
	}
	if err := p.hasRoot(ctx, spec.Name, container.ID()); err != nil {
		return err
	}
	if err := p.connect(ctx, spec, container.ID()); err != nil {
		return err
	}
	return p.boot(ctx, container)
}

func (p *Provider) boot(ctx context.Context, container client.Container) error {
	task, err := container.NewTask(p.ctx(ctx), cio.NullIO)
	if err != nil {
		return err
	}
	return task.Start(p.ctx(ctx))
}
