package containerd

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/sandbox/containerd/inside"
)

// Get implements sandbox.Provider.
func (p *Provider) Get(ctx context.Context, name string) (sandbox.Info, error) {
	container, err := p.load(ctx, name)
	if err != nil {
		return sandbox.Info{}, err
	}
	meta, err := container.Info(p.ctx(ctx), client.WithoutRefreshedMetadata)
	if err != nil {
		return sandbox.Info{}, p.translate(err, "observing the sandbox "+name)
	}
	response, err := p.client.TaskService().Get(p.ctx(ctx), &tasks.GetRequest{ContainerID: container.ID()})
	if err != nil && !isGone(err) {
		return sandbox.Info{}, p.translate(err, "observing the sandbox "+name)
	}
	return infoOf(meta, response.GetProcess()), nil
}

// List implements sandbox.Provider.
func (p *Provider) List(ctx context.Context, labels map[string]string) ([]sandbox.Info, error) {
	found, err := p.client.ContainerService().List(p.ctx(ctx), fmt.Sprintf("labels.%q==%s", labelInstance, p.cfg.Instance))
	if err != nil {
		return nil, p.translate(err, "listing the sandboxes")
	}
	response, err := p.client.TaskService().List(p.ctx(ctx), &tasks.ListTasksRequest{})
	if err != nil {
		return nil, p.translate(err, "listing the sandboxes")
	}
	processes := map[string]*tasktypes.Process{}
	for _, t := range response.Tasks {
		processes[t.ID] = t
	}
	infos := []sandbox.Info{}
	for _, meta := range found {
		if info := infoOf(meta, processes[meta.ID]); includes(info.Labels, labels) {
			infos = append(infos, info)
		}
	}
	slices.SortFunc(infos, func(a, b sandbox.Info) int { return strings.Compare(a.Name, b.Name) })
	return infos, nil
}

func infoOf(meta containers.Container, process *tasktypes.Process) sandbox.Info {
	info := sandbox.Info{Name: meta.Labels[labelName], State: sandbox.StateStopped, Labels: ownLabels(meta.Labels), Network: meta.Labels[labelNetwork],
		Template:  sandbox.TemplateRef{Name: meta.Labels[labelTemplateName], Digest: meta.Labels[labelTemplateDigest]},
		CreatedAt: meta.CreatedAt, ObservedAt: time.Now()}
	if created, err := time.Parse(time.RFC3339Nano, meta.Labels[labelCreated]); err == nil {
		info.CreatedAt = created
	}
	switch process.GetStatus() {
	case tasktypes.Status_RUNNING, tasktypes.Status_CREATED:
		info.State = sandbox.StateRunning
	case tasktypes.Status_PAUSED, tasktypes.Status_PAUSING:
		info.State = sandbox.StatePaused
	}
	return info
}

// Destroy implements sandbox.Provider.
func (p *Provider) Destroy(ctx context.Context, name string) error {
	if err := checkName("sandbox", name); err != nil {
		return err
	}
	// The processes end before our turn comes: a call that has its turn may wait for one.
	if err := p.condemn(ctx, name); err != nil {
		return p.translate(err, "destroying the sandbox "+name)
	}
	defer p.locks.lock(name)()
	return p.translate(p.destroy(ctx, name), "destroying the sandbox "+name)
}

// condemn makes a sandbox one that is not found any more, also for calls under
// way and for other processes of ours, and ends its processes.
func (p *Provider) condemn(ctx context.Context, name string) error {
	container, err := p.find(ctx, name)
	if err == nil {
		_, err = container.SetLabels(p.ctx(ctx), map[string]string{labelEnding: "true"})
	}
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return p.endTask(ctx, container)
}

func (p *Provider) destroy(ctx context.Context, name string) error {
	if err := p.dismantle(ctx, name); err != nil {
		return err
	}
	return os.RemoveAll(p.sandboxDir(name))
}

// dismantle takes away all that a sandbox is, but for our own files about it: what its
// processes printed is there.
func (p *Provider) dismantle(ctx context.Context, name string) error {
	container, err := p.find(ctx, name)
	if err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	if err == nil {
		if err := p.endTask(ctx, container); err != nil {
			return err
		}
		if err := container.Delete(p.ctx(ctx), client.WithSnapshotCleanup); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	if err != nil { // a root without its sandbox is what a crash left
		if err := p.roots().Remove(p.ctx(ctx), p.id(name)); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	if err := p.detach(ctx, name); err != nil {
		return err
	}
	if err := p.removeNetwork(ctx, soloNetwork(name)); err != nil {
		return err
	}
	p.ids.Delete(name)
	return nil
}

// endTask kills all processes of a sandbox. The engine may need to be asked
// again while another of its clients ends the same.
func (p *Provider) endTask(ctx context.Context, container client.Container) error {
	p.locks.lock(initLock(container.ID()))() // nothing may be started after this
	return p.killTask(ctx, container)
}

func (p *Provider) killTask(ctx context.Context, container client.Container) error {
	ctx = p.ctx(ctx)
	deadline := time.Now().Add(inside.KillTime)
	for {
		task, err := container.Task(ctx, nil)
		if errdefs.IsNotFound(err) {
			return p.endShim(ctx, container.ID())
		}
		if err != nil {
			return err
		}
		limit, cancel := context.WithTimeout(ctx, inside.KillTime)
		_, err = task.Delete(limit, client.WithProcessKill)
		cancel()
		if err == nil || errdefs.IsNotFound(err) {
			return nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// endShim ends what an engine has that was killed while it made a task: a shim with
// nothing in it. There is no such task then, and none can be made.
func (p *Provider) endShim(ctx context.Context, id string) error {
	_, err := p.client.TaskService().Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: id})
	if isGone(err) {
		return nil
	}
	return errgrpc.ToNative(err)
}

// halt ends a sandbox's processes, gently first, and keeps the sandbox itself.
func (p *Provider) halt(ctx context.Context, name string) error {
	processes, err := p.processNames(name)
	if err != nil {
		return err
	}
	for _, process := range processes {
		err := p.Stop(ctx, name, process, 10*time.Second)
		if err == nil {
			_, err = p.Process(ctx, name, process) // writes down how it ended
		}
		if err != nil && coderunner.KindOf(err) != coderunner.NotFound {
			return err
		}
	}
	defer p.locks.lock(name)()
	container, err := p.find(ctx, name)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return p.translate(err, "stopping the sandbox "+name)
	}
	return p.translate(p.endTask(ctx, container), "stopping the sandbox "+name)
}

// find finds what the engine has of a sandbox.
func (p *Provider) find(ctx context.Context, name string) (client.Container, error) {
	container, err := p.client.LoadContainer(p.ctx(ctx), p.id(name))
	if !errdefs.IsNotFound(err) || checkName("sandbox", name) != nil {
		return container, err
	}
	// One that was made from a standby has that one's name at the engine.
	found, err := p.client.Containers(p.ctx(ctx), fmt.Sprintf("labels.%q==%s,labels.%q==%s", labelInstance, p.cfg.Instance, labelName, name))
	if err != nil {
		return nil, err
	}
	p.ids.Delete(name)
	if len(found) == 0 {
		return nil, fmt.Errorf("the sandbox %s: %w", name, errdefs.ErrNotFound)
	}
	if len(found) > 1 {
		return nil, coderunner.Errorf(coderunner.Internal, "There are %d sandboxes %q.", len(found), name)
	}
	p.ids.Store(name, found[0].ID())
	return found[0], nil
}

// id is the engine's name of a sandbox as far as we know.
func (p *Provider) id(name string) string {
	if id, known := p.ids.Load(name); known {
		return id.(string)
	}
	return p.containerID(name)
}

// load finds a sandbox of this instance.
func (p *Provider) load(ctx context.Context, name string) (client.Container, error) {
	container, err := p.find(ctx, name)
	if errdefs.IsNotFound(err) {
		return nil, notFound(name)
	}
	if err != nil {
		return nil, p.translate(err, "looking for the sandbox "+name)
	}
	meta, err := container.Info(p.ctx(ctx), client.WithoutRefreshedMetadata)
	if err == nil && meta.Labels[labelEnding] != "" {
		return nil, notFound(name)
	}
	return container, p.translate(err, "looking for the sandbox "+name)
}

// inside finds a sandbox and its first process, as the host counts. NotFound when
// its processes are gone.
func (p *Provider) inside(ctx context.Context, name string) (client.Container, int, error) {
	container, err := p.load(ctx, name)
	if err != nil {
		return nil, 0, err
	}
	if pid, starting := p.starting.Load(container.ID()); starting { // the engine answers only when that is done
		return container, pid.(int), nil
	}
	container, task, err := p.running(ctx, name)
	if err != nil {
		return nil, 0, err
	}
	return container, int(task.Pid()), nil
}

// running finds a sandbox and its task; NotFound when its processes are gone.
func (p *Provider) running(ctx context.Context, name string) (client.Container, client.Task, error) {
	container, err := p.load(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	task, err := container.Task(p.ctx(ctx), nil)
	if errdefs.IsNotFound(err) {
		return nil, nil, stopped(name)
	}
	return container, task, p.translate(err, "looking for the sandbox "+name)
}
