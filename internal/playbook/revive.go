package playbook

import (
	"context"
	"fmt"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/store"
)

// maxRevivals is how often in a row a dead app is started again before it is shown as failed.
const maxRevivals = 10

// revival counts the tries to bring one sandbox back.
type revival struct {
	tries int
	next  time.Time
	well  time.Time // when it was last seen running
}

// revive brings back a sandbox that should run and does not: after a reboot of
// the machine, a crash of the app, a kill. Projects with an open run are the run's business.
func (e *Engine) revive(ctx context.Context, r coderunner.SandboxRecord, attempts map[string]revival) error {
	x, wanted, err := e.wanted(ctx, r)
	if err != nil || !wanted {
		delete(attempts, r.ID)
		return err
	}
	process := appProcess
	if r.DatabaseID != "" {
		process = databaseProcess
	}
	status, err := e.provider.Process(ctx, r.ID, process)
	if err == nil && status.Running {
		if a, tried := attempts[r.ID]; tried {
			if a.well.IsZero() {
				a.well = time.Now()
			}
			attempts[r.ID] = a
			if time.Since(a.well) > time.Minute {
				delete(attempts, r.ID)
			}
		}
		return nil
	}
	if err != nil && coderunner.KindOf(err) != coderunner.NotFound {
		return err
	}
	a := attempts[r.ID]
	if time.Now().Before(a.next) {
		return nil
	}
	if a.tries >= maxRevivals && r.DatabaseID == "" {
		delete(attempts, r.ID)
		return e.giveUp(ctx, x.deployment, status)
	}
	a.tries, a.well = a.tries+1, time.Time{}
	a.next = time.Now().Add(min(time.Second<<a.tries, time.Minute))
	attempts[r.ID] = a
	e.log.Info("starting a sandbox again", "sandbox", r.ID, "try", a.tries)
	if r.DatabaseID != "" {
		return e.reviveDatabase(ctx, x, r)
	}
	return e.reviveApp(ctx, x)
}

// wanted reads what a sandbox is for, and whether it should run now.
func (e *Engine) wanted(ctx context.Context, r coderunner.SandboxRecord) (*execution, bool, error) {
	open, err := e.store.OpenRuns(ctx, r.ProjectID)
	if err != nil || len(open) > 0 {
		return nil, false, err
	}
	x := &execution{e: e}
	if x.project, err = e.store.ProjectByID(ctx, r.ProjectID); err != nil || x.project.DestroyedAt != nil {
		return nil, false, err
	}
	if r.DatabaseID != "" {
		return x, true, nil
	}
	if x.deployment, err = e.store.DeploymentByID(ctx, r.DeploymentID); err != nil {
		return nil, false, err
	}
	return x, x.deployment.Status == coderunner.Running, nil
}

func (e *Engine) reviveApp(ctx context.Context, x *execution) error {
	def, err := e.catalogue.Get(x.deployment.Plan.Runtime.Appliance)
	if err != nil {
		return err
	}
	if x.variables, err = e.variables(ctx, x.project.ID); err != nil {
		return err
	}
	if err := e.boot(ctx, x.appSpec(def.Template())); err != nil {
		return err
	}
	env, err := x.appEnv(ctx)
	if err != nil {
		return err
	}
	name := appSandbox(x.deployment.ID)
	if err := e.provider.Start(ctx, name, appProcess, appCommand(x.deployment.Plan, env)); err != nil {
		return err
	}
	address, err := e.provider.Address(ctx, name, x.deployment.Plan.Port)
	if err != nil {
		return err
	}
	host, url := e.cfg.PublicURL(x.project.Slug)
	if err := e.store.MoveRoute(ctx, coderunner.Route{Host: host, ProjectID: x.project.ID, DeploymentID: x.deployment.ID, SandboxID: name, Target: address.Proxy}, url); err != nil {
		return err
	}
	return e.edge.Refresh(ctx)
}

// boot makes a sandbox's machine run. One that is there keeps the template that it
// was made from, also when the catalogue has a newer one.
func (e *Engine) boot(ctx context.Context, spec sandbox.Spec) error {
	info, err := e.provider.Get(ctx, spec.Name)
	if err == nil {
		spec.Template = info.Template
	} else if coderunner.KindOf(err) != coderunner.NotFound {
		return err
	}
	_, err = e.provider.Create(ctx, spec)
	return err
}

func (e *Engine) reviveDatabase(ctx context.Context, x *execution, r coderunner.SandboxRecord) error {
	databases, err := e.store.ProjectDatabases(ctx, x.project.ID)
	if err != nil {
		return err
	}
	for _, d := range databases {
		if d.ID != r.DatabaseID {
			continue
		}
		def, err := e.catalogue.Get(d.Appliance)
		if err != nil {
			return err
		}
		if err := e.boot(ctx, x.databaseSpec(def.Template(), def, d.Database)); err != nil {
			return err
		}
		return startDatabase(ctx, e.provider, def, r.ID)
	}
	return nil
}

// giveUp shows an app that does not stay up as failed, with what it printed last.
func (e *Engine) giveUp(ctx context.Context, d coderunner.Deployment, status sandbox.ProcessStatus) error {
	code := status.Exit.Code
	failure := &coderunner.Failure{ID: "run.crashed", Blame: coderunner.Theirs, Title: fmt.Sprintf("The app ended %d times in a row; it is not started again.", maxRevivals),
		Detail: fmt.Sprintf("Its last exit code was %d.", code), Next: "Read the log, correct the code and deploy it again.", ExitCode: &code}
	return e.store.InTx(ctx, func(s *store.Store) error {
		if err := s.SetDeploymentFailure(ctx, d.ID, failure); err != nil {
			return err
		}
		return s.SetDeploymentStatus(ctx, d.ID, coderunner.Failed)
	})
}
