package inside

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The output of a long-lived process is a sequence of records in files named by
// the offset of their first byte. A record is a header and its data:
//
//	stream  1 byte   'o', 'e', or 'x' for the end of the process's output (no data)
//	time    8 bytes  nanoseconds since 1970, big endian
//	length  4 bytes  of the data, big endian
//
// The newest OutputFiles files of up to OutputFileBytes are kept.
const (
	RecordHeader    = 1 + 8 + 4
	RecordMax       = 64 << 10
	OutputFileBytes = 8 << 20
	OutputFiles     = 4

	RecordOut = 'o'
	RecordErr = 'e'
	RecordEnd = 'x'
)

// Writer appends records.
type Writer struct {
	mu    sync.Mutex
	dir   string
	file  *os.File
	start int64 // offset of the file's first byte
	size  int64
}

// OpenOutput continues after the last whole record.
func OpenOutput(dir string) (*Writer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	starts, err := OutputStarts(dir)
	if err != nil {
		return nil, err
	}
	w := &Writer{dir: dir}
	if len(starts) > 0 {
		w.start = starts[len(starts)-1]
	}
	if w.file, err = os.OpenFile(OutputFile(dir, w.start), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, err
	}
	if w.size, err = wholeRecords(w.file); err != nil {
		return nil, err
	}
	if err := w.file.Truncate(w.size); err != nil {
		return nil, err
	}
	_, err = w.file.Seek(w.size, io.SeekStart)
	return w, err
}

// wholeRecords is how many bytes of a file are complete records.
func wholeRecords(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	var at int64
	var header [RecordHeader]byte
	for {
		if _, err := f.ReadAt(header[:], at); errors.Is(err, io.EOF) {
			return at, nil
		} else if err != nil {
			return 0, err
		}
		next := at + RecordHeader + int64(binary.BigEndian.Uint32(header[9:]))
		if next > info.Size() {
			return at, nil
		}
		at = next
	}
}

func (w *Writer) copy(from io.Reader, kind byte) {
	buffer := make([]byte, RecordMax)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			// A full disk must not stop the process: what cannot be kept is dropped.
			_ = w.Record(kind, buffer[:n])
		}
		if err != nil {
			return
		}
	}
}

// Record appends what came on one of the streams; what is written is whole or not there.
func (w *Writer) Record(kind byte, data []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	record := make([]byte, RecordHeader, RecordHeader+len(data))
	record[0] = kind
	binary.BigEndian.PutUint64(record[1:], uint64(time.Now().UnixNano()))
	binary.BigEndian.PutUint32(record[9:], uint32(len(data)))
	record = append(record, data...)
	if w.size+int64(len(record)) > OutputFileBytes && w.size > 0 {
		if err := w.rotate(); err != nil {
			return err
		}
	}
	n, err := w.file.Write(record)
	if err != nil {
		// Take back what was written of it, so that readers find whole records only.
		if n > 0 {
			_ = w.file.Truncate(w.size)
			_, _ = w.file.Seek(w.size, io.SeekStart)
		}
		return err
	}
	w.size += int64(n)
	return nil
}

// Next is the offset of the next record.
func (w *Writer) Next() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.start + w.size
}

// Close lets the file go.
func (w *Writer) Close() error { return w.file.Close() }

func (w *Writer) rotate() error {
	next, err := os.OpenFile(OutputFile(w.dir, w.start+w.size), os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	w.file.Close()
	w.file, w.start, w.size = next, w.start+w.size, 0
	starts, err := OutputStarts(w.dir)
	if err != nil {
		return err
	}
	for len(starts) > OutputFiles {
		if err := os.Remove(OutputFile(w.dir, starts[0])); err != nil {
			return err
		}
		starts = starts[1:]
	}
	return nil
}

// OutputFile is the path of the file that begins at an offset.
func OutputFile(dir string, start int64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d.log", start))
}

// OutputStarts lists the first offsets of the files that are kept, oldest first.
func OutputStarts(dir string) ([]int64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var starts []int64
	for _, e := range entries {
		if number, is := strings.CutSuffix(e.Name(), ".log"); is {
			if start, err := strconv.ParseInt(number, 10, 64); err == nil {
				starts = append(starts, start)
			}
		}
	}
	slices.Sort(starts)
	return starts, nil
}
