package bundle

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
)

const tarBlock = 512

// ratioFloor is how much may come out of any archive before Limits.Ratio counts.
const ratioFloor = 32 << 20

// isTar reports whether block is a tar header, by its checksum, or the end of an
// empty tar.
func isTar(block []byte) bool {
	if len(block) < tarBlock {
		return false
	}
	field := bytes.Trim(block[148:156], " \x00")
	want, err := strconv.ParseInt(string(field), 8, 64)
	if err != nil {
		return len(field) == 0 && len(bytes.Trim(block[:tarBlock], "\x00")) == 0
	}
	var sum int64
	for i, b := range block[:tarBlock] {
		if i >= 148 && i < 156 {
			b = ' '
		}
		sum += int64(b)
	}
	return sum == want
}

// readTar lists a tar stream and appends the contents that are kept to the spool.
func (s *Store) readTar(up *upload, unpacked io.Reader, spool *os.File, list *listing) (contents, error) {
	counted := &tarStream{r: unpacked, up: up, limits: s.limits}
	buffered := bufio.NewReaderSize(counted, 64<<10)
	if head, err := buffered.Peek(tarBlock); err != nil || !isTar(head) {
		switch {
		case counted.err != nil:
			return nil, counted.err
		case err != nil && !errors.Is(err, io.EOF) || err != nil && len(head) > 0:
			return nil, damaged(err)
		case len(head) > 0:
			return nil, coderunner.Errorf(coderunner.Invalid, "The upload is compressed, but there is no tar archive in it. Send a .zip, .tar, .tar.gz or .tar.zst of the folder with your code.")
		}
	}
	out := bufio.NewWriterSize(&roomWriter{store: s, w: spool}, 256<<10)
	reader := &tarLister{tr: tar.NewReader(buffered), out: out, list: list, files: map[string]int{}}
	err := reader.all()
	if err == nil {
		_, err = io.Copy(io.Discard, buffered) // verifies the checksums of what is around the tar
		if err != nil {
			err = damaged(err)
		} else if counted.zeros < tarBlock && counted.n > 0 {
			err = damaged(io.ErrUnexpectedEOF)
		}
	}
	if counted.err != nil {
		return nil, counted.err
	}
	if err != nil {
		return nil, err
	}
	if err := out.Flush(); err != nil {
		return nil, err
	}
	return func(e entry) (io.Reader, error) { return io.NewSectionReader(spool, e.offset, e.size), nil }, nil
}

// tarStream is the unpacked tar: capped in size and in ratio to what was sent.
// It knows how many zero bytes came last, because a tar ends in a block of zeros.
type tarStream struct {
	r      io.Reader
	up     *upload
	limits Limits
	n      int64
	zeros  int64
	err    error // of a cap
}

func (t *tarStream) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.n += int64(n)
	// What is left out and the headers pass here too, hence more than ExpandedBytes.
	if most := 4*t.limits.ExpandedBytes + 64<<20; t.n > most {
		t.err = coderunner.Errorf(coderunner.TooLarge, "The archive is larger than %s when unpacked. Leave out what the app does not need.", bytesText(most))
	} else if t.n > ratioFloor && t.n > t.limits.Ratio*t.up.n {
		t.err = bomb(t.limits)
	}
	if t.err != nil {
		return 0, t.err
	}
	end := n
	for end > 0 && p[end-1] == 0 {
		end--
	}
	if end > 0 {
		t.zeros = 0
	}
	t.zeros += int64(n - end)
	return n, err
}

func bomb(limits Limits) error {
	return coderunner.Errorf(coderunner.TooLarge, "The archive unpacks to more than %d times its size, which source code never does. It is refused.", limits.Ratio)
}

type tarLister struct {
	tr     *tar.Reader
	out    *bufio.Writer
	offset int64
	list   *listing
	files  map[string]int // index of a kept file, for hard links to it
}

func (t *tarLister) all() error {
	for {
		header, err := t.tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) { // names are judged by admit
			return damaged(err)
		}
		if header.Typeflag == tar.TypeXGlobalHeader { // git archive puts the commit there
			continue
		}
		if err := t.one(header); err != nil {
			return err
		}
	}
}

func (t *tarLister) one(header *tar.Header) error {
	e := entry{executable: header.Mode&0o111 != 0}
	switch header.Typeflag {
	case tar.TypeDir:
		e.kind = dir
	case tar.TypeSymlink:
		e.kind = link
	}
	clean, keep, err := t.list.admit(header.Name, e.kind)
	if err != nil || !keep {
		return err
	}
	e.path = clean
	switch header.Typeflag {
	case tar.TypeDir:
	case tar.TypeSymlink:
		e.target = header.Linkname
	case tar.TypeReg:
		for record := range header.PAXRecords {
			if strings.HasPrefix(record, "GNU.sparse.") {
				return refuse(header.Name, "has holes (a sparse file); pack the archive without --sparse")
			}
		}
		return t.file(e, header.Size)
	case tar.TypeLink:
		earlier, found := t.files[path.Clean(header.Linkname)]
		if !found {
			return refuse(header.Name, "is a hard link to "+shown(header.Linkname)+", which is not a file before it in the archive")
		}
		e.size, e.offset = t.list.entries[earlier].size, t.list.entries[earlier].offset
	case tar.TypeGNUSparse:
		return refuse(header.Name, "has holes (a sparse file); pack the archive without --sparse")
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return refuse(header.Name, "is a device or a pipe")
	default:
		return refuse(header.Name, fmt.Sprintf("is of a kind (%q) that a source tree does not have", header.Typeflag))
	}
	return t.list.add(e)
}

func (t *tarLister) file(e entry, size int64) error {
	e.size, e.offset = size, t.offset
	if err := t.list.add(e); err != nil {
		return err
	}
	t.files[e.path] = len(t.list.entries) - 1
	n, err := io.Copy(t.out, tarContent{t.tr})
	t.offset += n
	var failed readError
	if errors.As(err, &failed) {
		return damaged(failed.error)
	}
	return err
}

// tarContent marks failures to read, so that they are told from failures to write.
type tarContent struct{ tr *tar.Reader }

type readError struct{ error }

func (t tarContent) Read(p []byte) (int, error) {
	n, err := t.tr.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = readError{err}
	}
	return n, err
}

// canonicalTime is every entry's. It is after 1980, before which zip cannot go: some
// build tools stumble over older files.
func canonicalTime() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }

// writeCanonical writes sorted entries as a tar that depends on nothing but their
// paths, kinds, contents and whether they are executable. It counts files and links.
func writeCanonical(ctx context.Context, w io.Writer, entries []entry, content contents) (files int, err error) {
	tw := tar.NewWriter(w)
	buffer := make([]byte, 64<<10)
	for _, e := range entries {
		header := tar.Header{Name: e.path, ModTime: canonicalTime(), Mode: 0o644}
		switch e.kind {
		case dir:
			header.Typeflag, header.Mode = tar.TypeDir, 0o755
			header.Name += "/"
		case link:
			header.Typeflag, header.Mode, header.Linkname = tar.TypeSymlink, 0o777, e.target
			files++
		case file:
			header.Typeflag, header.Size = tar.TypeReg, e.size
			if e.executable {
				header.Mode = 0o755
			}
			files++
		}
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if err := tw.WriteHeader(&header); err != nil {
			return 0, wrapWrite(e, err)
		}
		if e.kind != file {
			continue
		}
		r, err := content(e)
		if err != nil {
			return 0, err
		}
		if _, err := io.CopyBuffer(onlyWriter{tw}, onlyReader{ctx, r}, buffer); err != nil {
			return 0, wrapWrite(e, err)
		}
	}
	return files, tw.Close()
}

func wrapWrite(e entry, err error) error {
	return fmt.Errorf("store %s: %w", shown(e.path), err)
}

// onlyWriter and onlyReader hide shortcuts that would go around the buffer, and
// make a long copy end with its context.
type onlyWriter struct{ io.Writer }

type onlyReader struct {
	ctx context.Context
	r   io.Reader
}

func (o onlyReader) Read(p []byte) (int, error) {
	if err := o.ctx.Err(); err != nil {
		return 0, err
	}
	return o.r.Read(p)
}
