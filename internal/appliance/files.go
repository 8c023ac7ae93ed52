package appliance

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
)

// Files is what a template gets copied over its root. An embedded file has no
// mode of its own, so what a file begins with decides: one that begins with #!
// is a program (0755), any other is not (0644). Directories are 0755.
type Files struct{ inner fs.FS }

// openFiles answers nil for an appliance without files. Anything but plain files
// and directories is refused.
func openFiles(definitions fs.FS, folder string) (*Files, error) {
	dir := path.Join(folder, "files")
	if _, err := fs.Stat(definitions, dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	inner, err := fs.Sub(definitions, dir)
	if err != nil {
		return nil, err
	}
	err = fs.WalkDir(inner, ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && !entry.Type().IsRegular() {
			err = fmt.Errorf("%s/%s is neither a file nor a directory", dir, name)
		}
		return err
	})
	return &Files{inner: inner}, err
}

// rootOf is a file system to look in, an empty one for no files.
func rootOf(files *Files) fs.FS {
	if files == nil {
		return emptyFS{}
	}
	return files
}

// Open is fs.FS.
func (f *Files) Open(name string) (fs.File, error) {
	opened, err := f.inner.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.describe(name)
	if err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	if info.IsDir() {
		return directory{opened.(fs.ReadDirFile), info, f, name}, nil
	}
	return regularFile{opened, info}, nil
}

// describe tells a file's own facts with the mode that it gets.
func (f *Files) describe(name string) (fs.FileInfo, error) {
	file, err := f.inner.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return moded{info, fs.ModeDir | 0o755}, nil
	}
	begin := make([]byte, 2)
	if _, err := io.ReadFull(file, begin); err == nil && string(begin) == "#!" {
		return moded{info, 0o755}, nil
	}
	return moded{info, 0o644}, nil
}

type moded struct {
	fs.FileInfo
	mode fs.FileMode
}

func (m moded) Mode() fs.FileMode { return m.mode }

type regularFile struct {
	fs.File
	info fs.FileInfo
}

func (r regularFile) Stat() (fs.FileInfo, error) { return r.info, nil }

type directory struct {
	fs.ReadDirFile
	info  fs.FileInfo
	files *Files
	name  string
}

func (d directory) Stat() (fs.FileInfo, error) { return d.info, nil }

func (d directory) ReadDir(n int) ([]fs.DirEntry, error) {
	entries, err := d.ReadDirFile.ReadDir(n)
	for i, entry := range entries {
		info, infoErr := d.files.describe(path.Join(d.name, entry.Name()))
		if infoErr != nil {
			return nil, infoErr
		}
		entries[i] = fs.FileInfoToDirEntry(info)
	}
	return entries, err
}

type emptyFS struct{}

func (emptyFS) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}
