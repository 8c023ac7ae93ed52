package containerd

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"

	"github.com/coderunner/coderunner/internal/fetch"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// getModule downloads a module of Go and packs it as npm's packages are: a .tar.gz with one folder.
func (s supply) getModule(ctx context.Context, client fetch.Client, d sandbox.Download, integrity, file string) error {
	escaped, err := module.EscapePath(d.Module)
	if err != nil {
		return err
	}
	from, archive := s.goProxy()+"/"+escaped+"/@v/"+d.Version+".zip", file+".zip"
	if _, err := client.File(ctx, from, archive); err != nil {
		return err
	}
	defer os.Remove(archive)
	if sum, err := dirhash.HashZip(archive, dirhash.Hash1); err != nil || sum != integrity {
		return notTheFile(d)
	}
	return repack(archive, d.Module+"@"+d.Version+"/", file)
}

// repack makes a .tar.gz of a module's zip, in which all names begin with prefix. A zip of a module has no
// modes: what makes a file a program is its place in a toolchain, as for the go command.
func repack(archive, prefix, file string) (err error) {
	from, err := zip.OpenReader(archive)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	packed, err := gzip.NewWriterLevel(to, gzip.BestSpeed)
	if err != nil {
		return err
	}
	w := tar.NewWriter(packed)
	for _, entry := range from.File {
		name := strings.TrimPrefix(entry.Name, prefix)
		mode := int64(0o644)
		if strings.HasPrefix(name, "bin/") || strings.HasPrefix(name, "pkg/tool/") {
			mode = 0o755
		}
		if err := w.WriteHeader(&tar.Header{Name: path.Join("module", name), Mode: mode, Size: int64(entry.UncompressedSize64)}); err != nil {
			return err
		}
		if err := copyEntry(w, entry); err != nil {
			return err
		}
	}
	return errors.Join(w.Close(), packed.Close())
}

func copyEntry(w io.Writer, entry *zip.File) error {
	content, err := entry.Open()
	if err != nil {
		return err
	}
	defer content.Close()
	_, err = io.Copy(w, content)
	return err
}
