package playbook

import (
	"crypto/rand"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/testdb"
)

// TestSqueezeLeavesWhatIsInUse and the newest few releases.
func TestSqueezeLeavesWhatIsInUse(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	s := p.upload(t, "squeezed", versioned("one"))
	s.plan.Install.Value, s.plan.Build.Value, s.plan.Start.Value = "echo first > installed.txt", "", "node index.js"
	p.succeeds(t, s)
	s.plan.Install.Value = "echo second > installed.txt"
	p.succeeds(t, s)
	p.succeeds(t, s)
	p.succeeds(t, s)
	numbers := func() (kept []int) {
		t.Helper()
		releases, err := p.store.KeptReleases(t.Context(), s.project.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range releases {
			kept = append(kept, d.Number)
		}
		return kept
	}
	dependencies := func() (n int) {
		t.Helper()
		records, err := p.store.ProjectSnapshots(t.Context(), s.project.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			if r.Kind == coderunner.DependencySnapshot {
				n++
			}
		}
		return n
	}
	if kept := numbers(); !slices.Equal(kept, []int{4, 3, 2, 1}) || dependencies() != 2 {
		t.Fatalf("before, the releases are %v, and %d installs are kept", kept, dependencies())
	}
	if err := p.engine.Squeeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	if kept := numbers(); !slices.Equal(kept, []int{4, 3, 2}) || dependencies() != 1 {
		t.Errorf("afterwards, the releases are %v, and %d installs are kept", kept, dependencies())
	}
	if status, body := p.get(t, "squeezed", "/"); status != 200 {
		t.Errorf("the app answers %d %s", status, body)
	}
}

// TestDependenciesAreBounded: what was not used for the longest goes first, once all together is too much.
func TestDependenciesAreBounded(t *testing.T) {
	t.Parallel()
	// Without a reconciler, which would remove the sandboxes that nobody claims.
	p, err := openPlatform(t.Context(), t.TempDir(), testdb.New(t), "test-"+strings.ToLower(rand.Text()[:10]))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.wipe(t); p.store.Close(); p.provider.Close() })
	s := p.upload(t, "bounded", answer)
	record := func(name, from string, known bool) {
		t.Helper()
		spec := sandbox.Spec{Name: name, Template: p.template(t)}
		if _, err := p.provider.Create(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		exit, err := p.provider.Exec(t.Context(), name, sandbox.Command{Argv: []string{"dd", "if=/dev/zero", "of=/app/" + from, "bs=1M", "count=2"}})
		if err != nil || exit.Code != 0 {
			t.Fatal(exit, err)
		}
		if err := p.provider.Snapshot(t.Context(), name, name, ProjectLabels(s.project.ID)); err != nil {
			t.Fatal(err)
		}
		if err := p.provider.Destroy(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if known {
			err = p.store.KeepSnapshot(t.Context(), coderunner.SnapshotRecord{Name: name, Provider: p.provider.Name(), ProjectID: s.project.ID, Kind: coderunner.DependencySnapshot})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	record("older", "a", true)
	record("newer", "b", true)
	record("forgotten", "c", false)
	left := func() (names []string) {
		t.Helper()
		list, err := p.provider.ListSnapshots(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range list {
			names = append(names, s.Name)
		}
		return names
	}
	// What is not dependencies does not count.
	if err := p.engine.tidyAll(t.Context(), 5<<20); err != nil || len(left()) != 3 {
		t.Errorf("of what fits there is %v, %v", left(), err)
	}
	if err := p.engine.tidyAll(t.Context(), 3<<20); err != nil || !slices.Equal(left(), []string{"forgotten", "newer"}) {
		t.Errorf("of what does not fit there is %v, %v", left(), err)
	}
	there, err := p.provider.ListSnapshots(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	records, err := p.store.Snapshots(t.Context(), p.provider.Name())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.engine.dropForgotten(t.Context(), there, records, 0); err != nil || !slices.Equal(left(), []string{"newer"}) {
		t.Errorf("without those that nobody recorded there is %v, %v", left(), err)
	}
}

// TestNetworksOfNobodyGo, those of projects stay.
func TestNetworksOfNobodyGo(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	s := p.upload(t, "mine", answer)
	for _, project := range []string{s.project.ID, "00000000-0000-4000-8000-000000000000"} {
		spec := sandbox.Spec{Name: "box-" + project[:8], Template: p.template(t), Network: projectNetwork(project)}
		if _, err := p.provider.Create(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		if err := p.engine.dropNetworks(t.Context()); err != nil {
			t.Errorf("with a sandbox in a network: %v", err)
		}
		if err := p.provider.Destroy(t.Context(), spec.Name); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.engine.tidyAll(t.Context(), 1<<30); err != nil {
		t.Fatal(err)
	}
	if left, err := p.provider.ListNetworks(t.Context()); err != nil || !slices.Equal(left, []string{projectNetwork(s.project.ID)}) {
		t.Errorf("the networks are %q, %v", left, err)
	}
}

// template is Node.js's.
func (p *platform) template(t *testing.T) sandbox.TemplateRef {
	t.Helper()
	return p.builtTemplate(t, "nodejs-18")
}

// builtTemplate is an appliance's, made if it has to be.
func (p *platform) builtTemplate(t *testing.T, appliance string) sandbox.TemplateRef {
	t.Helper()
	def, err := p.engine.catalogue.Get(appliance)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.provider.BuildTemplate(t.Context(), def.Template(), io.Discard); err != nil {
		t.Fatal(err)
	}
	return def.Template().TemplateRef
}

// TestQueueForgetsItsJobs: they say nothing that the runs do not.
func TestQueueForgetsItsJobs(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	pool := p.store.Pool()
	if _, err := pool.Exec(t.Context(), `INSERT INTO river_job (args, kind, max_attempts, state, finalized_at) SELECT '{}', 'run', 1, state::river_job_state, now() - interval '2 hours'
		FROM unnest(ARRAY['completed', 'cancelled', 'discarded']) AS state`); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute) // it looks every half minute
	for n := -1; n != 0; {
		if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM river_job WHERE finalized_at < now() - interval '1 hour'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n > 0 && time.Now().After(deadline) {
			t.Fatalf("%d jobs of two hours ago are still there", n)
		}
		select {
		case <-t.Context().Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}
