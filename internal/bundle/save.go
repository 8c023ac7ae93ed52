package bundle

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Options go with an upload. What an archive is, is told by its first bytes; its name
// is only used to say what arrived.
type Options struct {
	Filename string

	// Record, if set, is called with the stored bundle to note down that it is
	// wanted. Until it returns, Remove and Sweep leave the bundle alone. If it fails, so
	// does Save, and the bundle goes away unless somebody else wants it.
	Record func(Saved) error
}

// Saved is a bundle that Save stored.
type Saved struct {
	SHA256        string // of the canonical tar, lower-case hex
	Filename      string
	SizeBytes     int64 // on disk
	ExpandedBytes int64 // the sum of its files
	Files         int   // and links
	Omitted       []Omission
}

// Save reads a .zip, .tar, .tar.gz or .tar.zst from r to its end and stores its
// tree. A directory in which everything lies is stripped. A refused, failed or cancelled upload leaves nothing behind. Errors are
// sentences: Invalid names the entry that cannot be accepted, TooLarge the limit,
// Unavailable the server's full disk. ctx's error comes back as it is.
func (s *Store) Save(ctx context.Context, r io.Reader, o Options) (Saved, error) {
	if err := s.room(); err != nil {
		return Saved{}, err
	}
	up := &upload{ctx: ctx, r: r, limit: s.limits.ArchiveBytes}
	list := &listing{limits: s.limits, omitted: omissions{}}
	spool, err := s.spool()
	if err != nil {
		return Saved{}, err
	}
	defer spool.Close()
	content, err := s.read(up, spool, list, o)
	if err == nil {
		err = list.finish(up.n)
	}
	if err != nil {
		return Saved{}, up.blame(err)
	}
	saved := Saved{Filename: o.Filename, ExpandedBytes: list.expanded, Omitted: list.omitted.list()}
	blob, err := s.pack(ctx, list.entries, content, &saved)
	if err != nil {
		return Saved{}, err
	}
	if err := s.putInPlace(blob, saved, o.Record); err != nil {
		return Saved{}, err
	}
	return saved, nil
}

// contents opens what an entry holds. The reader is good until the next call.
type contents func(entry) (io.Reader, error)

// read lists the archive, whichever it is, and leaves its contents in the spool.
func (s *Store) read(up *upload, spool *os.File, list *listing, o Options) (contents, error) {
	in := bufio.NewReaderSize(up, 64<<10)
	head, err := in.Peek(512)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte("PK\x03\x04")), bytes.HasPrefix(head, []byte("PK\x05\x06")):
		if _, err := io.Copy(&roomWriter{store: s, w: spool}, in); err != nil {
			return nil, err
		}
		return readZip(spool, up.n, list)
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		unpacked, err := gzip.NewReader(in)
		if err != nil {
			return nil, damaged(err)
		}
		return s.readTar(up, unpacked, spool, list)
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		unpacked, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(32<<20))
		if err != nil {
			return nil, damaged(err)
		}
		defer unpacked.Close()
		return s.readTar(up, unpacked, spool, list)
	case isTar(head):
		return s.readTar(up, in, spool, list)
	}
	return nil, unknown(head, o)
}

// unknown tells what arrived instead of an archive.
func unknown(head []byte, o Options) error {
	what := "is not an archive that CodeRunner can read"
	for magic, name := range map[string]string{
		"Rar!": "a RAR archive", "7z\xbc\xaf": "a 7-Zip archive", "\xfd7zXZ": "an xz archive", "BZh": "a bzip2 archive",
		"\x7fELF": "a program", "MZ": "a Windows program", "%PDF": "a PDF", "\x89PNG": "a picture", "<": "a web page or a drawing",
	} {
		if bytes.HasPrefix(bytes.TrimLeft(head, " \t\r\n"), []byte(magic)) {
			what = "is " + name
		}
	}
	if len(head) == 0 {
		what = "is empty"
	}
	name := "The upload"
	if o.Filename != "" {
		name = shown(o.Filename)
	}
	return coderunner.Errorf(coderunner.Invalid, "%s %s. Send a .zip, .tar, .tar.gz or .tar.zst of the folder with your code.", name, what)
}

func damaged(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return coderunner.Wrap(err, coderunner.Invalid, "The archive ends too early; a part of it is missing. Pack it again and upload it again.")
	}
	return coderunner.Wrap(err, coderunner.Invalid, "The archive is damaged and cannot be read. Pack it again and upload it again.")
}

// pack writes the entries as the canonical tar, compressed, to a file in tmp.
func (s *Store) pack(ctx context.Context, entries []entry, content contents, saved *Saved) (name string, err error) {
	file, err := os.CreateTemp(s.tmp(), "blob-")
	if err != nil {
		return "", onDisk(err)
	}
	defer func() {
		file.Close()
		if err != nil {
			_ = os.Remove(file.Name())
		}
	}()
	out := bufio.NewWriterSize(&roomWriter{store: s, w: file}, 256<<10)
	packed, err := zstd.NewWriter(out, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return "", fmt.Errorf("compress bundle: %w", err)
	}
	defer packed.Close()
	sum := sha256.New()
	if saved.Files, err = writeCanonical(ctx, io.MultiWriter(sum, packed), entries, content); err != nil {
		return "", err
	}
	if err := packed.Close(); err != nil {
		return "", err
	}
	if err := out.Flush(); err != nil {
		return "", err
	}
	if err := file.Sync(); err != nil {
		return "", onDisk(err)
	}
	info, err := file.Stat()
	if err != nil {
		return "", fmt.Errorf("size of bundle: %w", err)
	}
	saved.SizeBytes, saved.SHA256 = info.Size(), hex.EncodeToString(sum.Sum(nil))
	return file.Name(), ctx.Err()
}

// putInPlace moves a complete blob to its address and has it recorded. One that is
// there already is replaced by its equal, so that its age begins anew.
func (s *Store) putInPlace(temp string, saved Saved, record func(Saved) error) error {
	path, err := s.blob(saved.SHA256)
	if err != nil {
		return err
	}
	c, err := s.publishBlob(temp, path, saved.SHA256)
	if err != nil {
		_ = os.Remove(temp)
		return err
	}
	recorded := false
	defer func() { // also when record panics
		s.publish.Lock()
		defer s.publish.Unlock()
		c.recorded = c.recorded || recorded
		if c.holders--; c.holders > 0 {
			return
		}
		delete(s.claims, saved.SHA256)
		if c.unused && !c.recorded {
			_ = removeBlob(path) // what fails here is left to Sweep
		}
	}()
	if record != nil {
		if err := record(saved); err != nil {
			return err
		}
	}
	recorded = true
	return nil
}

func (s *Store) publishBlob(temp, path, sha string) (*claim, error) {
	s.publish.Lock()
	defer s.publish.Unlock()
	_, err := os.Lstat(path)
	fresh := errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, onDisk(err)
	}
	if err := os.Rename(temp, path); err != nil {
		return nil, onDisk(err)
	}
	for _, dir := range []string{filepath.Dir(path), filepath.Dir(filepath.Dir(path))} {
		if err := syncDir(dir); err != nil {
			if fresh {
				_ = removeBlob(path)
			}
			return nil, err
		}
	}
	c := s.claims[sha]
	if c == nil {
		c = &claim{unused: fresh}
		s.claims[sha] = c
	}
	c.holders++
	return c, nil
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync bundles: %w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return onDisk(err)
	}
	return nil
}

// upload is what the client sends: capped, cancellable, and remembered when it breaks,
// so that a cut connection is not told as a damaged archive.
type upload struct {
	ctx   context.Context
	r     io.Reader
	limit int64
	n     int64
	err   error
}

func (u *upload) Read(p []byte) (int, error) {
	if u.err != nil {
		return 0, u.err
	}
	if err := u.ctx.Err(); err != nil {
		u.err = err
		return 0, err
	}
	n, err := u.r.Read(p)
	u.n += int64(n)
	if u.n > u.limit {
		u.err = coderunner.Errorf(coderunner.TooLarge, "The archive is larger than %s. Leave out what the app does not need, such as node_modules and build output.", bytesText(u.limit))
		return 0, u.err
	}
	if err != nil && !errors.Is(err, io.EOF) {
		u.err = u.broken(err)
		return n, u.err
	}
	return n, err
}

func (u *upload) broken(err error) error {
	if ctxErr := u.ctx.Err(); ctxErr != nil {
		return ctxErr
	}
	var sentence *coderunner.Error
	if errors.As(err, &sentence) {
		return err
	}
	return coderunner.Wrap(err, coderunner.Invalid, "The upload broke off after %s. Send it again.", bytesText(u.n))
}

// blame prefers the upload's own failure to what it caused.
func (u *upload) blame(err error) error {
	if u.err != nil {
		return u.err
	}
	return err
}
