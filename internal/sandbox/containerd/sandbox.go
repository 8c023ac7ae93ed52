package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"

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
	container, err := p.client.LoadContainer(p.ctx(ctx), p.containerID(spec.Name))
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
	return p.Get(ctx, spec.Name)
}

func (p *Provider) make(ctx context.Context, spec sandbox.Spec, hash string) error {
	image, err := p.client.GetImage(p.ctx(ctx), templateImage(spec.Template))
	if errdefs.IsNotFound(err) {
		return coderunner.Errorf(coderunner.NotFound, "The template %s is not on this machine. Build it first.", spec.Template.Name)
	}
	if err != nil {
		return err
	}
	config, err := image.Spec(p.ctx(ctx))
	if err != nil {
		return err
	}
	if err := p.ensureVolumes(spec, config.Config.User); err != nil {
		return err
	}
	net, err := p.attach(ctx, spec.Name, networkOf(spec))
	if err != nil {
		return err
	}
	if err := p.writeFiles(spec, net); err != nil {
		return err
	}
	id := p.containerID(spec.Name)
	labels := map[string]string{labelInstance: p.cfg.Instance, labelName: spec.Name, labelNetwork: spec.Network, labelSpec: hash,
		labelTemplateName: spec.Template.Name, labelTemplateDigest: spec.Template.Digest}
	for key, value := range spec.Labels {
		labels[labelOwn+key] = "=" + value // the engine keeps no empty ones
	}
	// A snapshot without its container is what a crash left.
	if err := p.client.SnapshotService(snapshotter).Remove(p.ctx(ctx), id); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	container, err := p.client.NewContainer(p.ctx(ctx), id,
		client.WithImage(image), client.WithSnapshotter(snapshotter), client.WithNewSnapshot(id, image),
		client.WithContainerLabels(labels), client.WithRuntime(p.cfg.Runtime, nil),
		client.WithNewSpec(p.runtimeSpec(id, spec, config, net)...))
	if err != nil {
		return err
	}
	return p.boot(ctx, container)
}

func networkOf(spec sandbox.Spec) string {
	if spec.Network == "" {
		return soloNetwork(spec.Name)
	}
	return spec.Network
}

// adopt takes a sandbox that is there already, and boots it if its processes are gone.
func (p *Provider) adopt(ctx context.Context, container client.Container, spec sandbox.Spec, hash string) error {
	labels, err := container.Labels(p.ctx(ctx))
	if err != nil {
		return err
	}
	if labels[labelEnding] != "" { // whoever destroyed it was cut off
		if err := p.destroy(ctx, spec.Name); err != nil {
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
		if err := endTask(p.ctx(ctx), container); err != nil {
			return err
		}
	} else if !errdefs.IsNotFound(err) {
		return err
	}
	net, err := p.attach(ctx, spec.Name, networkOf(spec))
	if err != nil {
		return err
	}
	if err := p.writeFiles(spec, net); err != nil {
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
	info := sandbox.Info{Name: meta.Labels[labelName], State: sandbox.StateStopped, Labels: map[string]string{}, Network: meta.Labels[labelNetwork],
		Template:  sandbox.TemplateRef{Name: meta.Labels[labelTemplateName], Digest: meta.Labels[labelTemplateDigest]},
		CreatedAt: meta.CreatedAt, ObservedAt: time.Now()}
	switch process.GetStatus() {
	case tasktypes.Status_RUNNING, tasktypes.Status_CREATED:
		info.State = sandbox.StateRunning
	case tasktypes.Status_PAUSED, tasktypes.Status_PAUSING:
		info.State = sandbox.StatePaused
	}
	for key, value := range meta.Labels {
		if own, is := strings.CutPrefix(key, labelOwn); is {
			info.Labels[own] = strings.TrimPrefix(value, "=")
		}
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
	container, err := p.client.LoadContainer(p.ctx(ctx), p.containerID(name))
	if err == nil {
		_, err = container.SetLabels(p.ctx(ctx), map[string]string{labelEnding: "true"})
	}
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return endTask(p.ctx(ctx), container)
}

func (p *Provider) destroy(ctx context.Context, name string) error {
	container, err := p.client.LoadContainer(p.ctx(ctx), p.containerID(name))
	if err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	if err == nil {
		if err := endTask(p.ctx(ctx), container); err != nil {
			return err
		}
		if err := container.Delete(p.ctx(ctx), client.WithSnapshotCleanup); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	if err := p.detach(ctx, name); err != nil {
		return err
	}
	if err := p.removeNetwork(ctx, soloNetwork(name)); err != nil {
		return err
	}
	return os.RemoveAll(p.sandboxDir(name))
}

// endTask kills all processes of a sandbox. The engine may need to be asked
// again while another of its clients ends the same.
func endTask(ctx context.Context, container client.Container) error {
	deadline := time.Now().Add(killTime)
	for {
		task, err := container.Task(ctx, nil)
		if errdefs.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		limit, cancel := context.WithTimeout(ctx, killTime)
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
	container, err := p.client.LoadContainer(p.ctx(ctx), p.containerID(name))
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return p.translate(err, "stopping the sandbox "+name)
	}
	return p.translate(endTask(p.ctx(ctx), container), "stopping the sandbox "+name)
}

// load finds a sandbox of this instance.
func (p *Provider) load(ctx context.Context, name string) (client.Container, error) {
	container, err := p.client.LoadContainer(p.ctx(ctx), p.containerID(name))
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
