package containerd

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

var _ sandbox.Snapshotter = (*Provider)(nil)

// A snapshot is one of the engine's, committed. The engine's record of it is
// all there is: its labels say whose it is and what sandboxes made from it are told,
// and one more keeps it from being collected. Its layers below are the template's,
// which the engine keeps for it whatever becomes of the image.

// snapshotKey is the engine's name of a snapshot of this instance. Roots of
// sandboxes, which are named like these, have no slash.
func (p *Provider) snapshotKey(snapshot string) string { return p.cfg.Instance + "/" + snapshot }

func (p *Provider) roots() snapshots.Snapshotter { return p.client.SnapshotService(snapshotter) }

// origin is what a root is made from.
type origin struct {
	parent   string // the engine's name of it
	template sandbox.TemplateRef
	config   ocispec.ImageConfig // the template's
}

// labels keep an origin with a container or a snapshot.
func (o origin) labels() (map[string]string, error) {
	config, err := json.Marshal(o.config)
	if err != nil {
		return nil, err
	}
	return map[string]string{labelTemplateName: o.template.Name, labelTemplateDigest: o.template.Digest, labelConfig: string(config)}, nil
}

func originOf(parent string, labels map[string]string) (origin, error) {
	o := origin{parent: parent, template: sandbox.TemplateRef{Name: labels[labelTemplateName], Digest: labels[labelTemplateDigest]}}
	if err := json.Unmarshal([]byte(labels[labelConfig]), &o.config); err != nil {
		return origin{}, fmt.Errorf("the configuration kept with %s: %w", parent, err)
	}
	return o, nil
}

// origin finds what the spec's root is made from.
func (p *Provider) origin(ctx context.Context, spec sandbox.Spec) (origin, error) {
	if spec.Snapshot == "" {
		return p.templates.origin(p.ctx(ctx), spec.Template)
	}
	key := p.snapshotKey(spec.Snapshot)
	found, err := p.roots().Stat(p.ctx(ctx), key)
	if errdefs.IsNotFound(err) {
		return origin{}, noSnapshot(spec.Snapshot)
	}
	if err != nil {
		return origin{}, err
	}
	o, err := originOf(key, found.Labels)
	if err == nil && spec.Template.Name != "" && spec.Template.Name != o.template.Name {
		err = coderunner.Errorf(coderunner.Invalid, "The snapshot %s was made with the template %s and not with %s.", spec.Snapshot, o.template.Name, spec.Template.Name)
	}
	return o, err
}

func noSnapshot(snapshot string) error {
	return coderunner.Errorf(coderunner.NotFound, "There is no snapshot %q.", snapshot)
}

// Snapshot implements sandbox.Snapshotter. Nothing is copied: the root that the sandbox wrote
// to becomes the snapshot.
func (p *Provider) Snapshot(ctx context.Context, name, snapshot string, labels map[string]string) error {
	if err := checkName("sandbox", name); err != nil {
		return err
	}
	if err := checkName("snapshot", snapshot); err != nil {
		return err
	}
	defer p.locks.lock(name)()
	return p.translate(p.snapshot(ctx, name, snapshot, labels), "making a snapshot of the sandbox "+name)
}

func (p *Provider) snapshot(ctx context.Context, name, snapshot string, own map[string]string) error {
	key := p.snapshotKey(snapshot)
	_, err := p.roots().Stat(p.ctx(ctx), key)
	if err == nil || !errdefs.IsNotFound(err) {
		return err
	}
	container, err := p.load(ctx, name)
	if err != nil {
		return err
	}
	p.locks.lock(initLock(container.ID()))()
	kept, err := container.Labels(p.ctx(ctx))
	if err != nil {
		return err
	}
	if kept[labelMaking] != "" {
		return coderunner.Errorf(coderunner.Conflict, "The sandbox %s is not made to the end. Create it again first.", name)
	}
	labels := map[string]string{labelInstance: p.cfg.Instance, labelSnapshot: snapshot, labelKeep: "true"}
	for _, label := range []string{labelTemplateName, labelTemplateDigest, labelConfig} {
		labels[label] = kept[label]
	}
	addOwn(labels, own)
	// With its last process the engine unmounts the root, which also writes it to the
	// disk. One that is still mounted must not be below another.
	if err := p.freeRoot(ctx, container); err != nil {
		return err
	}
	defer p.locks.lock(uploadLock(name))() // with its sandbox an upload ends
	err = p.roots().Commit(p.ctx(ctx), key, container.ID(), snapshots.WithLabels(labels))
	switch {
	case errdefs.IsAlreadyExists(err): // somebody else's, at the same time
		return nil
	case errdefs.IsNotFound(err):
		return rootGone(name)
	}
	return err
}

func rootGone(name string) error {
	return coderunner.Errorf(coderunner.Conflict, "The root of the sandbox %s has become a snapshot. Destroy the sandbox.", name)
}

// hasRoot refuses a sandbox whose root has become a snapshot.
func (p *Provider) hasRoot(ctx context.Context, name, id string) error {
	_, err := p.roots().Stat(p.ctx(ctx), id)
	if errdefs.IsNotFound(err) {
		return rootGone(name)
	}
	return err
}

// ListSnapshots implements sandbox.Snapshotter.
func (p *Provider) ListSnapshots(ctx context.Context, labels map[string]string) ([]sandbox.Snapshot, error) {
	list := []sandbox.Snapshot{}
	err := p.roots().Walk(p.ctx(ctx), func(_ context.Context, info snapshots.Info) error {
		s := sandbox.Snapshot{Name: info.Labels[labelSnapshot], Labels: ownLabels(info.Labels), CreatedAt: info.Created,
			Template: sandbox.TemplateRef{Name: info.Labels[labelTemplateName], Digest: info.Labels[labelTemplateDigest]}}
		if includes(s.Labels, labels) {
			list = append(list, s)
		}
		return nil
	}, fmt.Sprintf("labels.%q==%s", labelInstance, p.cfg.Instance))
	if err != nil {
		return nil, p.translate(err, "listing the snapshots")
	}
	kept := list[:0]
	for _, s := range list {
		use, err := p.roots().Usage(p.ctx(ctx), p.snapshotKey(s.Name))
		if errdefs.IsNotFound(err) { // removed meanwhile
			continue
		}
		if err != nil {
			return nil, p.translate(err, "measuring the snapshot "+s.Name)
		}
		s.Bytes = use.Size
		kept = append(kept, s)
	}
	slices.SortFunc(kept, func(a, b sandbox.Snapshot) int { return strings.Compare(a.Name, b.Name) })
	return kept, nil
}

// RemoveSnapshot implements sandbox.Snapshotter.
func (p *Provider) RemoveSnapshot(ctx context.Context, snapshot string) error {
	if err := checkName("snapshot", snapshot); err != nil {
		return err
	}
	for {
		err := p.roots().Remove(p.ctx(ctx), p.snapshotKey(snapshot))
		switch {
		case errdefs.IsNotFound(err):
			return nil
		case errdefs.IsFailedPrecondition(err):
			if err = p.snapshotInUse(ctx, snapshot); err != nil {
				break
			}
			select { // what it was needed by went just now
			case <-ctx.Done():
				err = ctx.Err()
			case <-time.After(10 * time.Millisecond):
				continue
			}
		}
		return p.translate(err, "removing the snapshot "+snapshot)
	}
}

// snapshotInUse says what is made from a snapshot, and nothing if that is nothing.
func (p *Provider) snapshotInUse(ctx context.Context, snapshot string) error {
	var users []string
	err := p.roots().Walk(p.ctx(ctx), func(_ context.Context, info snapshots.Info) error {
		if info.Kind == snapshots.KindCommitted {
			users = append(users, "the snapshot "+info.Labels[labelSnapshot])
		} else {
			users = append(users, "the sandbox "+info.Labels[labelName])
		}
		return nil
	}, fmt.Sprintf("parent==%q", p.snapshotKey(snapshot)))
	if err != nil {
		return err
	}
	if len(users) == 0 {
		return nil
	}
	slices.Sort(users)
	return coderunner.Errorf(coderunner.Conflict, "The snapshot %s is still needed by %s, made from it.", snapshot, strings.Join(users, " and "))
}
