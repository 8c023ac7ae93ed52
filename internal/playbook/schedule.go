package playbook

import (
	"context"
	"errors"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

// schedule does the steps that are not done, each as soon as the steps that it
// names in After are. It returns when nothing is under way any more: with a
// failure when a step failed, with an error when the run must be left for
// another owner, with neither when all is done or ctx was cancelled. Steps that
// are always done are begun also then, once those before them are done.
func (x *execution) schedule(owned, ctx context.Context) (*coderunner.Failure, error) {
	work, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	type result struct {
		step    *step
		failure *coderunner.Failure
		err     error
	}
	results := make(chan result)
	done := map[string]bool{}
	begun := map[string]bool{}
	for _, st := range x.steps {
		if st.State == coderunner.StepDone {
			done[st.Name], begun[st.Name] = true, true
		}
	}
	var failure *coderunner.Failure
	var broken error
	under := 0
	for {
		for _, st := range x.steps {
			if begun[st.Name] || !ready(st.After, done) || work.Err() != nil && (!st.goesOn() || broken != nil || owned.Err() != nil) {
				continue
			}
			begun[st.Name] = true
			under++
			go func() {
				ctx := work
				if st.action.final || st.action.always {
					ctx = owned
				}
				f, err := x.attempt(ctx, st)
				results <- result{st, f, err}
			}()
		}
		if under == 0 {
			return failure, broken
		}
		r := <-results
		under--
		switch {
		case r.err != nil:
			broken = errors.Join(broken, r.err)
			stop(r.err)
		case r.failure != nil:
			if failure == nil {
				failure = r.failure
			}
			stop(errSibling)
		case r.step.State == coderunner.StepDone:
			done[r.step.Name] = true
		}
	}
}

// goesOn: the step is done also after a cancel.
func (st *step) goesOn() bool {
	return st.action.always || st.action.final && st.State == coderunner.StepRunning
}

func ready(after []string, done map[string]bool) bool {
	for _, name := range after {
		if !done[name] {
			return false
		}
	}
	return true
}

// attempt does one step, again and again while it errs for reasons of ours, up
// to RetryFor. A nil failure and nil error mean done or cancelled; the step's
// State tells which.
func (x *execution) attempt(ctx context.Context, st *step) (*coderunner.Failure, error) {
	var begin time.Time // of the trouble: what went well before, a template's making say, does not count
	for wait := 250 * time.Millisecond; ; wait = min(wait*2, 8*time.Second) {
		begun, err := x.e.store.StartStep(ctx, x.lease, st.Name, st.goesOn() || x.beyond)
		if err != nil {
			return nil, x.unlessCancelled(ctx, st, err)
		}
		if !begun {
			x.stop(errCancelled) // before anybody told us
			if st.State == coderunner.StepPending {
				return nil, nil
			}
			return nil, x.finish(ctx, st, coderunner.StepCancelled, errCancelled.Error())
		}
		st.State = coderunner.StepRunning
		if x.e.breakpoint != nil {
			x.e.breakpoint(st.Name, false)
		}
		err = st.action.do(ctx, st)
		if x.e.breakpoint != nil && err == nil {
			x.e.breakpoint(st.Name, true)
		}
		var failure *coderunner.Failure
		switch {
		case err == nil:
			return nil, x.finish(ctx, st, coderunner.StepDone, "")
		case ctx.Err() != nil:
			return nil, x.unlessCancelled(ctx, st, err)
		case errors.Is(err, store.ErrLeaseLost):
			return nil, err
		case errors.As(err, &failure):
			return failure, x.failStep(ctx, st, coderunner.StepFailed, failure)
		}
		x.e.log.Warn("a step erred", "run", x.run.ID, "step", st.Name, "err", err)
		if begin.IsZero() {
			begin = time.Now()
		}
		if !retryable(err) || time.Since(begin)+wait > x.e.cfg.RetryFor {
			failure = &coderunner.Failure{ID: "platform." + string(coderunner.KindOf(err)), Blame: coderunner.Ours, Title: coderunner.Sentence(err),
				Detail: "The step \"" + st.Title + "\" could not be done. This is not the fault of your code.", Next: "Start the run again; if it fails again, ask whoever runs this server to look at its log."}
			return failure, x.failStep(ctx, st, coderunner.StepErrored, failure)
		}
		st.say("%s Trying again in %s.", coderunner.Sentence(err), wait)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// retryable: what depends on the moment may go better later; what is wrong stays wrong.
func retryable(err error) bool {
	switch coderunner.KindOf(err) {
	case coderunner.Invalid, coderunner.Conflict, coderunner.TooLarge, coderunner.Forbidden:
		return false
	}
	return true
}

// finish records a step's end, also while the run is being stopped.
func (x *execution) finish(ctx context.Context, st *step, state coderunner.StepState, message string) error {
	return x.record(ctx, st, state, func(ctx context.Context) error {
		return x.e.store.FinishStep(ctx, x.lease, st.Name, state, nil, message)
	})
}

// failStep is finish for a step that decides how the run ends.
func (x *execution) failStep(ctx context.Context, st *step, state coderunner.StepState, f *coderunner.Failure) error {
	return x.record(ctx, st, state, func(ctx context.Context) error {
		return x.e.store.FailStep(ctx, x.lease, st.Name, state, f)
	})
}

func (x *execution) record(ctx context.Context, st *step, state coderunner.StepState, write func(context.Context) error) error {
	if err := x.log.Flush(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), x.e.cfg.Lease)
	defer cancel()
	if err := write(ctx); err != nil {
		return err
	}
	st.State = state
	return nil
}

// unlessCancelled tells a cancelled step from one whose run must be given up.
func (x *execution) unlessCancelled(ctx context.Context, st *step, err error) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, errCancelled) || errors.Is(cause, errTooLong) || errors.Is(cause, errSibling) {
		if st.State == coderunner.StepPending {
			return nil // its turn has not come
		}
		return x.finish(ctx, st, coderunner.StepCancelled, cause.Error())
	}
	if cause != nil {
		return cause
	}
	return err
}
