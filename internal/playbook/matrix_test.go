package playbook

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

// reportVariable names a file that gets the matrix as a table. With it, each cell
// is told on standard output as it ends.
const reportVariable = "FAULTS_REPORT"

// faultsVariable says which faults there are to be: "all", "others" than a killed
// process, or, when it is not set, that alone.
const faultsVariable = "FAULTS"

// lanesAtOnce is how many lanes work at the same time. Mostly they wait.
const lanesAtOnce = 6

// books are the playbooks in the order in which a project meets them.
var books = []string{DeployPlaybook, RedeployPlaybook, RollbackPlaybook, RestartPlaybook, StopPlaybook, StartPlaybook,
	DetachPlaybook, AttachPlaybook, DeleteDatabasePlaybook, DestroyPlaybook}

// matrix is every fault in every step of every playbook.
type matrix struct {
	steps  map[string][]string // of each playbook, in their order
	engine *Engine             // never started; what it says of its playbooks counts

	mu     sync.Mutex
	cells  map[string]string // what came of each that was tried
	passed int
	failed int
}

// newMatrix reads the steps from the playbooks themselves.
func newMatrix(t *testing.T) *matrix {
	t.Helper()
	m := &matrix{steps: map[string][]string{}, cells: map[string]string{}, engine: New(Config{}, nil, nil, nil, nil, nil, nil, nil, Edge{}, nil)}
	databases := []store.SealedDatabase{{Database: coderunner.Database{Appliance: "postgres-15"}}}
	title := func(appliance string) string { return appliance }
	plan := lanePlan("")
	deploy, release := deploySteps(plan, databases, title), releaseSteps(plan, databases, title)
	for book, list := range map[string][]coderunner.Step{DeployPlaybook: deploy, RedeployPlaybook: deploy, RollbackPlaybook: release,
		RestartPlaybook: release, StartPlaybook: release, StopPlaybook: stopSteps(true), DestroyPlaybook: destroySteps(),
		AttachPlaybook: attachSteps(databases, &plan, title), DetachPlaybook: detachSteps("postgres-15", &plan), DeleteDatabasePlaybook: deleteDatabaseSteps()} {
		for _, s := range list {
			m.steps[book] = append(m.steps[book], s.Name)
		}
	}
	for book, p := range m.engine.playbooks {
		delete(p.steps, "admin") // of Manifest only: TestManifest asks for it twice, TestManifestThatIsCancelled breaks off there
		if known := slices.Sorted(maps.Keys(p.steps)); !slices.Equal(known, slices.Sorted(slices.Values(m.steps[book]))) {
			t.Fatalf("the playbook %s knows the steps %q, and a run of it has %q", book, known, m.steps[book])
		}
		if !slices.Contains(books, book) {
			t.Fatalf("the playbook %s has no place in the matrix", book)
		}
	}
	return m
}

// life is what an app goes through between its first deploy and its end.
func (m *matrix) life() (list [][2]string) {
	for _, book := range []string{RedeployPlaybook, RollbackPlaybook, RestartPlaybook} {
		for _, step := range m.steps[book] {
			list = append(list, [2]string{book, step})
		}
	}
	list = append(list, m.alternate(StopPlaybook, StartPlaybook)...)
	return append(list, m.alternate(DetachPlaybook, AttachPlaybook, DeleteDatabasePlaybook)...)
}

// alternate takes a step of each playbook by turns.
func (m *matrix) alternate(books ...string) (list [][2]string) {
	for i, more := 0, true; more; i++ {
		more = false
		for _, book := range books {
			if i < len(m.steps[book]) {
				list, more = append(list, [2]string{book, m.steps[book][i]}), true
			}
		}
	}
	return list
}

// TestFaults does to a platform, in each step of each playbook, what machines and
// people do to it. Whatever it is: the run ends as it may, and afterwards everything
// is true that the rows say, and the app serves if one did. As one test among others
// it kills the process and does nothing else; make check does the others, make faults all.
func TestFaults(t *testing.T) {
	t.Parallel()
	m := newMatrix(t)
	places := make(chan struct{}, lanesAtOnce)
	var lanes sync.WaitGroup
	begin := func(f fault, name string, list [][2]string) {
		lanes.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			t.Run(strings.NewReplacer(" -", "", " ", "-").Replace(f.name)+"-"+name, func(t *testing.T) {
				l := openLane(t, f)
				for _, at := range list {
					t.Run(at[0]+"/"+at[1], func(t *testing.T) { m.try(t, l, cell{at[0], at[1], f}) })
				}
			})
		})
	}
	for _, f := range faults {
		wanted := os.Getenv(faultsVariable)
		if f.kind == killed && wanted == "others" || f.kind != killed && wanted == "" {
			continue
		}
		ends := m.alternate(DeployPlaybook, DestroyPlaybook)
		if f.kind == engineDown { // an engine of its own takes a while to get its templates
			begin(f, "all", append(m.life(), ends...))
			continue
		}
		begin(f, "life", m.life())
		begin(f, "ends", ends)
	}
	lanes.Wait()
	if path := os.Getenv(reportVariable); path != "" {
		if err := os.WriteFile(path, []byte(m.table()), 0o644); err != nil {
			t.Error(err)
		}
	}
}

var errNothingToKill = errors.New("there is no sandbox to kill")

// try does one cell, and notes what came of it.
func (m *matrix) try(t *testing.T, l *lane, c cell) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	runID, took, err := m.inject(ctx, l, c)
	m.mu.Lock()
	defer m.mu.Unlock()
	key := c.book + "/" + c.step + "/" + c.fault.name
	switch {
	case errors.Is(err, errNothingToKill):
		m.cells[key] = "-"
	case err == nil:
		m.passed++
		m.cells[key] = fmt.Sprintf("ok %.1f", took.Seconds())
	default:
		m.failed++
		m.cells[key] = fmt.Sprintf("FAILED %.1f", took.Seconds())
		t.Errorf("%v\n%s", err, l.logText(t, runID))
		l.sample = sample{} // what is left of the project is no beginning for the next cell
	}
	if os.Getenv(reportVariable) != "" {
		fmt.Printf("%-40s %s\n", key, m.cells[key])
	}
}

// inject brings a run to the step, lets the fault happen, and waits until all is well again.
func (m *matrix) inject(ctx context.Context, l *lane, c cell) (runID string, took time.Duration, err error) {
	if l.halt == nil { // the cell before did not come to its end
		if err := l.up(); err != nil {
			return "", 0, err
		}
	}
	if err := l.prepare(ctx, c.book); err != nil {
		return "", 0, err
	}
	first := ""
	if c.killsCommand() {
		first = "sleep 2; " // it is killed while it works, and here is the time for it
	}
	r, version, err := l.request(ctx, c.book, lanePlan(first))
	if err != nil {
		return "", 0, err
	}
	o := outcome{version: version, ends: m.ends(c)}
	if o.before, err = l.look(ctx); err != nil {
		return "", 0, err
	}
	unbroken := func() error { return nil }
	servingKilled := c.fault.kind == sandboxDown && (c.step == "route" || c.step == "drain")
	if !servingKilled && slices.Contains([]string{RedeployPlaybook, RollbackPlaybook, RestartPlaybook, AttachPlaybook, DetachPlaybook}, c.book) {
		unbroken = l.watch(ctx, o.before.version, version)
	}
	defer func() { err = errors.Join(err, unbroken()) }()
	if c.fault.kind == killed {
		o.run, err = l.killedIn(ctx, c, r)
	} else {
		o.run, err = m.brokenIn(ctx, l, c, r)
	}
	nothing := errors.Is(err, errNothingToKill)
	if err != nil && !nothing {
		return o.run.ID, 0, err
	}
	begin := time.Now()
	if c.fault.kind == killed {
		if err := l.resumes(ctx, o.run); err != nil {
			return o.run.ID, time.Since(begin), err
		}
	}
	settled := l.settles(ctx, o)
	took = time.Since(begin)
	if c.fault.kind == cancelled && o.ends == coderunner.RunCancelled {
		err = errors.Join(err, l.endedSoon(ctx, o.run.ID))
	}
	return o.run.ID, took, errors.Join(settled, err)
}

// endedSoon reports the commands of a cancelled run that lived for longer than they may: their steps
// end with their last process.
func (l *lane) endedSoon(ctx context.Context, runID string) error {
	r, err := l.store.RunByID(ctx, runID)
	if err != nil {
		return err
	}
	if r.CancelRequestedAt == nil {
		return errors.New("nobody wrote down when the run was cancelled")
	}
	rows, err := l.store.Steps(ctx, runID)
	for _, step := range rows {
		command := step.Name == "install" || step.Name == "build" || step.Name == "release"
		if command && step.StartedAt != nil && step.FinishedAt != nil && step.FinishedAt.Sub(*r.CancelRequestedAt) > cancelTime {
			err = errors.Join(err, fmt.Errorf("the step %s went on for %s after the cancel", step.Name, step.FinishedAt.Sub(*r.CancelRequestedAt)))
		}
	}
	return err
}

// cancelTime is how soon after a cancel the processes of a run must have ended.
const cancelTime = 5 * time.Second

// ends says how the run ends after the fault: all but a cancel are overcome.
func (m *matrix) ends(c cell) coderunner.RunState {
	step := m.engine.playbooks[c.book].steps[c.step]
	if c.fault.kind != cancelled || c.book == DestroyPlaybook || step.final || step.always || c.step == "route" && c.fault.done {
		return coderunner.RunSucceeded
	}
	return coderunner.RunCancelled
}

// killsCommand: the sandboxes of these steps are there only while their commands run.
func (c cell) killsCommand() bool {
	return c.fault.kind == sandboxDown && (c.step == "install" || c.step == "build")
}

// killedIn has a process of its own make the request, and kills it in the step. The
// engine that is started then is another process's as well.
func (l *lane) killedIn(ctx context.Context, c cell, r request) (run coderunner.Run, err error) {
	l.down()
	child, err := startChild(ctx, order{Place: l.place, Request: r, Step: c.step, Done: c.fault.done})
	if err != nil {
		if child != nil {
			run.ID = child.runID
		}
		return run, err
	}
	run, err = l.store.RunByID(ctx, child.runID)
	err = errors.Join(err, l.seed(ctx))
	child.kill()
	return run, errors.Join(err, l.up())
}

// resumes waits until another owner has a run, or has already ended it.
func (l *lane) resumes(ctx context.Context, r coderunner.Run) error {
	ctx, cancel := context.WithTimeout(ctx, resumption)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond) // nothing tells of a claim
	defer tick.Stop()
	for {
		now, err := l.store.RunByID(ctx, r.ID)
		if err == nil && (now.Epoch > r.Epoch || now.State.Ended()) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("nobody resumed the run within %s: %w", resumption, errors.Join(ctx.Err(), err))
		}
	}
}

// brokenIn makes the request, and breaks something in the step.
func (m *matrix) brokenIn(ctx context.Context, l *lane, c cell, r request) (run coderunner.Run, err error) {
	moment := c.fault.done
	if action := m.engine.playbooks[c.book].steps[c.step]; c.fault.kind == sandboxDown && (c.book == DestroyPlaybook || action.final || action.always && c.step != "drain") {
		moment = false // its work is to take the sandbox away
	}
	if c.killsCommand() {
		moment = true // it does not come to that
	}
	reached, release := l.trap.set(c.step, moment)
	defer release()
	if run, err = r.ask(ctx, l.engine); err != nil {
		return run, err
	}
	if c.killsCommand() {
		if err := l.saysDuring(ctx, run.ID, c.step); err != nil {
			return run, err
		}
	} else {
		select {
		case <-reached:
		case <-time.After(recovery):
			return run, fmt.Errorf("the run never came to its step %s", c.step)
		}
	}
	if err := l.seed(ctx); err != nil {
		return run, err
	}
	switch c.fault.kind {
	case cancelled:
		_, err = l.engine.Cancel(ctx, r.User, run.ID)
		if c.book == DestroyPlaybook && coderunner.KindOf(err) == coderunner.Conflict {
			err = nil
		}
	case postgres:
		err = l.breaksPostgres()
	case engineDown:
		err = l.breaksContainerd()
	case sandboxDown:
		var name string
		if name, err = l.concerned(ctx, c, run); err == nil && name == "" {
			err = errNothingToKill
		} else if err == nil {
			err = l.breaksSandbox(name)
			if _, there := l.provider.Get(ctx, name); errors.Is(err, errNothingToKill) && there == nil {
				err = fmt.Errorf("nothing runs in the sandbox %s, and it is there", name)
			}
		}
	}
	return run, err
}

// saysDuring waits until the run's command in a step has begun.
func (l *lane) saysDuring(ctx context.Context, runID, step string) error {
	ctx, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	wake, unsubscribe := l.hub.Subscribe(runID)
	defer unsubscribe()
	for {
		lines, err := l.store.LogAfter(ctx, runID, 0, 5000)
		if err != nil {
			return err
		}
		for _, line := range lines {
			if line.Step == step && line.Text == "during "+step {
				return nil
			}
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return fmt.Errorf("the command of the step %s never began", step)
		}
	}
}

// table is the matrix for people: a row for each step, a column for each fault.
func (m *matrix) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-24s", "playbook, step")
	for _, f := range faults {
		fmt.Fprintf(&b, " %-13s", f.name)
	}
	for _, book := range books {
		for _, step := range m.steps[book] {
			fmt.Fprintf(&b, "\n%-9s %-14s", book, step)
			for _, f := range faults {
				came, tried := m.cells[book+"/"+step+"/"+f.name]
				if !tried {
					came = "FAILED"
					m.failed++
				}
				fmt.Fprintf(&b, " %-13s", came)
			}
		}
	}
	fmt.Fprintf(&b, "\n\nok and FAILED: with the seconds until all was well, or given up; none: not tried. -: no sandbox is there to be killed.\n%d passed, %d failed\n", m.passed, m.failed)
	return b.String()
}
