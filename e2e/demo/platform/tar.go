package platform

import (
	"archive/tar"
	"bytes"
	"io/fs"
)

// Tar packs a tree.
func Tar(files fs.FS) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.AddFS(files); err != nil {
		return nil, err
	}
	err := w.Close()
	return out.Bytes(), err
}
