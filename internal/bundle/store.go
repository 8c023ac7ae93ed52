// Package bundle keeps uploaded source trees.
//
// Save reads an archive that somebody sent, believes nothing of it, and stores its
// tree as one canonical tar: entries sorted by path, modes 0644 and 0755, one fixed time,
// no owners. The bundle's address is the SHA-256 of that tar, so that
// the same tree has the same address whatever archive it came in. On disk the tar is compressed:
//
//	<dir>/blobs/ab/cdef…  one bundle; appears in one rename, never changes
//	<dir>/tmp/            what an upload is working on; emptied by Open
//
// Nothing is ever unpacked into files of the archive's names, so there is no path
// for a hostile name to travel. Memory does not grow with an archive's size, only with the
// number of entries that are kept, which is capped.
package bundle

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// Limits cap one upload. All are inclusive.
type Limits struct {
	ArchiveBytes  int64 // what is sent
	ExpandedBytes int64 // the sum of the files that are kept
	Entries       int   // files, links and directories that are kept
	PathBytes     int   // one path; each of its components may have 255
	Depth         int   // components of one path
	Ratio         int64 // expanded to sent, once more than 32 MiB have come out
	FreeBytes     int64 // what the disk keeps free, whatever is uploaded
}

// DefaultLimits are for people's own source code.
func DefaultLimits() Limits {
	return Limits{ArchiveBytes: 256 << 20, ExpandedBytes: 1 << 30, Entries: 50_000, PathBytes: 1024, Depth: 32, Ratio: 200, FreeBytes: 256 << 20}
}

// orDefault fills in what is zero.
func (l Limits) orDefault() Limits {
	d := DefaultLimits()
	return Limits{
		ArchiveBytes: cmp.Or(l.ArchiveBytes, d.ArchiveBytes), ExpandedBytes: cmp.Or(l.ExpandedBytes, d.ExpandedBytes),
		Entries: cmp.Or(l.Entries, d.Entries), PathBytes: cmp.Or(l.PathBytes, d.PathBytes), Depth: cmp.Or(l.Depth, d.Depth),
		Ratio: cmp.Or(l.Ratio, d.Ratio), FreeBytes: cmp.Or(l.FreeBytes, d.FreeBytes),
	}
}

// Store keeps bundles. Its methods are safe for concurrent use. One process at a
// time uses a directory.
type Store struct {
	dir    string
	limits Limits

	publish sync.Mutex // orders appearing and removal of blobs
	claims  map[string]*claim
}

// claim is on a blob while Options.Record works.
type claim struct {
	holders  int
	unused   bool // nobody wanted the blob before them, or nobody does any more
	recorded bool // one of them does
}

// sweepGrace is how long a blob is safe from Sweep after it was last saved, so that one
// whose record is still being written is not removed.
const sweepGrace = time.Hour

// Open opens the directory, makes it if needed, and removes what uploads that were
// cut off have left. A limit that is zero is the default's.
func Open(dir string, limits Limits) (*Store, error) {
	s := &Store{dir: dir, limits: limits.orDefault(), claims: map[string]*claim{}}
	if err := os.RemoveAll(s.tmp()); err != nil {
		return nil, fmt.Errorf("sweep unfinished uploads: %w", err)
	}
	for _, dir := range []string{s.tmp(), filepath.Join(s.dir, "blobs")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make bundle directory: %w", err)
		}
	}
	return s, nil
}

// Limits are what uploads are held to.
func (s *Store) Limits() Limits { return s.limits }

func (s *Store) tmp() string { return filepath.Join(s.dir, "tmp") }

// blob returns where the bundle lies. A text that is no SHA-256 is a bundle that
// does not exist.
func (s *Store) blob(sha string) (string, error) {
	sum, err := hex.DecodeString(sha)
	if err != nil || len(sum) != sha256.Size || strings.ToLower(sha) != sha {
		return "", notFound()
	}
	return filepath.Join(s.dir, "blobs", sha[:2], sha[2:]), nil
}

func shaOf(path string) string { return filepath.Base(filepath.Dir(path)) + filepath.Base(path) }

func notFound() error {
	return coderunner.Errorf(coderunner.NotFound, "The uploaded code is no longer there. Upload it again.")
}

func (s *Store) openBlob(sha string) (*os.File, error) {
	path, err := s.blob(sha)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notFound()
	} else if err != nil {
		return nil, fmt.Errorf("open bundle %s: %w", sha, err)
	}
	return file, nil
}

// Open returns the bundle as an uncompressed tar stream. What was read is compared
// with the address: a damaged bundle ends in an error instead of io.EOF.
func (s *Store) Open(sha string) (io.ReadCloser, error) {
	file, err := s.openBlob(sha)
	if err != nil {
		return nil, err
	}
	zr, err := zstd.NewReader(file, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("open bundle %s: %w", sha, err)
	}
	return &stream{sha: sha, file: file, zr: zr, sum: sha256.New()}, nil
}

type stream struct {
	sha  string
	file *os.File
	zr   *zstd.Decoder
	sum  hash.Hash
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.zr.Read(p)
	s.sum.Write(p[:n])
	if err == nil {
		return n, nil
	}
	if !errors.Is(err, io.EOF) {
		return n, fmt.Errorf("read bundle %s: %w", s.sha, err)
	}
	if got := hex.EncodeToString(s.sum.Sum(nil)); got != s.sha {
		return n, fmt.Errorf("bundle %s is damaged: its content has the sum %s", s.sha, got)
	}
	return n, io.EOF
}

func (s *stream) Close() error {
	s.zr.Close()
	return s.file.Close()
}

// Remove deletes the bundle. One that does not exist is success. Readers that have
// it open go on reading. One that is just being recorded stays, unless that fails.
func (s *Store) Remove(sha string) error {
	path, err := s.blob(sha)
	if err != nil {
		return nil
	}
	s.publish.Lock()
	defer s.publish.Unlock()
	if c := s.claims[sha]; c != nil {
		c.unused = true
		return nil
	}
	return removeBlob(path)
}

func removeBlob(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove bundle: %w", err)
	}
	_ = os.Remove(filepath.Dir(path)) // succeeds only when it was the last
	return nil
}

// Sweep removes every bundle that keep does not want and that was not saved within
// the last hour, and what an upload has not written to for as long. It returns how
// many bundles went, and the bytes that all of it took.
func (s *Store) Sweep(keep func(sha string) bool) (removed int, bytes int64, err error) {
	left, err := filepath.Glob(filepath.Join(s.tmp(), "*"))
	if err != nil {
		return 0, 0, err
	}
	for _, path := range left {
		if info, err := os.Lstat(path); err == nil && time.Since(info.ModTime()) > sweepGrace && os.Remove(path) == nil {
			bytes += info.Size()
		}
	}
	blobs, err := filepath.Glob(filepath.Join(s.dir, "blobs", "??", "*"))
	if err != nil {
		return 0, bytes, err
	}
	for _, path := range blobs {
		if keep(shaOf(path)) {
			continue
		}
		size, gone, err := s.sweepOne(path)
		if err != nil {
			return removed, bytes, err
		}
		if gone {
			removed++
			bytes += size
		}
	}
	return removed, bytes, nil
}

func (s *Store) sweepOne(path string) (size int64, gone bool, err error) {
	s.publish.Lock()
	defer s.publish.Unlock()
	if s.claims[shaOf(path)] != nil {
		return 0, false, nil
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && time.Since(info.ModTime()) < sweepGrace {
		return 0, false, nil
	} else if err != nil {
		return 0, false, fmt.Errorf("sweep bundles: %w", err)
	}
	return info.Size(), true, removeBlob(path)
}

// spool returns a nameless file on the bundles' disk; whatever becomes of us, nothing
// of it stays.
func (s *Store) spool() (*os.File, error) {
	file, err := os.CreateTemp(s.tmp(), "spool-")
	if err != nil {
		return nil, onDisk(err)
	}
	if err := os.Remove(file.Name()); err != nil {
		file.Close()
		return nil, onDisk(err)
	}
	return file, nil
}

// room says whether the disk has more than its floor free.
func (s *Store) room() error {
	var disk unix.Statfs_t
	if err := unix.Statfs(s.dir, &disk); err != nil {
		return fmt.Errorf("look for free space: %w", err)
	}
	if free := int64(disk.Bavail) * disk.Bsize; free < s.limits.FreeBytes {
		return coderunner.Wrap(unix.ENOSPC, coderunner.Unavailable,
			"The server's disk is full (%s are free, %s are kept back), so the upload was not kept. Try again when its operator has freed some space.", bytesText(free), bytesText(s.limits.FreeBytes))
	}
	return nil
}

// roomWriter writes and looks every few megabytes whether the disk's floor is near.
type roomWriter struct {
	store *Store
	w     io.Writer
	since int64
}

func (r *roomWriter) Write(p []byte) (int, error) {
	if r.since += int64(len(p)); r.since > 8<<20 {
		r.since = 0
		if err := r.store.room(); err != nil {
			return 0, err
		}
	}
	n, err := r.w.Write(p)
	if err != nil {
		err = onDisk(err)
	}
	return n, err
}

// onDisk makes a sentence of a disk that is full.
func onDisk(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return coderunner.Wrap(err, coderunner.Unavailable, "The server's disk is full, so the upload was not kept. Try again when its operator has freed some space.")
	}
	return fmt.Errorf("write upload: %w", err)
}

func bytesText(n int64) string {
	switch {
	case n >= 1<<30 && n%(1<<30) == 0:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 10<<20 || n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}
