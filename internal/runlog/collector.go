package runlog

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/store"
)

// AppProcess is the name of the process whose output is collected, in each sandbox
// of a deployment.
const AppProcess = "app"

// CollectorConfig tunes a collector; zero values mean the defaults.
type CollectorConfig struct {
	Owner string        // names this node, also after a restart
	Poll  time.Duration // how often new sandboxes are looked for; 3 s
	Lease time.Duration // how long a node that has fallen silent keeps its sandboxes; 15 s

	Throttle  Throttle
	Retention Retention

	// Secrets are the values that must not be in the log of a deployment. While they
	// cannot be read, nothing is collected; with secret.ErrCannotOpen, Drain drops it.
	Secrets func(ctx context.Context, projectID, deploymentID string) ([]string, error)
	// Ended is called when an app's process has ended and what it printed is stored. It
	// must not wait for anything. Optional.
	Ended func(sandboxID string)
}

// Collector puts what apps print into their projects' runtime logs, from the first
// byte on: the provider keeps the output while nobody reads it, and how far it was
// read is stored together with the lines. Its methods are safe for concurrent use.
type Collector struct {
	cfg      CollectorConfig
	store    *store.Store
	provider sandbox.Provider
	log      *slog.Logger
	writes   chan struct{} // one for each batch being stored

	mu      sync.Mutex
	taps    map[string]*tap
	running context.Context // Run's, nil before
	busy    sync.WaitGroup
}

// A node stores so many batches at once, of so many lines at most, and holds so much of
// one app's lines in memory.
const (
	writesAtOnce = 4
	tapLines     = 2000
	tapBytes     = 2 << 20
)

// NewCollector returns a collector; Run makes it work.
func NewCollector(cfg CollectorConfig, st *store.Store, provider sandbox.Provider, log *slog.Logger) *Collector {
	if cfg.Poll == 0 {
		cfg.Poll = 3 * time.Second
	}
	if cfg.Lease == 0 {
		cfg.Lease = 15 * time.Second
	}
	cfg.Retention = cfg.Retention.orDefaults()
	return &Collector{cfg: cfg, store: st, provider: provider, log: log, writes: make(chan struct{}, writesAtOnce), taps: map[string]*tap{}}
}

// Run collects until ctx ends. It may be called once.
func (c *Collector) Run(ctx context.Context) error {
	c.mu.Lock()
	c.running = ctx
	c.mu.Unlock()
	c.busy.Go(func() { c.keepTrimmed(ctx) })
	tick := time.NewTicker(c.cfg.Poll)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := c.look(ctx); err != nil && ctx.Err() == nil && coderunner.KindOf(err) != coderunner.Unavailable {
			c.log.Warn("looking for apps whose output is to be collected", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	c.mu.Lock()
	c.running = nil
	c.mu.Unlock()
	c.busy.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	return c.store.ReleaseRuntimeCollector(last, c.cfg.Owner)
}

// look begins to follow the sandboxes that are new, and lets go of those that are gone.
func (c *Collector) look(ctx context.Context) error {
	if err := c.store.RenewRuntimeCollector(ctx, c.cfg.Owner, c.cfg.Lease); err != nil {
		return err
	}
	records, err := c.store.Sandboxes(ctx, c.provider.Name())
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, r := range records {
		if r.DeploymentID != "" {
			there[r.ID] = true
			c.tap(r.ID).poke(false)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, t := range c.taps {
		if !there[id] && !t.wanted() {
			t.end()
			delete(c.taps, id)
		}
	}
	return nil
}

// tap answers the one of a sandbox, made if there is none. It has ended when nothing
// is collected.
func (c *Collector) tap(id string) *tap {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.taps[id]; t != nil {
		return t
	}
	t := newTap(c, id)
	if c.running == nil {
		t.end()
		return t
	}
	c.taps[id] = t
	ctx, cancel := context.WithCancel(c.running)
	t.cancel = cancel
	c.busy.Go(func() {
		defer cancel()
		t.run(ctx)
	})
	return t
}

// Nudge says that the app of a sandbox was started just now. Without it, that is
// found out a few seconds later.
func (c *Collector) Nudge(sandboxID string) { c.tap(sandboxID).poke(true) }

// Drain returns when all that a sandbox's app has printed is stored. Call it between
// the app's Stop and the sandbox's Destroy. A sandbox without output is success, and
// so is output that cannot be read or whose secrets cannot be decrypted, which is
// dropped with a line that says so; Unavailable means that it is worth trying again.
func (c *Collector) Drain(ctx context.Context, sandboxID string) error {
	return c.tap(sandboxID).drain(ctx)
}
