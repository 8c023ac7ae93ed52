package playbook

import (
	"bytes"
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/testdb"
	"github.com/coderunner/coderunner/internal/testupstream"
)

// withCaches is a platform that keeps what builds have downloaded, and does two of them at once.
func withCaches(t *testing.T, u *testupstream.Upstream) *platform {
	t.Helper()
	return startPlatformIn(t, t.TempDir(), testdb.New(t), func(p *platform) {
		p.engine.cfg.Sources = coderunner.Sources{NPMRegistry: u.URL, PythonIndex: u.URL + "/simple"}
		p.engine.cfg.PackageCache, p.engine.slots = 64<<20, newSlots(2)
	})
}

// another is a second project of the sample's user, with the same plan.
func (s sample) another(t *testing.T, p *platform, name string, files map[string]string) sample {
	t.Helper()
	var err error
	if s.project, err = p.store.CreateProject(t.Context(), s.user.ID, name, name); err != nil {
		t.Fatal(err)
	}
	if s.bundle, err = p.newBundle(t.Context(), s.project.ID, files, s.plan); err != nil {
		t.Fatal(err)
	}
	return s
}

func (p *platform) volumeNames(t *testing.T) (names []string) {
	t.Helper()
	volumes, err := p.provider.ListVolumes(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range volumes {
		names = append(names, v.Name)
	}
	return names
}

// TestDownloadsAreKeptForTheUser: the user's next project downloads nothing again, somebody else's does, and
// finds nothing of what this user's builds have left. No app has any of it, and it stays when a project goes.
func TestDownloadsAreKeptForTheUser(t *testing.T) {
	t.Parallel()
	u := testupstream.New(t, "leftish")
	p := withCaches(t, u)
	const leaves = `npm ci && echo left > "$npm_config_cache/left-behind"`
	const looks = `find / -name left-behind 2>/dev/null; ls -A "$npm_config_cache"; npm ci`
	first := p.newPackaged(t, u, "first", "leftish")
	first.plan.Install.Value = leaves
	run := p.succeeds(t, first)
	if n := u.Requests(".tgz"); n != 1 {
		t.Fatalf("the first install asked for the tarball %d times", n)
	}
	var found bytes.Buffer
	if _, err := p.provider.Exec(t.Context(), "app-"+run.ID, sandbox.Command{Argv: []string{"/bin/sh", "-c", `find / -name left-behind -o -name _cacache 2>/dev/null`}, Stdout: &found}); err != nil || found.Len() > 0 {
		t.Errorf("the app has %s, %v", &found, err)
	}

	second := first.another(t, p, "second", packaged(u, "leftish"))
	second.plan.Install.Value = looks
	log := p.logText(t, p.succeeds(t, second).ID)
	if status, body := p.get(t, "second", "/"); status != 200 || body != "leftish" || u.Requests(".tgz") != 1 {
		t.Errorf("the user's second project answers %d %s; the tarball was asked for %d times", status, body, u.Requests(".tgz"))
	}
	if !strings.Contains(log, cacheDir+"/npm/left-behind") {
		t.Errorf("the user's second build does not find what the first has left:\n%s", log)
	}

	stranger := p.newPackaged(t, u, "stranger", "leftish")
	stranger.plan.Install.Value = looks
	log = p.logText(t, p.succeeds(t, stranger).ID)
	if strings.Contains(log, "/left-behind") {
		t.Errorf("somebody else's build finds it as well:\n%s", log)
	}
	if n := u.Requests(".tgz"); n != 2 {
		t.Errorf("the tarball was asked for %d times, want once for each user", n)
	}

	destroy, err := p.engine.Destroy(t.Context(), first.user.ID, first.project.ID, "first")
	if err != nil {
		t.Fatal(err)
	}
	if destroy = p.ended(t, destroy.ID); destroy.State != coderunner.RunSucceeded {
		t.Fatalf("the destroy ended %s: %s", destroy.State, told(destroy.Failure))
	}
	want := []string{coderunner.CacheVolume(first.user.ID), coderunner.CacheVolume(stranger.user.ID)}
	slices.Sort(want)
	if got := p.volumeNames(t); !slices.Equal(got, want) {
		t.Errorf("the volumes are %v, want %v", got, want)
	}
}

func TestWheelsAreKeptForTheUser(t *testing.T) {
	t.Parallel()
	u := testupstream.New(t, "leftish")
	p := withCaches(t, u)
	first := p.newPython(t, "first", "leftish")
	p.succeeds(t, first)
	before := u.Requests("/wheels/")
	if before == 0 {
		t.Fatal("the first install did not ask for the wheel")
	}
	p.succeeds(t, first.another(t, p, "second", pythonPackaged("leftish")))
	if status, body := p.get(t, "second", "/"); status != 200 || body != "leftish" || u.Requests("/wheels/") != before {
		t.Errorf("the user's second project answers %d %s; wheels were asked for %d times, %d of them before", status, body, u.Requests("/wheels/"), before)
	}
}

// TestCachesGoBetweenBuilds: two builds of one user share the cache while it is removed again and again.
func TestCachesGoBetweenBuilds(t *testing.T) {
	t.Parallel()
	u := testupstream.New(t, "leftish")
	p := withCaches(t, u)
	samples := []sample{p.newPackaged(t, u, "one", "leftish")}
	samples = append(samples, samples[0].another(t, p, "two", packaged(u, "leftish")))
	over, end := context.WithCancel(t.Context())
	var dropping sync.WaitGroup
	dropping.Go(func() {
		for over.Err() == nil {
			if err := p.engine.dropCaches(over, -1); err != nil && over.Err() == nil {
				t.Error(err)
				return
			}
		}
	})
	for range 2 {
		var runs []coderunner.Run
		for i := range samples {
			samples[i].plan.Install.Value += " --no-fund" // another install
			_, run := p.deploy(t, samples[i])
			runs = append(runs, run)
		}
		for _, run := range runs {
			if run = p.ended(t, run.ID); run.State != coderunner.RunSucceeded {
				t.Errorf("a deploy ended %s: %s\n%s", run.State, told(run.Failure), p.logText(t, run.ID))
			}
		}
	}
	end()
	dropping.Wait()
	if n := u.Requests(".tgz"); n < 2 {
		t.Errorf("the tarball was asked for %d times: no cache was removed", n)
	}
}

// TestCachesAreBounded: one that is too large goes, and for want of room all do, but none while a builder has it.
func TestCachesAreBounded(t *testing.T) {
	t.Parallel()
	// Without a reconciler, which would remove the sandbox that nobody claims.
	p, err := openPlatform(t.Context(), t.TempDir(), testdb.New(t), "test-"+strings.ToLower(rand.Text()[:10]))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.wipe(t); p.store.Close(); p.provider.Close() })
	p.engine.cfg.PackageCache = 16 << 20
	make := func(user string) {
		t.Helper()
		if _, err := p.provider.Create(t.Context(), sandbox.Spec{Name: "builder-" + user, Template: p.template(t), Volumes: p.engine.cacheMounts(user)}); err != nil {
			t.Fatal(err)
		}
		exit, err := p.provider.Exec(t.Context(), "builder-"+user, sandbox.Command{Argv: []string{"dd", "if=/dev/zero", "of=" + cacheDir + "/big", "bs=1M", "count=4"}})
		if err != nil || exit.Code != 0 {
			t.Fatal(exit, err)
		}
	}
	drop := func(limit int64, want ...string) {
		t.Helper()
		if err := p.engine.dropCaches(t.Context(), limit); err != nil {
			t.Fatal(err)
		}
		if got := p.volumeNames(t); !slices.Equal(got, want) {
			t.Errorf("with a limit of %d the volumes are %v, want %v", limit, got, want)
		}
	}
	make("ada")
	drop(1<<20, "cache-ada")
	if err := p.provider.Destroy(t.Context(), "builder-ada"); err != nil {
		t.Fatal(err)
	}
	drop(8<<20, "cache-ada")
	drop(1 << 20)
	make("ada")
	make("bob")
	if err := p.provider.Destroy(t.Context(), "builder-ada"); err != nil {
		t.Fatal(err)
	}
	if err := p.engine.Squeeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	drop(8<<20, "cache-bob")
}
