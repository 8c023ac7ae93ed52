package sandboxtest

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
)

var fileTests = map[string]func(*testing.T, *suite){
	"Upload":             testUpload,
	"UploadHostile":      testUploadHostile,
	"UploadBroken":       testUploadBroken,
	"ReadFile":           testReadFile,
	"ReadFileOfNoFile":   testReadFileOfNoFile,
	"ReadFileHasALimit":  testReadFileHasALimit,
	"ReadFileKeepsBytes": testReadFileKeepsBytes,
}

// archive is a tar stream of entries; each content belongs to the header before it.
func archive(t *testing.T, entries ...tar.Header) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		content := h.Uname // a field that nobody needs carries the content
		h.Uname = ""
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		h.Size = int64(len(content))
		if h.Typeflag == tar.TypeXGlobalHeader {
			h = tar.Header{Typeflag: h.Typeflag, PAXRecords: h.PAXRecords}
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func file(name, content string) tar.Header { return tar.Header{Name: name, Uname: content} }

func testUpload(t *testing.T, s *suite) {
	b := s.box(t)
	dir := s.template.WorkDir + "/new/deep dir"
	script := file("bin/run.sh", "#!/bin/sh\necho ran\n")
	script.Mode = 0o755
	files := archive(t,
		tar.Header{Name: "a/", Typeflag: tar.TypeDir, Mode: 0o755, Uid: 0, Gid: 0},
		file("a/b/c/nested.txt", "nested"), script, file("-n odd\n$(name)", "odd"), file("empty", ""),
		tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "a/b/c/nested.txt"})
	whole := bytes.Clone(files.Bytes())
	if err := b.provider.Upload(within(t), b.name, dir, files); err != nil {
		t.Fatal(err)
	}
	got := b.sh(t, `cd "$1" && cat a/b/c/nested.txt link && ./bin/run.sh && cat -- "$2" && wc -c < empty && find . -not -user "$(id -un)"; stat -c %u .`, dir, "-n odd\n$(name)")
	if want := "nestednestedran\nodd0\n" + decimal(s.template.User.UID) + "\n"; got != want {
		t.Errorf("what was unpacked is %q, want %q", got, want)
	}
	// Again, over what is there.
	b.sh(t, `cd "$1" && echo changed > a/b/c/nested.txt && echo own > mine`, dir)
	if err := b.provider.Upload(within(t), b.name, dir, bytes.NewReader(whole)); err != nil {
		t.Fatal(err)
	}
	if got := b.sh(t, `cd "$1" && cat a/b/c/nested.txt mine`, dir); got != "nestedown\n" {
		t.Errorf("after a second upload there is %q", got)
	}
	if err := b.provider.Upload(within(t), b.name, "/etc/new", archive(t, file("x", "x"))); err == nil {
		t.Error("an upload wrote where the sandbox's user may not")
	}
}

func testUploadHostile(t *testing.T, s *suite) {
	b := s.box(t)
	outside := t.TempDir() // on our side
	if err := os.Chmod(outside, 0o777); err != nil {
		t.Fatal(err)
	}
	target := outside + "/escaped"
	up := strings.Repeat("../", 30)
	setuid := file("setuid", "#!/bin/sh\n")
	setuid.Mode = 0o6755
	for _, entries := range [][]tar.Header{
		{file(up+target[1:], "x")},
		{file(target, "x")},
		{{Name: "out", Typeflag: tar.TypeSymlink, Linkname: outside}, file("out/escaped", "x")},
		{{Name: "up", Typeflag: tar.TypeSymlink, Linkname: up + outside[1:]}, file("up/escaped", "x")},
		{{Name: "etc", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, file("etc/passwd", "x")},
		{{Name: "hard", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}, file("hard", "x")},
		{{Name: "disk", Typeflag: tar.TypeBlock, Devmajor: 8, Mode: 0o666}},
		{setuid},
	} {
		// Refused or made harmless: both are right.
		err := b.provider.Upload(within(t), b.name, s.template.WorkDir, archive(t, entries...))
		if err != nil {
			wantKind(t, err, coderunner.Invalid, "an upload of "+entries[0].Name)
		}
	}
	if _, err := os.Lstat(target); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an upload wrote on our side: %v", err)
	}
	got := b.sh(t, `grep -c root:x:0 /etc/passwd; find / -xdev -type b 2>/dev/null; find . -not -user "$(id -un)"`)
	if got != "1\n" {
		t.Errorf("in the sandbox hostile uploads left %q", got)
	}
}

func testUploadBroken(t *testing.T, s *suite) {
	b := s.box(t)
	whole := archive(t, file("first", strings.Repeat("x", 512)), file("second", strings.Repeat("y", 4000)))
	for what, cut := range map[string]int{"within a file": 2000, "between files": 1024} {
		failing := io.MultiReader(bytes.NewReader(whole.Bytes()[:cut]), errorReader{errors.New("the browser is gone")})
		if err := b.provider.Upload(within(t), b.name, s.template.WorkDir, failing); err == nil {
			t.Errorf("an upload whose source failed %s succeeded", what)
		}
	}
	err := b.provider.Upload(within(t), b.name, s.template.WorkDir, bytes.NewReader(whole.Bytes()[:2000]))
	wantKind(t, err, coderunner.Invalid, "an archive cut off within a file")
	err = b.provider.Upload(within(t), b.name, s.template.WorkDir, strings.NewReader("this is no archive at all"))
	wantKind(t, err, coderunner.Invalid, "an archive that is none")
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

// read reads a file whole.
func (b box) read(t *testing.T, name string, limit int64) (string, error) {
	t.Helper()
	r, err := b.provider.ReadFile(within(t), b.name, name, limit)
	if err != nil {
		return "", err
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	return string(text), err
}

func testReadFile(t *testing.T, s *suite) {
	b := s.box(t)
	for _, name := range []string{"plain", "with space", "-n", "$(id)", "new\nline"} {
		b.sh(t, `printf %s "in $1" > "./$1"`, name)
		if got, err := b.read(t, path.Join(s.template.WorkDir, name), 1000); err != nil || got != "in "+name {
			t.Errorf("%q has %q, %v", name, got, err)
		}
	}
	b.sh(t, `ln -s plain link`)
	if got, err := b.read(t, path.Join(s.template.WorkDir, "link"), 1000); err != nil || got != "in plain" {
		t.Errorf("a link has %q, %v", got, err)
	}
}

func testReadFileOfNoFile(t *testing.T, s *suite) {
	b := s.box(t)
	b.sh(t, `mkfifo pipe; ln -s nowhere dangling; touch secret; chmod 0 secret`)
	for _, name := range []string{"/no/such/file", s.template.WorkDir, s.template.WorkDir + "/pipe", s.template.WorkDir + "/dangling", "/dev/zero"} {
		_, err := b.read(t, name, 1000)
		wantKind(t, err, coderunner.NotFound, "reading "+name)
	}
	_, err := b.read(t, s.template.WorkDir+"/secret", 1000)
	wantKind(t, err, coderunner.Invalid, "reading what the user may not")
}

func testReadFileHasALimit(t *testing.T, s *suite) {
	b := s.box(t)
	b.sh(t, `printf 0123456789 > ten`)
	for limit, want := range map[int64]string{0: "", 1: "0", 9: "012345678", 10: "0123456789", 11: "0123456789"} {
		if got, err := b.read(t, s.template.WorkDir+"/ten", limit); err != nil || got != want {
			t.Errorf("with a limit of %d there is %q, %v", limit, got, err)
		}
	}
	_, err := b.read(t, s.template.WorkDir+"/ten", -3)
	wantKind(t, err, coderunner.Invalid, "a negative limit")
}

func testReadFileKeepsBytes(t *testing.T, s *suite) {
	b := s.box(t)
	b.sh(t, `perl -e 'print map { chr } 0 .. 255 for 1 .. 8192' > bytes`)
	var all [256]byte
	for i := range all {
		all[i] = byte(i)
	}
	want := strings.Repeat(string(all[:]), 8192)
	if got, err := b.read(t, s.template.WorkDir+"/bytes", 1<<30); err != nil || got != want {
		t.Errorf("2 MiB come as %d bytes, %v", len(got), err)
	}
}
