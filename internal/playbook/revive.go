package playbook

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/diagnosis"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/store"
)

const (
	// maxRevivals is how often in a row a dead app is started again before it is shown as crashed.
	maxRevivals = 10
	// wellAfter is how long an app has to run and answer for its earlier ends to be forgotten.
	wellAfter = time.Minute
)

// revive begins to bring back a sandbox that should run and does not: after a reboot of
// the machine, a crash of the app, a kill.
func (e *Engine) revive(ctx context.Context, r coderunner.SandboxRecord, m *mending) (time.Duration, error) {
	x, wanted, err := e.wanted(ctx, r)
	if err != nil || !wanted {
		return 0, err
	}
	process := appProcess
	if r.Purpose == coderunner.ForDatabase {
		process = databaseProcess
	}
	status, err := e.provider.Process(ctx, r.ID, process)
	if err == nil && status.Running {
		m.recovered(r.ID)
		if !m.answered(r.ID, status) {
			return 0, nil
		}
		return 0, e.seenWell(ctx, r, m)
	}
	if err != nil && coderunner.KindOf(err) != coderunner.NotFound {
		return 0, err
	}
	delete(m.well, r.ID)
	if r.RestartAt != nil && time.Now().Before(*r.RestartAt) {
		return time.Until(*r.RestartAt), nil
	}
	var last *coderunner.LastExit
	if err == nil && !status.EndedAt.IsZero() {
		last = &coderunner.LastExit{Code: status.Exit.Code, Signal: status.Exit.Signal, OOMKilled: status.Exit.OOMKilled, OverDisk: status.Exit.OverDisk, At: status.EndedAt}
	}
	e.beside(ctx, m, r.ID, func() error {
		switch {
		case r.Purpose == coderunner.ForDatabase:
			return e.reviveDatabase(ctx, x, r, last)
		case last != nil && r.Restarts >= maxRevivals:
			return e.giveUp(ctx, x, r, status)
		default:
			return e.reviveApp(ctx, x, r, last)
		}
	})
	return 0, nil
}

// startAgain starts a sandbox's process and counts that. What went wrong before it ran
// is ours, and counts for nothing.
func (e *Engine) startAgain(ctx context.Context, r coderunner.SandboxRecord, process string, command sandbox.Command, last *coderunner.LastExit) error {
	if err := e.provider.Start(ctx, r.ID, process, command); err != nil {
		return err
	}
	e.log.Info("started a sandbox again", "sandbox", r.ID, "try", r.Restarts+1)
	return e.store.CountRestart(ctx, r.ID, backoff(r.Restarts), last)
}

// backoff is how long to wait after another try, which followed so many in vain. A
// database has no limit of tries.
func backoff(tries int) time.Duration {
	return min(time.Second<<min(tries+1, 6), time.Minute)
}

// seenWell forgets the earlier ends of a process that has run and answered for a while.
func (e *Engine) seenWell(ctx context.Context, r coderunner.SandboxRecord, m *mending) error {
	if r.Restarts == 0 {
		return nil
	}
	if since, seen := m.well[r.ID]; !seen {
		m.well[r.ID] = time.Now()
	} else if time.Since(since) > wellAfter {
		delete(m.well, r.ID)
		return e.store.ForgetRestarts(ctx, r.ID)
	}
	return nil
}

// wanted reads what a sandbox is for, and whether it should run now.
func (e *Engine) wanted(ctx context.Context, r coderunner.SandboxRecord) (x *execution, wanted bool, err error) {
	x = &execution{e: e, log: nil}
	if x.project, err = e.store.ProjectByID(ctx, r.ProjectID); err != nil || x.project.DestroyedAt != nil {
		return x, false, err
	}
	if r.Purpose == coderunner.ForDatabase {
		databases, err := e.store.ProjectDatabases(ctx, r.ProjectID)
		for _, d := range databases {
			if d.ID == r.DatabaseID {
				return x, d.StoppedAt == nil, nil
			}
		}
		return x, false, err
	}
	if x.deployment, err = e.store.DeploymentByID(ctx, r.DeploymentID); err != nil {
		return x, false, err
	}
	return x, x.deployment.Status == coderunner.Running && x.deployment.AppSandboxID == r.ID, nil
}

// reviveApp starts the app as it ran last: from its own sandbox, or from its
// release if that is gone, with the variables that it had.
func (e *Engine) reviveApp(ctx context.Context, x *execution, r coderunner.SandboxRecord, last *coderunner.LastExit) (err error) {
	if x.variables, err = e.ranWith(ctx, x.project.ID, x.deployment.ID); err != nil {
		return err
	}
	if last != nil && last.OverDisk { // its sandbox is about to be made anew: what it printed, and why it ended, is read before
		if err := e.drainOutput(ctx, r.ID); err != nil {
			return err
		}
	}
	if err := e.bootApp(ctx, x, r.ID); err != nil {
		return err
	}
	env, err := x.appEnv(ctx)
	if err != nil {
		return err
	}
	address, err := e.provider.Address(ctx, r.ID, x.deployment.Plan.Port)
	if err != nil {
		return err
	}
	// A run may have begun meanwhile, and brought another version online.
	host, _ := e.cfg.PublicURL(x.project.Slug)
	if err := e.store.RetargetRoute(ctx, host, r.ID, address.Proxy); err != nil {
		return err
	}
	// Not before: of an app that runs, the route is not looked at again.
	command, err := e.appCommand(x.deployment.Plan, env)
	if err != nil {
		return err
	}
	if err := e.startAgain(ctx, r, appProcess, command, last); err != nil {
		return err
	}
	e.followOutput(r.ID)
	return e.edge.Refresh(ctx)
}

// bootApp makes the machine of an app's sandbox run, from the deployment's release if
// the sandbox is gone.
func (e *Engine) bootApp(ctx context.Context, x *execution, name string) error {
	var root sandbox.Spec
	switch {
	case x.deployment.Release != nil && x.deployment.Release.Snapshot != "":
		root.Snapshot = x.deployment.Release.Snapshot
	default:
		def, err := e.serving(x.deployment.Plan)
		if err != nil {
			return err
		}
		root.Template, root.Files = def.Template().TemplateRef, x.exactNode(ctx, "", def)
	}
	if x.deployment.Release != nil && x.deployment.Release.Code {
		root.Files = append(root.Files, x.code()...)
	}
	spec, err := x.appSpec(ctx, name, root)
	if err != nil {
		return err
	}
	return e.boot(ctx, spec)
}

// boot makes a sandbox's machine run. One that is there keeps the template that it
// was made from, also when the catalogue has a newer one. One that was made with
// other limits than are set now is made anew.
func (e *Engine) boot(ctx context.Context, spec sandbox.Spec) error {
	info, err := e.provider.Get(ctx, spec.Name)
	if err == nil && spec.Snapshot == "" {
		spec.Template = info.Template
	} else if err != nil && coderunner.KindOf(err) != coderunner.NotFound {
		return err
	}
	_, err = e.provider.Create(ctx, spec)
	if coderunner.KindOf(err) == coderunner.Conflict {
		if err := e.provider.Destroy(ctx, spec.Name); err != nil {
			return err
		}
		_, err = e.provider.Create(ctx, spec)
	}
	return err
}

func (e *Engine) reviveDatabase(ctx context.Context, x *execution, r coderunner.SandboxRecord, last *coderunner.LastExit) error {
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
		if err := e.startAgain(ctx, r, databaseProcess, databaseCommand(def, e.cfg.DatabaseLimits), last); err != nil {
			return err
		}
		return awaitDatabase(ctx, e.provider, def, r.ID, def.Database.ReadyCommand)
	}
	return nil
}

// giveUp shows an app that does not stay up as crashed, with how it ended and
// what it printed last.
func (e *Engine) giveUp(ctx context.Context, x *execution, r coderunner.SandboxRecord, status sandbox.ProcessStatus) error {
	lines, err := e.lastOutput(ctx, x.deployment, r.ID)
	if err != nil {
		return err
	}
	cause := diagnosis.Diagnose(diagnosis.Evidence{Step: "start", Command: x.deployment.Plan.Start.Value, Exited: true, ExitCode: status.Exit.Code, Signal: status.Exit.Signal,
		OOMKilled: status.Exit.OOMKilled, OverDisk: x.overDisk(status.Exit), Uptime: status.EndedAt.Sub(status.StartedAt), Lines: lines, Plan: x.deployment.Plan})
	failure := &coderunner.Failure{ID: coderunner.Crashed, Blame: cause.Blame, Title: fmt.Sprintf("The app ended %d times in a row; it is not started again.", maxRevivals+1),
		Detail: cause.Title + " " + cause.Detail, Next: cause.Next, ExitCode: cause.ExitCode, Lines: cause.Lines, Shown: cause.Shown}
	ours := false
	err = e.store.InTx(ctx, func(s *store.Store) error {
		now, err := s.DeploymentByID(ctx, x.deployment.ID)
		if err != nil || now.Status != coderunner.Running || now.AppSandboxID != r.ID {
			return err // a run has begun meanwhile, and ended it
		}
		ours = true
		if err := s.SetDeploymentFailure(ctx, x.deployment.ID, failure); err != nil {
			return err
		}
		return s.SetDeploymentStatus(ctx, x.deployment.ID, coderunner.Failed)
	})
	if err != nil || !ours || !status.Exit.OverDisk {
		return err
	}
	return e.provider.Destroy(ctx, r.ID) // what it has written would lie there for nobody
}

// lastOutput answers the last lines that a deployment's app has printed.
func (e *Engine) lastOutput(ctx context.Context, d coderunner.Deployment, sandboxID string) ([]string, error) {
	if err := e.drainOutput(ctx, sandboxID); err != nil {
		return nil, err
	}
	printed, err := e.store.RuntimeLogBefore(ctx, d.ProjectID, coderunner.RuntimeFilter{DeploymentID: d.ID}, math.MaxInt64, 100)
	var lines []string
	for _, l := range printed {
		if l.Stream != coderunner.System {
			lines = append(lines, l.Text)
		}
	}
	return lines, err
}
