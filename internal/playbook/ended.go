package playbook

import (
	"context"
	"syscall"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/diagnosis"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// sandboxEndTime is how much later than what ran in it a sandbox is seen to have ended.
const sandboxEndTime = time.Second

// endedWithSandbox reports whether a process ended because its whole sandbox did:
// by a reboot of the machine, or somebody on it. That is no fault of the user's.
func (x *execution) endedWithSandbox(ctx context.Context, name string, exit sandbox.Exit) (bool, error) {
	if exit.OOMKilled || exit.OverDisk || exit.TimedOut {
		return false, nil
	}
	for deadline := time.Now().Add(sandboxEndTime); ; {
		info, err := x.e.provider.Get(ctx, name)
		if coderunner.KindOf(err) == coderunner.NotFound || err == nil && info.State == sandbox.StateStopped {
			return true, nil
		}
		if err != nil || exit.Signal != int(syscall.SIGKILL) || time.Now().After(deadline) {
			return false, err
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// overDisk is how much a sandbox may write, of one that was ended because it wrote more; else 0.
func (x *execution) overDisk(exit sandbox.Exit) int64 {
	if !exit.OverDisk {
		return 0
	}
	return x.e.cfg.AppLimits.DiskBytes
}

// sandboxEnded is an error of ours, so that what was cut off is done again.
func sandboxEnded() error {
	return coderunner.Errorf(coderunner.Unavailable, "The sandbox was ended from outside.")
}

// appEnded says why an app that was to run has ended. One whose sandbox was ended
// is started again, and the error is one of those after which a step is tried again.
func (st *step) appEnded(ctx context.Context, status sandbox.ProcessStatus) error {
	outside, err := st.endedWithSandbox(ctx, st.appSandbox(), status.Exit)
	if err != nil {
		return err
	}
	if outside {
		if err := startApp(ctx, st); err != nil {
			return err
		}
		return sandboxEnded()
	}
	return st.printing().diagnose(ctx, diagnosis.Evidence{Step: "start", Command: st.deployment.Plan.Start.Value, Exited: true, ExitCode: status.Exit.Code, Signal: status.Exit.Signal,
		OOMKilled: status.Exit.OOMKilled, OverDisk: st.overDisk(status.Exit), Uptime: status.EndedAt.Sub(status.StartedAt)})
}

// stillRuns is nil while the app runs, and says why it does not.
func (st *step) stillRuns(ctx context.Context) error {
	status, err := st.e.provider.Process(ctx, st.appSandbox(), appProcess)
	if err != nil && coderunner.KindOf(err) != coderunner.NotFound {
		return err
	}
	if err == nil && status.Running {
		return nil
	}
	return st.appEnded(ctx, status)
}

// printing is the step whose log has what the app prints.
func (st *step) printing() *step {
	for _, other := range st.steps {
		if other.Name == "health" {
			return other
		}
	}
	return st
}
