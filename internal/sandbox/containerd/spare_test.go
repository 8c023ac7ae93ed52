package containerd

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/sandbox"
)

// TestSpare: the copy that was got ready becomes the next volume, and nothing that is
// not whole does.
func TestSpare(t *testing.T) {
	t.Parallel()
	p := open(t, newConfig(t))
	template := ready(t, p, templateOf(t, "postgres-15"))
	spec := func(name string) sandbox.Spec {
		return sandbox.Spec{Name: name, Template: template, Volumes: []sandbox.Mount{{Volume: name, Path: "/var/lib/postgresql/data"}}}
	}
	spares := func() []string {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(p.sparesDir(), "*", "[0-9a-f]*"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	version := func(name string) {
		t.Helper()
		if got := sh(t, p, name, `cat data/cluster/PG_VERSION; ls -A data`); got != "15\ncluster\n" {
			t.Errorf("the volume %s has %q", name, got)
		}
	}
	makeBox(t, p, spec("first"))
	version("first")
	p.makeSpares()
	kept := spares()
	if len(kept) != 1 {
		t.Fatalf("the copies that are ready are %q", kept)
	}
	usage, err := p.Usage(within(t))
	if err != nil {
		t.Fatal(err)
	}
	var inode, taken os.FileInfo
	if inode, err = os.Stat(kept[0]); err != nil {
		t.Fatal(err)
	}
	makeBox(t, p, spec("second"))
	version("second")
	if taken, err = os.Stat(p.volumeData("second")); err != nil || !os.SameFile(inode, taken) {
		t.Errorf("the volume is not the copy that was ready: %v", err)
	}
	if left := spares(); len(left) != 0 {
		t.Errorf("beside the volume there are still %q", left)
	}
	if without, err := p.Usage(within(t)); err != nil || usage[1].Bytes-without[1].Bytes < 1<<20 {
		t.Errorf("a copy that is ready counts %d bytes, %v", usage[1].Bytes-without[1].Bytes, err)
	}

	// What a crash and an older template left goes; what somebody may be making stays.
	dir := filepath.Dir(kept[0])
	now := time.Now()
	for name, at := range map[string]time.Time{copying + "old": now.Add(-2 * time.Hour), copying + "new": now, "0123456789ab": now} {
		if err := os.MkdirAll(filepath.Join(dir, name, "data"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(dir, name), at, at); err != nil {
			t.Fatal(err)
		}
	}
	p.makeSpares()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 || entries[0].Name() != copying+"new" || entries[1].Name() != filepath.Base(kept[0]) {
		t.Errorf("there are %v, %v", entries, err)
	}

	// One that came to nothing is no reason for a sandbox not to be made.
	if err := os.RemoveAll(kept[0]); err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(p.volumeDir("third"), copying+"cut-off")
	if err := os.MkdirAll(cut, 0o700); err != nil {
		t.Fatal(err)
	}
	makeBox(t, p, spec("third"))
	version("third")
	if _, err := os.Stat(cut); !os.IsNotExist(err) {
		t.Errorf("what a copy that was cut off left is still there: %v", err)
	}
	ended := open(t, p.cfg)
	ended.wantSpare(kept[0], seed{template: template, path: "/var/lib/postgresql/data"})
	if err := ended.Close(); err != nil {
		t.Fatal(err)
	}
	ended.makeSpares()
	if left := spares(); len(left) != 0 {
		t.Errorf("after its end it made %q", left)
	}
}
