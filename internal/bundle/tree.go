package bundle

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// Tree is a bundle as a read-only file system. Symbolic links are followed within it.
// It is safe for concurrent use until Close.
type Tree struct {
	content *os.File // the whole tar, uncompressed, nameless
	nodes   map[string]*node
}

type node struct {
	name     string
	mode     fs.FileMode
	size     int64
	offset   int64
	target   string
	children []fs.DirEntry // sorted by name
}

// maxLinks is how many symbolic links one name may lead through, as on Linux.
const maxLinks = 40

// FS opens the bundle as a file system. It unpacks into one nameless file, not
// into a directory: that costs a sequential write, whatever the number of files.
func (s *Store) FS(sha string) (*Tree, error) {
	stream, err := s.Open(sha)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	content, err := s.spool()
	if err != nil {
		return nil, err
	}
	tree := &Tree{content: content, nodes: map[string]*node{".": {name: ".", mode: fs.ModeDir | 0o755}}}
	out := bufio.NewWriterSize(&roomWriter{store: s, w: content}, 256<<10)
	tee := &teeCounter{r: stream, w: out}
	if err := tree.index(tee); err != nil {
		content.Close()
		return nil, fmt.Errorf("index bundle %s: %w", sha, err)
	}
	if err := out.Flush(); err != nil {
		content.Close()
		return nil, err
	}
	return tree, nil
}

// teeCounter copies what is read and counts it, so that a file's place is known.
type teeCounter struct {
	r io.Reader
	w io.Writer
	n int64
}

func (t *teeCounter) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.n += int64(n)
	if _, werr := t.w.Write(p[:n]); werr != nil {
		return n, werr
	}
	return n, err
}

// index reads the canonical tar, in which a directory comes before what is in it.
func (t *Tree) index(in *teeCounter) error {
	tr := tar.NewReader(in)
	for {
		header, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		name := strings.TrimSuffix(header.Name, "/")
		n := &node{name: path.Base(name), mode: fs.FileMode(header.Mode).Perm(), size: header.Size, target: header.Linkname, offset: in.n}
		switch header.Typeflag {
		case tar.TypeDir:
			n.mode |= fs.ModeDir
		case tar.TypeSymlink:
			n.mode |= fs.ModeSymlink
		}
		parent := t.nodes[path.Dir(name)]
		if parent == nil {
			return fmt.Errorf("%s comes before its directory", shown(name))
		}
		t.nodes[name] = n
		parent.children = append(parent.children, n)
	}
	if _, err := io.Copy(io.Discard, in); err != nil { // the rest, and with it the checksum
		return err
	}
	for _, n := range t.nodes {
		slices.SortFunc(n.children, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	}
	return nil
}

// Close gives the disk space back.
func (t *Tree) Close() error { return t.content.Close() }

// Open implements fs.FS.
func (t *Tree) Open(name string) (fs.File, error) {
	n, err := t.find("open", name, true)
	if err != nil {
		return nil, err
	}
	if n.mode.IsDir() {
		return &openDir{node: n}, nil
	}
	return &openFile{node: n, SectionReader: io.NewSectionReader(t.content, n.offset, n.size)}, nil
}

// Stat implements fs.StatFS.
func (t *Tree) Stat(name string) (fs.FileInfo, error) { return t.find("stat", name, true) }

// Lstat implements fs.ReadLinkFS.
func (t *Tree) Lstat(name string) (fs.FileInfo, error) { return t.find("lstat", name, false) }

// ReadLink implements fs.ReadLinkFS.
func (t *Tree) ReadLink(name string) (string, error) {
	n, err := t.find("readlink", name, false)
	if err != nil {
		return "", err
	}
	if n.mode.Type() != fs.ModeSymlink {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	return n.target, nil
}

// find walks to name, component by component, following links on the way and, if
// follow is set, at the end. The result is a FileInfo whose name is the last component asked for.
func (t *Tree) find(op, name string, follow bool) (*node, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	missing := &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	current, rest := ".", name
	for links := 0; rest != "" && rest != "."; {
		component, after, _ := strings.Cut(rest, "/")
		if component == ".." {
			current, rest = path.Dir(current), after
			continue
		}
		next := path.Join(current, component)
		n := t.nodes[next]
		if n == nil {
			return nil, missing
		}
		if n.mode.Type() == fs.ModeSymlink && (follow || after != "") {
			if links++; links > maxLinks {
				return nil, &fs.PathError{Op: op, Path: name, Err: errors.New("too many symbolic links")}
			}
			rest = n.target
			if after != "" {
				rest += "/" + after
			}
			rest = strings.TrimPrefix(rest, "./")
			continue
		}
		if after != "" && !n.mode.IsDir() {
			return nil, missing
		}
		current, rest = next, after
	}
	found := t.nodes[current]
	if found.name == path.Base(name) {
		return found, nil
	}
	renamed := *found
	renamed.name = path.Base(name)
	return &renamed, nil
}

// A node is its own FileInfo and DirEntry.

func (n *node) Name() string               { return n.name }
func (n *node) Size() int64                { return n.size }
func (n *node) Mode() fs.FileMode          { return n.mode }
func (n *node) Type() fs.FileMode          { return n.mode.Type() }
func (n *node) ModTime() time.Time         { return canonicalTime() }
func (n *node) IsDir() bool                { return n.mode.IsDir() }
func (n *node) Sys() any                   { return nil }
func (n *node) Info() (fs.FileInfo, error) { return n, nil }
func (n *node) String() string             { return fs.FormatDirEntry(n) }

type openFile struct {
	*io.SectionReader
	node *node
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.node, nil }
func (f *openFile) Close() error               { return nil }

type openDir struct {
	node *node
	read int
}

func (d *openDir) Stat() (fs.FileInfo, error) { return d.node, nil }
func (d *openDir) Close() error               { return nil }

func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.node.name, Err: errors.New("is a directory")}
}

func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	left := d.node.children[d.read:]
	if n > 0 && len(left) == 0 {
		return nil, io.EOF
	}
	if n > 0 && n < len(left) {
		left = left[:n]
	}
	d.read += len(left)
	return slices.Clone(left), nil
}
