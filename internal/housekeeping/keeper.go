// Package housekeeping looks after the server's disks: it measures what is stored,
// removes what need not be kept, and says when there is too little room for anything
// new.
//
// It looks at the room every few seconds, which costs nothing, and at everything else every
// few minutes, after each run, and at once when the room becomes short. What it
// removes is what the platform made and names itself; nothing is found by a pattern
// alone. Each pass may end anywhere and is continued by the next.
//
// While less than MinFree percent of a disk are free, Room refuses what needs disk,
// and passes keep less than usual. At the very end of the disk a reserve is given
// up, see ballast.
package housekeeping

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/coderunner/coderunner/internal/bundle"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/store"
)

// Config says what is looked after. Zero values mean the defaults.
type Config struct {
	DataDir   string
	EngineDir string // where sandboxes and snapshots are; may be on another disk
	MinFree   int    // percent; 10
	Retention coderunner.Retention

	Look time.Duration // how often the room is looked at; 2 s
	Pass time.Duration // how often all else is; 10 min
	Rest time.Duration // between two passes, however often one is asked for; 30 s

	// ProjectOf answers whose a volume is, by its labels; "" for nobody's.
	ProjectOf func(labels map[string]string) string
	// Engine measures what the sandbox engine stores beside snapshots and volumes. Optional.
	Engine func(ctx context.Context) ([]coderunner.Stored, error)
	// DropTemplates removes those that nobody has wanted for a while. Optional.
	DropTemplates func(ctx context.Context) (int, error)
	// Squeeze removes caches and snapshots that can be made again. Optional.
	Squeeze func(ctx context.Context) error
}

// DefaultRetention is how long things are kept where nobody says otherwise.
func DefaultRetention() coderunner.Retention {
	return coderunner.Retention{Uploads: 24 * time.Hour, Releases: 10, DependencyBytes: 10 << 30,
		RunLogs: 30 * 24 * time.Hour, RunLogsOf: 50, History: 30 * 24 * time.Hour, HistoryOf: 200, Audit: 180 * 24 * time.Hour}
}

// Keeper is safe for concurrent use.
type Keeper struct {
	cfg      Config
	store    *store.Store
	bundles  *bundle.Store
	provider sandbox.Provider
	log      *slog.Logger
	asked    chan struct{} // has one element when a pass is wanted
	took     time.Duration // the last measurement; for Run alone

	mu       sync.Mutex
	disk     coderunner.Disk
	projects map[string][]coderunner.Stored
}

// New assembles a keeper; Run makes it work.
func New(cfg Config, st *store.Store, bundles *bundle.Store, provider sandbox.Provider, log *slog.Logger) *Keeper {
	for value, fallback := range map[*time.Duration]time.Duration{&cfg.Look: 2 * time.Second, &cfg.Pass: 10 * time.Minute, &cfg.Rest: 30 * time.Second} {
		if *value == 0 {
			*value = fallback
		}
	}
	if cfg.MinFree == 0 {
		cfg.MinFree = 10
	}
	if cfg.Retention == (coderunner.Retention{}) {
		cfg.Retention = DefaultRetention()
	}
	k := &Keeper{cfg: cfg, store: st, bundles: bundles, provider: provider, log: log, asked: make(chan struct{}, 1)}
	k.disk = coderunner.Disk{MinFree: cfg.MinFree, Retention: cfg.Retention}
	return k
}

// Disk is what was last observed. What it refers to is not changed any more.
func (k *Keeper) Disk() coderunner.Disk {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.disk
}

// Project is what a project stores, as last measured. at is nil where nothing was
// found: then it stores nothing, or has come since.
func (k *Keeper) Project(id string) (stored []coderunner.Stored, at *time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if stored = k.projects[id]; len(stored) == 0 {
		return nil, nil
	}
	return stored, k.disk.MeasuredAt
}

// Room looks at the disks now and refuses what needs more of them while there is too
// little: Unavailable, with how much is free and what to do.
func (k *Keeper) Room() error {
	found, err := k.look()
	if err != nil {
		return err
	}
	return coderunner.Disk{FileSystems: found, MinFree: k.cfg.MinFree}.Room()
}

// Ask wants a pass soon: something has ended, and may leave what need not be kept.
func (k *Keeper) Ask() {
	select {
	case k.asked <- struct{}{}:
	default: // it is wanted already
	}
}

// Run works until ctx ends. Its first pass begins at once.
func (k *Keeper) Run(ctx context.Context) error {
	var background sync.WaitGroup
	background.Go(func() { k.watch(ctx) })
	defer background.Wait()
	tick := time.NewTicker(k.cfg.Pass)
	defer tick.Stop()
	for {
		k.pass(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(k.cfg.Rest):
		}
		select {
		case <-ctx.Done():
			return nil
		case <-k.asked:
		case <-tick.C:
		}
	}
}

// watch looks at the room again and again, until ctx ends. When it becomes short, a
// pass is asked for at once, and again with each look while it lasts.
func (k *Keeper) watch(ctx context.Context) {
	tick := time.NewTicker(k.cfg.Look)
	defer tick.Stop()
	short, full := false, false
	for {
		found, err := k.look()
		if err != nil {
			k.log.Warn("looking at the disks", "err", err)
		} else {
			k.mu.Lock()
			k.disk.FileSystems = found
			refusal := k.disk.Room()
			k.mu.Unlock()
			if short != (refusal != nil) {
				short = refusal != nil
				k.log.Warn("the disk's state has changed", "short", short, "why", refusal)
			}
			if short {
				k.Ask()
			}
			if full, err = k.balance(!short, full); err != nil {
				k.log.Warn("keeping the reserve", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// pass removes what need not be kept, and measures what is left when that is due.
func (k *Keeper) pass(ctx context.Context) {
	cleaned := k.clean(ctx, k.Room() != nil)
	if len(cleaned.Removed) > 0 {
		k.log.Info("removed what need not be kept", "pressed", cleaned.Pressed, "removed", cleaned.Removed)
	}
	k.mu.Lock()
	k.disk.Cleaned = &cleaned
	last := k.disk.MeasuredAt
	k.mu.Unlock()
	if last != nil && time.Since(*last) < measureShare*k.took || ctx.Err() != nil {
		return
	}
	begin := time.Now()
	found, err := k.measure(ctx)
	k.took = time.Since(begin)
	if err != nil {
		if ctx.Err() == nil {
			k.log.Warn("measuring what is stored", "err", err)
		}
		return
	}
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.disk.Stored, k.disk.Tables, k.disk.Orphans, k.disk.MeasuredAt, k.projects = found.all, found.tables, found.orphans, &now, found.projects
}

// measureShare: at most a hundredth of the time is spent on measuring.
const measureShare = 100

// byKind adds up what there is of each kind, in a lasting order.
func byKind(list []coderunner.Stored) []coderunner.Stored {
	sums := map[coderunner.StoredKind]coderunner.Stored{}
	for _, s := range list {
		sum := sums[s.Kind]
		sums[s.Kind] = coderunner.Stored{Kind: s.Kind, Count: sum.Count + s.Count, Bytes: sum.Bytes + s.Bytes}
	}
	order := func(a, b coderunner.Stored) int {
		return slices.Index(coderunner.StoredKinds(), a.Kind) - slices.Index(coderunner.StoredKinds(), b.Kind)
	}
	return slices.SortedFunc(maps.Values(sums), order)
}
