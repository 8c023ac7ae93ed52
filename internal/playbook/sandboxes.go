package playbook

import (
	"context"
	"time"

	"github.com/coderunner/coderunner/internal/appliance"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/store"
)

// template makes sure that the appliance can be instantiated, telling a build in the log.
func (x *execution) template(ctx context.Context, step string, def appliance.Definition) (sandbox.Template, error) {
	t := def.Template()
	ready, err := x.e.provider.HasTemplate(ctx, t.TemplateRef)
	if err != nil || ready {
		return t, err
	}
	out := x.log.Stream(step, coderunner.System)
	defer out.Close()
	told, first := x.builds.begin(def.Name, out)
	if first {
		x.log.Say(step, "The template %s is not on this machine yet. Building it; this happens once and takes a minute or two.", def.Name)
	}
	begin := time.Now()
	err = x.e.provider.BuildTemplate(ctx, t, told)
	x.builds.end(def.Name, told)
	if err != nil {
		return t, err
	}
	x.log.Say(step, "The template %s is ready after %s.", def.Name, time.Since(begin).Round(time.Second))
	return t, nil
}

// create makes a sandbox, recorded before it exists so that none is ever forgotten.
func (x *execution) create(ctx context.Context, record coderunner.SandboxRecord, spec sandbox.Spec) error {
	record.ID, record.Provider, record.ProjectID = spec.Name, x.e.provider.Name(), x.project.ID
	if err := x.guarded(ctx, func(s *store.Store) error { return s.ExpectSandbox(ctx, record) }); err != nil {
		return err
	}
	info, err := x.e.provider.Create(ctx, spec)
	if err != nil {
		return err
	}
	return x.e.store.GuardedSoon(ctx, x.lease, func(s *store.Store) error { return s.ObserveSandbox(ctx, spec.Name, string(info.State)) })
}

// remove destroys a sandbox and then forgets it.
func (x *execution) remove(ctx context.Context, name string) error {
	if err := x.e.provider.Destroy(ctx, name); err != nil {
		return err
	}
	return x.guarded(ctx, func(s *store.Store) error { return s.ForgetSandbox(ctx, name) })
}
