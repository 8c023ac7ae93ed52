package bundle

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/klauspost/compress/flate"
	"golang.org/x/text/encoding/charmap"
)

// The zip format is read here and not by archive/zip, because an upload needs more than a
// lenient reader: memory bounded by what is kept and not by what the directory claims,
// no two entries sharing bytes, and both descriptions of an entry in agreement.
// Numbers and offsets are those of PKWARE's APPNOTE.TXT 6.3.10.

const (
	zipEndSize     = 22
	zipLocatorSize = 20
	zipEnd64Size   = 56
	zipCentralSize = 46
	zipLocalSize   = 30

	// maxZipDirectory is generous: 50,000 entries with paths of 100 bytes take 8 MB.
	maxZipDirectory = 128 << 20
)

// zipData is where and how a zip keeps an entry's content.
type zipData struct {
	method     uint16 // 0 stored, 8 deflated
	compressed int64
	start, end int64 // with its local header
	crc        uint32
}

// readZip lists a zip. Its contents are read from the file again as they are needed.
func readZip(file *os.File, size int64, list *listing) (contents, error) {
	z := &zipFile{r: file, size: size, list: list}
	if err := z.findDirectory(); err != nil {
		return nil, err
	}
	if err := z.readDirectory(); err != nil {
		return nil, err
	}
	if err := z.checkOverlap(); err != nil {
		return nil, err
	}
	return z.open, nil
}

type zipFile struct {
	r       io.ReaderAt
	size    int64
	list    *listing
	dirAt   int64
	dirSize int64
	entries int64
	inflate io.ReadCloser
}

// findDirectory reads the end record, in its 64-bit form where there is one. The
// directory must lie exactly before it: data that only some readers see is refused.
func (z *zipFile) findDirectory() error {
	tail := make([]byte, min(z.size, zipEndSize+0xffff))
	tailAt := z.size - int64(len(tail))
	if _, err := z.r.ReadAt(tail, tailAt); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read zip: %w", err)
	}
	at := len(tail) - zipEndSize
	for ; at >= 0; at-- {
		if bytes.HasPrefix(tail[at:], []byte("PK\x05\x06")) && at+zipEndSize+int(binary.LittleEndian.Uint16(tail[at+20:])) == len(tail) {
			break
		}
	}
	if at < 0 {
		return damaged(io.ErrUnexpectedEOF)
	}
	end := tail[at:]
	if binary.LittleEndian.Uint16(end[4:]) != 0 || binary.LittleEndian.Uint16(end[6:]) != 0 {
		return coderunner.Errorf(coderunner.Invalid, "The zip is one part of several. Pack everything into one file.")
	}
	z.entries = int64(binary.LittleEndian.Uint16(end[10:]))
	z.dirSize = int64(binary.LittleEndian.Uint32(end[12:]))
	z.dirAt = int64(binary.LittleEndian.Uint32(end[16:]))
	endAt := tailAt + int64(at)
	end64At, err := z.findEnd64(endAt)
	if err != nil {
		return err
	}
	if end64At >= 0 {
		endAt = end64At
	}
	if z.dirSize > maxZipDirectory {
		return coderunner.Errorf(coderunner.TooLarge, "The zip's directory takes %s; at most %s are allowed. Leave node_modules and the like out before packing.", bytesText(z.dirSize), bytesText(maxZipDirectory))
	}
	if z.dirAt+z.dirSize != endAt || z.entries > z.dirSize/zipCentralSize {
		return lying()
	}
	return nil
}

// findEnd64 reads the 64-bit end record if there is one and returns where it
// begins, -1 if there is none. It must agree with the other in everything that one can say.
func (z *zipFile) findEnd64(endAt int64) (int64, error) {
	at := endAt - zipLocatorSize
	if at < 0 {
		return -1, nil
	}
	locator := make([]byte, zipLocatorSize)
	if _, err := z.r.ReadAt(locator, at); err != nil {
		return 0, fmt.Errorf("read zip: %w", err)
	}
	if !bytes.HasPrefix(locator, []byte("PK\x06\x07")) {
		return -1, nil
	}
	where := binary.LittleEndian.Uint64(locator[8:])
	if where > uint64(max(at-zipEnd64Size, 0)) {
		return 0, lying()
	}
	end := make([]byte, zipEnd64Size)
	if _, err := z.r.ReadAt(end, int64(where)); err != nil {
		return 0, fmt.Errorf("read zip: %w", err)
	}
	if !bytes.HasPrefix(end, []byte("PK\x06\x06")) || binary.LittleEndian.Uint64(end[4:]) != uint64(at)-where-12 {
		return 0, lying()
	}
	for _, field := range []struct {
		value *int64
		most  int64 // what the 32-bit record has when it cannot say
		at    int
	}{{&z.entries, 0xffff, 32}, {&z.dirSize, 0xffffffff, 40}, {&z.dirAt, 0xffffffff, 48}} {
		value := binary.LittleEndian.Uint64(end[field.at:])
		if value > uint64(z.size) || *field.value != field.most && *field.value != int64(value) {
			return 0, lying()
		}
		*field.value = int64(value)
	}
	return int64(where), nil
}

func lying() error {
	return coderunner.Errorf(coderunner.Invalid, "The zip's directory does not fit its content. Pack it again and upload it again.")
}

func (z *zipFile) readDirectory() error {
	in := bufio.NewReaderSize(io.NewSectionReader(z.r, z.dirAt, z.dirSize), 64<<10)
	fixed := make([]byte, zipCentralSize)
	var variable []byte
	for range z.entries {
		if _, err := io.ReadFull(in, fixed); err != nil || !bytes.HasPrefix(fixed, []byte("PK\x01\x02")) {
			return lying()
		}
		nameLen, extraLen := int(binary.LittleEndian.Uint16(fixed[28:])), int(binary.LittleEndian.Uint16(fixed[30:]))
		variable = slices.Grow(variable[:0], nameLen+extraLen)[:nameLen+extraLen]
		if _, err := io.ReadFull(in, variable); err != nil {
			return lying()
		}
		if _, err := in.Discard(int(binary.LittleEndian.Uint16(fixed[32:]))); err != nil {
			return lying()
		}
		if err := z.one(fixed, variable[:nameLen], variable[nameLen:]); err != nil {
			return err
		}
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		return lying()
	}
	return nil
}

// one judges one record of the directory.
func (z *zipFile) one(fixed, rawName, extra []byte) error {
	flags := binary.LittleEndian.Uint16(fixed[8:])
	name := zipName(rawName, flags)
	var e entry
	e.kind = file
	if system := fixed[5]; system == 3 || system == 19 { // Unix, macOS
		mode := binary.LittleEndian.Uint32(fixed[38:]) >> 16
		e.executable = mode&0o111 != 0
		switch mode & 0o170000 {
		case 0, 0o100000:
		case 0o040000:
			e.kind = dir
		case 0o120000:
			e.kind = link
		default:
			return refuse(name, "is a device or a pipe")
		}
	}
	if strings.HasSuffix(name, "/") {
		e.kind = dir
	}
	clean, keep, err := z.list.admit(name, e.kind)
	if err != nil || !keep {
		return err
	}
	e.path = clean
	e.zip.method = binary.LittleEndian.Uint16(fixed[10:])
	switch {
	case flags&(1|1<<6|1<<13) != 0 || e.zip.method == 99:
		return refuse(name, "is encrypted; pack the archive without a password")
	case e.zip.method != 0 && e.zip.method != 8:
		return refuse(name, fmt.Sprintf("is compressed by a method (%d) that CodeRunner does not read; pack the archive with the usual one (deflate)", e.zip.method))
	}
	e.zip.crc = binary.LittleEndian.Uint32(fixed[16:])
	numbers, err := zip64Numbers(fixed, extra)
	if err != nil || numbers.size < 0 || numbers.compressed < 0 || numbers.start < 0 {
		return refuse(name, "lies about its size")
	}
	e.size, e.zip.compressed, e.zip.start = numbers.size, numbers.compressed, numbers.start
	if e.zip.method == 0 && e.size != e.zip.compressed {
		return refuse(name, "lies about its size")
	}
	if err := z.locate(&e, name, rawName); err != nil {
		return err
	}
	switch e.kind {
	case dir:
		e.size = 0
	case link:
		if e.size > int64(z.list.limits.PathBytes) {
			return refuse(name, "is a link with too long a target")
		}
		r, err := z.open(e)
		if err != nil {
			return err
		}
		target, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		e.target, e.size = string(target), 0
	}
	return z.list.add(e)
}

// zipName decodes a name. Without the flag for UTF-8 it should be in the code page of the
// first PCs; archives that are UTF-8 without saying so are common.
func zipName(raw []byte, flags uint16) string {
	if flags&(1<<11) == 0 && !utf8.Valid(raw) {
		if name, err := charmap.CodePage437.NewDecoder().Bytes(raw); err == nil {
			return string(name)
		}
	}
	return string(raw)
}

type zipNumbers struct{ size, compressed, start int64 }

// zip64Numbers reads an entry's numbers, which continue in an extra field where 32
// bits do not hold them.
func zip64Numbers(fixed, extra []byte) (zipNumbers, error) {
	n := zipNumbers{
		size:       int64(binary.LittleEndian.Uint32(fixed[24:])),
		compressed: int64(binary.LittleEndian.Uint32(fixed[20:])),
		start:      int64(binary.LittleEndian.Uint32(fixed[42:])),
	}
	var long []byte
	for len(extra) >= 4 {
		id, length := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		if len(extra) < 4+length {
			break
		}
		if id == 1 {
			long = extra[4 : 4+length]
		}
		extra = extra[4+length:]
	}
	for _, number := range []*int64{&n.size, &n.compressed, &n.start} {
		if *number != 0xffffffff {
			continue
		}
		if len(long) < 8 {
			return n, io.ErrUnexpectedEOF
		}
		*number = int64(binary.LittleEndian.Uint64(long))
		long = long[8:]
	}
	return n, nil
}

// locate reads the entry's local header, which must say the same, and finds its content.
func (z *zipFile) locate(e *entry, name string, rawName []byte) error {
	if e.zip.start > z.dirAt-zipLocalSize-int64(len(rawName)) || e.zip.compressed > z.dirAt {
		return refuse(name, "lies about its place in the zip")
	}
	local := make([]byte, zipLocalSize+len(rawName))
	if _, err := z.r.ReadAt(local, e.zip.start); err != nil {
		return fmt.Errorf("read zip: %w", err)
	}
	if !bytes.HasPrefix(local, []byte("PK\x03\x04")) || binary.LittleEndian.Uint16(local[8:]) != e.zip.method ||
		int(binary.LittleEndian.Uint16(local[26:])) != len(rawName) || !bytes.Equal(local[zipLocalSize:], rawName) {
		return refuse(name, "is described in two ways that do not agree")
	}
	e.offset = e.zip.start + int64(len(local)) + int64(binary.LittleEndian.Uint16(local[28:]))
	e.zip.end = e.offset + e.zip.compressed
	if e.zip.end > z.dirAt {
		return refuse(name, "lies about its size")
	}
	return nil
}

// checkOverlap refuses entries that share bytes: a small zip could unpack to any size.
func (z *zipFile) checkOverlap() error {
	byPlace := slices.Clone(z.list.entries)
	slices.SortFunc(byPlace, func(a, b entry) int {
		switch {
		case a.zip.start < b.zip.start:
			return -1
		case a.zip.start > b.zip.start:
			return 1
		}
		return 0
	})
	for i := 1; i < len(byPlace); i++ {
		if byPlace[i].zip.start < byPlace[i-1].zip.end {
			return refuse(byPlace[i].path, "shares its bytes with "+shown(byPlace[i-1].path))
		}
	}
	return nil
}

// open reads one entry's content, and fails unless it is exactly what was declared.
func (z *zipFile) open(e entry) (io.Reader, error) {
	section := bufio.NewReaderSize(io.NewSectionReader(z.r, e.offset, e.zip.compressed), int(min(max(e.zip.compressed, 16), 32<<10)))
	if e.zip.method == 0 {
		return &declared{e: e, r: section}, nil
	}
	if z.inflate == nil {
		z.inflate = flate.NewReader(section)
	} else if err := z.inflate.(flate.Resetter).Reset(section, nil); err != nil {
		return nil, fmt.Errorf("read zip: %w", err)
	}
	return &declared{e: e, r: z.inflate}, nil
}

// declared reads content and compares it with the size and checksum declared for it.
type declared struct {
	e   entry
	r   io.Reader
	n   int64
	crc uint32
}

func (d *declared) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	d.n += int64(n)
	d.crc = crc32.Update(d.crc, crc32.IEEETable, p[:n])
	switch {
	case d.n > d.e.size:
		return 0, refuse(d.e.path, "lies about its size")
	case err == nil:
		return n, nil
	case !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return 0, refuse(d.e.path, "is damaged")
	case d.n < d.e.size:
		return 0, refuse(d.e.path, "lies about its size")
	case d.crc != d.e.zip.crc:
		return 0, refuse(d.e.path, "is damaged: its checksum does not fit")
	}
	return n, io.EOF
}
