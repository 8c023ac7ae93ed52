// Package playbook is the brain: it runs playbooks (deploy, redeploy, rollback,
// restart, stop, start, destroy) against a sandbox provider.
//
// The rows of runs and steps are the truth. River rings the bell: a job says
// "look at this run", and whoever wins the claim, a lease in the run's row with
// an epoch, does the steps that are not done. Every write carries the epoch, so
// that a process that was paused and woke after a takeover is refused. A
// process that cannot renew its lease stops its work before the lease ends; a
// sweep on every node rings again for runs whose lease has run out.
//
// A step looks before it acts and may be done twice. It ends done, failed (the
// user's code), errored (ours; retried with backoff) or cancelled. A run that
// does not succeed undoes its begun steps, last first, on a context that
// outlives the cancellation; what the provider cannot undo for long enough is left
// to the reconciler, so that the run ends.
package playbook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/coderunner/coderunner/internal/appliance"
	"github.com/coderunner/coderunner/internal/bundle"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/runlog"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/secret"
	"github.com/coderunner/coderunner/internal/store"
)

// Config tunes the engine; zero values mean the defaults.
type Config struct {
	Lease         time.Duration // how long a silent owner keeps a run; 6 s
	Sweep         time.Duration // how often runs without an owner are looked for; 2 s
	Builds        int           // installs and builds at once on this node; half of its processors, at least 1
	Tidy          time.Duration // how often all that is kept is looked at; 10 min
	SnapshotBytes int64         // what installed dependencies may take on disk together; 10 GiB
	PackageCache  int64         // what the package cache of one user may take, in bytes; 0 for no caches
	KeepReleases  int           // how many deployments of a project can be rolled back to; 10
	HealthTimeout time.Duration // how long an app may take to answer; 60 s
	RetryFor      time.Duration // how long a step of ours is retried; 90 s
	RunFor        time.Duration // how long a run may take, its wait for a place to build aside; 2 h
	Reconcile     time.Duration // how often the provider is compared with what we believe; 10 s

	PublicURL      func(slug string) (host, url string)
	CABundle       string                                                           // path inside the sandbox of the CA bundle for build steps, "" for none
	Sources        coderunner.Sources                                               // of packages, for builds and apps
	LocalNetworks  string                                                           // that no proxy is asked for, as NO_PROXY is written
	NodeJS         func(ctx context.Context, version string) (io.ReadCloser, error) // opens a version as a tar stream, see fetch.NodeJS
	AppLimits      sandbox.Limits
	DatabaseLimits sandbox.Limits
	Room           func() error // refuses what needs new disk while there is too little; nil allows all
	Ended          func()       // told when a run has ended and what it leaves has been tidied; may be nil
	Output         Output
}

// Edge is what the engine needs of the reverse proxy.
type Edge struct {
	Refresh func(ctx context.Context) error                                                      // reads the routes again
	Probe   func(ctx context.Context, host, path string) (sandbox string, status int, err error) // requests through the edge
	Drain   func(ctx context.Context, sandbox string) error                                      // waits for its requests to end
}

// Variables answers a project's environment variables, decrypted.
type Variables func(ctx context.Context, projectID string) (coderunner.Variables, error)

// Engine runs playbooks. Its methods are safe for concurrent use.
type Engine struct {
	cfg       Config
	store     *store.Store
	provider  sandbox.Provider
	snapshots sandbox.Snapshotter
	slots     *slots
	untidy    chan string   // projects whose run has ended
	nudged    chan struct{} // has one element when the provider should be looked at now
	catalogue *appliance.Catalogue
	bundles   *bundle.Store
	keys      *secret.KeyRing
	variables Variables
	hub       *runlog.Hub
	edge      Edge
	log       *slog.Logger
	owner     string
	playbooks map[string]playbook
	caches    sync.Map // of a *sync.RWMutex for each cache volume, see cacheUse
	queue     atomic.Pointer[river.Client[pgx.Tx]]
	working   context.Context // of Start
	busy      sync.WaitGroup
	mu        sync.Mutex
	stopped   bool // nothing more is begun
	// breakpoint, when set by a test, is called as a step begins and after its
	// work, before that is recorded.
	breakpoint func(step string, done bool)
}

// New assembles an engine; Start makes it work.
func New(cfg Config, st *store.Store, provider sandbox.Provider, catalogue *appliance.Catalogue, bundles *bundle.Store, keys *secret.KeyRing, variables Variables, hub *runlog.Hub, edge Edge, log *slog.Logger) *Engine {
	cfg.Lease = orDefault(cfg.Lease, 6*time.Second)
	cfg.Sweep = orDefault(cfg.Sweep, 2*time.Second)
	cfg.Builds = orDefault(cfg.Builds, max(1, runtime.NumCPU()/2))
	cfg.Tidy = orDefault(cfg.Tidy, 10*time.Minute)
	cfg.SnapshotBytes = orDefault(cfg.SnapshotBytes, 10<<30)
	cfg.KeepReleases = orDefault(cfg.KeepReleases, 10)
	cfg.HealthTimeout = orDefault(cfg.HealthTimeout, time.Minute)
	cfg.RetryFor = orDefault(cfg.RetryFor, 90*time.Second)
	cfg.RunFor = orDefault(cfg.RunFor, 2*time.Hour)
	cfg.Reconcile = orDefault(cfg.Reconcile, 10*time.Second)
	host, _ := os.Hostname()
	e := &Engine{cfg: cfg, store: st, provider: provider, catalogue: catalogue, bundles: bundles, keys: keys, variables: variables, hub: hub, edge: edge, log: log,
		owner: fmt.Sprintf("%s/%d/%d", host, os.Getpid(), time.Now().UnixNano())}
	e.slots, e.nudged, e.untidy = newSlots(cfg.Builds), make(chan struct{}, 1), make(chan string, 64)
	e.snapshots, _ = provider.(sandbox.Snapshotter)
	e.playbooks = map[string]playbook{DeployPlaybook: deployPlaybook(), RedeployPlaybook: deployPlaybook(), RollbackPlaybook: rollbackPlaybook(),
		RestartPlaybook: restartPlaybook(), StartPlaybook: restartPlaybook(), StopPlaybook: stopPlaybook(), DestroyPlaybook: destroyPlaybook(),
		AttachPlaybook: attachPlaybook(), DetachPlaybook: detachPlaybook(), DeleteDatabasePlaybook: deleteDatabasePlaybook()}
	return e
}

func orDefault[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}

// runJob is the bell: it carries nothing but which run to look at.
type runJob struct {
	RunID string `json:"run_id"`
}

func (runJob) Kind() string { return "run" }

type runWorker struct {
	river.WorkerDefaults[runJob]
	engine *Engine
}

// A job only rings: it is done as soon as somebody looks at the run. Our lease is what notices a dead owner.
const (
	jobTimeout  = time.Minute
	rescueAfter = 5 * time.Minute
	queueKeeps  = time.Hour
)

func (w *runWorker) Work(_ context.Context, job *river.Job[runJob]) error {
	w.engine.take(job.Args.RunID)
	return nil
}

// take looks at a run, beside whoever calls: however many runs wait for a place to
// build, they are not in the way of those that need none. Whoever has begun a run calls
// it at once; the queue rings for the runs of nodes that could not.
func (e *Engine) take(runID string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopped {
		return // it is left for the next process
	}
	e.busy.Go(func() {
		if err := e.execute(e.working, runID); err != nil {
			// The sweep rings again; River's own retry would only do the same later.
			e.log.Error("a run stopped before its end; it will be resumed", "run", runID, "err", err)
		}
	})
}

// Start begins to take runs from the queue, until ctx ends. It returns at once.
// Wait returns when the work in progress has been put down.
func (e *Engine) Start(ctx context.Context) error {
	e.working = ctx
	workers := river.NewWorkers()
	river.AddWorker(workers, &runWorker{engine: e})
	queue, err := river.NewClient(riverpgxv5.New(e.store.Pool()), &river.Config{
		Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 64}},
		Workers:           workers,
		FetchCooldown:     10 * time.Millisecond,
		FetchPollInterval: time.Second,
		JobTimeout:        jobTimeout,
		// A job says nothing that its run does not: it need not be kept.
		CompletedJobRetentionPeriod: queueKeeps, CancelledJobRetentionPeriod: queueKeeps, DiscardedJobRetentionPeriod: queueKeeps,
		RescueStuckJobsAfter: rescueAfter,
		MaxAttempts:          1,
		Logger:               slog.New(quiet{e.log.Handler()}),
	})
	if err != nil {
		return fmt.Errorf("setting up the queue: %w", err)
	}
	e.queue.Store(queue)
	if err := queue.Start(ctx); err != nil {
		return fmt.Errorf("starting the queue: %w", err)
	}
	for _, work := range []func(context.Context){e.sweep, e.reconcile, e.keepTidy} {
		e.busy.Go(func() { work(ctx) })
	}
	return nil
}

// Wait returns when the engine has stopped after the end of Start's context.
// Runs in progress are left as they are, released for the next process.
func (e *Engine) Wait() {
	if queue := e.queue.Load(); queue != nil {
		<-queue.Stopped()
	}
	e.mu.Lock()
	e.stopped = true
	e.mu.Unlock()
	e.busy.Wait()
}

// sweep rings for runs that wait: queued ones whose bell was lost, and those whose owner fell silent.
func (e *Engine) sweep(ctx context.Context) {
	tick := time.NewTicker(e.cfg.Sweep)
	defer tick.Stop()
	for {
		ids, err := e.store.ClaimableRuns(ctx)
		for _, id := range ids {
			if _, ringErr := e.queue.Load().Insert(ctx, runJob{RunID: id}, nil); ringErr != nil {
				err = ringErr
				break
			}
		}
		if err != nil && ctx.Err() == nil && coderunner.KindOf(err) != coderunner.Unavailable {
			e.log.Error("looking for runs without an owner", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

var (
	errCancelled = errors.New("cancelled by the user")
	errTooLong   = errors.New("the run took too long")
	errSibling   = errors.New("another step of the run has failed")
)

// quiet keeps River's routine messages out of our log.
type quiet struct{ slog.Handler }

func (q quiet) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelError }
