package playbook

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coderunner/coderunner/internal/store"
)

// keepLease renews until owned ends. It stops the work when a cancel was asked
// for, and everything when the lease is lost or cannot be renewed in time.
func (x *execution) keepLease(owned context.Context, disown, stop context.CancelCauseFunc) {
	wake, unsubscribe := x.e.hub.Subscribe(x.run.ID)
	defer unsubscribe()
	lease := x.e.cfg.Lease
	tick := time.NewTicker(lease / 3)
	defer tick.Stop()
	// The lease is trusted for less than its length: the claim was made some time ago.
	trusted := time.Now().Add(lease * 3 / 4)
	for {
		renew := false
		select {
		case <-owned.Done():
			return
		case <-tick.C:
			renew = true
		case <-wake: // mostly by what the run itself writes: a renewal would be in its way
		}
		asked := time.Now()
		ctx, cancel := context.WithDeadline(owned, trusted)
		var cancelled bool
		var err error
		if renew {
			cancelled, err = x.e.store.RenewRun(ctx, x.lease, lease)
		} else {
			cancelled, err = x.e.store.LeaseHolds(ctx, x.lease)
		}
		cancel()
		switch {
		case err == nil:
			if renew {
				trusted = asked.Add(lease * 3 / 4)
			}
			if cancelled {
				stop(errCancelled)
			}
		case errors.Is(err, store.ErrLeaseLost):
			disown(err)
			return
		case time.Now().After(trusted.Add(-lease / 4)):
			disown(fmt.Errorf("the lease could not be renewed in time: %w", err))
			return
		}
	}
}

// abandon leaves a run for the next owner: nothing is undone, the lease is given
// back where it can be.
func (x *execution) abandon(owned context.Context, why error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(owned), 2*time.Second)
	defer cancel()
	if x.log != nil && !errors.Is(why, store.ErrLeaseLost) {
		_ = x.log.Close(ctx)
	}
	if err := x.e.store.ReleaseRun(ctx, x.lease); err != nil {
		return errors.Join(why, err)
	}
	return why
}

// limit ends a run's work once this owner's turn has taken too long. While the run waits for
// others it stands still.
type limit struct {
	timer *time.Timer
	left  time.Duration
	since time.Time
}

func newLimit(d time.Duration, end func()) *limit {
	return &limit{timer: time.AfterFunc(d, end), left: d, since: time.Now()}
}

// pause and resume are called in turn.
func (l *limit) pause() {
	l.timer.Stop()
	l.left -= time.Since(l.since)
}

func (l *limit) resume() {
	l.since = time.Now()
	l.timer.Reset(l.left)
}
