package bundle_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/bundle"
	"github.com/coderunner/coderunner/internal/coderunner"
)

// item is one entry of a test's archive; a name that ends in a slash is a directory.
type item struct {
	name string
	body string
	link string // target of a symbolic link
	hard string // target of a hard link
	mode int64
	flag byte // tar's type, if none of the above
}

// small are limits under which a test can go over each of them quickly.
func small() bundle.Limits {
	return bundle.Limits{ArchiveBytes: 4 << 20, ExpandedBytes: 48 << 20, Entries: 1000, PathBytes: 200, Depth: 8, Ratio: 200, FreeBytes: 1}
}

func open(t *testing.T, limits bundle.Limits) (store *bundle.Store, dir string) {
	t.Helper()
	dir = t.TempDir()
	store, err := bundle.Open(dir, limits)
	if err != nil {
		t.Fatal(err)
	}
	return store, dir
}

func tarOf(t *testing.T, items ...item) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, it := range items {
		h := tar.Header{Name: it.name, Mode: 0o644, Size: int64(len(it.body)), Typeflag: tar.TypeReg}
		switch {
		case it.flag != 0:
			h.Typeflag = it.flag
		case it.link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, it.link
		case it.hard != "":
			h.Typeflag, h.Linkname = tar.TypeLink, it.hard
		case strings.HasSuffix(it.name, "/"):
			h.Typeflag = tar.TypeDir
		}
		if it.mode != 0 {
			h.Mode = it.mode
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, it.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipOf(t *testing.T, items ...item) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, it := range items {
		h := zip.FileHeader{Name: it.name, Method: zip.Deflate}
		body := it.body
		switch {
		case it.link != "":
			h.SetMode(fs.ModeSymlink | 0o777)
			body = it.link
		case strings.HasSuffix(it.name, "/"):
			h.SetMode(fs.ModeDir | 0o755)
			h.Method = zip.Store
		case it.mode != 0:
			h.ExternalAttrs, h.CreatorVersion = uint32(it.mode)<<16, 3<<8
		default:
			h.SetMode(0o644)
		}
		f, err := w.CreateHeader(&h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func save(t *testing.T, store *bundle.Store, archive []byte) bundle.Saved {
	t.Helper()
	saved, err := store.Save(context.Background(), bytes.NewReader(archive), bundle.Options{Filename: "app"})
	if err != nil {
		t.Fatalf("Save: %v", err)
	}
	return saved
}

// refused saves what must not be accepted and checks the error's kind, that its sentence
// has each of the texts, and that nothing is left on the disk.
func refused(t *testing.T, limits bundle.Limits, archive []byte, kind coderunner.Kind, texts ...string) {
	t.Helper()
	store, dir := open(t, limits)
	_, err := store.Save(context.Background(), bytes.NewReader(archive), bundle.Options{Filename: "app.zip"})
	checkSentence(t, err, kind, texts...)
	checkFiles(t, dir)
}

func checkSentence(t *testing.T, err error, kind coderunner.Kind, texts ...string) {
	t.Helper()
	var sentence *coderunner.Error
	if !errors.As(err, &sentence) {
		t.Fatalf("error is %v, want a sentence of kind %s", err, kind)
	}
	if sentence.Kind != kind {
		t.Errorf("kind is %s, want %s: %s", sentence.Kind, kind, sentence.Message)
	}
	for _, text := range texts {
		if !strings.Contains(sentence.Message, text) {
			t.Errorf("the sentence %q lacks %q", sentence.Message, text)
		}
	}
}

// checkFiles checks that a store's directory has exactly these bundles and no other file.
func checkFiles(t *testing.T, dir string, shas ...string) {
	t.Helper()
	var got []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			got = append(got, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for _, sha := range shas {
		want["blobs/"+sha[:2]+"/"+sha[2:]] = true
	}
	for _, file := range got {
		if !want[file] {
			t.Errorf("%s was left behind", file)
		}
		delete(want, file)
	}
	for file := range want {
		t.Errorf("%s is missing", file)
	}
}

// listed reads a stored bundle as a tar and tells its entries in order, with what they hold.
func listed(t *testing.T, store *bundle.Store, sha string) []string {
	t.Helper()
	stream, err := store.Open(sha)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	var all []string
	tr := tar.NewReader(stream)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		text := fs.FileMode(h.Mode).String() + " " + h.Name
		if h.Linkname != "" {
			text += " -> " + h.Linkname
		} else if len(body) > 0 {
			text += " = " + string(body)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.ModTime.Year() != 2000 {
			t.Errorf("%s has an owner or a time of its own", h.Name)
		}
		all = append(all, text)
	}
	if _, err := io.Copy(io.Discard, stream); err != nil {
		t.Fatal(err)
	}
	return all
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
