package playbook

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// cloud is what a fake provider has: sandboxes without machines. Several engines share one.
type cloud struct {
	address  string // where every app answers
	database string // where every database does, "" for the same
	prints   string // by every process as it starts

	mu        sync.Mutex
	sandboxes map[string]*fakeSandbox
	snapshots map[string]sandbox.Snapshot
	volumes   map[string]sandbox.Volume
	networks  map[string]bool
}

type fakeSandbox struct {
	info      sandbox.Info
	taken     bool // its root has become a snapshot
	processes map[string]*fakeProcess
}

type fakeProcess struct {
	status sandbox.ProcessStatus
	ended  chan struct{}
}

func newCloud(address string) *cloud {
	return &cloud{address: address, sandboxes: map[string]*fakeSandbox{}, snapshots: map[string]sandbox.Snapshot{}, volumes: map[string]sandbox.Volume{}, networks: map[string]bool{}}
}

// names are the sandboxes that there are.
func (c *cloud) names() map[string]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := map[string]bool{}
	for name := range c.sandboxes {
		names[name] = true
	}
	return names
}

// runs reports whether an app runs in the sandbox.
func (c *cloud) runs(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.sandboxes[name]
	return s != nil && s.processes[appProcess] != nil && s.processes[appProcess].status.Running
}

// kill ends all that runs in one of the sandboxes.
func (c *cloud) kill(choose func(n int) int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := 0
	if len(c.sandboxes) == 0 {
		return
	}
	which := choose(len(c.sandboxes))
	for _, s := range c.sandboxes {
		if i == which {
			s.stop(9)
		}
		i++
	}
}

// stop ends the sandbox's machine. The caller has the lock.
func (s *fakeSandbox) stop(signal int) {
	s.info.State = sandbox.StateStopped
	for _, p := range s.processes {
		p.end(signal)
	}
}

func (p *fakeProcess) end(signal int) {
	if p.status.Running {
		p.status.Running, p.status.EndedAt, p.status.Exit = false, time.Now(), sandbox.Exit{Code: 128 + signal, Signal: signal}
		close(p.ended)
	}
}

// fake is one engine's way to a cloud. Before and after each call that changes
// something fault is asked, which may wait, fail it, or never return.
type fake struct {
	sandbox.Provider // what no playbook calls is missing
	*cloud
	fault func(ctx context.Context, call string) error
	exit  func() int // the code that a command ends with
}

var (
	_ sandbox.Provider    = (*fake)(nil)
	_ sandbox.Snapshotter = (*fake)(nil)
)

// change does something to the cloud between two chances of a fault.
func (f *fake) change(ctx context.Context, call string, do func() error) error {
	if err := f.fault(ctx, call); err != nil {
		return err
	}
	f.mu.Lock()
	err := do()
	f.mu.Unlock()
	if err != nil {
		return err
	}
	return f.fault(ctx, call)
}

func (f *fake) running(name string) (*fakeSandbox, error) {
	s := f.sandboxes[name]
	if s == nil || s.info.State != sandbox.StateRunning {
		return nil, coderunner.Errorf(coderunner.NotFound, "The sandbox %q does not run.", name)
	}
	return s, nil
}

func (f *fake) Name() string { return "fake" }

func (f *fake) Create(ctx context.Context, spec sandbox.Spec) (info sandbox.Info, err error) {
	err = f.change(ctx, "create "+spec.Name, func() error {
		s := f.sandboxes[spec.Name]
		if s == nil {
			if _, kept := f.snapshots[spec.Snapshot]; spec.Snapshot != "" && !kept {
				return coderunner.Errorf(coderunner.NotFound, "There is no snapshot %q.", spec.Snapshot)
			}
			s = &fakeSandbox{info: sandbox.Info{Name: spec.Name, Template: spec.Template, Labels: spec.Labels, Network: spec.Network, CreatedAt: time.Now()}, processes: map[string]*fakeProcess{}}
			f.sandboxes[spec.Name] = s
		}
		if s.taken {
			return coderunner.Errorf(coderunner.Conflict, "The root of the sandbox %s has become a snapshot. Destroy the sandbox.", spec.Name)
		}
		for _, v := range spec.Volumes {
			f.volumes[v.Volume] = sandbox.Volume{Name: v.Volume, Labels: v.Labels}
		}
		f.networks[spec.Network] = true
		s.info.State = sandbox.StateRunning
		info = s.info
		return nil
	})
	return info, err
}

func (f *fake) Get(_ context.Context, name string) (sandbox.Info, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.sandboxes[name]; s != nil {
		return s.info, nil
	}
	return sandbox.Info{}, coderunner.Errorf(coderunner.NotFound, "There is no sandbox %q.", name)
}

func (f *fake) List(_ context.Context, labels map[string]string) (infos []sandbox.Info, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.sandboxes {
		if includes(s.info.Labels, labels) {
			infos = append(infos, s.info)
		}
	}
	return infos, nil
}

func includes(have, want map[string]string) bool {
	for key, value := range want {
		if have[key] != value {
			return false
		}
	}
	return true
}

func (f *fake) Destroy(ctx context.Context, name string) error {
	return f.change(ctx, "destroy "+name, func() error {
		if s := f.sandboxes[name]; s != nil {
			s.stop(9)
			delete(f.sandboxes, name)
		}
		return nil
	})
}

func (f *fake) Exec(ctx context.Context, name string, _ sandbox.Command) (exit sandbox.Exit, err error) {
	err = f.change(ctx, "exec in "+name, func() error {
		_, err := f.running(name)
		exit.Code = f.exit()
		return err
	})
	return exit, err
}

func (f *fake) Start(ctx context.Context, name, process string, _ sandbox.Command) error {
	return f.change(ctx, "start in "+name, func() error {
		s, err := f.running(name)
		if err != nil {
			return err
		}
		if p := s.processes[process]; p == nil || !p.status.Running {
			s.processes[process] = &fakeProcess{status: sandbox.ProcessStatus{Running: true, StartedAt: time.Now()}, ended: make(chan struct{})}
		}
		return nil
	})
}

func (f *fake) process(name, process string) (*fakeProcess, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.sandboxes[name]; s != nil && s.processes[process] != nil {
		return s.processes[process], nil
	}
	return nil, coderunner.Errorf(coderunner.NotFound, "There is no process %q in %q.", process, name)
}

func (f *fake) Process(_ context.Context, name, process string) (sandbox.ProcessStatus, error) {
	p, err := f.process(name, process)
	if err != nil {
		return sandbox.ProcessStatus{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return p.status, nil
}

func (f *fake) Wait(ctx context.Context, name, process string) (sandbox.ProcessStatus, error) {
	p, err := f.process(name, process)
	if err != nil {
		return sandbox.ProcessStatus{}, err
	}
	select {
	case <-p.ended:
		return f.Process(ctx, name, process)
	case <-ctx.Done():
		return sandbox.ProcessStatus{}, ctx.Err()
	}
}

func (f *fake) Stop(ctx context.Context, name, process string, _ time.Duration) error {
	return f.change(ctx, "stop in "+name, func() error {
		if s := f.sandboxes[name]; s != nil && s.processes[process] != nil {
			s.processes[process].end(15)
		}
		return nil
	})
}

func (f *fake) Output(ctx context.Context, name, process string, from int64, follow bool, deliver func(sandbox.OutputChunk) error) error {
	if end := int64(len(f.prints)); from < end {
		p, err := f.process(name, process)
		if err != nil {
			return err
		}
		if err := deliver(sandbox.OutputChunk{Stream: "stdout", At: p.status.StartedAt, Data: []byte(f.prints)[from:], From: from, Next: end}); err != nil {
			return err
		}
	}
	if !follow {
		return nil
	}
	_, err := f.Wait(ctx, name, process)
	return err
}

func (f *fake) Address(_ context.Context, name string, _ int) (sandbox.Address, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, err := f.running(name)
	if err != nil {
		return sandbox.Address{}, err
	}
	if f.database != "" && s.info.Labels[labelDatabase] != "" {
		return sandbox.Address{Proxy: f.database, Sibling: f.database}, nil
	}
	return sandbox.Address{Proxy: f.address, Sibling: f.address}, nil
}

func (f *fake) Listening(_ context.Context, name string) ([]sandbox.Socket, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, err := f.running(name)
	if err != nil || s.info.Labels[labelDatabase] == "" {
		return nil, err
	}
	return []sandbox.Socket{{IP: "0.0.0.0", Port: 5432}}, nil
}

func (f *fake) ListVolumes(_ context.Context, labels map[string]string) (volumes []sandbox.Volume, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for v := range maps.Values(f.volumes) {
		if includes(v.Labels, labels) {
			volumes = append(volumes, v)
		}
	}
	return volumes, nil
}

func (f *fake) RemoveVolume(ctx context.Context, name string) error {
	return f.change(ctx, "remove volume "+name, func() error {
		delete(f.volumes, name)
		return nil
	})
}

func (f *fake) ListNetworks(context.Context) (names []string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name := range f.networks {
		names = append(names, name)
	}
	return names, nil
}

func (f *fake) RemoveNetwork(ctx context.Context, name string) error {
	return f.change(ctx, "remove network "+name, func() error {
		for _, s := range f.sandboxes {
			if s.info.Network == name {
				return coderunner.Errorf(coderunner.Conflict, "The sandbox %s is in the network %s.", s.info.Name, name)
			}
		}
		delete(f.networks, name)
		return nil
	})
}

func (f *fake) HasTemplate(context.Context, sandbox.TemplateRef) (bool, error) { return true, nil }

func (f *fake) Snapshot(ctx context.Context, name, snapshot string, labels map[string]string) error {
	return f.change(ctx, "snapshot "+snapshot, func() error {
		if _, kept := f.snapshots[snapshot]; kept {
			return nil
		}
		s := f.sandboxes[name]
		if s == nil {
			return coderunner.Errorf(coderunner.NotFound, "There is no sandbox %q.", name)
		}
		if s.taken {
			return coderunner.Errorf(coderunner.Conflict, "The root of the sandbox %s has become a snapshot. Destroy the sandbox.", name)
		}
		s.stop(9)
		s.taken = true
		f.snapshots[snapshot] = sandbox.Snapshot{Name: snapshot, Labels: labels, CreatedAt: time.Now()}
		return nil
	})
}

func (f *fake) ListSnapshots(_ context.Context, labels map[string]string) (list []sandbox.Snapshot, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.snapshots {
		if includes(s.Labels, labels) {
			list = append(list, s)
		}
	}
	return list, nil
}

func (f *fake) RemoveSnapshot(ctx context.Context, snapshot string) error {
	return f.change(ctx, "remove snapshot "+snapshot, func() error {
		delete(f.snapshots, snapshot)
		return nil
	})
}
