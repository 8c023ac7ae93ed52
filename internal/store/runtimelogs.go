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

// RuntimeCursor is the right to add what a sandbox prints to its project's runtime
// log, and how far that was read.
type RuntimeCursor struct {
	SandboxID    string
	ProjectID    string
	DeploymentID string
	Owner        string
	Epoch        int64           // of the claim
	Version      int64           // how often it was moved
	State        json.RawMessage // what the reader left with the last lines; {} at first
}

func runtimeCursor(r sqlc.RuntimeLogCursor) RuntimeCursor {
	return RuntimeCursor{SandboxID: r.SandboxID, ProjectID: r.ProjectID, DeploymentID: r.DeploymentID, Owner: r.Owner, Epoch: r.Epoch, Version: r.Version, State: r.State}
}

// RenewRuntimeCollector keeps what an owner has claimed for it, that long from now.
func (s *Store) RenewRuntimeCollector(ctx context.Context, owner string, lease time.Duration) error {
	return translate(s.q.RenewRuntimeLogCollector(ctx, owner, lease.Seconds()), "")
}

// ReleaseRuntimeCollector lets others claim what an owner had.
func (s *Store) ReleaseRuntimeCollector(ctx context.Context, owner string) error {
	return translate(s.q.DropRuntimeLogCollector(ctx, owner), "")
}

// ClaimRuntimeCursor takes an app's sandbox for an owner; earlier claims are worth
// nothing from then on. It answers false when another owner that is alive has it,
// unless force takes it away, and when there is no such sandbox.
func (s *Store) ClaimRuntimeCursor(ctx context.Context, sandboxID, owner string, force bool) (RuntimeCursor, bool, error) {
	row, err := s.q.ClaimRuntimeLogCursor(ctx, owner, sandboxID, force)
	if errors.Is(err, pgx.ErrNoRows) {
		return RuntimeCursor{}, false, nil
	}
	return runtimeCursor(row), err == nil, translate(err, "sandbox")
}

// RuntimeCursor returns a sandbox's cursor as it is stored.
func (s *Store) RuntimeCursor(ctx context.Context, sandboxID string) (RuntimeCursor, error) {
	row, err := s.q.RuntimeLogCursor(ctx, sandboxID)
	return runtimeCursor(row), translate(err, "sandbox")
}

// RuntimeLogChannel is notified with a project's id after each change of its runtime log.
const RuntimeLogChannel = "runtime_log"

// lineOverhead is about what a line takes on the disk beside its text, in bytes.
const lineOverhead = 128

// AppendRuntimeLog adds lines, numbered after the last one of the project, together
// with the state to read on from, and notifies RuntimeLogChannel. Either all is
// stored or nothing; ErrLeaseLost when somebody else has claimed or moved the
// cursor, or the sandbox is gone. Lines of one project are added one batch after
// the other: a number is not visible before those below it.
func (s *Store) AppendRuntimeLog(ctx context.Context, c RuntimeCursor, state json.RawMessage, lines []coderunner.RuntimeLine) error {
	p := sqlc.AppendRuntimeLogParams{State: state, SandboxID: c.SandboxID, Epoch: c.Epoch, Version: c.Version,
		At: make([]time.Time, len(lines)), Stream: make([]string, len(lines)), Text: make([]string, len(lines))}
	for i, l := range lines {
		p.At[i], p.Stream[i], p.Text[i] = l.At, string(l.Stream), l.Text
		p.Bytes += int64(len(l.Text)) + lineOverhead
	}
	row, err := s.q.AppendRuntimeLog(ctx, p)
	if err != nil {
		return translate(err, "sandbox")
	}
	if row.Moved == 0 {
		return ErrLeaseLost
	}
	return nil
}

// RuntimeLog is the extent of a project's runtime log.
func (s *Store) RuntimeLog(ctx context.Context, projectID string) (coderunner.RuntimeLog, error) {
	row, err := s.q.RuntimeLog(ctx, projectID)
	if errors.Is(err, pgx.ErrNoRows) {
		return coderunner.RuntimeLog{First: 1}, nil
	}
	return coderunner.RuntimeLog{First: row.FirstSeq, Last: row.LastSeq, Bytes: row.Bytes}, translate(err, "project")
}

// RuntimeLogAfter lists up to limit lines that follow line after.
func (s *Store) RuntimeLogAfter(ctx context.Context, projectID string, f coderunner.RuntimeFilter, after int64, limit int) ([]coderunner.RuntimeLine, error) {
	rows, err := s.q.RuntimeLogAfter(ctx, sqlc.RuntimeLogAfterParams{ProjectID: projectID, After: after, DeploymentID: pointer(f.DeploymentID), Stream: string(f.Stream),
		Since: timeOrNil(f.Since), Until: timeOrNil(f.Until), PageSize: int32(limit)})
	return each(rows, runtimeLine), translate(err, "deployment")
}

// RuntimeLogBefore lists the newest lines, at most limit, that precede line before, oldest first.
func (s *Store) RuntimeLogBefore(ctx context.Context, projectID string, f coderunner.RuntimeFilter, before int64, limit int) ([]coderunner.RuntimeLine, error) {
	rows, err := s.q.RuntimeLogBefore(ctx, sqlc.RuntimeLogBeforeParams{ProjectID: projectID, Before: before, DeploymentID: pointer(f.DeploymentID), Stream: string(f.Stream),
		Since: timeOrNil(f.Since), Until: timeOrNil(f.Until), PageSize: int32(limit)})
	return each(rows, runtimeLine), translate(err, "deployment")
}

func runtimeLine(r sqlc.RuntimeLogLine) coderunner.RuntimeLine {
	return coderunner.RuntimeLine{ProjectID: r.ProjectID, Seq: r.Seq, At: r.At, Stream: coderunner.Stream(r.Stream), DeploymentID: r.DeploymentID, SandboxID: r.SandboxID, Text: r.Text}
}

// RuntimeLimits bound a project's runtime log.
type RuntimeLimits struct {
	Lines int64
	Bytes int64
	Since time.Time // lines before it go
}

// RuntimeLogsToTrim lists projects whose runtime log is over the limits.
func (s *Store) RuntimeLogsToTrim(ctx context.Context, limits RuntimeLimits) ([]string, error) {
	ids, err := s.q.RuntimeLogsToTrim(ctx, limits.Lines, limits.Bytes, limits.Since)
	return ids, translate(err, "project")
}

// TrimRuntimeLog removes the oldest lines that are over the limits, at most batch of
// them, and answers how many.
func (s *Store) TrimRuntimeLog(ctx context.Context, projectID string, limits RuntimeLimits, batch int64) (removed int64, err error) {
	err = s.InTx(ctx, func(s *Store) error {
		log, err := s.q.LockRuntimeLog(ctx, projectID)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return translate(err, "project")
		}
		until := min(log.FirstSeq+batch, log.LastSeq+1)
		keep, err := s.q.FirstRuntimeLogLineToKeep(ctx, sqlc.FirstRuntimeLogLineToKeepParams{ProjectID: projectID, First: log.FirstSeq, UntilSeq: until, Overhead: lineOverhead,
			Since: limits.Since, Least: log.LastSeq - limits.Lines + 1, Surplus: log.Bytes - limits.Bytes})
		if err != nil {
			return translate(err, "project")
		}
		if keep == 0 {
			keep = until
		}
		if removed = keep - log.FirstSeq; removed == 0 {
			return nil
		}
		_, err = s.q.DeleteRuntimeLogLines(ctx, keep, projectID, lineOverhead)
		return translate(err, "project")
	})
	return removed, err
}

// timeOrNil returns nil for no time at all, so that it is stored as NULL.
func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
