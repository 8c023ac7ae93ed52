package containerd

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/coderunner/coderunner/internal/sandbox"
)

// A template is kept as an OCI image layout in a tar file, from which any engine
// on this machine makes its image in seconds.

// placedLayer is a layer and the directory its file is in.
type placedLayer struct {
	layer
	dir string
}

// writeArchive writes the template's image, made of layers from the base upwards.
func writeArchive(ctx context.Context, file string, t sandbox.Template, layers []placedLayer) (err error) {
	now := time.Now().UTC()
	image := ocispec.Image{
		Created:  &now,
		Platform: ocispec.Platform{Architecture: runtime.GOARCH, OS: "linux"},
		Config: ocispec.ImageConfig{
			User:       fmt.Sprintf("%d:%d", t.User.UID, t.User.GID),
			WorkingDir: t.WorkDir,
			Labels: map[string]string{
				labelUserName: t.User.Name, labelUserHome: t.User.Home, labelTemplateName: t.Name, labelTemplateDigest: t.Digest,
			},
		},
		RootFS: ocispec.RootFS{Type: "layers"},
	}
	for key, value := range t.Env {
		image.Config.Env = append(image.Config.Env, key+"="+value)
	}
	slices.Sort(image.Config.Env)
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for _, l := range layers {
		image.RootFS.DiffIDs = append(image.RootFS.DiffIDs, l.DiffID)
		manifest.Layers = append(manifest.Layers, l.descriptor())
	}

	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	archive := archiveWriter{tar.NewWriter(f), now}
	if manifest.Config, err = archive.blob(ocispec.MediaTypeImageConfig, image); err != nil {
		return err
	}
	for _, l := range layers {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := archive.layer(l); err != nil {
			return err
		}
	}
	described, err := archive.blob(ocispec.MediaTypeImageManifest, manifest)
	if err != nil {
		return err
	}
	described.Annotations = map[string]string{images.AnnotationImageName: templateImage(t.TemplateRef)}
	index := ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{described},
	}
	if err := archive.document(ocispec.ImageIndexFile, index); err != nil {
		return err
	}
	if err := archive.document(ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}); err != nil {
		return err
	}
	return archive.tar.Close()
}

type archiveWriter struct {
	tar *tar.Writer
	now time.Time
}

func (a archiveWriter) entry(name string, size int64, content io.Reader) error {
	if err := a.tar.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: size, ModTime: a.now}); err != nil {
		return err
	}
	_, err := io.Copy(a.tar, content)
	return err
}

func (a archiveWriter) document(name string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return a.entry(name, int64(len(text)), bytes.NewReader(text))
}

func (a archiveWriter) blob(mediaType string, value any) (ocispec.Descriptor, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(text), Size: int64(len(text))}
	return d, a.entry(blobName(d.Digest), d.Size, bytes.NewReader(text))
}

func (a archiveWriter) layer(l placedLayer) error {
	f, err := os.Open(filepath.Join(l.dir, l.File))
	if err != nil {
		return err
	}
	defer f.Close()
	return a.entry(blobName(l.Digest), l.Size, f)
}

func blobName(d digest.Digest) string {
	return path.Join(ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// verifyArchive reads the whole file and says whether it holds this template,
// complete and unchanged. Its errors wrap errDamaged, but for ctx's.
func verifyArchive(ctx context.Context, file string, ref sandbox.TemplateRef) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	defer f.Close()
	small := map[string][]byte{} // the documents, by name
	whole := map[string]bool{}
	for archive := tar.NewReader(f); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
		sum := digest.Canonical.Digester()
		var text bytes.Buffer
		var into io.Writer = sum.Hash()
		if header.Size <= 1<<20 {
			into = io.MultiWriter(into, &text)
		}
		if _, err := io.Copy(into, archive); err != nil {
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
		small[header.Name] = text.Bytes()
		whole[header.Name] = header.Name == blobName(sum.Digest())
	}
	var index ocispec.Index
	if err := json.Unmarshal(small[ocispec.ImageIndexFile], &index); err != nil || len(index.Manifests) != 1 ||
		index.Manifests[0].Annotations[images.AnnotationImageName] != templateImage(ref) || index.Manifests[0].Digest.Validate() != nil {
		return fmt.Errorf("%w: its index is not that of %s", errDamaged, templateImage(ref))
	}
	var manifest ocispec.Manifest
	name := blobName(index.Manifests[0].Digest)
	if err := json.Unmarshal(small[name], &manifest); err != nil || !whole[name] {
		return fmt.Errorf("%w: its manifest is missing or changed", errDamaged)
	}
	for _, part := range append(manifest.Layers, manifest.Config) {
		if part.Digest.Validate() != nil || !whole[blobName(part.Digest)] {
			return fmt.Errorf("%w: its part %s is missing or changed", errDamaged, part.Digest)
		}
	}
	return nil
}
