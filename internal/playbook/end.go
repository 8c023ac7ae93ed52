package playbook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

// end undoes what a run that did not succeed had begun, and writes the end.
func (x *execution) end(owned context.Context, state coderunner.RunState, failure *coderunner.Failure) error {
	if state != coderunner.RunSucceeded {
		if state == coderunner.RunCancelled {
			x.log.Say("", "Cancelled. Undoing what was begun.")
		}
		if err := x.undo(owned); err != nil {
			return x.abandon(owned, fmt.Errorf("undoing: %w", err))
		}
	}
	if err := x.log.Close(owned); err != nil {
		return x.abandon(owned, err)
	}
	lines := x.endLines(owned, state, failure)
	book := x.e.playbooks[x.run.Playbook]
	// Once this commits the lease is no more, and whoever renews it ends owned; the
	// epoch alone says whether the end may be written.
	last, cancel := context.WithTimeout(context.WithoutCancel(owned), x.e.cfg.Lease)
	defer cancel()
	var next string
	err := x.e.store.InTx(last, func(s *store.Store) error {
		if err := x.log.End(last, s, lines...); err != nil {
			return err
		}
		if err := s.FinishRun(last, x.lease, state, failure); err != nil {
			return err
		}
		var err error
		switch {
		case !x.known(): // what its end means is not known either
		case state == coderunner.RunSucceeded:
			err = book.succeed(last, x, s)
		default:
			err = book.fail(last, x, s, state, failure)
		}
		if err != nil {
			return err
		}
		next, err = x.e.ringWaiting(last, s, x.project.ID)
		return err
	})
	if err != nil {
		return x.abandon(owned, err)
	}
	if next != "" {
		x.e.take(next)
	}
	x.e.tidy(x.project.ID)
	x.e.log.Info("run ended", "run", x.run.ID, "playbook", x.run.Playbook, "project", x.project.ID, "state", state)
	return nil
}

// tellReplaced says in the log whose place the run took while that waited.
func (x *execution) tellReplaced(ctx context.Context) {
	replaced, err := x.e.store.RunsReplacedBy(ctx, x.run.ID)
	if err != nil {
		return // said on the page as well
	}
	for _, r := range replaced {
		x.log.Say("", "This %s was asked for while a %s waited, and took its place.", x.run.Playbook, r.Playbook)
	}
}

// endLines say in the log how the run ended, and after one that came to nothing what
// of it stays and which version serves.
func (x *execution) endLines(ctx context.Context, state coderunner.RunState, failure *coderunner.Failure) []string {
	lines := []string{"Cancelled. What was begun was undone."}
	switch state {
	case coderunner.RunSucceeded:
		return []string{"Done."}
	case coderunner.RunFailed:
		lines[0] = fmt.Sprintf("Failed: %s %s", failure.Title, failure.Next)
	}
	lines = append(lines, x.stays(ctx)...)
	current, err := x.e.store.CurrentDeployment(ctx, x.project.UserID, x.project.ID)
	if err == nil && current.PublicURL != "" {
		lines = append(lines, fmt.Sprintf("Version %d is still serving.", current.Number))
	}
	return lines
}

// stays says what a run that came to nothing has made and what is not undone.
func (x *execution) stays(ctx context.Context) (lines []string) {
	for _, st := range x.steps {
		if st.Name == "install" && st.State == coderunner.StepDone {
			lines = append(lines, "The installed dependencies are kept for another try.")
		}
	}
	var begun begunDatabases
	if !x.has("database") || x.output("database", &begun) != nil || len(begun.Made) == 0 {
		return lines
	}
	databases, err := x.e.store.ProjectDatabases(ctx, x.project.ID)
	if err != nil {
		return lines
	}
	for _, d := range databases {
		if made, err := x.recorded(ctx, databaseSandbox(d.ID)); made && err == nil && slices.Contains(begun.Made, d.ID) {
			lines = append(lines, fmt.Sprintf("%s stays, with its data; the next deploy uses it.", x.e.title(d.Appliance)))
		}
	}
	return lines
}

// recorded reports whether a sandbox has been begun and not been removed.
func (x *execution) recorded(ctx context.Context, name string) (bool, error) {
	records, err := x.e.store.ProjectSandboxes(ctx, x.project.ID)
	return slices.ContainsFunc(records, func(r coderunner.SandboxRecord) bool { return r.ID == name }), err
}

// undo reverses the begun steps, last first. What the provider could not do for long
// enough is handed over: a provider that stays away keeps no run from its end.
func (x *execution) undo(owned context.Context) error {
	ctx, cancel := context.WithTimeout(owned, cleanupTime)
	defer cancel()
	enough := time.Now().Add(min(x.e.cfg.RetryFor, cleanupTime/2))
	var failed []*step
	for i := len(x.steps) - 1; i >= 0; i-- {
		if st := x.steps[i]; st.action.undo != nil && st.State != coderunner.StepPending && st.State != coderunner.StepSkipped {
			failed = append(failed, st)
		}
	}
	for wait := 250 * time.Millisecond; ; wait = min(wait*2, 8*time.Second) {
		again, errs := failed, []error(nil)
		failed = nil
		for _, st := range again {
			if err := st.action.undo(ctx, st); err != nil {
				failed, errs = append(failed, st), append(errs, fmt.Errorf("%s: %w", st.Name, err))
			}
		}
		err := errors.Join(errs...)
		if err == nil || owned.Err() != nil || errors.Is(err, store.ErrLeaseLost) {
			return err
		}
		if time.Now().Add(wait).After(enough) {
			return x.handOver(owned, failed, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// handOver leaves to the reconciler what could not be undone, for which there is why.
func (x *execution) handOver(ctx context.Context, failed []*step, why error) error {
	x.e.log.Warn("undoing a run; the rest is left to the reconciler", "run", x.run.ID, "err", why)
	for _, st := range failed {
		if st.action.handOver == nil {
			return why
		}
		if err := st.action.handOver(ctx, st); err != nil {
			return err
		}
	}
	return nil
}
