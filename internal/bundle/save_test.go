package bundle_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/bundle"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

func app() []item {
	return []item{
		{name: "guest book/", mode: 0o700},
		{name: "guest book/package.json", body: "{}"},
		{name: "guest book/src/größe.js", body: "1"},
		{name: "guest book/bin/run", body: "#!/bin/sh", mode: 0o100755},
		{name: "guest book/src/link.js", link: "../package.json"},
	}
}

// TestSameTreeSameAddress: the address says what is in the tree and nothing else. The literal
// guards the format: if it changes, stored bundles are no longer found by content.
func TestSameTreeSameAddress(t *testing.T) {
	t.Parallel()
	store, dir := open(t, small())
	items := app()
	shuffled := []item{items[3], items[1], items[4], items[2]} // no directory, another order
	for i := range shuffled {
		shuffled[i].name = "./" + strings.Replace(shuffled[i].name, "guest book/", "other//", 1)
	}
	packed, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	stripped := slices.Clone(items[1:])
	for i := range stripped {
		stripped[i].name = strings.TrimPrefix(stripped[i].name, "guest book/")
	}
	archives := map[string][]byte{
		"tar": tarOf(t, items...), "tar.gz": gzipped(t, tarOf(t, items...)), "zip": zipOf(t, items...),
		"tar.zst": packed.EncodeAll(tarOf(t, items...), nil), "shuffled tar": tarOf(t, shuffled...),
		"shuffled zip": zipOf(t, shuffled...), "without a top folder": tarOf(t, stripped...),
	}
	const want = "a52629009103d4e3d1b022de8186673368d6f82762fc76bb2d36c8c7020bd5d1" // of the canonical tar: another address would orphan every stored bundle
	for name, archive := range archives {
		saved := save(t, store, archive)
		if saved.SHA256 != want {
			t.Errorf("%s has the address %s", name, saved.SHA256)
		}
		if saved.Files != 4 || saved.ExpandedBytes != 12 || saved.SizeBytes == 0 || len(saved.Omitted) != 0 {
			t.Errorf("%s is told as %+v", name, saved)
		}
	}
	checkFiles(t, dir, want)
	got := listed(t, store, want)
	expected := []string{
		"-rwxr-xr-x bin/", "-rwxr-xr-x bin/run = #!/bin/sh", "-rw-r--r-- package.json = {}", "-rwxr-xr-x src/",
		"-rw-r--r-- src/größe.js = 1", "-rwxrwxrwx src/link.js -> ../package.json",
	}
	if !slices.Equal(got, expected) {
		t.Errorf("stored: %q", got)
	}
}

func TestOneTopFolderIsStrippedNotTwo(t *testing.T) {
	t.Parallel()
	store, _ := open(t, small())
	for archive, want := range map[string]string{
		"app/server/index.js":         "server/index.js",
		"app/a.js app/.env":           "a.js",
		"app/a.js __MACOSX/app/._a":   "a.js",
		"app/a.js .DS_Store":          "a.js",
		"app/a.js b.js":               "app/a.js b.js",
		"app/a.js apple/b.js":         "app/a.js apple/b.js",
		"index.js":                    "index.js",
		"node_modules/x.js src/a.js":  "a.js",
		"app/app/a.js app/app/b/c.js": "app/a.js app/b/c.js",
	} {
		var items []item
		for name := range strings.FieldsSeq(archive) {
			items = append(items, item{name: name, body: "x"})
		}
		var got []string
		for _, line := range listed(t, store, save(t, store, tarOf(t, items...)).SHA256) {
			if name, isFile := strings.CutSuffix(line[11:], " = x"); isFile {
				got = append(got, name)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q became %q", archive, got)
		}
	}
}

func TestOmissionsAreReported(t *testing.T) {
	t.Parallel()
	items := []item{
		{name: "app/index.js", body: "x"}, {name: "app/.env.production", body: "A=1"}, {name: "app/.env.example", body: "A="},
		{name: "app/node_modules/"}, {name: "app/node_modules/a/" + strings.Repeat("deep/", 30) + "index.js", body: "x"},
		{name: "app/node_modules/.bin/a", link: "/usr/bin/a"}, {name: "app/web/node_modules/b.js", body: "x"},
		{name: "app/.git/config", body: "x"}, {name: "app/.env", body: "SECRET=hunter2"}, {name: "app/web/.env.test.local", body: "x"},
		{name: "app/.DS_Store", body: "x"}, {name: "app/web/._index.js", body: "x"}, {name: "app/__pycache__/x.pyc", body: "x"},
	}
	limits := small()
	limits.PathBytes = 1024
	store, _ := open(t, limits)
	for name, archive := range map[string][]byte{"tar": tarOf(t, items...), "zip": zipOf(t, items...)} {
		saved := save(t, store, archive)
		var got []string
		for _, omission := range saved.Omitted {
			got = append(got, omission.String())
		}
		const note = ": left out, it may hold secrets; set its keys as variables"
		want := []string{".DS_Store", "._*", ".env" + note, ".env.*.local" + note, ".git/ (1 file)", "__pycache__/ (1 file)", "node_modules/ (3 files)"}
		if !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
			t.Errorf("%s: omitted %q", name, got)
		}
		stored := strings.Join(listed(t, store, saved.SHA256), "\n")
		if strings.Contains(stored, "hunter2") || saved.Files != 3 {
			t.Errorf("%s: stored\n%s", name, stored)
		}
	}
}

// TestArchiveSize: the cap is inclusive and its error names it; reading stops there.
func TestArchiveSize(t *testing.T) {
	t.Parallel()
	archive := tarOf(t, item{name: "a", body: strings.Repeat("x", 1<<20)})
	limits := small()
	limits.ArchiveBytes = int64(len(archive))
	store, dir := open(t, limits)
	saved := save(t, store, archive)

	for name, more := range map[string][]byte{"tar": append(slices.Clone(archive), 0), "zip": append([]byte("PK\x03\x04"), archive...)} {
		sent := &countingReader{r: io.MultiReader(bytes.NewReader(more), zeros{})}
		_, err := store.Save(context.Background(), sent, bundle.Options{})
		checkSentence(t, err, coderunner.TooLarge, "larger than 1025 KiB")
		if most := limits.ArchiveBytes + 1<<20; sent.n.Load() > most {
			t.Errorf("%s: %d bytes were read of an endless upload", name, sent.n.Load())
		}
	}
	checkFiles(t, dir, saved.SHA256)

	if got := bundle.DefaultLimits().ArchiveBytes; got != 256<<20 {
		t.Errorf("by default an upload may have %d bytes", got)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type countingReader struct {
	r io.Reader
	n atomic.Int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// TestCutOffAnywhere truncates each kind of archive at many places: a sentence, and nothing left.
func TestCutOffAnywhere(t *testing.T) {
	t.Parallel()
	store, dir := open(t, small())
	body := make([]byte, 20_000)
	random := rand.NewChaCha8([32]byte{1})
	random.Read(body)
	items := append(app(), item{name: "guest book/data", body: string(body)})
	for name, archive := range map[string][]byte{"tar": tarOf(t, items...), "tar.gz": gzipped(t, tarOf(t, items...)), "zip": zipOf(t, items...)} {
		for end := 0; end < len(archive)-1024; end += 509 {
			_, err := store.Save(context.Background(), bytes.NewReader(archive[:end]), bundle.Options{Filename: "app.zip"})
			if coderunner.KindOf(err) != coderunner.Invalid {
				t.Fatalf("%s cut at %d of %d: %v", name, end, len(archive), err)
			}
			if end > 1024 {
				checkSentence(t, err, coderunner.Invalid, "ends too early")
			}
		}
	}
	checkFiles(t, dir)
}

// TestDamagedAnywhere flips bits: whatever is accepted reads back whole, the rest is a sentence.
func TestDamagedAnywhere(t *testing.T) {
	t.Parallel()
	store, dir := open(t, small())
	var accepted []string
	for name, archive := range map[string][]byte{"tar": tarOf(t, app()...), "tar.gz": gzipped(t, tarOf(t, app()...)), "zip": zipOf(t, app()...)} {
		for at := 0; at < len(archive); at += 3 {
			damaged := slices.Clone(archive)
			damaged[at] ^= 1 << (at % 8)
			saved, err := store.Save(context.Background(), bytes.NewReader(damaged), bundle.Options{})
			if err == nil {
				listed(t, store, saved.SHA256)
				accepted = append(accepted, saved.SHA256)
			} else if kind := coderunner.KindOf(err); kind != coderunner.Invalid && kind != coderunner.TooLarge {
				t.Fatalf("%s damaged at %d: %v", name, at, err)
			}
		}
	}
	checkFiles(t, dir, accepted...)
}

func TestNotAnArchive(t *testing.T) {
	t.Parallel()
	for body, text := range map[string]string{
		"":                                  `"app.zip" is empty`,
		"<!doctype html><script>x</script>": "a web page",
		"<svg onload=alert(1)>":             "a web page or a drawing",
		"MZ\x90\x00" + strings.Repeat("\x00", 600): "a Windows program",
		"\x7fELF" + strings.Repeat("\x00", 600):    "a program",
		"Rar!\x1a\x07":                             "a RAR archive",
		"console.log(1)":                           "not an archive",
		strings.Repeat("x", 4096):                  "not an archive",
	} {
		refused(t, small(), []byte(body), coderunner.Invalid, text, "Send a .zip")
	}
	refused(t, small(), gzipped(t, []byte(strings.Repeat("hello ", 200))), coderunner.Invalid, "no tar archive in it")
	refused(t, small(), gzipped(t, nil), coderunner.Invalid, "no files")
	refused(t, small(), zipOf(t), coderunner.Invalid, "no files")
	refused(t, small(), tarOf(t), coderunner.Invalid, "no files")
	refused(t, small(), zipOf(t, item{name: "app/node_modules/x", body: "x"}), coderunner.Invalid, "no files", "node_modules/")
}

// TestClientLeaves: an upload that breaks off midway says so and leaves nothing.
func TestClientLeaves(t *testing.T) {
	t.Parallel()
	files := openFiles(t)
	store, dir := open(t, small())
	for name, archive := range map[string][]byte{"tar": tarOf(t, app()...), "tar.gz": gzipped(t, tarOf(t, app()...)), "zip": zipOf(t, app()...)} {
		for _, gone := range []error{io.ErrUnexpectedEOF, errors.New("connection reset by peer")} {
			half := io.MultiReader(bytes.NewReader(archive[:len(archive)/2]), failing{gone})
			_, err := store.Save(context.Background(), half, bundle.Options{})
			checkSentence(t, err, coderunner.Invalid, "broke off", "Send it again")
			if !errors.Is(err, gone) {
				t.Errorf("%s: the cause is lost: %v", name, err)
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		half := io.MultiReader(bytes.NewReader(archive[:len(archive)/2]), cancelling{cancel}, bytes.NewReader(archive[len(archive)/2:]))
		if _, err := store.Save(ctx, half, bundle.Options{}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: a cancelled upload answers %v", name, err)
		}
	}
	checkFiles(t, dir)
	_ = files
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type cancelling struct{ cancel func() }

func (c cancelling) Read([]byte) (int, error) { c.cancel(); return 0, io.EOF }

// TestMemory: an upload of 192 MiB grows the heap by a small part of that. Not parallel:
// other tests would be counted.
func TestMemory(t *testing.T) {
	limits := small()
	limits.ArchiveBytes, limits.ExpandedBytes = 256<<20, 256<<20
	store, _ := open(t, limits)
	random := rand.NewChaCha8([32]byte{2})
	const size = 192 << 20
	header := tarOf(t, item{name: "data", body: ""})[:512]
	copy(header[124:136], fmt.Sprintf("%011o\x00", size))
	copy(header[148:156], "        ")
	sum := 0
	for _, b := range header {
		sum += int(b)
	}
	copy(header[148:156], fmt.Sprintf("%06o\x00 ", sum))

	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	var most uint64
	watched := readerFunc(func(p []byte) (int, error) {
		runtime.ReadMemStats(&now)
		most = max(most, now.HeapAlloc)
		return random.Read(p)
	})
	body := io.MultiReader(bytes.NewReader(header), io.LimitReader(watched, size), bytes.NewReader(make([]byte, 1024)))
	saved, err := store.Save(context.Background(), body, bundle.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tree, err := store.FS(saved.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	runtime.ReadMemStats(&now)
	if grown := int64(max(most, now.HeapAlloc)) - int64(before.HeapAlloc); grown > 24<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestDiskFull fills a real, small disk: in the spool, in the blob, and by the floor that is kept free.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatalf("this test needs to mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	limits := small()
	limits.ArchiveBytes = 32 << 20
	store, err := bundle.Open(dir, limits)
	if err != nil {
		t.Fatal(err)
	}
	body := make([]byte, 5<<20)
	random := rand.NewChaCha8([32]byte{3})
	random.Read(body)
	fits := tarOf(t, item{name: "a", body: string(body[:1<<20])})
	for name, archive := range map[string][]byte{
		"tar in the spool":    tarOf(t, item{name: "a", body: string(body)}),
		"zip in the spool":    zipOf(t, item{name: "a", body: string(body)}),
		"tar.gz in the spool": gzipped(t, tarOf(t, item{name: "a", body: string(body)})),
		"tar in the blob":     tarOf(t, item{name: "a", body: string(body[:5<<19])}),
	} {
		_, err := store.Save(context.Background(), bytes.NewReader(archive), bundle.Options{})
		if err == nil {
			t.Fatalf("%s: 5 MiB on a disk of 4", name)
		}
		checkSentence(t, err, coderunner.Unavailable, "disk is full")
		checkFiles(t, dir)
	}
	saved := save(t, store, fits)
	checkFiles(t, dir, saved.SHA256)

	limits.FreeBytes = 4 << 20
	careful, err := bundle.Open(dir, limits)
	if err != nil {
		t.Fatal(err)
	}
	_, err = careful.Save(context.Background(), bytes.NewReader(fits), bundle.Options{})
	checkSentence(t, err, coderunner.Unavailable, "disk is full", "4 MiB are kept back")
	checkFiles(t, dir, saved.SHA256)
}

// TestConcurrentSaves of one tree while it is also removed, read and swept.
func TestConcurrentSaves(t *testing.T) {
	t.Parallel()
	store, dir := open(t, small())
	archive := zipOf(t, app()...)
	sha := save(t, store, archive).SHA256
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 10 {
				saved, err := store.Save(context.Background(), bytes.NewReader(archive), bundle.Options{})
				if err != nil || saved.SHA256 != sha {
					t.Errorf("Save: %v, %s", err, saved.SHA256)
				}
				tree, err := store.FS(sha)
				if err == nil {
					tree.Close()
				} else if coderunner.KindOf(err) != coderunner.NotFound {
					t.Errorf("FS: %v", err)
				}
				if i == 0 {
					if err := store.Remove(sha); err != nil {
						t.Errorf("Remove: %v", err)
					}
				}
			}
		})
	}
	wg.Wait()
	save(t, store, archive)
	checkFiles(t, dir, sha)
	listed(t, store, sha)
}

// TestSweep removes what nobody wants and what uploads have left, but nothing young.
func TestSweep(t *testing.T) {
	t.Parallel()
	store, dir := open(t, small())
	wanted := save(t, store, tarOf(t, item{name: "wanted", body: "1"}))
	unwanted := save(t, store, tarOf(t, item{name: "unwanted", body: "2"}))
	young := save(t, store, tarOf(t, item{name: "young", body: "3"}))
	left := filepath.Join(dir, "tmp", "blob-left")
	for _, name := range []string{left, filepath.Join(dir, "tmp", "blob-coming")} {
		if err := os.WriteFile(name, []byte("1234"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ago := time.Now().Add(-2 * time.Hour)
	for _, path := range []string{left, filepath.Join(dir, "blobs", wanted.SHA256[:2], wanted.SHA256[2:]), filepath.Join(dir, "blobs", unwanted.SHA256[:2], unwanted.SHA256[2:])} {
		if err := os.Chtimes(path, ago, ago); err != nil {
			t.Fatal(err)
		}
	}
	n, bytes, err := store.Sweep(func(sha string) bool { return sha == wanted.SHA256 })
	if err != nil || n != 1 || bytes != unwanted.SizeBytes+4 {
		t.Errorf("%d bundles and %d bytes went, %v", n, bytes, err)
	}
	if err := os.Remove(filepath.Join(dir, "tmp", "blob-coming")); err != nil {
		t.Error(err)
	}
	checkFiles(t, dir, wanted.SHA256, young.SHA256)
}
