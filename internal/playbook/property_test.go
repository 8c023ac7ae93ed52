package playbook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/coderunner/coderunner/appliances"
	"github.com/coderunner/coderunner/internal/appliance"
	"github.com/coderunner/coderunner/internal/bundle"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/project"
	"github.com/coderunner/coderunner/internal/runlog"
	"github.com/coderunner/coderunner/internal/secret"
	"github.com/coderunner/coderunner/internal/store"
	"github.com/coderunner/coderunner/internal/testdb"
)

// seedVariable repeats a run of the property test that went wrong.
const seedVariable = "PLAYBOOK_SEED"

const (
	propertyTime     = 15 * time.Second // of clicks and faults
	propertyEngines  = 3
	propertyProjects = 3
)

// chance is randomness that several goroutines share.
type chance struct {
	mu  sync.Mutex
	rnd *mathrand.Rand
}

// n is one of 0, 1, … n-1.
func (c *chance) n(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rnd.IntN(n)
}

// property is several engines on one database and one cloud.
type property struct {
	t       *testing.T
	dsn     string
	dir     string
	chance  *chance
	cloud   *cloud
	store   *store.Store // ours, which no fault cuts off
	bundles *bundle.Store
	samples []sample
	other   coderunner.User
	change  func(ctx context.Context, e *Engine) // of an engine before it starts; nil for none

	mu      sync.Mutex
	calm    bool // no more faults
	engines []*node
}

// node is one engine, as in a process of its own.
type node struct {
	engine *Engine
	wire   *wire
	pool   *pgxpool.Pool
	cancel context.CancelFunc
}

// wire is a node's way to the database, which can be cut for good.
type wire struct {
	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
}

func (w *wire) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut {
		conn.Close()
		return nil, net.ErrClosed
	}
	w.conns[conn] = true
	return conn, nil
}

func (w *wire) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = true
	for conn := range w.conns {
		conn.Close()
	}
}

// TestStateMachine lets two users click and things break at random, on several
// engines at once, and wants every change that can be seen to be a legal one.
func TestStateMachine(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv(seedVariable); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("the seed is %d; %s=%d repeats the clicks", seed, seedVariable, seed)
	p := newProperty(t, seed)
	ctx, stop := context.WithTimeout(t.Context(), propertyTime)
	defer stop()
	seen := newObserver(p.store, p.samples)
	var work sync.WaitGroup
	for _, s := range p.samples {
		work.Go(func() { p.clicks(ctx, s) })
		work.Go(func() { p.strangers(ctx, s) })
	}
	work.Go(func() { p.breaks(ctx) })
	watching, unwatch := context.WithCancel(t.Context())
	watched := make(chan error, 1)
	go func() { watched <- seen.watch(watching) }()
	work.Wait()

	p.mu.Lock()
	p.calm = true
	p.mu.Unlock()
	deadline := time.Now().Add(time.Minute)
	for {
		err := p.settled(t.Context())
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("when all was quiet: %v", err)
			break
		}
		time.Sleep(20 * time.Millisecond) // not everything tells when it changes
	}
	unwatch()
	if err := <-watched; err != nil {
		t.Error(err)
	}
	t.Logf("%d looks saw %d runs of %d projects and %d changes", seen.looks, len(seen.runs), len(p.samples), seen.changes)
	if len(seen.runs) < 20 || seen.changes < 100 {
		t.Error("too little has happened to prove anything")
	}
}

func newProperty(t *testing.T, seed uint64) *property {
	t.Helper()
	p := prepareProperty(t, seed)
	p.start(propertyEngines)
	return p
}

// prepareProperty is a property without an engine.
func prepareProperty(t *testing.T, seed uint64) *property {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(server.Close)
	p := &property{t: t, dsn: testdb.New(t), dir: t.TempDir(), chance: &chance{rnd: mathrand.New(mathrand.NewPCG(seed, seed))}, cloud: newCloud(server.Listener.Addr().String())}
	var err error
	if p.store, err = store.Open(t.Context(), p.dsn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.store.Close)
	if p.bundles, err = bundle.Open(p.dir, bundle.Limits{}); err != nil {
		t.Fatal(err)
	}
	if p.other, err = p.store.CreateUser(t.Context(), "stranger@example.com", "x"); err != nil {
		t.Fatal(err)
	}
	maker := &platform{store: p.store, bundles: p.bundles}
	for i := range propertyProjects {
		s, err := maker.newSample(t.Context(), fmt.Sprintf("p%d", i), map[string]string{"index.js": "x"})
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 { // all of one owner would be as good; the names tell them apart
			s.plan.Build.Value = ""
		}
		p.samples = append(p.samples, s)
	}
	return p
}

// start starts so many engines.
func (p *property) start(engines int) {
	for range engines {
		p.engines = append(p.engines, p.newNode())
	}
	p.t.Cleanup(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, n := range p.engines {
			n.end()
		}
	})
}

// newNode starts an engine.
func (p *property) newNode() *node {
	n := &node{wire: &wire{conns: map[net.Conn]bool{}}}
	cfg, err := pgxpool.ParseConfig(p.dsn)
	if err != nil {
		p.t.Error(err)
		return n
	}
	cfg.ConnConfig.DialFunc, cfg.MaxConns = n.wire.dial, 16
	var ctx context.Context
	ctx, n.cancel = context.WithCancel(context.Background())
	if n.pool, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		p.t.Error(err)
		return n
	}
	st := store.New(n.pool)
	catalogue, err := appliance.Load(appliances.FS)
	if err != nil {
		p.t.Error(err)
	}
	keys, err := secret.Open(p.dir + "/keyring")
	if err != nil {
		p.t.Error(err)
	}
	hub := runlog.NewHub(st)
	go hub.Run(ctx)
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("PLAYBOOK_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	provider := &fake{cloud: p.cloud, fault: func(ctx context.Context, call string) error { return p.fault(ctx, n, call) }, exit: p.exit}
	edge := Edge{Refresh: func(context.Context) error { return nil }, Drain: func(context.Context, string) error { return nil },
		Probe: func(ctx context.Context, host, _ string) (string, int, error) { return p.probe(ctx, host) }}
	n.engine = New(Config{Lease: 900 * time.Millisecond, Sweep: 100 * time.Millisecond, Builds: 2, HealthTimeout: 2 * time.Second, RetryFor: 2 * time.Second, Reconcile: 100 * time.Millisecond, Tidy: 300 * time.Millisecond,
		PublicURL: func(slug string) (string, string) { return slug + ".apps.test", "http://" + slug + ".apps.test" }},
		st, provider, catalogue, p.bundles, keys, project.New(st, p.bundles, keys).Decrypted, hub, edge, log)
	if p.change != nil {
		p.change(ctx, n.engine)
	}
	if err := n.engine.Start(ctx); err != nil {
		p.t.Error(err)
	}
	return n
}

// end stops a node as a server that is told to.
func (n *node) end() {
	n.cancel()
	n.engine.Wait()
	n.pool.Close()
}

// crash ends a node without giving it time to write anything down.
func (n *node) crash() {
	n.wire.end()
	n.cancel()
}

// probe is what the edge answers for a host.
func (p *property) probe(ctx context.Context, host string) (string, int, error) {
	routes, err := p.store.Routes(ctx)
	if err != nil {
		return "", 0, err
	}
	for _, r := range routes {
		if r.Host == host && !r.Stopped {
			if p.cloud.runs(r.SandboxID) {
				return r.SandboxID, http.StatusOK, nil
			}
			return r.SandboxID, http.StatusBadGateway, nil
		}
	}
	return "", http.StatusNotFound, nil
}

// fault is asked around each call of a node that changes its cloud.
func (p *property) fault(ctx context.Context, n *node, call string) error {
	p.mu.Lock()
	calm := p.calm
	p.mu.Unlock()
	if calm {
		return ctx.Err()
	}
	switch dice := p.chance.n(100); {
	case dice < 4:
		return coderunner.Errorf(coderunner.Unavailable, "The cloud does not answer (%s).", call)
	case dice < 5:
		n.crash()
		<-ctx.Done()
	case dice < 20:
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(1+p.chance.n(40)) * time.Millisecond):
		}
	case dice < 21: // the process stands still for longer than its lease
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return ctx.Err()
}

// exit is how a command of a user's ends.
func (p *property) exit() int {
	if p.chance.n(20) == 0 {
		return 1
	}
	return 0
}

// breaks replaces nodes that crashed, takes leases away and kills sandboxes.
func (p *property) breaks(ctx context.Context) {
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			p.revive()
			return
		case <-tick.C:
		}
		p.revive()
		switch p.chance.n(20) {
		case 0:
			_, _ = p.store.Pool().Exec(ctx, "UPDATE runs SET lease_expires_at = now() - interval '1 second' WHERE state IN ('RUNNING', 'CANCELLING')")
		case 1, 2:
			p.cloud.kill(p.chance.n)
		}
	}
}

// revive starts a node in the place of each that has crashed.
func (p *property) revive() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, n := range p.engines {
		n.wire.mu.Lock()
		cut := n.wire.cut
		n.wire.mu.Unlock()
		if cut {
			go n.end()
			p.engines[i] = p.newNode()
		}
	}
}

// some is one of the nodes.
func (p *property) some() *Engine {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.engines[p.chance.n(len(p.engines))].engine
}

// clicks are the owner's. Some destroy the project, in the middle of whatever happens to it; once it
// is gone there is another.
func (p *property) clicks(ctx context.Context, s sample) {
	for ctx.Err() == nil {
		e := p.some()
		book := []string{DeployPlaybook, DeployPlaybook, RedeployPlaybook, RollbackPlaybook, RestartPlaybook, StartPlaybook, StopPlaybook, StopPlaybook, "cancel", "cancel",
			AttachPlaybook, AttachPlaybook, DetachPlaybook, DetachPlaybook, DeleteDatabasePlaybook}[p.chance.n(15)]
		if p.chance.n(30) == 0 {
			book = DestroyPlaybook
		}
		err := p.click(ctx, e, s, s.user.ID, book)
		switch kind := coderunner.KindOf(err); {
		case err == nil, ctx.Err() != nil, kind == coderunner.Conflict, kind == coderunner.Unavailable:
		case kind == coderunner.NotFound && book != DeployPlaybook && book != StopPlaybook:
		case errors.Is(err, context.Canceled), errors.Is(err, net.ErrClosed), errors.Is(err, errNothingThere): // the node crashed meanwhile
		default:
			p.t.Errorf("%s answers its owner %v", book, err)
		}
		select {
		case <-ctx.Done():
			continue
		case <-time.After(time.Duration(5+p.chance.n(250)) * time.Millisecond):
		}
		if now, err := p.store.ProjectByID(ctx, s.project.ID); err == nil && now.DestroyedAt != nil {
			p.click(ctx, p.some(), s, s.user.ID, DeployPlaybook) //nolint:errcheck // what comes of it, the observer sees
			if next, err := p.another(ctx, s); err == nil {
				s = next
			}
		}
	}
	if p.chance.n(2) == 0 {
		for try := 0; try < 20; try++ {
			if _, err := p.some().Destroy(context.WithoutCancel(ctx), s.user.ID, s.project.ID, s.project.Name); err == nil {
				return
			}
		}
	}
}

// another is a new sample in the place of one whose project is gone.
func (p *property) another(ctx context.Context, s sample) (sample, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	plan := s.plan
	s, err := (&platform{store: p.store, bundles: p.bundles}).newSample(ctx, fmt.Sprintf("p%d", len(p.samples)), map[string]string{"index.js": "x"})
	s.plan = plan
	if err == nil {
		p.samples = append(p.samples, s)
	}
	return s, err
}

var errNothingThere = errors.New("nothing there to click on")

// click is one of a user's, on a project of the sample's owner.
func (p *property) click(ctx context.Context, e *Engine, s sample, userID, book string) (err error) {
	switch book {
	case DeployPlaybook:
		var databases []string
		if p.chance.n(3) == 0 {
			databases = []string{"postgres-15"}
		}
		_, _, err = e.Deploy(ctx, userID, DeployRequest{ProjectID: s.project.ID, BundleID: s.bundle.ID, Plan: s.plan, Databases: databases})
	case RedeployPlaybook:
		_, _, err = e.Redeploy(ctx, userID, s.project.ID)
	case RollbackPlaybook:
		all, listErr := p.store.ProjectDeployments(ctx, s.user.ID, s.project.ID, 20, 0)
		if listErr != nil || len(all) == 0 {
			return errors.Join(errNothingThere, listErr)
		}
		_, _, err = e.Rollback(ctx, userID, all[p.chance.n(len(all))].ID)
	case RestartPlaybook:
		_, err = e.RestartApp(ctx, userID, s.project.ID)
	case StartPlaybook:
		_, err = e.StartApp(ctx, userID, s.project.ID)
	case StopPlaybook:
		_, err = e.StopApp(ctx, userID, s.project.ID, p.chance.n(2) == 0)
	case AttachPlaybook:
		_, err = e.AttachDatabase(ctx, userID, s.project.ID, "postgres-15", p.chance.n(2) == 0)
	case DetachPlaybook:
		_, err = e.DetachDatabase(ctx, userID, s.project.ID, "postgres-15", p.chance.n(2) == 0)
	case DeleteDatabasePlaybook:
		_, err = e.DeleteDatabase(ctx, userID, s.project.ID, "postgres-15", "postgres-15")
	case DestroyPlaybook:
		_, err = e.Destroy(ctx, userID, s.project.ID, s.project.Name)
	case "cancel":
		runs, listErr := p.store.ProjectRuns(ctx, s.user.ID, s.project.ID, 3, 0)
		if listErr != nil || len(runs) == 0 {
			return errors.Join(errNothingThere, listErr)
		}
		_, err = e.Cancel(ctx, userID, runs[p.chance.n(len(runs))].ID)
	}
	return err
}

// strangers try the same and find nothing.
func (p *property) strangers(ctx context.Context, s sample) {
	books := []string{DeployPlaybook, RedeployPlaybook, RollbackPlaybook, RestartPlaybook, StartPlaybook, StopPlaybook, AttachPlaybook, DetachPlaybook, DeleteDatabasePlaybook, DestroyPlaybook, "cancel"}
	for ctx.Err() == nil {
		book := books[p.chance.n(len(books))]
		err := p.click(ctx, p.some(), s, p.other.ID, book)
		if err == nil || coderunner.KindOf(err) == coderunner.Conflict {
			p.t.Errorf("%s answers a stranger %v", book, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// settled tells what is not as the rows say, or still moves.
func (p *property) settled(ctx context.Context) error {
	p.revive()
	expected := map[string]bool{}
	for _, s := range p.samples { // nobody clicks any more
		open, err := p.store.OpenRuns(ctx, s.project.ID)
		if err != nil {
			return err
		}
		if len(open) > 0 {
			return fmt.Errorf("the %s of %s is %s", open[0].Playbook, s.project.Name, open[0].State)
		}
		records, err := p.store.ProjectSandboxes(ctx, s.project.ID)
		if err != nil {
			return err
		}
		current, err := p.store.CurrentDeployment(ctx, s.user.ID, s.project.ID)
		if err != nil && coderunner.KindOf(err) != coderunner.NotFound {
			return err
		}
		attached, err := p.store.ProjectDatabases(ctx, s.project.ID)
		if err != nil {
			return err
		}
		for _, r := range records {
			expected[r.ID] = true
			if r.Purpose == coderunner.ForDatabase && !slices.ContainsFunc(attached, func(d store.SealedDatabase) bool { return d.ID == r.DatabaseID && d.StoppedAt == nil }) {
				return fmt.Errorf("%s still has the database's sandbox %s, and none is attached", s.project.Name, r.ID)
			}
			if r.UnwantedAt != nil || r.Purpose == coderunner.ForBuild || r.Purpose == coderunner.ForApp && r.ID != current.AppSandboxID {
				return fmt.Errorf("%s still has the sandbox %+v", s.project.Name, r)
			}
		}
		if current.Status == coderunner.Running && !p.cloud.runs(current.AppSandboxID) {
			return fmt.Errorf("%s is RUNNING and nothing runs in %s", s.project.Name, current.AppSandboxID)
		}
		if err := p.keptTrue(ctx, s); err != nil {
			return err
		}
	}
	if names := p.cloud.names(); fmt.Sprint(names) != fmt.Sprint(expected) {
		return fmt.Errorf("the cloud has the sandboxes %v, the rows say %v", names, expected)
	}
	return nil
}

// keptTrue: a project's snapshots are those of its rows.
func (p *property) keptTrue(ctx context.Context, s sample) error {
	records, err := p.store.ProjectSnapshots(ctx, s.project.ID)
	if err != nil {
		return err
	}
	there, err := (&fake{cloud: p.cloud}).ListSnapshots(ctx, ProjectLabels(s.project.ID))
	if err != nil {
		return err
	}
	var have, want []string
	for _, r := range records {
		want = append(want, r.Name)
	}
	for _, snapshot := range there {
		have = append(have, snapshot.Name)
	}
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		return fmt.Errorf("%s has the snapshots %v, the rows say %v", s.project.Name, have, want)
	}
	return nil
}

// observer remembers what it saw last, and compares it with what it sees.
type observer struct {
	store       *store.Store
	projects    []string
	runs        map[string]coderunner.RunState
	steps       map[string]coderunner.StepState
	deployments map[string]coderunner.DeploymentStatus
	ended       map[string]string // all there is of an ended run
	looks       int
	changes     int
}

func newObserver(st *store.Store, samples []sample) *observer {
	o := &observer{store: st, runs: map[string]coderunner.RunState{}, steps: map[string]coderunner.StepState{}, deployments: map[string]coderunner.DeploymentStatus{}, ended: map[string]string{}}
	for _, s := range samples {
		o.projects = append(o.projects, s.project.ID)
	}
	return o
}

// watch looks until ctx ends, and tells the first thing that must not be.
func (o *observer) watch(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := o.look(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// look sees everything at one moment.
func (o *observer) look(ctx context.Context) error {
	o.looks++
	return pgx.BeginTxFunc(ctx, o.store.Pool(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if err := o.lookAtRuns(ctx, tx); err != nil {
			return err
		}
		if err := o.lookAtSteps(ctx, tx); err != nil {
			return err
		}
		if err := o.lookAtDeployments(ctx, tx); err != nil {
			return err
		}
		return o.lookForContradictions(ctx, tx)
	})
}

// moves reports a change that no sequence of legal ones explains: between two looks
// there may be several.
func moves[S interface {
	~string
	CanBecome(S) bool
}](o *observer, before map[string]S, all []S, first S, what, id string, now S) error {
	was, known := before[id]
	if !known {
		was = first
	}
	before[id] = now
	if was == now {
		return nil
	}
	o.changes++
	reached := map[S]bool{was: true}
	for range all {
		for from := range reached {
			for _, to := range all {
				if from.CanBecome(to) {
					reached[to] = true
				}
			}
		}
	}
	if !reached[now] {
		return fmt.Errorf("%s %s was %s and is %s", what, id, was, now)
	}
	return nil
}

func (o *observer) lookAtRuns(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `SELECT r.id::text, r.state::text, to_jsonb(r) || jsonb_build_object('steps', (SELECT jsonb_agg(s ORDER BY position) FROM steps s WHERE s.run_id = r.id),
		'lines', (SELECT count(*) FROM run_log_lines l WHERE l.run_id = r.id)) FROM runs r`)
	if err != nil {
		return err
	}
	all := []coderunner.RunState{coderunner.RunQueued, coderunner.RunRunning, coderunner.RunCancelling, coderunner.RunSucceeded, coderunner.RunFailed, coderunner.RunCancelled}
	var id, state string
	var whole json.RawMessage
	_, err = pgx.ForEachRow(rows, []any{&id, &state, &whole}, func() error {
		if before, over := o.ended[id]; over && before != string(whole) {
			return fmt.Errorf("an ended run has changed, from\n%s to\n%s", before, whole)
		}
		if coderunner.RunState(state).Ended() {
			o.ended[id] = string(whole)
		}
		return moves(o, o.runs, all, coderunner.RunQueued, "run", id, coderunner.RunState(state))
	})
	return err
}

func (o *observer) lookAtSteps(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, "SELECT run_id::text || ' ' || name, state::text FROM steps")
	if err != nil {
		return err
	}
	all := []coderunner.StepState{coderunner.StepPending, coderunner.StepRunning, coderunner.StepDone, coderunner.StepFailed, coderunner.StepErrored, coderunner.StepCancelled, coderunner.StepSkipped}
	var id, state string
	_, err = pgx.ForEachRow(rows, []any{&id, &state}, func() error {
		return moves(o, o.steps, all, coderunner.StepPending, "step", id, coderunner.StepState(state))
	})
	return err
}

func (o *observer) lookAtDeployments(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, "SELECT id::text, status::text FROM deployments")
	if err != nil {
		return err
	}
	all := []coderunner.DeploymentStatus{coderunner.Pending, coderunner.Provisioning, coderunner.Building, coderunner.Running, coderunner.Stopped, coderunner.Failed, coderunner.Destroyed}
	var id, state string
	_, err = pgx.ForEachRow(rows, []any{&id, &state}, func() error {
		return moves(o, o.deployments, all, coderunner.Pending, "deployment", id, coderunner.DeploymentStatus(state))
	})
	return err
}

// contradictions are what two rows must never say at once.
var contradictions = map[string]string{
	"two runs of a project are at work":    "SELECT project_id::text FROM runs WHERE state IN ('RUNNING', 'CANCELLING') GROUP BY project_id HAVING count(*) > 1",
	"two runs of a project wait":           "SELECT project_id::text FROM runs WHERE state = 'QUEUED' GROUP BY project_id HAVING count(*) > 1",
	"two deployments of a project serve":   "SELECT project_id::text FROM deployments WHERE status = 'RUNNING' GROUP BY project_id HAVING count(*) > 1",
	"one that is not the current serves":   "SELECT d.id::text FROM deployments d WHERE d.status = 'RUNNING' AND d.number < (SELECT max(o.number) FROM deployments o WHERE o.project_id = d.project_id AND o.released_at IS NOT NULL)",
	"one that serves has no sandbox":       "SELECT id::text FROM deployments WHERE status = 'RUNNING' AND app_sandbox_id IS NULL",
	"an ended run has a step under way":    "SELECT r.id::text FROM runs r JOIN steps s ON s.run_id = r.id WHERE r.state IN ('SUCCEEDED', 'FAILED', 'CANCELLED') AND s.state IN ('PENDING', 'RUNNING')",
	"a log has a gap":                      "SELECT run_id::text FROM run_log_lines GROUP BY run_id HAVING max(seq) <> count(*) OR min(seq) <> 1",
	"a log tells the end twice":            "SELECT run_id::text FROM run_log_lines WHERE step = '' AND (text = 'Done.' OR text = 'Cancelled. What was begun was undone.' OR text LIKE 'Failed: %') GROUP BY run_id HAVING count(*) > 1",
	"an ended run's log does not tell how": "SELECT r.id::text FROM runs r WHERE r.state IN ('SUCCEEDED', 'FAILED') AND NOT EXISTS (SELECT 1 FROM run_log_lines l WHERE l.run_id = r.id AND l.step = '' AND (l.text = 'Done.' OR l.text LIKE 'Failed: %'))",
	// Until the new version has answered through the edge, the route is that of the run at work.
	"a live route does not lead to the current version": `SELECT t.host || ' to ' || t.sandbox_id FROM routes t WHERE t.state = 'live'
		AND NOT EXISTS (SELECT 1 FROM deployments d WHERE d.project_id = t.project_id AND d.status IN ('RUNNING', 'FAILED') AND d.app_sandbox_id = t.sandbox_id)
		AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.project_id = t.project_id AND r.state IN ('RUNNING', 'CANCELLING') AND 'app-' || r.id = t.sandbox_id)`,
	"a version serves without a live route": `SELECT d.id::text FROM deployments d WHERE d.status = 'RUNNING' AND NOT EXISTS (SELECT 1 FROM routes t WHERE t.project_id = d.project_id AND t.state = 'live')
		AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.project_id = d.project_id AND r.playbook IN ('stop', 'destroy') AND r.state IN ('RUNNING', 'CANCELLING'))`,
}

func (o *observer) lookForContradictions(ctx context.Context, tx pgx.Tx) error {
	for what, query := range contradictions {
		rows, err := tx.Query(ctx, query)
		if err != nil {
			return err
		}
		found, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		if len(found) > 0 {
			return fmt.Errorf("%s: %s", what, strings.Join(found, ", "))
		}
	}
	return nil
}
