package housekeeping_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/bundle"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/housekeeping"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/store"
	"github.com/coderunner/coderunner/internal/testdb"
	"github.com/coderunner/coderunner/internal/testdisk"
)

// world is a keeper over a real database and a real disk. Only the provider is stood
// in for: it has three volumes, of which a project has one and a user's builds one, and two snapshots.
type world struct {
	*housekeeping.Keeper
	store    *store.Store
	bundles  *bundle.Store
	dir      string
	project  coderunner.Project
	squeezed atomic.Int32
	removed  atomic.Int32 // volumes, which nobody may
}

type volumes struct {
	sandbox.Provider // nothing else is asked of them
	sandbox.Snapshotter
	owner   func() string
	removed *atomic.Int32
}

func (volumes) Name() string { return "test" }
func (volumes) ListSnapshots(context.Context, map[string]string) ([]sandbox.Snapshot, error) {
	return []sandbox.Snapshot{{Name: "release-1", Bytes: 300}, {Name: "of nobody", Bytes: 5}}, nil
}
func (v volumes) ListVolumes(context.Context, map[string]string) ([]sandbox.Volume, error) {
	return []sandbox.Volume{{Name: "orphan"}, {Name: coderunner.CacheVolume("ada")}, {Name: "data", Labels: map[string]string{"project": v.owner()}}}, nil
}
func (v volumes) RemoveVolume(context.Context, string) error {
	v.removed.Add(1)
	return nil
}
func (volumes) VolumeSize(context.Context, string) (int64, error) { return 4096, nil }

func newWorld(t *testing.T, dir string) *world {
	t.Helper()
	w := &world{dir: dir, store: store.New(testdb.NewPool(t))}
	var err error
	if w.bundles, err = bundle.Open(filepath.Join(dir, "bundles"), bundle.Limits{FreeBytes: 1}); err != nil {
		t.Fatal(err)
	}
	user, err := w.store.CreateUser(t.Context(), "ada@example.com", "hash")
	if err != nil {
		t.Fatal(err)
	}
	if w.project, err = w.store.CreateProject(t.Context(), user.ID, "shop", "shop"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.EnsureDatabase(t.Context(), coderunner.Database{ProjectID: w.project.ID, Appliance: "postgres-15", Name: "app", Volume: "data"}); err != nil {
		t.Fatal(err)
	}
	w.Keeper = housekeeping.New(housekeeping.Config{
		DataDir: dir, Look: 100 * time.Millisecond, Rest: 10 * time.Millisecond,
		ProjectOf: func(labels map[string]string) string { return labels["project"] },
		Engine: func(context.Context) ([]coderunner.Stored, error) {
			return []coderunner.Stored{{Kind: coderunner.StoredTemplates, Count: 2, Bytes: 100}}, nil
		},
		Squeeze: func(context.Context) error { w.squeezed.Add(1); return nil },
	}, w.store, w.bundles, volumes{owner: func() string { return w.project.ID }, removed: &w.removed}, slog.New(slog.DiscardHandler))
	return w
}

// run has the keeper work until the test ends.
func (w *world) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if n := w.removed.Load(); n > 0 {
			t.Errorf("%d volumes were removed", n)
		}
	})
}

// eventually tries until ok, for at most half a minute.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within half a minute", what)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// upload stores a tree and gives it an age.
func (w *world) upload(t *testing.T, text string, age time.Duration) (path string) {
	t.Helper()
	saved, err := w.bundles.Save(t.Context(), strings.NewReader(tarWith(t, text)), bundle.Options{})
	if err != nil {
		t.Fatal(err)
	}
	up, err := w.store.CreateBundle(t.Context(), coderunner.Bundle{ProjectID: w.project.ID, SHA256: saved.SHA256, Filename: text, SizeBytes: saved.SizeBytes})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.Pool().Exec(t.Context(), "UPDATE bundles SET created_at = now() - make_interval(secs => $2) WHERE id = $1", up.ID, age.Seconds()); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(w.dir, "bundles", "blobs", saved.SHA256[:2], saved.SHA256[2:])
	then := time.Now().Add(-age)
	if err := os.Chtimes(path, then, then); err != nil {
		t.Fatal(err)
	}
	return path
}

func there(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

func TestPassRemovesAndMeasures(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t.TempDir())
	old, recent, newest := w.upload(t, "old", 48*time.Hour), w.upload(t, "recent", 2*time.Hour), w.upload(t, "newest", 0)
	if stored, at := w.Project(w.project.ID); stored != nil || at != nil {
		t.Errorf("before it was measured, the project stores %+v", stored)
	}
	if err := w.store.KeepSnapshot(t.Context(), coderunner.SnapshotRecord{Name: "release-1", Provider: "test", ProjectID: w.project.ID, Kind: coderunner.ReleaseSnapshot}); err != nil {
		t.Fatal(err)
	}
	w.run(t)
	eventually(t, "a measurement", func() bool { return w.Disk().MeasuredAt != nil })
	if there(old) || !there(recent) || !there(newest) {
		t.Errorf("of the uploads there are: old %v, recent %v, newest %v", there(old), there(recent), there(newest))
	}
	d := w.Disk()
	if len(d.Tables) == 0 || d.Tables[0].Bytes == 0 {
		t.Errorf("the largest tables are %+v", d.Tables)
	}
	if d.Cleaned == nil || d.Cleaned.Pressed || d.Cleaned.Failed || len(d.Cleaned.Removed) != 1 || d.Cleaned.Removed[0].Count != 1 || w.squeezed.Load() != 0 {
		t.Errorf("the pass was %+v, squeezed %d times", d.Cleaned, w.squeezed.Load())
	}
	found := map[coderunner.StoredKind]coderunner.Stored{}
	for _, s := range d.Stored {
		found[s.Kind] = s
	}
	if found[coderunner.StoredUploads].Count != 2 || found[coderunner.StoredVolumes].Bytes != 2*4096 || found[coderunner.StoredCaches] != (coderunner.Stored{Kind: coderunner.StoredCaches, Count: 1, Bytes: 4096}) || found[coderunner.StoredReleases].Bytes != 300 || found[coderunner.StoredDependencies].Bytes != 5 ||
		found[coderunner.StoredTemplates].Count != 2 || found[coderunner.StoredDatabase].Bytes == 0 {
		t.Errorf("measured is %+v", d.Stored)
	}
	if want := []coderunner.Orphan{{Volume: "orphan", Bytes: 4096}}; !slices.Equal(d.Orphans, want) {
		t.Errorf("volumes that no project has are %+v, want %+v", d.Orphans, want)
	}
	stored, at := w.Project(w.project.ID)
	if at == nil || len(stored) != 3 || stored[0] != (coderunner.Stored{Kind: coderunner.StoredVolumes, Count: 1, Bytes: 4096}) || stored[1].Bytes != 300 || stored[2].Count != 2 {
		t.Errorf("the project stores %+v", stored)
	}
	later := w.upload(t, "and one that is old already", 72*time.Hour)
	w.Ask()
	eventually(t, "the pass that was asked for", func() bool { return !there(later) })

	// More runs than stay, all from long ago.
	if _, err := w.store.Pool().Exec(t.Context(), `INSERT INTO runs (project_id, playbook, state, created_at, finished_at)
		SELECT $1, 'deploy', 'FAILED', now() - interval '60 days', now() - interval '60 days' FROM generate_series(1, 207)`, w.project.ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the old runs' end", func() bool {
		w.Ask()
		var runs int
		if err := w.store.Pool().QueryRow(t.Context(), "SELECT count(*) FROM runs").Scan(&runs); err != nil || runs < 200 {
			t.Fatal(runs, err)
		}
		return runs == 200
	})
}

// TestFullDisk: nothing is begun, more is removed, the reserve goes; with room, all comes back.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testdisk.New(t, 256<<20, 1))
	recent, newest := w.upload(t, "recent", 2*time.Hour), w.upload(t, "newest", 0)
	w.run(t)
	ballast := filepath.Join(w.dir, "ballast")
	eventually(t, "the reserve", func() bool { info, err := os.Stat(ballast); return err == nil && info.Size() == 64<<20 })
	if err := w.Room(); err != nil {
		t.Fatalf("a disk with room: %v", err)
	}
	empty := testdisk.FillAsRoot(t, w.dir)
	eventually(t, "the end of the reserve", func() bool { return !there(ballast) })
	if err := os.WriteFile(filepath.Join(w.dir, "last words"), make([]byte, 1<<20), 0o600); err != nil {
		t.Errorf("with the reserve, what has to be written is not: %v", err)
	}
	err := w.Room()
	if coderunner.KindOf(err) != coderunner.Unavailable || !strings.Contains(coderunner.Sentence(err), "% of the disk of the data directory is free") {
		t.Errorf("a full disk is told as %v", err)
	}
	eventually(t, "a pressed pass", func() bool { return w.Disk().Cleaned != nil && w.Disk().Cleaned.Pressed && w.squeezed.Load() > 0 })
	eventually(t, "the unneeded upload's end", func() bool { return !there(recent) })
	if !there(newest) || w.Disk().Room() == nil {
		t.Errorf("the newest upload is there: %v; the disk is %+v", there(newest), w.Disk())
	}
	empty()
	eventually(t, "the reserve again", func() bool { return there(ballast) })
	if err := errors.Join(w.Room(), w.Disk().Room()); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

func TestDiskWithoutFilesLeft(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testdisk.New(t, 128<<20, 1, "-N", "256"))
	for i := range 220 {
		if err := os.WriteFile(filepath.Join(w.dir, strings.Repeat("f", i+1)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Room(); !strings.Contains(coderunner.Sentence(err), "of the files that the disk of the data directory can have") {
		t.Errorf("it is told as %v", err)
	}
}

// TestTwoDisks: the sandboxes' may be short while the data's is not.
func TestTwoDisks(t *testing.T) {
	t.Parallel()
	data, engine := t.TempDir(), testdisk.New(t, 64<<20, 1)
	testdisk.Fill(t, engine)
	found, err := housekeeping.Look(data, engine)
	if err != nil || len(found) != 2 {
		t.Fatalf("%+v, %v", found, err)
	}
	if err := (coderunner.Disk{FileSystems: found, MinFree: 5}).Room(); !strings.Contains(coderunner.Sentence(err), "the disk of the sandboxes") {
		t.Errorf("it is told as %v", err)
	}
	if found, err := housekeeping.Look(engine, filepath.Join(engine, "lost+found")); err != nil || len(found) != 1 || found[0].Holds != "the data directory and the sandboxes" {
		t.Errorf("of one disk: %+v, %v", found, err)
	}
}
