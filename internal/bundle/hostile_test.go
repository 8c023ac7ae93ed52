package bundle_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/bundle"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/klauspost/compress/zstd"
)

var good = item{name: "good.js", body: strings.Repeat("good ", 20)}

func zstdOf(t *testing.T, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(data, nil)
}

// tars packs a tar in each way that a store reads it.
func tars(t *testing.T, packed []byte) map[string][]byte {
	t.Helper()
	return map[string][]byte{"tar": packed, "tar.gz": gzipped(t, packed), "tar.zst": zstdOf(t, packed)}
}

// formats packs the items as each kind of archive that a store reads.
func formats(t *testing.T, items ...item) map[string][]byte {
	t.Helper()
	all := tars(t, tarOf(t, items...))
	all["zip"] = zipOf(t, items...)
	return all
}

func allRefused(t *testing.T, limits bundle.Limits, archives map[string][]byte, kind coderunner.Kind, texts ...string) {
	t.Helper()
	for format, archive := range archives {
		t.Run(format, func(t *testing.T) { refused(t, limits, archive, kind, texts...) })
	}
}

func TestHostileNames(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"../x": "points out of the archive", "a/../../x": "points out of the archive", "a/..": "points out of the archive", "..": "points out of the archive",
		"./../x": "points out of the archive", "node_modules/../../x": "points out of the archive",
		"/etc/passwd": "absolute", "//x": "absolute", "/node_modules/x": "absolute",
		`..\x`: "backslash", `a\b`: "backslash", `C:\x`: "backslash",
		"C:/x": "names a drive", "c:x": "names a drive", "./C:/x": "names a drive", ".//./c:x": "names a drive",
		"a\nb": "control character", "a\x7f": "control character", "a\u0085": "control character", "a\u2028b": "control character",
		"a\u2029b": "control character", "a\u202ecod.exe": "control character", "a\u2069b": "control character",
		".": "has no name",
	} {
		show := strings.Map(func(r rune) rune {
			if r == 0x7f || r < ' ' || r > '~' {
				return '\ufffd'
			}
			return r
		}, name)
		t.Run(show, func(t *testing.T) {
			archives := formats(t, good, item{name: name, body: "x"})
			allRefused(t, small(), archives, coderunner.Invalid, text, `entry "`+show+`"`)
		})
	}
	refused(t, small(), zipOf(t, good, item{name: "a\x00.js"}), coderunner.Invalid, "NUL byte", "\"a\ufffd.js\"")
	latin := zipOf(t, good, item{name: "a\xff.js"}) // the name may be of code page 437, unless it says that it is UTF-8
	record(t, latin, "PK\x01\x02", "a\xff.js")[9] |= 1 << 3
	archives := tars(t, tarOf(t, good, item{name: "a\xff.js"}))
	archives["zip"] = latin
	allRefused(t, small(), archives, coderunner.Invalid, "not valid UTF-8", "\"a\ufffd.js\"")
}

// TestHarmlessNames: what only looks like an attack is kept, as it is.
func TestHarmlessNames(t *testing.T) {
	t.Parallel()
	names := []string{"%2e%2e%2fx", "-rf", "...", "..x", "a..b", "ab:c", "c", "x..", "~"}
	var items []item
	for _, name := range names {
		items = append(items, item{name: name, body: "x"})
	}
	for format, archive := range formats(t, append(items, item{name: "./"})...) {
		store, _ := open(t, small())
		var got []string
		for _, line := range listed(t, store, save(t, store, archive).SHA256) {
			if name, isFile := strings.CutSuffix(line[11:], " = x"); isFile {
				got = append(got, name)
			}
		}
		if !slices.Equal(got, names) {
			t.Errorf("%s: stored %q", format, got)
		}
	}
}

// TestLongNamesAreCut: a sentence stays short, whatever letters the name has.
func TestLongNamesAreCut(t *testing.T) {
	t.Parallel()
	for _, letter := range []string{"x", "ö", "木", "𝄞"} {
		for format, archive := range formats(t, good, item{name: strings.Repeat(letter, 15_000)}) {
			store, dir := open(t, small())
			_, err := store.Save(t.Context(), bytes.NewReader(archive), bundle.Options{})
			checkSentence(t, err, coderunner.TooLarge, `"`+strings.Repeat(letter, 80)+`…"`, fmt.Sprint(15_000*len(letter)), "200")
			if n := len(coderunner.Sentence(err)); n > 600 {
				t.Errorf("%s of %s: the sentence has %d bytes", format, letter, n)
			}
			checkFiles(t, dir)
		}
	}
}

func TestHostileLinks(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, target, text string }{
		{"l", "/etc/passwd", "absolute"},
		{"l", "C:/x", "absolute"},
		{"l", "./C:/x", "absolute"},
		{"l", `..\x`, "backslash"},
		{"l", "..", "leaves the archive"},
		{"l", "./.././x", "leaves the archive"},
		{"a/b/l", "../../../x", "leaves the archive"},
		{"l", "a/../../x", ".. inside its target"},
		{"a/l", "../a/..", ".. inside its target"},
		{"l", "a\nb", "control character"},
		{"l", "a\xffb", "not valid UTF-8"},
		{"l", strings.Repeat("d/", 100) + "x", "too long a target"},
	} {
		t.Run(fmt.Sprintf("%s to %.20q", test.name, test.target), func(t *testing.T) {
			archives := formats(t, good, item{name: test.name, link: test.target})
			allRefused(t, small(), archives, coderunner.Invalid, test.text, `entry "`+test.name+`"`)
		})
	}
	nowhere := tars(t, tarOf(t, good, item{name: "l", flag: tar.TypeSymlink}))
	nowhere["zip"] = zipOf(t, good, item{name: "l", mode: 0o120777})
	allRefused(t, small(), nowhere, coderunner.Invalid, `"l"`, "link to nothing")
	// The top folder is taken away, and what the link may climb with it.
	allRefused(t, small(), formats(t, item{name: "app/a"}, item{name: "app/l", link: "../x"}), coderunner.Invalid, `"l"`, "leaves the archive")
	for format, archive := range formats(t, good, item{name: "a/b/l", link: "../../x"}, item{name: "m", link: strings.Repeat("d/", 99) + "xx"}) {
		store, _ := open(t, small())
		if saved := save(t, store, archive); saved.Files != 3 {
			t.Errorf("%s: %d files were kept", format, saved.Files)
		}
	}
}

// TestThroughALink: nothing lies below what is not a directory, in whichever order they come.
func TestThroughALink(t *testing.T) {
	t.Parallel()
	lib, file := item{name: "lib/a"}, item{name: "l", body: "x"}
	link := item{name: "l", link: "lib"}
	for name, items := range map[string][]item{
		"file through a link":      {lib, link, {name: "l/below", body: "x"}},
		"file before its link":     {{name: "l/below"}, lib, link},
		"directory through a link": {lib, link, {name: "l/below/"}},
		"link through a link":      {lib, link, {name: "l/below", link: "../x"}},
		"file below a file":        {lib, file, {name: "l/below"}},
	} {
		t.Run(name, func(t *testing.T) {
			allRefused(t, small(), formats(t, items...), coderunner.Invalid, `"l/below"`, `below "l"`)
		})
	}
}

func TestHostileHardLinks(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"/etc/passwd", "../good.js", "later.js", ".env", "d/", "l", "/good.js"} {
		t.Run(target, func(t *testing.T) {
			packed := tarOf(t, good, item{name: ".env", body: "SECRET=1"}, item{name: "d/"}, item{name: "l", link: "good.js"},
				item{name: "hard.js", hard: target}, item{name: "later.js"})
			allRefused(t, small(), tars(t, packed), coderunner.Invalid, `"hard.js" is a hard link to "`+target+`"`)
		})
	}
	limits := small()
	limits.ExpandedBytes = 199
	allRefused(t, limits, tars(t, tarOf(t, good, item{name: "hard.js", hard: "good.js"})), coderunner.TooLarge, `"hard.js"`, "199 bytes")
}

func TestDevicesAndOtherKinds(t *testing.T) {
	t.Parallel()
	for flag, text := range map[byte]string{
		tar.TypeChar: "device or a pipe", tar.TypeBlock: "device or a pipe", tar.TypeFifo: "device or a pipe",
		tar.TypeCont: "of a kind ('7')", 'V': "of a kind ('V')", 'D': "of a kind ('D')",
	} {
		t.Run("tar "+string(flag), func(t *testing.T) {
			allRefused(t, small(), tars(t, tarOf(t, good, item{name: "odd", flag: flag})), coderunner.Invalid, `"odd"`, text)
		})
	}
	for _, mode := range []int64{0o010644, 0o020644, 0o060644, 0o140755} { // pipe, devices, socket
		for _, system := range []byte{3, 19} {
			archive := zipOf(t, good, item{name: "odd", mode: mode})
			record(t, archive, "PK\x01\x02", "odd")[5] = system
			refused(t, small(), archive, coderunner.Invalid, `"odd"`, "device or a pipe")
		}
	}
}

func TestSparseFiles(t *testing.T) {
	t.Parallel()
	var old bytes.Buffer
	w := tar.NewWriter(&old)
	if err := w.WriteHeader(&tar.Header{Name: "holes", Typeflag: tar.TypeGNUSparse, Format: tar.FormatGNU}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	archives := map[string][]byte{"old": old.Bytes()}
	for version, records := range map[string]map[string]string{
		"0.1":     {"XXX.sparse.map": "0,1", "XXX.sparse.numblocks": "1", "XXX.sparse.size": "1000000000", "XXX.sparse.name": "holes"},
		"1.0":     {"XXX.sparse.major": "1", "XXX.sparse.minor": "0", "XXX.sparse.realsize": "1000000000", "XXX.sparse.name": "holes"},
		"unknown": {"XXX.sparse.major": "9"},
	} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if err := w.WriteHeader(&tar.Header{Name: "holes", Typeflag: tar.TypeReg, Mode: 0o644, Size: 512, PAXRecords: records}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(append([]byte("1\n0\n1\n"), make([]byte, 506)...)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		archives[version] = bytes.ReplaceAll(b.Bytes(), []byte("XXX.sparse"), []byte("GNU.sparse")) // the writer does not write these
	}
	for version, archive := range archives {
		t.Run(version, func(t *testing.T) {
			allRefused(t, small(), tars(t, archive), coderunner.Invalid, `"holes"`, "sparse file")
		})
	}
}

// TestTwins: no two entries that some machine would take for one.
func TestTwins(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		items []item
		texts []string
	}{
		{[]item{{name: "manifest.yaml", body: "1"}, {name: "manifest.yaml", body: "1"}}, []string{`"manifest.yaml"`, "twice"}},
		{[]item{{name: "a/x"}, {name: "./a//x"}}, []string{`"a/x"`, "twice"}},
		{[]item{{name: "x"}, {name: "x", link: "good.js"}}, []string{`"x"`, "twice"}},
		{[]item{{name: "x/"}, {name: "x"}}, []string{`"x"`, "twice"}},
		{[]item{{name: "x"}, {name: "x/"}}, []string{`"x"`, "twice"}},
		{[]item{{name: "a.js"}, {name: "A.js"}}, []string{`"A.js"`, `"a.js"`, "only by case"}},
		{[]item{{name: "src/a"}, {name: "Src/b"}}, []string{`"Src"`, `"src"`, "only by case"}},
		{[]item{{name: "l", link: "good.js"}, {name: "L/x"}}, []string{`"L"`, `"l"`, "only by case"}},
		{[]item{{name: "größe"}, {name: "GRÖSSE"}}, []string{`"GRÖSSE"`, `"größe"`, "only by case"}},
		{[]item{{name: "k"}, {name: "\u212a"}}, []string{`"k"`, "\"\u212a\"", "only by case"}}, // the sign for kelvin
		{[]item{{name: "é"}, {name: "e\u0301"}}, []string{`"é"`, "how its letters are composed"}},
	} {
		t.Run(test.items[0].name+" "+test.items[1].name, func(t *testing.T) {
			allRefused(t, small(), formats(t, append(test.items, good)...), coderunner.Invalid, test.texts...)
		})
	}
}

// TestModes: of a mode nothing is kept but whether the file is executable.
func TestModes(t *testing.T) {
	t.Parallel()
	store, _ := open(t, small())
	for format, archive := range formats(t, good, item{name: "setuid", mode: 0o106777}, item{name: "unreadable", mode: 0o100000}) {
		got := listed(t, store, save(t, store, archive).SHA256)
		if want := []string{"-rw-r--r-- good.js = " + good.body, "-rwxr-xr-x setuid", "-rw-r--r-- unreadable"}; !slices.Equal(got, want) {
			t.Errorf("%s: stored %q", format, got)
		}
	}
}

// TestCaps goes to each cap, which is accepted, and then over it.
func TestCaps(t *testing.T) {
	t.Parallel()
	files := func(n int, name string) (all []item) {
		for i := range n {
			all = append(all, item{name: fmt.Sprintf(name, i)})
		}
		return all
	}
	long := strings.Repeat("n", 255)
	for name, test := range map[string]struct {
		limits   bundle.Limits
		at, over []item
		texts    []string
	}{
		"size of one file": {
			bundle.Limits{ExpandedBytes: 1000},
			[]item{{name: "large", body: strings.Repeat("x", 1000)}}, []item{{name: "large", body: strings.Repeat("x", 1001)}}, []string{`"large"`, "1000 bytes"},
		},
		"size of all files": {
			bundle.Limits{ExpandedBytes: 1000},
			[]item{{name: "a", body: strings.Repeat("x", 600)}, {name: "b", body: strings.Repeat("x", 400)}},
			[]item{{name: "a", body: strings.Repeat("x", 600)}, {name: "b", body: strings.Repeat("x", 401)}}, []string{`"b"`, "1000 bytes"},
		},
		"entries":                {bundle.Limits{Entries: 12}, files(12, "%d"), files(13, "%d"), []string{"12 files"}},
		"implied directories":    {bundle.Limits{Entries: 12}, files(6, "%d/f"), files(7, "%d/f"), []string{"12 files"}},
		"entries that go anyway": {bundle.Limits{Entries: 3}, append(files(59, "node_modules/%d"), good), append(files(60, "node_modules/%d"), good), []string{"60 entries"}},
		"path": {
			bundle.Limits{PathBytes: 60},
			[]item{{name: "0123456789/" + long[:49]}}, []item{{name: "0123456789/" + long[:50]}}, []string{"0123456789/" + long[:50], "61 bytes", "60"},
		},
		"part of a path": {bundle.Limits{}, []item{{name: "a/" + long}}, []item{{name: "a/" + long + "n"}}, []string{"a/" + long[:78], "256 bytes", "255"}},
		"depth":          {bundle.Limits{Depth: 4}, []item{{name: "1/2/3/4"}}, []item{{name: "1/2/3/4/5"}}, []string{`"1/2/3/4/5"`, "5 directories", "at most 4"}},
	} {
		t.Run(name, func(t *testing.T) {
			test.limits.FreeBytes = 1
			for format, archive := range formats(t, test.at...) {
				store, _ := open(t, test.limits)
				if _, err := store.Save(t.Context(), bytes.NewReader(archive), bundle.Options{}); err != nil {
					t.Errorf("%s at the cap: %v", format, err)
				}
			}
			allRefused(t, test.limits, formats(t, test.over...), coderunner.TooLarge, test.texts...)
		})
	}
}

// TestCapOnText: long targets of links are names too. In a tar one may have a megabyte.
func TestCapOnText(t *testing.T) {
	t.Parallel()
	link := tarOf(t, item{name: "l", link: strings.Repeat("x", 1_000_000)})
	refused(t, small(), bytes.Repeat(zstdOf(t, link[:len(link)-1024]), 17), coderunner.TooLarge, "names take more than 16 MiB")
}

// bomb is a tar of good.js and of a file of zeros, packed a mebibyte at a time.
func bomb(t *testing.T, name string, mebibytes int, pack func(*testing.T, []byte) []byte) []byte {
	t.Helper()
	var head bytes.Buffer
	head.Write(tarOf(t, good)[:1024])
	if err := tar.NewWriter(&head).WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(mebibytes) << 20}); err != nil {
		t.Fatal(err)
	}
	zeros := pack(t, make([]byte, 1<<20))
	return append(pack(t, head.Bytes()), bytes.Repeat(zeros, mebibytes+1)...) // the last is the tar's end
}

func TestBombs(t *testing.T) {
	t.Parallel()
	hard := []item{{name: "bomb", body: strings.Repeat("\x00", 1<<20)}}
	for i := range 40 {
		hard = append(hard, item{name: fmt.Sprint(i), hard: "bomb"})
	}
	allRefused(t, small(), map[string][]byte{
		"tar.gz":     bomb(t, "bomb", 33, gzipped),
		"tar.zst":    bomb(t, "bomb", 33, zstdOf),
		"zip":        claimed(t, "x", zip.FileHeader{Name: "bomb", Method: zip.Deflate, CompressedSize64: 1, UncompressedSize64: 33 << 20}),
		"left out":   bomb(t, "node_modules/bomb", 33, gzipped), // it is unpacked all the same
		"hard links": gzipped(t, tarOf(t, hard...)),             // they repeat what is kept
	}, coderunner.TooLarge, "200 times")

	limits := small()
	limits.ExpandedBytes, limits.Ratio = 1<<10, 1<<40
	refused(t, limits, bomb(t, "node_modules/bomb", 66, zstdOf), coderunner.TooLarge, "larger than 64 MiB when unpacked")
}

// TestTarSizes: a size is judged before anything is read for it.
func TestTarSizes(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	b.Write(tarOf(t, good)[:1024])
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "huge", Mode: 0o644, Size: math.MaxInt64, Format: tar.FormatGNU}); err != nil {
		t.Fatal(err)
	}
	allRefused(t, small(), tars(t, b.Bytes()), coderunner.TooLarge, `"huge"`, "48 MiB")
}
