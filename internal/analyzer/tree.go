package analyzer

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// Limits on how far a tree is followed. They bound the work, not what may be deployed.
const (
	maxDepth   = 24     // directories below the root
	maxEntries = 50_000 // directory entries looked at
)

// tree is the uploaded tree. Only regular files and directories of it are seen;
// links and devices are as if absent.
type tree struct {
	fsys     fs.FS
	lists    map[string]listing
	source   *source // nil until searched
	packages map[string]parsedPackage
}

// parsedPackage is a package.json, or what is wrong with it.
type parsedPackage struct {
	pkg *packageJSON
	err error
}

func newTree(fsys fs.FS) *tree {
	return &tree{fsys: fsys, lists: map[string]listing{}, packages: map[string]parsedPackage{}}
}

// listing is what one directory holds, each list sorted.
type listing struct {
	files []string
	dirs  []string
}

func (l listing) hasFile(name string) bool {
	_, found := slices.BinarySearch(l.files, name)
	return found
}

// list reads one directory; it is read once.
func (t *tree) list(dir string) (listing, error) {
	if l, known := t.lists[dir]; known {
		return l, nil
	}
	entries, err := t.entries(dir)
	if err != nil {
		return listing{}, err
	}
	var l listing
	for _, entry := range entries {
		switch {
		case entry.IsDir():
			l.dirs = append(l.dirs, entry.Name())
		case entry.Type().IsRegular():
			l.files = append(l.files, entry.Name())
		}
	}
	slices.Sort(l.files)
	slices.Sort(l.dirs)
	t.lists[dir] = l
	return l, nil
}

// entries reads one directory. One of more than maxEntries is a TooLarge sentence:
// which of them were looked at would be a matter of chance.
func (t *tree) entries(dir string) ([]fs.DirEntry, error) {
	f, err := t.fsys.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open the directory %q: %w", dir, err)
	}
	defer f.Close()
	d, ok := f.(fs.ReadDirFile)
	if !ok {
		return nil, fmt.Errorf("read the directory %q: it cannot be listed", dir)
	}
	entries, err := d.ReadDir(maxEntries + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the directory %q: %w", dir, err)
	}
	if len(entries) > maxEntries {
		return nil, coderunner.Errorf(coderunner.TooLarge, "The folder %s holds more than %d files. Leave out what a tool has made, and upload the source alone.",
			printable(dir), maxEntries)
	}
	return entries, nil
}

// hasFile reports whether name is a regular file of the tree. A name that leaves
// the tree is none.
func (t *tree) hasFile(name string) bool {
	dir, base := path.Split(name)
	dir = path.Clean(dir)
	if !fs.ValidPath(name) || !t.hasDir(dir) {
		return false
	}
	l, err := t.list(dir)
	return err == nil && l.hasFile(base)
}

func (t *tree) hasDir(dir string) bool {
	if dir == "." {
		return true
	}
	parent := path.Dir(dir)
	if strings.Count(dir, "/") > maxDepth || !t.hasDir(parent) {
		return false
	}
	l, err := t.list(parent)
	if err != nil {
		return false
	}
	_, found := slices.BinarySearch(l.dirs, path.Base(dir))
	return found
}

// errTooLarge is what read answers for a file above the limit.
var errTooLarge = errors.New("file is over the limit")

// read returns a whole file of at most limit bytes.
func (t *tree) read(name string, limit int) ([]byte, error) {
	f, err := t.fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", name, err)
	}
	defer f.Close()
	size := 512
	if info, err := f.Stat(); err == nil {
		if info.Size() > int64(limit) {
			return nil, errTooLarge
		}
		size = int(info.Size()) + 1
	}
	data := make([]byte, 0, size)
	for {
		if len(data) == cap(data) {
			data = slices.Grow(data, len(data)+512)
		}
		n, err := f.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		if len(data) > limit {
			return nil, errTooLarge
		}
		if errors.Is(err, io.EOF) {
			return data, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read %q: %w", name, err)
		}
	}
}

// describe names what a directory holds, folders with a slash, at most 12 of them.
func (l listing) describe() string {
	const most = 12
	var names []string
	for _, dir := range l.dirs {
		names = append(names, printable(dir)+"/")
	}
	for _, file := range l.files {
		names = append(names, printable(file))
	}
	if more := len(names) - most; more > 0 {
		names = append(names[:most], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}

// printable makes a name of the tree fit for a sentence: short, and without
// characters that hide, break or turn the text around them.
func printable(name string) string { return shown(name, 60) }

// printableText does the same for a sentence of others, such as a parser's.
func printableText(text string) string { return shown(text, 200) }

func shown(name string, most int) string {
	var b strings.Builder
	for i, r := range name {
		if i >= most {
			b.WriteString("…")
			break
		}
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			r = '�'
		}
		b.WriteRune(r)
	}
	return b.String()
}
