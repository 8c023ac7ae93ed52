package sandboxtest

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

var archiveTests = map[string]func(*testing.T, *suite){
	"Files":            testFiles,
	"FilesReplace":     testFilesReplace,
	"FilesOnce":        testFilesOnce,
	"FilesHostile":     testFilesHostile,
	"FilesPastLinks":   testFilesPastLinks,
	"FilesBroken":      testFilesBroken,
	"FilesWithVolumes": testFilesWithVolumes,
}

// files is an archive of entries for Spec.Files.
func files(t *testing.T, dir string, entries ...tar.Header) sandbox.Archive {
	t.Helper()
	whole := archive(t, entries...).Bytes()
	return sandbox.Archive{Dir: dir, Tar: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(whole)), nil }}
}

func testFiles(t *testing.T, s *suite) {
	program, secret := file("bin/run.sh", "#!/bin/sh\necho ran\n"), file("secret", "s")
	program.Mode, secret.Mode = 0o6777, 0o600
	dir := s.template.WorkDir + "/new/deep dir"
	b := s.make(t, sandbox.Spec{Files: []sandbox.Archive{
		files(t, dir, tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "a commit"}},
			tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755},
			tar.Header{Name: "a/", Typeflag: tar.TypeDir, Mode: 0o500}, file("a/b/c/nested", "nested"), program, secret,
			file("-n odd\n$(name)", "odd"), file("empty", ""), file("large", strings.Repeat("0123456789abcdef", 1<<16)),
			tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "a/b/c/nested"},
			tar.Header{Name: "outward", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
			tar.Header{Name: "twin", Typeflag: tar.TypeLink, Linkname: "secret"}),
		files(t, s.template.User.Home+"/second", file("x", "x")),
		files(t, dir, file("empty", "not empty any more")),
	}})
	got := b.sh(t, `cd "$1" && cat a/b/c/nested link empty && ./bin/run.sh && cat -- "$2" && wc -c < large && readlink outward && cat "$HOME/second/x" &&
		stat -c '%n %a %h' a bin bin/run.sh secret link && find . "$HOME/second" -not -user "$(id -u)" -o -not -group "$(id -g)"; stat -c '%u %g' .`, dir, "-n odd\n$(name)")
	owner := decimal(s.template.User.UID) + " " + decimal(s.template.User.GID)
	want := "nestednestednot empty any moreran\nodd1048576\n/etc/passwd\nx" +
		"a 700 3\nbin 755 2\nbin/run.sh 755 1\nsecret 600 2\nlink 777 1\n" + owner + "\n"
	if got != want {
		t.Errorf("what was unpacked is\n%q, want\n%q", got, want)
	}
}

func testFilesReplace(t *testing.T, s *suite) {
	first := files(t, s.template.WorkDir, file("keep/mine", "mine"), file("keep/theirs", "old"), file("was-file", "old"),
		tar.Header{Name: "was-link", Typeflag: tar.TypeSymlink, Linkname: "keep/mine"}, tar.Header{Name: "was-linked-dir", Typeflag: tar.TypeSymlink, Linkname: "keep"},
		tar.Header{Name: "was-empty/", Typeflag: tar.TypeDir, Mode: 0o755})
	second := files(t, s.template.WorkDir, tar.Header{Name: "keep/", Typeflag: tar.TypeDir, Mode: 0o755}, file("keep/theirs", "new"), file("was-file/inside", "new"))
	third := files(t, s.template.WorkDir, file("was-link", "new"), tar.Header{Name: "was-linked-dir/", Typeflag: tar.TypeDir, Mode: 0o755}, file("was-linked-dir/own", "new"), file("was-empty", "new"))
	b := s.make(t, sandbox.Spec{Files: []sandbox.Archive{first, third}})
	if got := b.sh(t, `cat keep/mine was-link was-linked-dir/own was-empty; ls keep; test ! -L was-link && test ! -L was-linked-dir && echo real`); got != "minenewnewnewmine\ntheirs\nreal\n" {
		t.Errorf("after the second archive there is %q", got)
	}
	// A file is not made a directory by an entry that only needs one.
	_, err := s.tryMake(t, sandbox.Spec{Files: []sandbox.Archive{first, second}})
	wantKind(t, err, coderunner.Invalid, "a file below what is a file")
}

// testFilesOnce: a sandbox that is there is taken as it is.
func testFilesOnce(t *testing.T, s *suite) {
	spec := sandbox.Spec{Name: unique("box"), Template: s.template.TemplateRef, Files: []sandbox.Archive{files(t, s.template.WorkDir, file("app.js", "first"))}}
	b := s.make(t, spec)
	b.sh(t, `printf changed > app.js`)
	spec.Files = []sandbox.Archive{{Dir: s.template.WorkDir, Tar: func() (io.ReadCloser, error) {
		t.Error("the files were asked for again")
		return nil, errors.New("asked again")
	}}}
	if _, err := s.provider.Create(within(t), spec); err != nil {
		t.Fatal(err)
	}
	if got := b.sh(t, `cat app.js`); got != "changed" {
		t.Errorf("after the second Create the file has %q", got)
	}
}

// hostile are archives of which nothing may arrive outside of their directory.
func hostile(outside string) map[string][]tar.Header {
	up := strings.Repeat("../", 30)
	target := outside + "/escaped"
	return map[string][]tar.Header{
		"a name that goes up":          {file("../escaped", "x")},
		"a name that goes far up":      {file(up+target[1:], "x")},
		"a name that goes up later":    {file("a/../../escaped", "x")},
		"an absolute name":             {file(target, "x")},
		"an absolute directory":        {{Name: "/tmp/escaped", Typeflag: tar.TypeDir, Mode: 0o777}},
		"a file through a link":        {{Name: "out", Typeflag: tar.TypeSymlink, Linkname: outside}, file("out/escaped", "x")},
		"a file through a link up":     {{Name: "up", Typeflag: tar.TypeSymlink, Linkname: ".."}, file("up/escaped", "x")},
		"a directory through a link":   {{Name: "up", Typeflag: tar.TypeSymlink, Linkname: ".."}, {Name: "up/escaped/", Typeflag: tar.TypeDir, Mode: 0o755}},
		"a link through a link":        {{Name: "up", Typeflag: tar.TypeSymlink, Linkname: "/tmp"}, {Name: "up/escaped", Typeflag: tar.TypeSymlink, Linkname: "x"}},
		"a hard link to what is above": {{Name: "hard", Typeflag: tar.TypeLink, Linkname: "../escaped"}},
		"an absolute hard link":        {{Name: "hard", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}},
		"a hard link through a link":   {{Name: "etc", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, {Name: "hard", Typeflag: tar.TypeLink, Linkname: "etc/passwd"}},
		"a block device":               {{Name: "disk", Typeflag: tar.TypeBlock, Devmajor: 8, Mode: 0o666}},
		"a character device":           {{Name: "zero", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 5, Mode: 0o666}},
		"a pipe":                       {{Name: "pipe", Typeflag: tar.TypeFifo}},
		"no name":                      {file("", "x")},
		"the directory itself":         {file(".", "x")},
	}
}

func testFilesHostile(t *testing.T, s *suite) {
	outside := t.TempDir() // on our side
	if err := os.Chmod(outside, 0o777); err != nil {
		t.Fatal(err)
	}
	for what, entries := range hostile(outside) {
		name := unique("box")
		_, err := s.tryMake(t, sandbox.Spec{Name: name, Files: []sandbox.Archive{files(t, s.template.WorkDir+"/deep", entries...)}})
		wantKind(t, err, coderunner.Invalid, "files with "+what)
		_, err = s.provider.Get(within(t), name)
		wantKind(t, err, coderunner.NotFound, "Get of what was not made of files with "+what)
	}
	for _, dir := range []string{"", "relative", "/etc/new", "/etc/passwd", "/etc/passwd/x", "/a\x00b"} {
		_, err := s.tryMake(t, sandbox.Spec{Files: []sandbox.Archive{files(t, dir, file("x", "x"))}})
		wantKind(t, err, coderunner.Invalid, "files at "+dir)
	}
	// The same into a sandbox that stays: there one sees what is left.
	b := s.box(t)
	for what, entries := range hostile(outside) {
		wantKind(t, b.provider.Upload(within(t), b.name, s.template.WorkDir+"/deep", archive(t, entries...)), coderunner.Invalid, "an upload with "+what)
	}
	if got := b.sh(t, `find / -xdev \( -name escaped -o -type b -o -name zero -type c -not -path '/dev/*' \) 2>/dev/null; find "$1" -type p -o -type f; grep -c root:x:0 /etc/passwd`, s.template.WorkDir); got != "1\n" {
		t.Errorf("in the sandbox hostile archives left %q", got)
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
		t.Errorf("hostile archives left %v on our side, %v", left, err)
	}
}

// testFilesPastLinks: links that were in the root before do not lead out either.
func testFilesPastLinks(t *testing.T, s *suite) {
	outside := t.TempDir()
	if err := os.Chmod(outside, 0o777); err != nil {
		t.Fatal(err)
	}
	b := s.box(t)
	b.sh(t, `mkdir app other; ln -s "$1" app/ours; ln -s ../other app/near; ln -s /tmp app/tmp; ln -s "$1" linked; ln -s /proc/1/root process; mkfifo app/pipe`, outside)
	for _, through := range []string{"ours", "near", "tmp"} {
		err := b.provider.Upload(within(t), b.name, s.template.WorkDir+"/app", archive(t, file(through+"/escaped", "x")))
		wantKind(t, err, coderunner.Invalid, "an upload through the link "+through)
	}
	for _, linked := range []string{"linked", "process/tmp"} {
		err := b.provider.Upload(within(t), b.name, s.template.WorkDir+"/"+linked, archive(t, file("escaped", "x")))
		wantKind(t, err, coderunner.Invalid, "an upload at the link "+linked)
	}
	if err := b.provider.Upload(within(t), b.name, s.template.WorkDir+"/app", archive(t, file("pipe", "a file"), file("tmp", "x"))); err != nil {
		t.Errorf("an upload over a pipe: %v", err)
	}
	if got := b.sh(t, `cat app/pipe; find / -xdev -name escaped 2>/dev/null || true`); got != "a file" {
		t.Errorf("in the sandbox there is %q", got)
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
		t.Errorf("there is %v on our side, %v", left, err)
	}
}

func testFilesBroken(t *testing.T, s *suite) {
	gone := errors.New("the store is gone")
	whole := archive(t, file("first", strings.Repeat("x", 512)), file("second", strings.Repeat("y", 4000))).Bytes()
	reading := func(r io.Reader) sandbox.Archive {
		return sandbox.Archive{Dir: s.template.WorkDir, Tar: func() (io.ReadCloser, error) { return io.NopCloser(r), nil }}
	}
	spec := sandbox.Spec{Name: unique("box"), Template: s.template.TemplateRef}
	for what, broken := range map[string]sandbox.Archive{
		"cannot be opened":   {Dir: s.template.WorkDir, Tar: func() (io.ReadCloser, error) { return nil, gone }},
		"fail within a file": reading(io.MultiReader(bytes.NewReader(whole[:2000]), errorReader{gone})),
		"fail between files": reading(io.MultiReader(bytes.NewReader(whole[:1024]), errorReader{gone})),
		"fail at the end":    reading(io.MultiReader(bytes.NewReader(whole), errorReader{gone})),
	} {
		spec.Files = []sandbox.Archive{files(t, s.template.WorkDir, file("before", what)), broken}
		if _, err := s.tryMake(t, spec); !errors.Is(err, gone) {
			t.Errorf("Create with files that %s: %v", what, err)
		}
		_, err := s.provider.Get(within(t), spec.Name)
		wantKind(t, err, coderunner.NotFound, "Get of what was not made")
	}
	spec.Files = []sandbox.Archive{reading(bytes.NewReader(whole[:2000]))}
	_, err := s.tryMake(t, spec)
	wantKind(t, err, coderunner.Invalid, "an archive cut off within a file")
	spec.Files = []sandbox.Archive{reading(bytes.NewReader(whole))}
	if got := s.make(t, spec).sh(t, `ls; wc -c < second`); got != "first\nsecond\n4000\n" {
		t.Errorf("made at last, the sandbox has %q", got)
	}
}

func testFilesWithVolumes(t *testing.T, s *suite) {
	volume := s.volume(t)
	spec := sandbox.Spec{Volumes: []sandbox.Mount{{Volume: volume, Path: "/data"}}, Files: []sandbox.Archive{files(t, "/data/seed", file("x", "x"))}}
	s.make(t, spec).sh(t, `rm -r /data/seed/x; echo kept > /data/kept`)
	if got := s.make(t, spec).sh(t, `cat /data/seed/x /data/kept`); got != "xkept\n" {
		t.Errorf("the volume has %q", got)
	}
}
