package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// Usage measures what the templates take, in the engine, as archives and as copies for volumes, and what this
// instance's sandboxes have written to their roots. It looks at every file of
// those roots: ctx bounds it.
func (p *Provider) Usage(ctx context.Context) ([]coderunner.Stored, error) {
	templates, sandboxes := coderunner.Stored{Kind: coderunner.StoredTemplates}, coderunner.Stored{Kind: coderunner.StoredSandboxes}
	own := map[string]bool{} // the names of the roots of our sandboxes
	containers, err := p.client.Containers(p.ctx(ctx), fmt.Sprintf("labels.%q==%s", labelInstance, p.cfg.Instance))
	if err != nil {
		return nil, p.translate(err, "listing the sandboxes")
	}
	for _, c := range containers {
		own[c.ID()] = true
	}
	var layers, roots []string
	err = p.roots().Walk(p.ctx(ctx), func(_ context.Context, info snapshots.Info) error {
		switch {
		case own[info.Name]:
			roots = append(roots, info.Name)
		case info.Kind == snapshots.KindCommitted && info.Labels[labelInstance] == "": // not kept for an instance: a template's layer
			layers = append(layers, info.Name)
		}
		return nil
	})
	if err != nil {
		return nil, p.translate(err, "listing the roots")
	}
	for into, names := range map[*coderunner.Stored][]string{&templates: layers, &sandboxes: roots} {
		for _, name := range names {
			use, err := p.roots().Usage(p.ctx(ctx), name)
			if errdefs.IsNotFound(err) { // removed meanwhile
				continue
			}
			if err != nil {
				return nil, p.translate(err, "measuring "+name)
			}
			into.Bytes += use.Size
		}
	}
	sandboxes.Count = int64(len(roots))
	archives, err := p.templates.files()
	for _, file := range archives {
		templates.Bytes += file.Size()
		if strings.HasSuffix(file.Name(), ".tar") {
			templates.Count++
		}
	}
	if err != nil {
		return nil, err
	}
	spares, err := measure(ctx, p.sparesDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("measure the copies that are kept ready: %w", err)
	}
	templates.Bytes += spares
	return []coderunner.Stored{sandboxes, templates}, nil
}

// files are those in the directory of archives.
func (s templateStore) files() ([]fs.FileInfo, error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var files []fs.FileInfo
	for _, entry := range entries {
		info, err := entry.Info()
		if err == nil && info.Mode().IsRegular() {
			files = append(files, info)
		}
	}
	return files, err
}

// DropTemplates removes the templates that keep does not name and that no CodeRunner
// of this machine has named for as long as unused. Each call notes that those in
// keep are wanted. Sandboxes and snapshots made from a template that goes lose
// nothing. It answers the names of what went.
func (p *Provider) DropTemplates(ctx context.Context, keep []sandbox.TemplateRef, unused time.Duration) ([]string, error) {
	now := time.Now()
	wanted := map[string]bool{} // names of archives, and of images
	for _, ref := range keep {
		archive := templateKey(ref) + ".tar"
		wanted[archive], wanted[templateImage(ref)] = true, true
		if err := os.Chtimes(filepath.Join(p.templates.dir, archive), now, now); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("note the use of %s: %w", archive, err)
		}
	}
	files, err := p.templates.files()
	if err != nil {
		return nil, fmt.Errorf("list the archives of templates: %w", err)
	}
	var gone []string
	fresh := map[string]bool{} // images whose archive somebody uses
	for _, file := range files {
		key, is := strings.CutSuffix(file.Name(), ".tar")
		if !is {
			continue
		}
		if wanted[file.Name()] || now.Sub(file.ModTime()) < unused {
			fresh[key] = true
			continue
		}
		if err := p.templates.forget(key); err != nil {
			return gone, err
		}
		gone = append(gone, file.Name())
	}
	images, err := p.client.ListImages(p.ctx(ctx), fmt.Sprintf("labels.%q", labelTemplateName))
	if err != nil {
		return gone, p.translate(err, "listing the templates")
	}
	for _, image := range images {
		if wanted[image.Name()] || fresh[imageKey(image)] || now.Sub(image.Metadata().CreatedAt) < unused {
			continue
		}
		if err := p.client.ImageService().Delete(p.ctx(ctx), image.Name()); err != nil && !errdefs.IsNotFound(err) {
			return gone, p.translate(err, "removing "+image.Name())
		}
		gone = append(gone, image.Name())
	}
	return gone, nil
}

// imageKey is templateKey of an image's template.
func imageKey(image client.Image) string {
	name, tag, _ := strings.Cut(strings.TrimPrefix(image.Name(), imagePrefix), ":")
	return name + "-" + tag
}

// forget removes an archive and what its building left, unless it is being built.
func (s templateStore) forget(key string) error {
	for _, suffix := range []string{".tar", ".progress"} {
		if err := os.Remove(filepath.Join(s.dir, key+suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the archive of a template: %w", err)
		}
	}
	return nil
}
