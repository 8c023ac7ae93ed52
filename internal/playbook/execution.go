package playbook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/runlog"
	"github.com/coderunner/coderunner/internal/secret"
	"github.com/coderunner/coderunner/internal/store"
)

// cleanupTime bounds the undoing of a run that did not succeed. For half of it, what the
// provider could not do is tried again.
const cleanupTime = time.Minute

// playbook is a named list of steps.
type playbook struct {
	steps   map[string]action
	secrets bool // needs the project's variables and databases decrypted
	// succeed and fail write what the end means for the deployment or project,
	// in the transaction that ends the run.
	succeed func(ctx context.Context, x *execution, s *store.Store) error
	fail    func(ctx context.Context, x *execution, s *store.Store, state coderunner.RunState, f *coderunner.Failure) error
}

// action is what a step does, and how to undo it if the run does not succeed.
type action struct {
	do   func(ctx context.Context, st *step) error
	undo func(ctx context.Context, st *step) error // nil: nothing to undo
	// handOver leaves what cannot be undone now to the reconciler. Without it the run does
	// not end before it is undone.
	handOver func(ctx context.Context, st *step) error
	// final steps are not stopped by a cancel once begun.
	final bool
	// always steps are begun even after a cancel once those before them are done, and
	// not stopped by one: what the run is for has happened already.
	always bool
}

// execution is one owner's turn at a run.
type execution struct {
	e          *Engine
	lease      store.Lease
	run        coderunner.Run
	project    coderunner.Project
	deployment coderunner.Deployment   // zero for destroy
	variables  coderunner.Variables    // those that the run works with, decrypted
	owned      context.Context         // ends when the right to write about the run does
	work       context.Context         // ends before, when the run is cancelled
	stop       context.CancelCauseFunc // ends work
	limit      *limit                  // of the time for work
	beyond     bool                    // the run's version served when we took it: a cancel comes too late
	background sync.WaitGroup          // of what is done later
	waited     chan struct{}           // closed once nobody waits for the app any more
	endWait    func()                  // closes it, once
	busy       chan struct{}           // closed once the install is under way
	getBusy    func()                  // closes it, once
	steps      []*step
	log        *runlog.Writer
	redact     *runlog.Redactor
	builds     builds
	endOutput  func() // ends the reading of a healthy app's output; nil without one
}

// step is one step of an execution, as its action sees it.
type step struct {
	*execution
	coderunner.Step
	action action
}

// say writes a line of ours under the step's heading.
func (st *step) say(format string, args ...any) { st.log.Say(st.Name, format, args...) }

// output reads what another step of the run left.
func (x *execution) output(name string, into any) error {
	for _, st := range x.steps {
		if st.Name == name {
			if len(st.Output) == 0 {
				return nil
			}
			return json.Unmarshal(st.Output, into)
		}
	}
	return fmt.Errorf("the run has no step %q", name)
}

// leave keeps what later steps, or a later attempt, need to know. Never a secret.
func (st *step) leave(ctx context.Context, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	st.Output = b
	return st.e.store.SaveStepOutput(ctx, st.lease, st.Name, b)
}

// save is leave within a guarded transaction.
func (st *step) save(ctx context.Context, s *store.Store, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	st.Output = b
	return s.SaveStepOutput(ctx, st.lease, st.Name, b)
}

// has reports whether the run has a step.
func (x *execution) has(name string) bool {
	return slices.ContainsFunc(x.steps, func(st *step) bool { return st.Name == name })
}

// later does what nobody waits for, once the app serves or will not: until then it
// would take the processors from those who are waited for. The run's end waits for
// it. What goes wrong there is left to the reconciler.
func (st *step) later(do func(context.Context) error) {
	ctx := st.owned
	st.background.Go(func() {
		<-st.waited
		if err := do(ctx); err != nil && ctx.Err() == nil {
			st.e.log.Warn("cleaning up beside a run", "run", st.run.ID, "step", st.Name, "err", err)
		}
	})
}

// doLater waits for what was put off.
func (x *execution) doLater() {
	x.endWait()
	x.background.Wait()
}

// guarded writes under the lease.
func (x *execution) guarded(ctx context.Context, fn func(*store.Store) error) error {
	return x.e.store.Guarded(ctx, x.lease, fn)
}

// execute claims a run and brings it to its end. An error means that the run
// has not ended and somebody must claim it again.
func (e *Engine) execute(parent context.Context, runID string) error {
	run, claimed, err := e.store.ClaimRun(parent, runID, e.owner, e.cfg.Lease)
	if err != nil || !claimed {
		return err
	}
	x := &execution{e: e, run: run, lease: store.Lease{RunID: run.ID, Owner: e.owner, Epoch: run.Epoch}, redact: runlog.NewRedactor(e.cfg.Sources.Secrets()...)}
	// owned ends when the right to write about the run does; work ends before, on cancel.
	owned, disown := context.WithCancelCause(parent)
	defer disown(nil)
	work, stop := context.WithCancelCause(owned)
	defer stop(nil)
	x.owned, x.work, x.stop, x.busy = owned, work, stop, make(chan struct{})
	x.getBusy = sync.OnceFunc(func() { close(x.busy) })
	x.waited = make(chan struct{})
	x.endWait = sync.OnceFunc(func() { close(x.waited) })
	defer x.doLater()
	go x.keepLease(owned, disown, stop)

	if err := x.load(owned, disown); err != nil {
		return x.abandon(owned, err)
	}
	released, err := x.released(owned)
	if err != nil {
		return x.abandon(owned, err)
	}
	x.beyond = released
	if run.State == coderunner.RunCancelling && !released {
		stop(errCancelled)
	}
	x.limit = newLimit(e.cfg.RunFor, func() { stop(errTooLong) })
	defer x.limit.timer.Stop()
	if run.Epoch == 1 {
		x.tellReplaced(owned)
	}
	failure := x.unknown()
	if failure == nil {
		failure, err = x.decrypt(owned)
	}
	if failure == nil && x.run.Failure != nil { // an owner before us was cut off while it undid the run
		failure = x.run.Failure
	}
	if failure == nil && err == nil {
		failure, err = x.schedule(owned, work)
	}
	if x.endOutput != nil {
		x.endOutput()
	}
	x.doLater()
	if err != nil {
		return x.abandon(owned, err)
	}
	if owned.Err() != nil {
		return x.abandon(owned, context.Cause(owned))
	}
	if released, err = x.released(owned); err != nil {
		return x.abandon(owned, err)
	}
	if failure == nil && errors.Is(context.Cause(work), errTooLong) && !x.allDone() {
		failure = &coderunner.Failure{ID: "run.too_long", Blame: coderunner.Ours, Title: fmt.Sprintf("The %s did not come to its end within %s.", run.Playbook, e.cfg.RunFor),
			Detail: "It was ended, and what it had begun was undone. The log says what it was doing.", Next: "Start it again; if it takes as long again, ask whoever runs this server to look at its log."}
	}
	state := coderunner.RunSucceeded
	switch {
	case released: // what could not be removed is left to the reconciler
		failure = nil
	case failure != nil:
		state = coderunner.RunFailed
	case context.Cause(work) != nil && !x.allDone():
		state = coderunner.RunCancelled
	}
	return x.end(owned, state, failure)
}

// load reads what the run is about, and opens its log.
func (x *execution) load(ctx context.Context, disown context.CancelCauseFunc) (err error) {
	if x.project, err = x.e.store.ProjectByID(ctx, x.run.ProjectID); err != nil {
		return err
	}
	if err := x.aim(ctx); err != nil {
		return err
	}
	rows, err := x.e.store.Steps(ctx, x.run.ID)
	if err != nil {
		return err
	}
	for _, row := range rows {
		x.steps = append(x.steps, &step{execution: x, Step: row, action: x.e.playbooks[x.run.Playbook].steps[row.Name]})
	}
	x.log, err = runlog.NewWriter(ctx, x.e.store, x.lease, x.redact, func(err error) { disown(err) })
	return err
}

// aim finds the run's deployment. One that deploys nothing is about the current
// one, which may be another than when it was asked for.
func (x *execution) aim(ctx context.Context) (err error) {
	if x.run.DeploymentID == "" {
		return nil
	}
	switch x.run.Playbook {
	case RestartPlaybook, StartPlaybook, StopPlaybook, AttachPlaybook, DetachPlaybook:
		if x.deployment, err = x.e.store.CurrentDeployment(ctx, x.project.UserID, x.project.ID); err != nil || x.deployment.ID == x.run.DeploymentID {
			return err
		}
		x.run.DeploymentID = x.deployment.ID
		return x.guarded(ctx, func(s *store.Store) error { return s.SetRunDeployment(ctx, x.run.ID, x.deployment.ID) })
	}
	x.deployment, err = x.e.store.DeploymentByID(ctx, x.run.DeploymentID)
	return err
}

// allDone reports whether every step of the run is done.
func (x *execution) allDone() bool {
	for _, st := range x.steps {
		if st.State != coderunner.StepDone {
			return false
		}
	}
	return true
}

// decrypt reads the project's secrets before anything is touched, and keeps them
// out of the log. A key that does not fit ends the run.
func (x *execution) decrypt(ctx context.Context) (*coderunner.Failure, error) {
	if !x.e.playbooks[x.run.Playbook].secrets {
		return nil, nil
	}
	err := x.e.keys.Check()
	var variables coderunner.Variables
	if err == nil {
		variables, err = x.workingVariables(ctx)
	}
	databases, listErr := x.e.store.ProjectDatabases(ctx, x.project.ID)
	for _, d := range databases {
		if err == nil {
			err = checkConnection(d)
		}
		if d.Sealed == nil || err != nil {
			continue
		}
		var c coderunner.Connection
		if c, err = x.e.openConnection(d); err == nil {
			x.redact.Add(c.Password)
		}
	}
	if err == nil && onManifest(x.deployment.Plan) {
		var own coderunner.BackendSecrets
		if _, own, err = x.e.backend(ctx, x.project.ID); coderunner.KindOf(err) == coderunner.NotFound {
			err = lost("What the backend's log-ins are signed with")
		}
		x.redact.Add(own.TokenKey, own.AdminPassword)
	}
	switch {
	case listErr != nil:
		return nil, listErr
	case ctx.Err() != nil || errors.Is(err, store.ErrLeaseLost) || coderunner.KindOf(err) == coderunner.Unavailable && !errors.Is(err, secret.ErrCannotOpen):
		return nil, err
	case errors.Is(err, errLost):
		return &coderunner.Failure{ID: "platform.decrypt", Blame: coderunner.Ours, Title: "The project's secrets are not complete; nothing was touched.", Detail: coderunner.Sentence(err),
			Next: "Redeploy, which takes the variables as they are saved now. If that says the same, ask whoever runs this server to restore the database from its backup."}, nil
	case err != nil:
		return &coderunner.Failure{ID: "platform.decrypt", Blame: coderunner.Ours, Title: "The project's secrets could not be decrypted; nothing was touched.",
			Detail: "The key ring in the data directory does not fit what is in the database.", Next: "Ask whoever runs this server to restore the key ring from its backup."}, nil
	}
	x.variables = variables
	x.redact.Add(variables.Secrets()...)
	return nil, nil
}

// unknown ends a run that this program is too old or too new for.
func (x *execution) unknown() *coderunner.Failure {
	f := coderunner.Failure{Blame: coderunner.Ours, Detail: "The run was created by another version.", Next: "Start the run again."}
	if !x.known() {
		f.ID, f.Title = "run.unknown_playbook", fmt.Sprintf("This version of CodeRunner does not know the playbook %q.", x.run.Playbook)
		return &f
	}
	for _, st := range x.steps {
		if st.action.do == nil {
			f.ID, f.Title = "run.unknown_step", fmt.Sprintf("This version of CodeRunner does not know the step %q.", st.Name)
			return &f
		}
	}
	return nil
}

// known reports whether this program has the run's playbook.
func (x *execution) known() bool {
	_, known := x.e.playbooks[x.run.Playbook]
	return known
}
