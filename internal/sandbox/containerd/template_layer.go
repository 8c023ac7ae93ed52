package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/continuity/fs"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// layer is one layer of a template's image, in a file of its own.
type layer struct {
	File   string        `json:"file"`   // name within its directory
	Digest digest.Digest `json:"digest"` // of the compressed file
	DiffID digest.Digest `json:"diffID"` // of the tar in it
	Size   int64         `json:"size"`   // of the file, in bytes
}

func (l layer) descriptor() ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerZstd, Digest: l.Digest, Size: l.Size}
}

// writeLayer packs what upper adds to lower and removes from it, as overlayfs
// left it there. With lower "" it packs all of upper.
func writeLayer(ctx context.Context, file, lower, upper string) (_ layer, err error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return layer{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	compressed, plain := digest.Canonical.Digester(), digest.Canonical.Digester()
	zip, err := zstd.NewWriter(io.MultiWriter(f, compressed.Hash()), zstd.WithEncoderLevel(zstd.SpeedDefault))
	if err != nil {
		return layer{}, err
	}
	changes := archive.NewChangeWriter(io.MultiWriter(zip, plain.Hash()), upper)
	change := func(kind fs.ChangeKind, path string, info os.FileInfo, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil && isWhiteout(info) {
			kind, info = fs.ChangeKindDelete, nil
		}
		return changes.HandleChange(kind, path, info, err)
	}
	if lower == "" {
		err = fs.Changes(ctx, "", upper, change)
	} else {
		err = fs.DiffDirChanges(ctx, lower, upper, fs.DiffSourceOverlayFS, change)
	}
	for _, end := range []func() error{changes.Close, zip.Close} {
		if err == nil {
			err = end()
		}
	}
	if err != nil {
		return layer{}, fmt.Errorf("pack %s: %w", upper, err)
	}
	info, err := f.Stat()
	if err != nil {
		return layer{}, err
	}
	return layer{File: filepath.Base(file), Digest: compressed.Digest(), DiffID: plain.Digest(), Size: info.Size()}, nil
}

// isWhiteout recognises the mark that overlayfs leaves for what was removed.
// The walk over the difference misses it where the base has a dangling link.
func isWhiteout(info os.FileInfo) bool {
	if info == nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Rdev == 0
}

// unpackLayer makes the layer's files under root. A file that is not what it was
// when it was written is an error that wraps errDamaged; root is then of no use.
func unpackLayer(ctx context.Context, dir string, l layer, root string) error {
	f, err := os.Open(filepath.Join(dir, l.File))
	if err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	defer f.Close()
	sum := digest.Canonical.Digester()
	packed := io.TeeReader(f, sum.Hash())
	unzip, err := zstd.NewReader(packed)
	if err != nil {
		return err
	}
	defer unzip.Close()
	_, err = archive.Apply(ctx, root, unzip)
	if err == nil {
		_, err = io.Copy(io.Discard, packed)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if isDiskFull(err) {
		return err
	}
	if err == nil && sum.Digest() != l.Digest {
		err = errors.New("its digest is another")
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %w", errDamaged, l.File, err)
	}
	return nil
}
