package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store/sqlc"
)

// ErrLeaseLost is answered to a process that no longer owns the run it writes about.
var ErrLeaseLost = errors.New("another process owns this run now")

// Lease proves the right to write about a run.
type Lease struct {
	RunID string
	Owner string
	Epoch int64
}

// NewRun is a run to be created.
type NewRun struct {
	ProjectID    string
	DeploymentID string // "" for playbooks about the project as a whole
	Playbook     string
	Options      coderunner.RunOptions
	Steps        []coderunner.Step
}

// LockProject keeps runs of the project from being created until s's transaction ends.
func (s *Store) LockProject(ctx context.Context, projectID string) error {
	return translate(s.q.LockProject(ctx, projectID), "project")
}

// WhileIdle does something while the project has no open run, and none can be created;
// with one, it does nothing. It holds a connection: be quick.
func (s *Store) WhileIdle(ctx context.Context, projectID string, do func() error) error {
	return s.InTx(ctx, func(s *Store) error {
		if err := s.LockProject(ctx, projectID); err != nil {
			return err
		}
		if open, err := s.OpenRuns(ctx, projectID); err != nil || len(open) > 0 {
			return err
		}
		return do()
	})
}

// CreateRun adds a run with its steps, QUEUED. A run of the project that still
// waits is CANCELLED, replaced by this one, and answered as well.
func (s *Store) CreateRun(ctx context.Context, n NewRun) (out coderunner.Run, replaced *coderunner.Run, err error) {
	err = s.InTx(ctx, func(s *Store) error {
		if err := s.LockProject(ctx, n.ProjectID); err != nil {
			return err
		}
		open, err := s.OpenRuns(ctx, n.ProjectID)
		if err != nil {
			return err
		}
		for _, waiting := range open {
			if waiting.State != coderunner.RunQueued {
				continue
			}
			waited, err := s.q.ReplaceRun(ctx, nil, waiting.ID)
			if err != nil {
				return translate(err, "run")
			}
			if waited == 0 {
				continue // it was claimed just now, and waits no more
			}
			replaced = &waiting
			if err := s.q.SkipOpenSteps(ctx, waiting.ID); err != nil {
				return translate(err, "run")
			}
		}
		row, err := s.q.CreateRun(ctx, sqlc.CreateRunParams{ProjectID: n.ProjectID, DeploymentID: pointer(n.DeploymentID), Playbook: n.Playbook, Options: n.Options})
		if err != nil {
			return translate(err, "project")
		}
		out = run(row)
		if replaced != nil {
			if err := s.q.SetReplacedBy(ctx, &out.ID, replaced.ID); err != nil {
				return translate(err, "run")
			}
			if err := s.q.NotifyRun(ctx, replaced.ID); err != nil {
				return translate(err, "run")
			}
		}
		steps := n.Steps
		params := make([]sqlc.InsertStepsParams, len(steps))
		for i, st := range steps {
			after := st.After
			if after == nil {
				after = []string{}
			}
			params[i] = sqlc.InsertStepsParams{RunID: out.ID, Position: int32(i), Name: st.Name, Title: st.Title, After: after}
		}
		_, err = s.q.InsertSteps(ctx, params)
		return translate(err, "run")
	})
	return out, replaced, err
}

// RunsReplacedBy lists the runs whose place a run took while they waited.
func (s *Store) RunsReplacedBy(ctx context.Context, id string) ([]coderunner.Run, error) {
	rows, err := s.q.RunsReplacedBy(ctx, &id)
	return each(rows, run), translate(err, "run")
}

// SetRunVariables keeps the encrypted variables that a run works with until its end.
func (s *Store) SetRunVariables(ctx context.Context, id string, sealed []byte) error {
	return translate(s.q.SetRunVariables(ctx, id, sealed), "run")
}

// SetRunDeployment says which deployment a run is about.
func (s *Store) SetRunDeployment(ctx context.Context, id, deploymentID string) error {
	return translate(s.q.SetRunDeployment(ctx, &deploymentID, id), "run")
}

// RunVariables answers what SetRunVariables kept, nil for nothing.
func (s *Store) RunVariables(ctx context.Context, id string) ([]byte, error) {
	sealed, err := s.q.RunVariables(ctx, id)
	return sealed, translate(err, "run")
}

// Run returns a run of one of the user's projects.
func (s *Store) Run(ctx context.Context, userID, id string) (coderunner.Run, error) {
	row, err := s.q.Run(ctx, id, userID)
	return run(row), translate(err, "run")
}

// RunByID is for the engine.
func (s *Store) RunByID(ctx context.Context, id string) (coderunner.Run, error) {
	row, err := s.q.RunByID(ctx, id)
	return run(row), translate(err, "run")
}

// Steps lists a run's steps in order.
func (s *Store) Steps(ctx context.Context, runID string) ([]coderunner.Step, error) {
	rows, err := s.q.RunSteps(ctx, runID)
	return each(rows, step), translate(err, "run")
}

// ProjectRuns lists a user's project's runs, newest first.
func (s *Store) ProjectRuns(ctx context.Context, userID, projectID string, limit, offset int) ([]coderunner.Run, error) {
	rows, err := s.q.ProjectRuns(ctx, sqlc.ProjectRunsParams{ProjectID: projectID, UserID: userID, PageSize: int32(limit), PageStart: int32(offset)})
	return each(rows, run), translate(err, "project")
}

// NewestRuns answers the newest run about each of the deployments, by their ids.
// Whoever calls has found them as their owner.
func (s *Store) NewestRuns(ctx context.Context, deployments []string) (map[string]*coderunner.Run, error) {
	rows, err := s.q.NewestRuns(ctx, deployments)
	newest := make(map[string]*coderunner.Run, len(rows))
	for _, r := range rows {
		found := run(r)
		newest[found.DeploymentID] = &found
	}
	return newest, translate(err, "deployment")
}

// OpenRuns lists a project's runs that have not ended, oldest first.
func (s *Store) OpenRuns(ctx context.Context, projectID string) ([]coderunner.Run, error) {
	rows, err := s.q.OpenRuns(ctx, projectID)
	return each(rows, run), translate(err, "project")
}

func run(r sqlc.Run) coderunner.Run {
	return coderunner.Run{ID: r.ID, ProjectID: r.ProjectID, DeploymentID: deref(r.DeploymentID), Playbook: r.Playbook, State: r.State, Owner: r.Owner, Epoch: r.Epoch,
		LeaseExpiresAt: r.LeaseExpiresAt, CancelRequestedAt: r.CancelRequestedAt, ReplacedBy: deref(r.ReplacedBy), Options: r.Options, Failure: r.Failure, CreatedAt: r.CreatedAt, StartedAt: r.StartedAt, FinishedAt: r.FinishedAt, LogDroppedAt: r.LogDroppedAt}
}

func step(r sqlc.Step) coderunner.Step {
	return coderunner.Step{RunID: r.RunID, Position: int(r.Position), Name: r.Name, Title: r.Title, After: r.After, State: r.State, Attempts: int(r.Attempts),
		StartedAt: r.StartedAt, FinishedAt: r.FinishedAt, Output: r.Output, Error: r.Error}
}

// ClaimRun takes a run that is queued or whose lease has run out. It answers
// false when there is nothing to claim: somebody has it, it ended, or an older
// run of the project has not.
func (s *Store) ClaimRun(ctx context.Context, id, owner string, lease time.Duration) (coderunner.Run, bool, error) {
	row, err := s.q.ClaimRun(ctx, owner, lease.Seconds(), id)
	if errors.Is(err, pgx.ErrNoRows) {
		return coderunner.Run{}, false, nil
	}
	return run(row), err == nil, translate(err, "run")
}

// LeaseHolds reports whether a cancel was asked for. ErrLeaseLost means that the
// caller must stop at once.
func (s *Store) LeaseHolds(ctx context.Context, l Lease) (cancelled bool, err error) {
	at, err := s.q.LeaseHolds(ctx, l.RunID, l.Owner, l.Epoch)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, ErrLeaseLost
	}
	return at != nil, translate(err, "run")
}

// RenewRun extends the lease and reports whether a cancel was asked for.
// ErrLeaseLost means that the caller must stop at once.
func (s *Store) RenewRun(ctx context.Context, l Lease, lease time.Duration) (cancelled bool, err error) {
	at, err := s.q.RenewRun(ctx, sqlc.RenewRunParams{LeaseSeconds: lease.Seconds(), ID: l.RunID, Owner: l.Owner, Epoch: l.Epoch})
	if errors.Is(err, pgx.ErrNoRows) {
		return false, ErrLeaseLost
	}
	return at != nil, translate(err, "run")
}

// ReleaseRun gives a run back before its end, for the next process to claim at once.
func (s *Store) ReleaseRun(ctx context.Context, l Lease) error {
	return translate(s.q.ReleaseRun(ctx, l.RunID, l.Owner, l.Epoch), "run")
}

// Guarded runs fn in a transaction that commits only while the lease holds;
// else ErrLeaseLost, and nothing was written.
func (s *Store) Guarded(ctx context.Context, l Lease, fn func(*Store) error) error {
	return s.InTx(ctx, func(s *Store) error {
		if _, err := s.q.GuardRun(ctx, l.RunID, l.Owner, l.Epoch); errors.Is(err, pgx.ErrNoRows) {
			return ErrLeaseLost
		} else if err != nil {
			return translate(err, "run")
		}
		return fn(s)
	})
}

// GuardedSoon is Guarded for what is found out or done again after a crash of the
// database that loses it: the commit does not wait for the disk, which an install
// keeps busy.
func (s *Store) GuardedSoon(ctx context.Context, l Lease, fn func(*Store) error) error {
	return s.Guarded(ctx, l, func(s *Store) error {
		if err := s.q.CommitSoon(ctx); err != nil {
			return translate(err, "run")
		}
		return fn(s)
	})
}

// FinishRun ends a run and whatever of its steps is still open.
func (s *Store) FinishRun(ctx context.Context, l Lease, state coderunner.RunState, f *coderunner.Failure) error {
	return s.InTx(ctx, func(s *Store) error {
		_, err := s.q.FinishRun(ctx, sqlc.FinishRunParams{State: state, Failure: f, ID: l.RunID, Owner: l.Owner, Epoch: l.Epoch})
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrLeaseLost
		}
		if err != nil {
			return translate(err, "run")
		}
		if err := s.q.SkipOpenSteps(ctx, l.RunID); err != nil {
			return translate(err, "run")
		}
		return translate(s.q.NotifyRun(ctx, l.RunID), "run")
	})
}

// RequestCancel asks an open run to end. One still queued ends at once. The
// run is answered as it then is; Conflict when it had ended already.
func (s *Store) RequestCancel(ctx context.Context, id string) (coderunner.Run, error) {
	var out coderunner.Run
	err := s.InTx(ctx, func(s *Store) error {
		row, err := s.q.RequestCancel(ctx, id)
		if errors.Is(err, pgx.ErrNoRows) {
			return coderunner.Errorf(coderunner.Conflict, "This run has already ended.")
		}
		if err != nil {
			return translate(err, "run")
		}
		out = run(row)
		if out.State == coderunner.RunCancelled {
			if err := s.q.SkipOpenSteps(ctx, id); err != nil {
				return translate(err, "run")
			}
		}
		return translate(s.q.NotifyRun(ctx, id), "run")
	})
	return out, err
}

// ClaimableRuns lists runs that wait for an owner.
func (s *Store) ClaimableRuns(ctx context.Context) ([]string, error) {
	ids, err := s.q.ClaimableRuns(ctx)
	return ids, translate(err, "run")
}

// StartStep marks a step RUNNING and counts the attempt. It answers false, and does
// nothing, when the run was asked to cancel, unless the step is one of those that
// are done always.
func (s *Store) StartStep(ctx context.Context, l Lease, name string, always bool) (begun bool, err error) {
	err = s.GuardedSoon(ctx, l, func(s *Store) error {
		cancelled, err := s.q.CancelRequested(ctx, l.RunID)
		if begun = !cancelled || always; err != nil || !begun {
			return translate(err, "run")
		}
		if err := s.q.StartStep(ctx, l.RunID, name); err != nil {
			return translate(err, "step")
		}
		return translate(s.q.NotifyRun(ctx, l.RunID), "run")
	})
	return begun && err == nil, err
}

// FinishStep records how a step ended. A nil output keeps what SaveStepOutput stored.
func (s *Store) FinishStep(ctx context.Context, l Lease, name string, state coderunner.StepState, output json.RawMessage, message string) error {
	return s.GuardedSoon(ctx, l, func(s *Store) error {
		if err := s.q.FinishStep(ctx, sqlc.FinishStepParams{RunID: l.RunID, Name: name, State: state, Error: message, Output: output}); err != nil {
			return translate(err, "step")
		}
		return translate(s.q.NotifyRun(ctx, l.RunID), "run")
	})
}

// FailStep records how a step failed, and with it that the run will: whoever owns
// the run from then on only undoes it.
func (s *Store) FailStep(ctx context.Context, l Lease, name string, state coderunner.StepState, f *coderunner.Failure) error {
	return s.Guarded(ctx, l, func(s *Store) error {
		if err := s.q.SetRunFailure(ctx, f, l.RunID); err != nil {
			return translate(err, "run")
		}
		return s.FinishStep(ctx, l, name, state, nil, f.Title)
	})
}

// SaveStepOutput keeps what a step has found out so far.
func (s *Store) SaveStepOutput(ctx context.Context, l Lease, name string, output json.RawMessage) error {
	return s.GuardedSoon(ctx, l, func(s *Store) error {
		return translate(s.q.SaveStepOutput(ctx, l.RunID, name, output), "step")
	})
}

// RunLogChannel is notified with a run's id after each change of it or its log.
const RunLogChannel = "run_log"

// AppendLog adds lines, numbered from first on, and notifies RunLogChannel. It does
// not wait for the disk: a crash of the database can lose the last half second of a
// run's lines, together with what else the run has written since.
// Either all are stored or none; ErrLeaseLost when the lease no longer holds.
func (s *Store) AppendLog(ctx context.Context, l Lease, first int64, lines []coderunner.LogLine) error {
	p := sqlc.AppendLogParams{RunID: l.RunID, Owner: l.Owner, Epoch: l.Epoch, FirstSeq: first,
		At: make([]time.Time, len(lines)), Stream: make([]string, len(lines)), Step: make([]string, len(lines)), Text: make([]string, len(lines))}
	for i, line := range lines {
		p.At[i], p.Stream[i], p.Step[i], p.Text[i] = line.At, string(line.Stream), line.Step, line.Text
	}
	row, err := s.q.AppendLog(ctx, p)
	if err != nil {
		return translate(err, "run")
	}
	if row.Count != int64(len(lines)) {
		return ErrLeaseLost
	}
	return nil
}

// LastLogSeq is the number of the newest line, 0 when there is none.
func (s *Store) LastLogSeq(ctx context.Context, runID string) (int64, error) {
	seq, err := s.q.LastLogSeq(ctx, runID)
	return seq, translate(err, "run")
}

// LogAfter lists up to limit lines that follow line after.
func (s *Store) LogAfter(ctx context.Context, runID string, after int64, limit int) ([]coderunner.LogLine, error) {
	rows, err := s.q.LogAfter(ctx, runID, after, int32(limit))
	return each(rows, logLine), translate(err, "run")
}

// LogBefore lists the newest lines, at most limit, that precede line before, oldest first.
func (s *Store) LogBefore(ctx context.Context, runID string, before int64, limit int) ([]coderunner.LogLine, error) {
	rows, err := s.q.LogBefore(ctx, runID, before, int32(limit))
	return each(rows, logLine), translate(err, "run")
}

func logLine(r sqlc.RunLogLine) coderunner.LogLine {
	return coderunner.LogLine{RunID: r.RunID, Seq: r.Seq, At: r.At, Stream: coderunner.Stream(r.Stream), Step: r.Step, Text: r.Text}
}
