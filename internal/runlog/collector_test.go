package runlog

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coderunner/coderunner/appliances"
	"github.com/coderunner/coderunner/internal/appliance"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/sandbox/containerd"
	"github.com/coderunner/coderunner/internal/store"
	"github.com/coderunner/coderunner/internal/testdb"
)

// machine is a database with a project and a real provider.
type machine struct {
	*store.Store
	provider *containerd.Provider
	hub      *Hub
	template sandbox.TemplateRef
	project  coderunner.Project
}

// patience is how long anything may take on a busy machine.
const patience = 60 * time.Second

func newMachine(t *testing.T) *machine {
	t.Helper()
	engine := os.Getenv("CODERUNNER_ENGINE_DIR")
	if engine == "" {
		engine = "/var/cache/coderunner/engine" // shared by all tests of the machine
	}
	m := &machine{Store: store.New(testdb.NewPool(t))}
	m.provider = must(containerd.Open(t.Context(), containerd.Config{EngineDir: engine, Instance: "runlog-" + strings.ToLower(rand.Text()[:10]), StateDir: t.TempDir()}))(t)
	t.Cleanup(func() { m.provider.Close() })
	node := must(must(appliance.Load(appliances.FS))(t).Get("nodejs-18"))(t).Template()
	if err := m.provider.BuildTemplate(t.Context(), node, t.Output()); err != nil {
		t.Fatal(err)
	}
	m.template = node.TemplateRef
	user := must(m.CreateUser(t.Context(), "ada@example.com", "hash"))(t)
	m.project = must(m.CreateProject(t.Context(), user.ID, "Guest book", "guest-book"))(t)
	m.hub = NewHub(m.Store)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { _ = m.hub.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-m.hub.Closed()
	})
	return m
}

// box is a new deployment with its sandbox.
func (m *machine) box(t *testing.T) string {
	t.Helper()
	d := must(m.CreateDeployment(t.Context(), store.NewDeployment{ProjectID: m.project.ID, Plan: coderunner.Plan{Runtime: coderunner.Runtime{Name: "nodejs"}}}))(t)
	name := fmt.Sprintf("app-%d", d.Number)
	if err := m.ExpectSandbox(t.Context(), coderunner.SandboxRecord{Purpose: coderunner.ForApp, ID: name, Provider: m.provider.Name(), ProjectID: m.project.ID, DeploymentID: d.ID, Appliance: "nodejs-18"}); err != nil {
		t.Fatal(err)
	}
	must(m.provider.Create(t.Context(), sandbox.Spec{Name: name, Template: m.template}))(t)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := m.provider.Destroy(ctx, name); err != nil {
			t.Error(err)
		}
	})
	return name
}

// start starts a Perl program as the sandbox's app.
func (m *machine) start(t *testing.T, name, program string) {
	t.Helper()
	if err := m.provider.Start(t.Context(), name, AppProcess, sandbox.Command{Argv: []string{"perl", "-e", program}}); err != nil {
		t.Fatal(err)
	}
}

// collect runs a collector, until the test ends or the function is called.
func (m *machine) collect(t *testing.T, change ...func(*CollectorConfig)) (*Collector, func()) {
	t.Helper()
	cfg := CollectorConfig{Owner: "node", Poll: 20 * time.Millisecond, Secrets: func(context.Context, string, string) ([]string, error) { return []string{"s3cr3t-value"}, nil }}
	for _, f := range change {
		f(&cfg)
	}
	c := NewCollector(cfg, m.Store, m.provider, slog.New(slog.NewTextHandler(io.Discard, nil)))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.Run(ctx)
	}()
	stop := func() {
		cancel()
		<-ended
	}
	t.Cleanup(stop)
	for running := false; !running; { // Nudge and Drain are for a collector at work
		c.mu.Lock()
		running = c.running != nil
		c.mu.Unlock()
	}
	return c, stop
}

// lines is the whole runtime log. It fails the test where numbers are missing.
func (m *machine) lines(t *testing.T) []coderunner.RuntimeLine {
	t.Helper()
	lines := must(m.RuntimeLogAfter(t.Context(), m.project.ID, coderunner.RuntimeFilter{}, 0, 1<<20))(t)
	for i, l := range lines {
		if l.Seq != int64(i+1) {
			t.Fatalf("line %d has number %d", i+1, l.Seq)
		}
	}
	return lines
}

// await waits until the log has a line with this text, and answers all of it.
func (m *machine) await(t *testing.T, text string) []coderunner.RuntimeLine {
	t.Helper()
	changed, leave := m.hub.SubscribeRuntime(m.project.ID)
	defer leave()
	limit := time.After(patience)
	for {
		lines := m.lines(t)
		if slices.ContainsFunc(lines, func(l coderunner.RuntimeLine) bool { return strings.Contains(l.Text, text) }) {
			return lines
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("%q is not in the log of %d lines, which ends with %q", text, len(lines), runtimeTexts(lines[max(0, len(lines)-5):]))
		}
	}
}

func TestAppsLife(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	name := m.box(t)
	// Printed before anybody collects.
	m.start(t, name, `$| = 1; print STDOUT "first s3cr3t-"; select undef, undef, undef, 0.2; print STDOUT "value\n"; print STDERR "an error\n"; print "half a line"; exit 3`)
	must(m.provider.Wait(t.Context(), name, AppProcess))(t)
	ended := make(chan string, 10)
	c, _ := m.collect(t, func(cfg *CollectorConfig) {
		cfg.Poll = time.Hour
		cfg.Ended = func(id string) { ended <- id }
	})
	want := []string{"Deployment #1 started.", "first " + Redacted, "an error", "half a line", "The app ended with exit code 3."}
	sorted := func(lines []coderunner.RuntimeLine) []string { // the two streams have no order among themselves
		texts := runtimeTexts(lines)
		slices.Sort(texts)
		return texts
	}
	lines := m.await(t, "exit code 3")
	slices.Sort(want)
	if got := sorted(lines); !slices.Equal(got, want) {
		t.Errorf("stored is %q", got)
	}
	if lines[0].Text != "Deployment #1 started." || lines[4].Stream != coderunner.System || lines[0].DeploymentID == "" || lines[0].SandboxID != name {
		t.Errorf("the lines are %+v", lines)
	}
	status := must(m.provider.Process(t.Context(), name, AppProcess))(t)
	if !lines[0].At.Equal(status.StartedAt.Truncate(time.Microsecond)) || !lines[4].At.Equal(status.EndedAt.Truncate(time.Microsecond)) {
		t.Errorf("it is said to have lived from %s to %s, and did from %s to %s", lines[0].At, lines[4].At, status.StartedAt, status.EndedAt)
	}
	if id := <-ended; id != name {
		t.Errorf("%q is said to have ended", id)
	}

	// It is started again; nobody looks but for the nudge.
	m.start(t, name, `$| = 1; print "again\n"; sleep 1000`)
	c.Nudge(name)
	lines = m.await(t, "again\n"[:5])
	if got := runtimeTexts(lines[5:]); !slices.Equal(got, []string{"The app was started again.", "again"}) {
		t.Errorf("then comes %q", got)
	}
	if err := m.provider.Stop(t.Context(), name, AppProcess, time.Second); err != nil {
		t.Fatal(err)
	}
	if err := c.Drain(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if got := runtimeTexts(m.lines(t)[7:]); !slices.Equal(got, []string{"The app was ended by SIGTERM."}) {
		t.Errorf("in the end there is %q", got)
	}
	if id := <-ended; id != name {
		t.Errorf("%q is said to have ended", id)
	}
	if err := m.provider.Destroy(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if err := c.Drain(t.Context(), name); err != nil {
		t.Errorf("a sandbox that is gone: %v", err)
	}
	if err := m.ForgetSandbox(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if err := c.Drain(t.Context(), name); err != nil {
		t.Errorf("a sandbox that is forgotten: %v", err)
	}
	if err := c.Drain(t.Context(), "never-was"); err != nil {
		t.Errorf("a sandbox that never was: %v", err)
	}
}

// The last words of an app are in the log when Drain returns, however many.
func TestDrainStoresTheLastWords(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	c, _ := m.collect(t, func(cfg *CollectorConfig) {
		cfg.Poll = time.Hour
		cfg.Throttle = Throttle{LinesPerSecond: 1_000_000}
	})
	for range 3 {
		name := m.box(t)
		m.start(t, name, `$| = 1; $SIG{TERM} = sub { print "last word $_ of `+name+`\n" for 1 .. 5000; exit 0 }; print "ready `+name+`\n"; sleep 1000`)
		c.Nudge(name)
		m.await(t, "ready "+name)
		if err := m.provider.Stop(t.Context(), name, AppProcess, 5*time.Second); err != nil {
			t.Fatal(err)
		}
		if err := c.Drain(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, l := range m.lines(t) {
			if strings.HasPrefix(l.Text, "last word ") && strings.HasSuffix(l.Text, name) {
				n++
			}
		}
		if n != 5000 {
			t.Errorf("%d of 5000 last words are stored", n)
		}
	}
}

// Two collectors under one name take the sandbox from each other all the time, as if
// one process after the other was killed between reading and storing: each line is
// there once, in order.
func TestKilledCollectorsLoseAndDoubleNothing(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	name := m.box(t)
	const all = 30_000
	quick := func(cfg *CollectorConfig) {
		cfg.Poll = 5 * time.Millisecond
		cfg.Throttle = Throttle{LinesPerSecond: 1_000_000}
	}
	m.collect(t, quick)
	m.collect(t, quick)
	m.start(t, name, fmt.Sprintf(`$| = 1; for (1 .. %d) { print "line $_ s3cr3t-value\n"; select undef, undef, undef, 0.05 if $_ %% 500 == 0 }`, all))
	must(m.provider.Wait(t.Context(), name, AppProcess))(t)
	lines := m.await(t, "The app ended")
	next := 1
	for _, l := range lines {
		if l.Stream == coderunner.System {
			continue
		}
		if want := fmt.Sprintf("line %d %s", next, Redacted); l.Text != want {
			t.Fatalf("%q comes where %q should", l.Text, want)
		}
		next++
	}
	if next != all+1 || len(lines) != all+2 {
		t.Errorf("of %d lines %d are stored, with %d of ours", all, next-1, len(lines)-next+1)
	}
	cursor := must(m.RuntimeCursor(t.Context(), name))(t)
	t.Logf("it was claimed %d times", cursor.Epoch)
	if cursor.Epoch < 3 {
		t.Error("they did not take it from each other")
	}
}

// A database that goes away in between changes nothing.
func TestCollectorOutlivesCutConnections(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	name := m.box(t)
	m.collect(t)
	m.start(t, name, `$| = 1; for (1 .. 200) { print "line $_\n"; select undef, undef, undef, 0.01 }`)
	for i := 20; i <= 180; i += 40 {
		m.await(t, fmt.Sprint("line ", i))
		if _, err := m.Pool().Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"); err != nil {
			t.Fatal(err)
		}
	}
	lines := m.await(t, "The app ended")
	for i, text := range runtimeTexts(lines, coderunner.Stdout) {
		if text != fmt.Sprint("line ", i+1) {
			t.Fatalf("line %d is %q", i+1, text)
		}
	}
	if len(lines) != 202 {
		t.Errorf("%d lines are stored", len(lines))
	}
}

// One app prints as fast as it can. What is stored of it is bounded, what is not is
// told, and another app's lines come as they do without it.
func TestFloodHarmsNobodyElse(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	flood, calm := m.box(t), m.box(t)
	c, _ := m.collect(t)
	m.start(t, flood, `$| = 1; my $end = time + 5; my $n = 0; my $pad = "x" x 60; while (time < $end) { print "flood $pad ", ++$n, "\n" for 1 .. 100 } sleep 1; print STDERR "printed $n\n"; sleep 1000`)
	m.start(t, calm, `$| = 1; for (1 .. 60) { print "calm $_\n"; select undef, undef, undef, 0.1 } print "calm end\n"; sleep 1000`)
	c.Nudge(flood)
	c.Nudge(calm)
	seen := map[int64]time.Duration{}
	reader := m.hub.ReadRuntime(m.project.ID)
	defer reader.Close()
	limit := time.After(patience)
	for after, over := int64(0), false; !over; {
		page, last, err := reader.Next(t.Context(), coderunner.RuntimeFilter{}, after)
		if err != nil {
			t.Fatal(err)
		}
		after = last
		if page == nil {
			select {
			case <-reader.News():
			case <-limit:
				t.Fatal("the calm app's lines do not come")
			}
			continue
		}
		for _, l := range page.Lines {
			if strings.HasPrefix(l.Text, "calm") {
				seen[l.Seq] = time.Since(l.At)
				over = over || l.Text == "calm end"
			}
		}
	}
	var lags []time.Duration
	for _, lag := range seen {
		lags = append(lags, lag)
	}
	slices.Sort(lags)
	t.Logf("the calm app's lines were seen after %s, at most %s", lags[len(lags)/2], lags[len(lags)-1])
	if len(lags) != 61 || lags[len(lags)*9/10] > 2*time.Second {
		t.Errorf("%d lines of the calm app were seen, nine in ten within %s", len(lags), lags[len(lags)*9/10])
	}
	m.await(t, "printed ")
	if err := c.Drain(t.Context(), flood); err != nil {
		t.Fatal(err)
	}
	stored, dropped, printed, missing := 0, 0, 0, false
	for _, l := range m.lines(t) {
		if l.SandboxID != flood {
			continue
		}
		var n int
		switch text := strings.ReplaceAll(l.Text, ",", ""); {
		case strings.HasPrefix(text, "flood "):
			stored++
		case strings.HasPrefix(text, "printed "):
			_, _ = fmt.Sscanf(text, "printed %d", &printed)
		case strings.Contains(text, "dropped here"):
			_, _ = fmt.Sscanf(text, "%d", &n)
			dropped += n
		case strings.Contains(text, "are missing here"): // rotated away before it could be read
			missing = true
		}
	}
	t.Logf("of %d lines %d are stored and %d told as dropped", printed, stored, dropped)
	if stored < 20_000 || stored > 20_000+8*2000 || dropped == 0 || !missing && stored+dropped != printed {
		t.Errorf("of %d lines %d are stored and %d told as dropped", printed, stored, dropped)
	}
}

// More was printed than the provider keeps before anybody could read it.
func TestRotatedOutputIsTold(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	name := m.box(t)
	m.start(t, name, `print "line $_ ", "x" x 500, "\n" for 1 .. 120_000`) // 60 MB
	must(m.provider.Wait(t.Context(), name, AppProcess))(t)
	m.collect(t, func(cfg *CollectorConfig) {
		cfg.Throttle = Throttle{LinesPerSecond: 1_000_000, BytesPerSecond: 1 << 30, BurstBytes: 1 << 30}
	})
	lines := m.await(t, "The app ended")
	if !strings.HasPrefix(lines[1].Text, "About ") || !strings.Contains(lines[1].Text, " MB of output are missing here") {
		t.Errorf("the first lines are %q", runtimeTexts(lines[:3]))
	}
	next := 0
	for _, l := range lines[2 : len(lines)-1] {
		var n int
		if _, err := fmt.Sscanf(l.Text, "line %d xxx", &n); err != nil || next > 0 && n != next {
			t.Fatalf("%.30q comes where line %d should", l.Text, next)
		}
		next = n + 1
	}
	if next != 120_001 || len(lines) < 15_000 {
		t.Errorf("%d lines are stored up to line %d", len(lines), next-1)
	}
}

// A node that is alive keeps its sandboxes; one that has fallen silent does not, nor
// one that another has to drain for.
func TestOneNodeCollectsASandbox(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	name := m.box(t)
	m.start(t, name, `$| = 1; print "one\n"; sleep 1000`)
	node := func(owner string) func(*CollectorConfig) { return func(cfg *CollectorConfig) { cfg.Owner = owner } }
	_, stop := m.collect(t, node("first"))
	m.await(t, "one")
	other, _ := m.collect(t, node("second"))
	if _, ours, err := m.ClaimRuntimeCursor(t.Context(), name, "second", false); ours || err != nil {
		t.Errorf("the first one's sandbox was claimed by the second: %v %v", ours, err)
	}
	if err := other.Drain(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if cursor := must(m.RuntimeCursor(t.Context(), name))(t); cursor.Owner != "second" {
		t.Errorf("after the second has drained it, it is %s's", cursor.Owner)
	}
	stop()
	if got := runtimeTexts(m.lines(t)); !slices.Equal(got, []string{"Deployment #1 started.", "one"}) {
		t.Errorf("stored is %q", got)
	}
}

// Without the secrets nothing is stored; with them, all is.
func TestNothingIsStoredWithoutTheSecrets(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	name := m.box(t)
	m.start(t, name, `$| = 1; print "s3cr3t-value\n"; sleep 1000`)
	asked := make(chan bool)
	m.collect(t, func(cfg *CollectorConfig) {
		right := cfg.Secrets
		cfg.Secrets = func(ctx context.Context, project, deployment string) ([]string, error) {
			select {
			case known := <-asked:
				if known {
					return right(ctx, project, deployment)
				}
			case <-ctx.Done():
			}
			return nil, coderunner.Errorf(coderunner.Internal, "The key does not fit.")
		}
	})
	for range 2 {
		asked <- false
	}
	if lines := m.lines(t); len(lines) != 0 {
		t.Errorf("stored is %q", runtimeTexts(lines))
	}
	go func() {
		for range 10 {
			select {
			case asked <- true:
			case <-t.Context().Done():
			}
		}
	}()
	if lines := m.await(t, Redacted); lines[1].Text != Redacted {
		t.Errorf("stored is %q", runtimeTexts(lines))
	}
}
