package bundle_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"math"
	"slices"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// record finds a header of a zip by its signature and name, to be changed.
func record(t *testing.T, archive []byte, signature, name string) []byte {
	t.Helper()
	size := map[string]int{"PK\x01\x02": 46, "PK\x03\x04": 30, "PK\x05\x06": 22}[signature]
	for at := range len(archive) - size - len(name) + 1 {
		if bytes.HasPrefix(archive[at:], []byte(signature)) && bytes.HasPrefix(archive[at+size:], []byte(name)) {
			return archive[at:]
		}
	}
	t.Fatalf("the zip has no %q of %q", signature, name)
	return nil
}

// claimed is a zip of good.js and then of entries that are what their headers claim.
func claimed(t *testing.T, body string, headers ...zip.FileHeader) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.Create(good.name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(f, good.body); err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		f, err := w.CreateRaw(&h)
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

func stored(name, body string) zip.FileHeader {
	return zip.FileHeader{Name: name, CRC32: crc32.ChecksumIEEE([]byte(body)), CompressedSize64: uint64(len(body)), UncompressedSize64: uint64(len(body))}
}

func put16(at int, value uint16) func([]byte) {
	return func(b []byte) { binary.LittleEndian.PutUint16(b[at:], value) }
}

func put32(at int, value uint32) func([]byte) {
	return func(b []byte) { binary.LittleEndian.PutUint32(b[at:], value) }
}

// TestZipEntriesThatLie changes one number of the last entry's two headers.
func TestZipEntriesThatLie(t *testing.T) {
	t.Parallel()
	const central, local = "PK\x01\x02", "PK\x03\x04"
	for name, test := range map[string]struct {
		header string
		change func([]byte)
		text   string
	}{
		"holds more than it says": {central, put32(24, 10), "lies about its size"},
		"holds less than it says": {central, put32(24, 1000), "lies about its size"},
		"stored in another size":  {central, put16(10, 0), "lies about its size"},
		"reaches into the end":    {central, func(b []byte) { b[20] += 40 }, "lies about its size"},
		"64 bits that are absent": {central, put32(24, math.MaxUint32), "lies about its size"},
		"lies behind the zip":     {central, put32(42, math.MaxUint32-1), "lies about its place"},
		"longer than the zip":     {central, put32(20, math.MaxUint32-1), "lies about its place"},
		"other content":           {central, func(b []byte) { b[16] ^= 1 }, "checksum"},
		"encrypted":               {central, func(b []byte) { b[8] |= 1 }, "encrypted"},
		"strongly encrypted":      {central, func(b []byte) { b[8] |= 1 << 6 }, "encrypted"},
		"encrypted directory":     {central, func(b []byte) { b[9] |= 1 << 5 }, "encrypted"},
		"encrypted with AES":      {central, put16(10, 99), "encrypted"},
		"another method":          {central, put16(10, 12), "method (12)"},
		"no second header":        {local, func(b []byte) { b[3] = 0 }, "two ways"},
		"two methods":             {local, put16(8, 0), "two ways"},
		"two names":               {local, func(b []byte) { b[30] = 'L' }, "two ways"},
		"names of two lengths":    {local, put16(26, 5), "two ways"},
		"no deflate":              {local, func(b []byte) { b[36] = 0xff }, "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			archive := zipOf(t, good, item{name: "lie.js", body: good.body})
			test.change(record(t, archive, test.header, "lie.js"))
			refused(t, small(), archive, coderunner.Invalid, `"lie.js"`, test.text)
		})
	}
}

func TestZipNumbersOf64Bits(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		size, compressed uint64
		kind             coderunner.Kind
		text             string
	}{
		"huge":                  {math.MaxInt64, 1, coderunner.TooLarge, "48 MiB"},
		"negative":              {1 << 63, 1, coderunner.Invalid, "lies about its size"},
		"huge when packed":      {1, math.MaxInt64, coderunner.Invalid, "lies about its place"},
		"negative when packed":  {1, 1 << 63, coderunner.Invalid, "lies about its size"},
		"the 32-bit limit fits": {math.MaxUint32, 1, coderunner.TooLarge, "48 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			archive := claimed(t, "x", zip.FileHeader{Name: "lie.js", Method: zip.Deflate, UncompressedSize64: test.size, CompressedSize64: test.compressed})
			refused(t, small(), archive, test.kind, `"lie.js"`, test.text)
		})
	}
	h := stored("lie.js", "x")
	h.Extra = []byte("\x01\x00\x08\x00\xff\xff\xff\xff\xff\xff\xff\xff")
	archive := claimed(t, "x", h)
	put32(42, math.MaxUint32)(record(t, archive, "PK\x01\x02", "lie.js"))
	refused(t, small(), archive, coderunner.Invalid, `"lie.js"`, "lies about its size")

	// A link's target is not even read when it is too long.
	archive = zipOf(t, good, item{name: "l", link: "good.js"})
	put32(24, 1000)(record(t, archive, "PK\x01\x02", "l"))
	refused(t, small(), archive, coderunner.Invalid, `"l"`, "too long a target")
}

// TestZipEntriesThatOverlap: one entry's content is another entry, header and all.
func TestZipEntriesThatOverlap(t *testing.T) {
	t.Parallel()
	inner := claimed(t, "x", stored("inner.js", "x"))
	inner = record(t, inner, "PK\x03\x04", "inner.js")[:30+len("inner.js")+1]
	archive := claimed(t, string(inner), stored("outer.js", string(inner)), stored("inner.js", string(inner)))
	place := bytes.Index(archive, inner)
	at := record(t, archive, "PK\x01\x02", "inner.js")
	put32(16, crc32.ChecksumIEEE([]byte("x")))(at)
	put32(20, 1)(at)
	put32(24, 1)(at)
	put32(42, uint32(place))(at)
	refused(t, small(), archive, coderunner.Invalid, `"inner.js"`, `shares its bytes with "outer.js"`)

	archive = zipOf(t, item{name: "same.js", body: "x"}, item{name: "same.js", body: "x"})
	put32(42, 0)(record(t, archive[bytes.Index(archive, []byte("PK\x01\x02"))+46:], "PK\x01\x02", "same.js"))
	refused(t, small(), archive, coderunner.Invalid, `"same.js"`, "shares its bytes")
}

// TestZipDirectoriesThatLie: what only some programs would find in a zip is not read.
func TestZipDirectoriesThatLie(t *testing.T) {
	t.Parallel()
	const central, end = "PK\x01\x02", "PK\x05\x06"
	archive := zipOf(t, good, item{name: "x"})
	dir := bytes.Index(archive, []byte(central))
	for name, test := range map[string]struct {
		header, of string
		change     func([]byte)
		kind       coderunner.Kind
		text       string
	}{
		"fewer entries":        {end, "", put16(10, 1), coderunner.Invalid, "does not fit"},
		"more entries":         {end, "", put16(10, 3), coderunner.Invalid, "does not fit"},
		"elsewhere":            {end, "", put32(16, uint32(dir-1)), coderunner.Invalid, "does not fit"},
		"second part":          {end, "", put16(4, 1), coderunner.Invalid, "one part of several"},
		"directory in a part":  {end, "", put16(6, 1), coderunner.Invalid, "one part of several"},
		"too large":            {end, "", put32(12, 129<<20), coderunner.TooLarge, "128 MiB"},
		"no record":            {central, "x", func(b []byte) { b[3] = 0 }, coderunner.Invalid, "does not fit"},
		"a name that is cut":   {central, "x", put16(28, 9999), coderunner.Invalid, "does not fit"},
		"a remark that is cut": {central, "x", put16(32, 9999), coderunner.Invalid, "does not fit"},
	} {
		t.Run(name, func(t *testing.T) {
			archive := slices.Clone(archive)
			test.change(record(t, archive, test.header, test.of))
			refused(t, small(), archive, test.kind, test.text)
		})
	}
	at := len(archive) - 22
	refused(t, small(), slices.Insert(slices.Clone(archive), at, 0), coderunner.Invalid, "does not fit")
	refused(t, small(), slices.Concat(archive[:dir], archive[:dir], archive[dir:]), coderunner.Invalid, "does not fit")
}

// TestZipEndsThatLie has the 64-bit end record disagree with the other, or with the zip.
func TestZipEndsThatLie(t *testing.T) {
	t.Parallel()
	plain := zipOf(t, good, item{name: "x"})
	at := len(plain) - 22
	end := plain[at:]
	long := append([]byte("PK\x06\x06"), make([]byte, 52)...)
	long[4], long[24], long[32] = 44, 2, 2
	copy(long[40:], end[12:16])
	copy(long[48:], end[16:20])
	locator := append([]byte("PK\x06\x07"), make([]byte, 16)...)
	binary.LittleEndian.PutUint64(locator[8:], uint64(at))
	locator[16] = 1
	archive := slices.Concat(plain[:at], long, locator, end)
	short := at + len(long) + len(locator)
	put64 := func(at int, value int) func([]byte) {
		return func(b []byte) { binary.LittleEndian.PutUint64(b[at:], uint64(value)) }
	}
	for _, change := range []func([]byte){put16(10, 2), put16(10, math.MaxUint16), put32(12, math.MaxUint32), put32(16, math.MaxUint32)} {
		archive := slices.Clone(archive)
		change(archive[short:])
		store, _ := open(t, small())
		if saved := save(t, store, archive); saved.Files != 2 {
			t.Errorf("%d files were kept", saved.Files)
		}
	}
	for name, test := range map[string]struct {
		at     int
		change func([]byte)
	}{
		"another count":      {at, put16(32, 1)},
		"another size":       {at, put16(40, 1)},
		"another place":      {at, put16(48, 1)},
		"other short count":  {short, put16(10, 1)},
		"other short size":   {short, put32(12, 46)},
		"other short place":  {short, put32(16, 46)},
		"no signature":       {at, put16(0, 0)},
		"another length":     {at, put16(4, 45)},
		"locator to the end": {at + len(long), put64(8, len(archive))},
		"locator to nowhere": {at + len(long), put64(8, math.MinInt64)},
		"negative throughout": {at, func(b []byte) {
			put64(32, -1000)(b)
			put64(40, -46_000)(b)
			put64(48, at+46_000)(b)
			for _, field := range []int{10, 12, 14, 16, 18} {
				put16(field, math.MaxUint16)(b[short-at:])
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			archive := slices.Clone(archive)
			test.change(archive[test.at:])
			refused(t, small(), archive, coderunner.Invalid, "does not fit")
		})
	}
}
