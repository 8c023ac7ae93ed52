package containerd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/image-spec/identity"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// A template becomes an image in two steps: it is built into an archive in the
// template directory, which all engines of this machine share, and the archive
// is loaded into this engine. An archive that exists is loaded at once; one
// that is damaged is built anew.
//
//	base (mmdebstrap) ──> layer file ─┐
//	packages, files, setup ──> layer ─┴─> archive ──> image ──> snapshots

// templateImage is the name of a template's image in the engine. Another way of
// building makes another template of the same definition.
func templateImage(ref sandbox.TemplateRef) string {
	return imagePrefix + ref.Name + ":" + ref.Digest + "-" + buildRecipe()
}

// imagePrefix is what the names of all templates' images begin with.
const imagePrefix = "coderunner.local/"

// templateKey is the beginning of the names of a template's files.
func templateKey(ref sandbox.TemplateRef) string {
	return ref.Name + "-" + ref.Digest + "-" + buildRecipe()
}

// buildRecipe names how this program builds.
func buildRecipe() string {
	sum := sha256.Sum256([]byte(baseRootScript + strings.Join(baseOptions, "\n") + templateRootScript))
	return hex.EncodeToString(sum[:4])
}

// templateStore is an engine and the directory where archives of templates are kept.
type templateStore struct {
	client      *client.Client
	snapshotter string
	dir         string
	registries  registries
}

// has reports whether the template's image is there and unpacked.
func (s templateStore) has(ctx context.Context, ref sandbox.TemplateRef) (bool, error) {
	image, err := s.client.GetImage(ctx, templateImage(ref))
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	unpacked, err := image.IsUnpacked(ctx, s.snapshotter)
	if errdefs.IsNotFound(err) { // its content is gone
		return false, nil
	}
	return unpacked, err
}

// origin is the template as what a root is made from.
func (s templateStore) origin(ctx context.Context, ref sandbox.TemplateRef) (origin, error) {
	image, err := s.client.GetImage(ctx, templateImage(ref))
	if errdefs.IsNotFound(err) {
		return origin{}, coderunner.Errorf(coderunner.NotFound, "The template %s is not on this machine. Build it first.", ref.Name)
	}
	if err != nil {
		return origin{}, err
	}
	spec, err := image.Spec(ctx)
	if err != nil {
		return origin{}, err
	}
	return origin{parent: identity.ChainID(spec.RootFS.DiffIDs).String(), template: ref, config: spec.Config}, nil
}

// base is what the templates of this engine begin with: the engine's name of it, or "".
func (s templateStore) base(ctx context.Context) (string, error) {
	images, err := s.client.ListImages(ctx, fmt.Sprintf("labels.%q", labelTemplateName))
	if err != nil {
		return "", err
	}
	slices.SortFunc(images, func(a, b client.Image) int { return b.Metadata().CreatedAt.Compare(a.Metadata().CreatedAt) })
	for _, image := range images {
		if layers, err := image.RootFS(ctx); err == nil && len(layers) > 0 {
			return layers[0].String(), nil // the chain of a single layer has the layer's own name
		}
	}
	return "", nil
}

// provide makes the template's image unless it is there.
func (s templateStore) provide(ctx context.Context, t sandbox.Template, out io.Writer) error {
	if err := checkTemplate(t); err != nil {
		return err
	}
	if has, err := s.has(ctx, t.TemplateRef); has || err != nil {
		return err
	}
	if err := makeCache(s.dir); err != nil {
		return coderunner.Wrap(err, coderunner.Unavailable, "The directory of templates, %s, cannot be made.", s.dir)
	}
	clearAbandoned(s.dir)
	site, err := enterWorksite(ctx, s.dir, templateKey(t.TemplateRef), out)
	if err != nil {
		return explainBuild(err, s.dir, t, func(string, ...any) {})
	}
	defer site.leave()
	if has, err := s.has(ctx, t.TemplateRef); has || err != nil {
		return err
	}
	return explainBuild(s.make(ctx, t, site), s.dir, t, site.say)
}

// makeCache makes the directory of templates, which is root's alone. Those above it are
// others' way to what is theirs.
func makeCache(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o711); err != nil {
		return err
	}
	return os.MkdirAll(dir, 0o700)
}

// make loads the template's archive, and builds it first if it has to.
func (s templateStore) make(ctx context.Context, t sandbox.Template, site *worksite) error {
	archive := filepath.Join(s.dir, templateKey(t.TemplateRef)+".tar")
	err := verifyArchive(ctx, archive, t.TemplateRef)
	if errors.Is(err, errDamaged) {
		if !errors.Is(err, os.ErrNotExist) {
			site.say("The kept template %s is damaged and is built anew.", t.Name)
		}
		err = s.build(ctx, archive, t, site)
	}
	if err != nil {
		return err
	}
	site.say("Loading the template %s …", t.Name)
	if err := s.load(ctx, archive, t.TemplateRef); err != nil {
		return err
	}
	site.say("The template %s is ready.", t.Name)
	return nil
}

// load makes the image of an archive and unpacks it, so that a sandbox begins
// from it at once. The image holds its snapshots against collection; its
// layers may be collected then, as the archive has them.
func (s templateStore) load(ctx context.Context, archive string, ref sandbox.TemplateRef) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	ctx, release, err := s.client.WithLease(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = release(context.WithoutCancel(ctx)) }()
	labels := map[string]string{labelTemplateName: ref.Name, labelTemplateDigest: ref.Digest}
	loaded, err := s.client.Import(ctx, f, client.WithImageLabels(labels), client.WithDiscardUnpackedLayers())
	if err != nil {
		return fmt.Errorf("load %s: %w", archive, err)
	}
	for _, image := range loaded {
		if err := client.NewImage(s.client, image).Unpack(ctx, s.snapshotter); err != nil {
			return fmt.Errorf("unpack %s: %w", image.Name, err)
		}
	}
	return nil
}

// build makes the template's archive. It leaves either all of it or nothing.
func (s templateStore) build(ctx context.Context, archive string, t sandbox.Template, site *worksite) error {
	if os.Geteuid() != 0 {
		return coderunner.Errorf(coderunner.Unavailable, "Templates are built with the rights of root. Start CodeRunner as root and try again.")
	}
	site.say("Building the template %s …", t.Name)
	work := filepath.Join(s.dir, templateKey(t.TemplateRef)+".work")
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	defer os.RemoveAll(work)
	lower, upper := filepath.Join(work, "lower"), filepath.Join(work, "upper")
	base, err := unpackBase(ctx, s.dir, t.Suite, lower, site)
	if err != nil {
		return err
	}
	if err := buildRoot(ctx, s.registries, work, t, site.say); err != nil {
		return err
	}
	site.say("Packing the template %s …", t.Name)
	added, err := writeLayer(ctx, filepath.Join(work, "layer.tar.zst"), lower, upper)
	if err != nil {
		return err
	}
	whole := filepath.Join(work, "template.tar")
	if err := writeArchive(ctx, whole, t, []placedLayer{{base, s.dir}, {added, work}}); err != nil {
		return err
	}
	return replaceFile(whole, archive)
}

// unpackBase puts the base's files under root. A damaged base is made anew, once.
func unpackBase(ctx context.Context, dir, suite, root string, site *worksite) (layer, error) {
	for again := false; ; again = true {
		base, err := ensureBase(ctx, dir, suite, site.say)
		if err != nil {
			return layer{}, err
		}
		if err := os.MkdirAll(root, 0o755); err != nil {
			return layer{}, err
		}
		err = unpackLayer(ctx, dir, base, root)
		if again || !errors.Is(err, errDamaged) {
			return base, err
		}
		site.say("The kept base is damaged and is made anew.")
		if err := errors.Join(os.RemoveAll(root), forgetBase(dir, suite)); err != nil {
			return layer{}, err
		}
	}
}

// checkTemplate refuses what can never be built. Names become parts of paths and
// of arguments.
func checkTemplate(t sandbox.Template) error {
	for what, rule := range map[string]struct{ value, pattern string }{
		"name":              {t.Name, `[a-z0-9]+([.-][a-z0-9]+)*`},
		"digest":            {t.Digest, `[0-9a-f]{16,64}`},
		"suite":             {t.Suite, `[a-z]+`},
		"user's name":       {t.User.Name, `[a-z_][a-z0-9_-]*`},
		"user's home":       {t.User.Home, `/[^\x00-\x1f]*`},
		"working directory": {t.WorkDir, `/[^\x00-\x1f]*`},
	} {
		if !regexp.MustCompile(`^(?:` + rule.pattern + `)$`).MatchString(rule.value) {
			return coderunner.Errorf(coderunner.Invalid, "The template %q cannot be built: its %s, %q, is not one.", t.Name, what, rule.value)
		}
	}
	for _, name := range t.Packages {
		if !regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`).MatchString(name) {
			return coderunner.Errorf(coderunner.Invalid, "The template %q cannot be built: %q is not the name of a Debian package.", t.Name, name)
		}
	}
	return nil
}
