package playbook

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coderunner/coderunner/appliances"
	"github.com/coderunner/coderunner/internal/appliance"
	"github.com/coderunner/coderunner/internal/bundle"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/edge"
	"github.com/coderunner/coderunner/internal/project"
	"github.com/coderunner/coderunner/internal/runlog"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/sandbox/containerd"
	"github.com/coderunner/coderunner/internal/secret"
	"github.com/coderunner/coderunner/internal/store"
)

// engineDir is shared by all tests of the machine: templates are built once.
func engineDir() string {
	if dir := os.Getenv("CODERUNNER_ENGINE_DIR"); dir != "" {
		return dir
	}
	return "/var/cache/coderunner/engine"
}

// platform is everything below the pages: a database, a real provider, the
// edge on a port of its own, and an engine that has not been started.
type platform struct {
	place    place
	store    *store.Store
	provider *containerd.Provider
	bundles  *bundle.Store
	edge     *edge.Edge // nil where the edge is a process of its own
	address  string     // of the edge
	hub      *runlog.Hub
	engine   *Engine
	stop     func() // ends the engine's work and leaves all as it is; set by startPlatform
}

// place is where a platform keeps what it has. Several processes may open one.
type place struct {
	Dir, DSN, Instance string
	EngineDir          string // "" for the one that all tests of the machine share
}

// openPlatform assembles a platform over a directory and a database that others may use as well.
func openPlatform(ctx context.Context, dir, dsn, instance string) (*platform, error) {
	p, err := open(ctx, place{Dir: dir, DSN: dsn, Instance: instance})
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p.address = listener.Addr().String()
	p.edge = edge.New(edge.Config{Routes: p.store.Routes, AppsDomain: "apps.test", Address: p.address})
	server := &http.Server{Handler: p.edge, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(listener)
	p.engine, err = p.newEngine(ctx, Edge{Refresh: p.edge.Refresh, Probe: p.edge.Probe, Drain: p.edge.Drain})
	return p, err
}

// open assembles a platform but for its edge and its engine.
func open(ctx context.Context, at place) (*platform, error) {
	st, err := store.Open(ctx, at.DSN)
	if err != nil {
		return nil, err
	}
	if at.EngineDir == "" {
		at.EngineDir = engineDir()
	}
	provider, err := containerd.Open(ctx, containerd.Config{EngineDir: at.EngineDir, Instance: at.Instance, StateDir: filepath.Join(at.Dir, "sandboxes")})
	if err != nil {
		return nil, err
	}
	bundles, err := bundle.Open(filepath.Join(at.Dir, "bundles"), bundle.Limits{})
	if err != nil {
		return nil, err
	}
	p := &platform{place: at, store: st, provider: provider, bundles: bundles, hub: runlog.NewHub(st)}
	go p.hub.Run(ctx)
	return p, nil
}

// newEngine assembles an engine over the platform, and what collects the apps' output until ctx ends.
func (p *platform) newEngine(ctx context.Context, edge Edge) (*Engine, error) {
	catalogue, err := appliance.Load(appliances.FS)
	if err != nil {
		return nil, err
	}
	keys, err := secret.Open(filepath.Join(p.place.Dir, "keyring"))
	if err != nil {
		return nil, err
	}
	projects := project.New(p.store, p.bundles, keys)
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	if os.Getenv("PLAYBOOK_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	var e *Engine
	collector := runlog.NewCollector(runlog.CollectorConfig{Owner: p.place.Instance, Secrets: func(ctx context.Context, projectID, deploymentID string) ([]string, error) {
		return e.Secrets(ctx, projectID, deploymentID)
	}, Ended: func(string) { e.Nudge() }}, p.store, p.provider, log)
	e = New(Config{
		Output: Output{Follow: collector.Nudge, Drain: collector.Drain},
		Lease:  2 * time.Second, Sweep: 250 * time.Millisecond, HealthTimeout: 15 * time.Second, RetryFor: 10 * time.Second, Reconcile: 500 * time.Millisecond, Tidy: 2 * time.Second,
		PublicURL: func(slug string) (string, string) { return slug + ".apps.test", "http://" + slug + ".apps.test" },
		AppLimits: sandbox.Limits{MemoryBytes: 512 << 20, PIDs: 256}, DatabaseLimits: sandbox.Limits{MemoryBytes: 256 << 20, PIDs: 128},
	}, p.store, p.provider, catalogue, p.bundles, keys, projects.Decrypted, p.hub, edge, log)
	go collector.Run(ctx)
	return e, nil
}

// sample is a user with a project and an upload, ready to be deployed.
type sample struct {
	user    coderunner.User
	project coderunner.Project
	bundle  coderunner.Bundle
	plan    coderunner.Plan
}

// counter answers how often its database was asked, which shows that the data is there.
const answer = `
const http = require("node:http");
http.createServer((req, res) => {
  if (req.url === "/env") return res.end(JSON.stringify(process.env));
  res.end("hello from " + (process.env.GREETING || "nobody"));
}).listen(process.env.PORT, () => console.log("listening on " + process.env.PORT));
`

// newSample uploads files and adds what is needed to deploy them.
func (p *platform) newSample(ctx context.Context, name string, files map[string]string) (s sample, err error) {
	if s.user, err = p.store.CreateUser(ctx, name+"@example.com", "x"); err != nil {
		return s, err
	}
	if s.project, err = p.store.CreateProject(ctx, s.user.ID, name, strings.ToLower(name)); err != nil {
		return s, err
	}
	s.plan = coderunner.Plan{Type: "nodejs", Root: ".", Runtime: coderunner.Runtime{Name: "nodejs", Version: "18", Appliance: "nodejs-18"},
		Install: coderunner.Choice{Value: "echo installed > installed.txt && echo installing"}, Build: coderunner.Choice{Value: "cat installed.txt && echo built > built.txt"},
		Start: coderunner.Choice{Value: "cat built.txt && node index.js"}, Port: 3000}
	s.bundle, err = p.newBundle(ctx, s.project.ID, files, s.plan)
	return s, err
}

// newBundle uploads files to a project.
func (p *platform) newBundle(ctx context.Context, projectID string, files map[string]string, plan coderunner.Plan) (b coderunner.Bundle, err error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for path, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: path, Mode: 0o644, Size: int64(len(content))}); err != nil {
			return b, err
		}
		if _, err := io.WriteString(w, content); err != nil {
			return b, err
		}
	}
	if err := w.Close(); err != nil {
		return b, err
	}
	saved, err := p.bundles.Save(ctx, &archive, bundle.Options{Filename: "code.tar"})
	if err != nil {
		return b, err
	}
	return p.store.CreateBundle(ctx, coderunner.Bundle{ProjectID: projectID, SHA256: saved.SHA256, Filename: saved.Filename, SizeBytes: saved.SizeBytes, ExpandedBytes: saved.ExpandedBytes, Files: saved.Files, Plan: plan})
}

// ended waits until the run has ended.
func (p *platform) ended(t testing.TB, runID string) coderunner.Run {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	wake, unsubscribe := p.hub.Subscribe(runID)
	defer unsubscribe()
	for {
		run, err := p.store.RunByID(ctx, runID)
		if err != nil {
			t.Fatalf("waiting for run %s: %v\n%s", runID, err, p.logText(t, runID))
		}
		if run.State.Ended() {
			return run
		}
		select {
		case <-wake:
		case <-ctx.Done():
			t.Fatalf("run %s is still %s\n%s", runID, run.State, p.logText(t, runID))
		}
	}
}

// reached waits until a step of the run is in a state.
func (p *platform) reached(t testing.TB, runID, step string, state coderunner.StepState) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	wake, unsubscribe := p.hub.Subscribe(runID)
	defer unsubscribe()
	for {
		steps, err := p.store.Steps(ctx, runID)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range steps {
			if s.Name == step && s.State == state {
				return
			}
		}
		select {
		case <-wake:
		case <-ctx.Done():
			t.Fatalf("step %s of run %s never became %s\n%s", step, runID, state, p.logText(t, runID))
		}
	}
}

func (p *platform) logText(t testing.TB, runID string) string {
	t.Helper()
	lines, err := p.store.LogAfter(context.WithoutCancel(t.Context()), runID, 0, 2000)
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&b, "%4d %-8s %-6s %s\n", l.Seq, l.Step, l.Stream, l.Text)
	}
	return b.String()
}

// get requests a path of the project's URL through the edge.
func (p *platform) get(t testing.TB, slug, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = slug + ".apps.test"
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// wipe destroys what the platform's instance has, whatever the test left.
func (p *platform) wipe(t testing.TB) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	infos, err := p.provider.List(ctx, nil)
	if err != nil {
		t.Error(err)
	}
	for _, i := range infos {
		if err := p.provider.Destroy(ctx, i.Name); err != nil {
			t.Error(err)
		}
	}
	snapshots, _ := p.provider.ListSnapshots(ctx, nil)
	for range snapshots { // those that others are made from go last
		for _, s := range snapshots {
			_ = p.provider.RemoveSnapshot(ctx, s.Name)
		}
	}
	volumes, _ := p.provider.ListVolumes(ctx, nil)
	for _, v := range volumes {
		if err := p.provider.RemoveVolume(ctx, v.Name); err != nil {
			t.Error(err)
		}
	}
	networks, _ := p.provider.ListNetworks(ctx)
	for _, n := range networks {
		if err := p.provider.RemoveNetwork(ctx, n); err != nil {
			t.Error(err)
		}
	}
}
