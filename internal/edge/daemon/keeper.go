package daemon

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// Keeper keeps an edge of this build and these settings running for `serve`.
type Keeper struct {
	Config
	// Within makes the edge a part of this process, which ends with Close: for tests.
	Within bool

	mu      sync.Mutex
	address string             // that the edge has; a restart must not change it
	end     context.CancelFunc // of an edge within, nil without
	ended   chan struct{}
}

// Ensure adopts the edge that runs, or starts one, which takes over from one of
// another build or with other settings.
func (k *Keeper) Ensure(ctx context.Context) (Status, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	build, err := executableID()
	if err != nil {
		return Status{}, err
	}
	status, err := look(ctx, k.DataDir)
	switch {
	case err == nil && status.Build == build && k.suits(status):
	case err == nil || isGone(err):
		if status, err = k.start(ctx); err != nil {
			return Status{}, err
		}
	case ctx.Err() != nil:
		return Status{}, ctx.Err()
	default:
		k.Log.Error("the edge runs and does not answer; it is ended", "err", err)
		if err := kill(ctx, k.DataDir); err != nil {
			return Status{}, err
		}
		if status, err = k.start(ctx); err != nil {
			return Status{}, err
		}
	}
	k.address = status.Address
	return status, nil
}

// suits reports whether a running edge has these settings.
func (k *Keeper) suits(s Status) bool {
	want := k.Settings
	want.Listen = s.Listen
	return want == s.Settings && satisfies(k.Listen, s.Listen, s.Address)
}

// start is called with mu held.
func (k *Keeper) start(ctx context.Context) (Status, error) {
	cfg := k.Config
	if k.address != "" {
		cfg.Listen = k.address
	}
	if !k.Within {
		return startProcess(ctx, cfg)
	}
	within, end := context.WithCancel(context.WithoutCancel(ctx))
	ready, failed, ended := make(chan Status, 1), make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		if err := Run(within, cfg, func(s Status) { ready <- s }); err != nil {
			k.Log.Error("the edge ended", "err", err)
			failed <- err
		}
	}()
	select {
	case s := <-ready:
		k.end, k.ended = end, ended
		return s, nil
	case err := <-failed:
		end()
		return Status{}, err
	case <-ctx.Done():
		end()
		<-ended
		return Status{}, ctx.Err()
	}
}

// Watch starts the edge again whenever it ends, until ctx does; then each time
// restarted is called.
func (k *Keeper) Watch(ctx context.Context, restarted func()) {
	const first, most = 100 * time.Millisecond, 5 * time.Second
	for wait := first; ; {
		untilGone(ctx, k.DataDir)
		if ctx.Err() != nil {
			return
		}
		k.Log.Warn("the edge ended without being asked to; it is started again")
		_, err := k.Ensure(ctx)
		if err == nil {
			wait = first
			restarted()
			continue
		}
		if ctx.Err() == nil {
			k.Log.Error("the edge does not start; apps cannot be reached", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, most)
	}
}

// Close ends an edge that is within this process. One of its own goes on.
func (k *Keeper) Close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.end != nil {
		k.end()
		<-k.ended
		k.end = nil
	}
}

// look asks the edge that accepts, without waiting for one to come.
func look(ctx context.Context, dataDir string) (s Status, err error) {
	return s, ask(ctx, currentSocket(dataDir), answerTime, call{http.MethodGet, "/v1/status", nil, &s})
}

// untilGone returns when the edge that accepts now has ended.
func untilGone(ctx context.Context, dataDir string) {
	res, err := send(ctx, currentSocket(dataDir), call{http.MethodGet, "/v1/alive", nil, nil})
	if err != nil {
		return
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
}

// Stop ends all edges of a data directory, and returns when they have.
func Stop(ctx context.Context, dataDir string) error {
	sockets, err := leavingSockets(dataDir)
	if err != nil {
		return err
	}
	for _, socket := range append(sockets, currentSocket(dataDir)) {
		p, err := processAt(ctx, socket)
		if err != nil {
			return err
		}
		if p == nil {
			continue
		}
		err = ask(ctx, socket, answerTime, call{http.MethodPost, "/v1/stop", nil, nil})
		if err == nil || isGone(err) {
			err = p.wait(ctx, stopTime+answerTime)
		}
		if err != nil {
			err = p.kill(ctx)
		}
		p.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// kill ends the edge that does not answer any more.
func kill(ctx context.Context, dataDir string) error {
	p, err := processAt(ctx, currentSocket(dataDir))
	if err != nil {
		return coderunner.Wrap(err, coderunner.Unavailable, "The edge does not answer and cannot be ended. Run make down, then start again.")
	}
	if p == nil {
		return nil // it has ended meanwhile
	}
	defer p.Close()
	return p.kill(ctx)
}
