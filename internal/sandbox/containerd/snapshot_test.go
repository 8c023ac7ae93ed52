package containerd

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// collect lets the engine remove all that nothing refers to, and returns when it is gone.
func collect(t *testing.T, p *Provider) {
	t.Helper()
	service := p.client.LeasesService()
	lease, err := service.Create(p.ctx(t.Context()), leases.WithRandomID())
	if err == nil {
		err = service.Delete(p.ctx(t.Context()), lease, leases.SynchronousDelete)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// oneFile is an archive with one file.
func oneFile(t *testing.T, name, content string) sandbox.Archive {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	_, err := io.WriteString(w, content)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return sandbox.Archive{Dir: "/tmp", Tar: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }}
}

// testSnapshotsStay: a snapshot is there after collections, after a crash of the
// engine, and without the template that it was made with.
func testSnapshotsStay(t *testing.T, p *Provider) {
	template := bare
	template.Env, template.Digest = map[string]string{"FROM_TEMPLATE": "yes"}, strings.Repeat("5afe", 16)
	spec := sandbox.Spec{Name: "box", Template: ready(t, p, template)}
	makeBox(t, p, spec)
	sh(t, p, "box", `echo first > file`)
	labels := map[string]string{"kind": "release"}
	removed := func(names ...string) {
		t.Helper()
		for _, name := range names {
			if err := p.RemoveSnapshot(context.Background(), name); err != nil {
				t.Error(err)
			}
		}
	}
	if err := p.Snapshot(within(t), "box", "first", labels); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removed("second", "first") })
	if err := p.Destroy(within(t), "box"); err != nil {
		t.Fatal(err)
	}
	collect(t, p)
	for _, loss := range []func(){
		func() {
			if err := p.client.ImageService().Delete(p.ctx(t.Context()), templateImage(template.TemplateRef), images.SynchronousDelete()); err != nil {
				t.Fatal(err)
			}
		},
		func() {
			killEngine(t, p.cfg)
			until(t, "the engine is back", func() bool { _, err := p.ListSnapshots(within(t), nil); return err == nil })
			collect(t, p)
		},
	} {
		loss()
		list, err := p.ListSnapshots(within(t), labels)
		if err != nil || len(list) != 1 || list[0].Name != "first" || list[0].Template != template.TemplateRef {
			t.Fatalf("the snapshots are %+v, %v", list, err)
		}
	}
	if _, err := p.Create(within(t), spec); coderunner.KindOf(err) != coderunner.NotFound {
		t.Errorf("Create from a template that is gone: %v", err)
	}
	makeBox(t, p, sandbox.Spec{Name: "from-first", Snapshot: "first"})
	if got := sh(t, p, "from-first", `cat file; id -un; pwd; echo "$HOME $FROM_TEMPLATE"; echo second > file`); got != "first\napp\n/app\n/home/app yes\n" {
		t.Errorf("from the first snapshot there is %q", got)
	}
	// And on from there.
	if err := p.Snapshot(within(t), "from-first", "second", labels); err != nil {
		t.Fatal(err)
	}
	if err := p.Destroy(within(t), "from-first"); err != nil {
		t.Fatal(err)
	}
	collect(t, p)
	makeBox(t, p, sandbox.Spec{Name: "from-second", Snapshot: "second"})
	if got := sh(t, p, "from-second", `cat file; echo "$(id -un) $FROM_TEMPLATE"`); got != "second\napp yes\n" {
		t.Errorf("from the second snapshot there is %q", got)
	}
	// What is removed is really gone.
	if err := p.Destroy(within(t), "from-second"); err != nil {
		t.Fatal(err)
	}
	removed("second", "first")
	collect(t, p)
	left, err := filepath.Glob(filepath.Join(p.cfg.EngineDir, "root/io.containerd.snapshotter.v1.overlayfs/snapshots/*"))
	if err != nil || len(left) > 2 { // the other template's layers
		t.Errorf("on the disk there is still %q, %v", left, err)
	}
}

// halfMade are the states in which a Create can be cut off.
var halfMade = map[string]func(p *Provider, ctx context.Context, spec sandbox.Spec, from origin, user account) error{
	"a root": func(p *Provider, ctx context.Context, spec sandbox.Spec, from origin, _ account) error {
		_, err := p.roots().Prepare(p.ctx(ctx), p.containerID(spec.Name), from.parent)
		return err
	},
	"a network": func(p *Provider, ctx context.Context, spec sandbox.Spec, _ origin, _ account) error {
		return p.connect(ctx, spec, p.containerID(spec.Name))
	},
	"a record": func(p *Provider, ctx context.Context, spec sandbox.Spec, from origin, user account) error {
		if _, err := p.record(ctx, p.containerID(spec.Name), spec, "hash", from, user); err != nil {
			return err
		}
		return p.roots().Remove(p.ctx(ctx), p.containerID(spec.Name))
	},
	"a record and a root": func(p *Provider, ctx context.Context, spec sandbox.Spec, from origin, user account) error {
		_, err := p.record(ctx, p.containerID(spec.Name), spec, "hash", from, user)
		return err
	},
	"half the files": halfUnpacked,
	"a standby's record": func(p *Provider, ctx context.Context, spec sandbox.Spec, from origin, user account) error {
		s, err := takeOne(p, ctx)
		if err != nil {
			return err
		}
		record, err := p.recordOf(ctx, s.id, spec, "hash", from, user)
		if err == nil {
			_, err = p.client.ContainerService().Update(p.ctx(ctx), record, "labels", "spec")
		}
		return err
	},
	"a furnished standby": func(p *Provider, ctx context.Context, spec sandbox.Spec, from origin, user account) error {
		s, err := takeOne(p, ctx)
		if err != nil {
			return err
		}
		return p.furnishStandby(ctx, s, spec, "hash", from, user)
	},
	"all but the mark": func(p *Provider, ctx context.Context, spec sandbox.Spec, from origin, user account) error {
		if _, err := p.Create(ctx, spec); err != nil {
			return err
		}
		p.locks.lock(initLock(p.id(spec.Name)))() // the mark goes with the start
		_, err := p.client.ContainerService().Update(p.ctx(ctx), containers.Container{ID: p.id(spec.Name), Labels: map[string]string{labelMaking: "true"}}, "labels."+labelMaking)
		return err
	},
}

// takeOne takes a standby made for it.
func takeOne(p *Provider, ctx context.Context) (standby, error) {
	allow(p)
	if _, err := p.addStandby(ctx); err != nil {
		return standby{}, err
	}
	s, _ := p.standbys.take()
	return s, nil
}

func halfUnpacked(p *Provider, ctx context.Context, spec sandbox.Spec, from origin, user account) error {
	if err := p.connect(ctx, spec, p.containerID(spec.Name)); err != nil {
		return err
	}
	mounts, err := p.record(ctx, p.containerID(spec.Name), spec, "hash", from, user)
	if err != nil {
		return err
	}
	id := p.containerID(spec.Name)
	pid, err := p.launchInit(ctx, id, mounts)
	if err != nil {
		return err
	}
	return p.unpack(ctx, id, pid, user, spec.Files)
}

// TestHalfMade: whatever a Create that was cut off left, the next one makes a whole
// sandbox and Destroy leaves nothing, also of what was made from a snapshot.
func TestHalfMade(t *testing.T) {
	t.Parallel()
	p := open(t, newConfig(t))
	ref := ready(t, p, templateOf(t, "postgres-15"))
	makeBox(t, p, sandbox.Spec{Name: "source", Template: ref})
	if err := p.Snapshot(within(t), "source", "kept", nil); err != nil {
		t.Fatal(err)
	}
	if err := p.Destroy(within(t), "source"); err != nil {
		t.Fatal(err)
	}
	for what, cut := range halfMade {
		half := sandbox.Spec{Name: "box", Snapshot: "kept", Files: []sandbox.Archive{oneFile(t, "half", "half")}}
		from, err := p.origin(t.Context(), half)
		if err != nil {
			t.Fatal(err)
		}
		user, err := parseAccount(from.config.User)
		if err != nil {
			t.Fatal(err)
		}
		for _, then := range []func(){
			func() {
				whole := half
				whole.Files = []sandbox.Archive{oneFile(t, "whole", "whole")}
				makeBox(t, p, whole)
				if got := sh(t, p, "box", `cat /tmp/whole; ls /tmp`); got != "wholewhole\n" {
					t.Errorf("after %s was left, Create makes %q", what, got)
				}
			},
			func() {},
		} {
			if err := cut(p, within(t), half, from, user); err != nil {
				t.Fatalf("leaving %s: %v", what, err)
			}
			then()
			if err := p.Destroy(within(t), "box"); err != nil {
				t.Errorf("Destroy of %s: %v", what, err)
			}
		}
	}
	if err := p.RemoveSnapshot(within(t), "kept"); err != nil {
		t.Error(err)
	}
	if err := p.dropStandbyRoot(t.Context()); err != nil {
		t.Error(err)
	}
	wantNothingLeft(t, p)
}

// TestHalfSnapshot: a Snapshot that was cut off when the processes had ended is done by the next.
func TestHalfSnapshot(t *testing.T) {
	t.Parallel()
	p := open(t, newConfig(t))
	spec := sandbox.Spec{Name: "box", Template: ready(t, p, templateOf(t, "postgres-15"))}
	makeBox(t, p, spec)
	sh(t, p, "box", `echo kept > /tmp/file`)
	container, err := p.load(within(t), "box")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.endTask(within(t), container); err != nil {
		t.Fatal(err)
	}
	if err := p.Snapshot(within(t), "box", "kept", nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.RemoveSnapshot(context.Background(), "kept"); err != nil {
			t.Error(err)
		}
	})
	makeBox(t, p, sandbox.Spec{Name: "next", Snapshot: "kept"})
	if got := sh(t, p, "next", `cat /tmp/file`); got != "kept\n" {
		t.Errorf("the snapshot has %q", got)
	}
	// One that is not made to the end has nothing to keep.
	if err := halfUnpackedBox(t, p, sandbox.Spec{Name: "half", Template: spec.Template}); err != nil {
		t.Fatal(err)
	}
	if err := p.Snapshot(within(t), "half", "half", nil); coderunner.KindOf(err) != coderunner.Conflict {
		t.Errorf("Snapshot of what is half made: %v", err)
	}
}

func halfUnpackedBox(t *testing.T, p *Provider, spec sandbox.Spec) error {
	t.Cleanup(func() {
		if err := p.Destroy(context.Background(), spec.Name); err != nil {
			t.Error(err)
		}
	})
	from, err := p.origin(t.Context(), spec)
	if err != nil {
		return err
	}
	user, err := parseAccount(from.config.User)
	if err != nil {
		return err
	}
	return halfUnpacked(p, within(t), spec, from, user)
}

// TestSnapshotsAreApart: the snapshots of one instance are not another's.
func TestSnapshotsAreApart(t *testing.T) {
	t.Parallel()
	ours, theirs := newConfig(t), newConfig(t)
	theirs.Instance = ours.Instance + "-a"
	p, other := open(t, ours), open(t, theirs)
	makeBox(t, p, sandbox.Spec{Name: "box", Template: ready(t, p, templateOf(t, "postgres-15"))})
	if err := p.Snapshot(within(t), "box", "kept", nil); err != nil {
		t.Fatal(err)
	}
	if list, err := other.ListSnapshots(within(t), nil); err != nil || len(list) != 0 {
		t.Errorf("another instance lists %+v, %v", list, err)
	}
	if _, err := other.Create(within(t), sandbox.Spec{Name: "box", Snapshot: "kept"}); coderunner.KindOf(err) != coderunner.NotFound {
		t.Errorf("another instance makes a sandbox from it: %v", err)
	}
	if err := other.RemoveSnapshot(within(t), "kept"); err != nil {
		t.Error(err)
	}
	if list, err := p.ListSnapshots(within(t), nil); err != nil || len(list) != 1 {
		t.Errorf("its own instance lists %+v, %v", list, err)
	}
	if err := p.RemoveSnapshot(within(t), "kept"); err != nil {
		t.Error(err)
	}
}

// TestOriginIsKept: labels hold what sandboxes from a snapshot are told.
func TestOriginIsKept(t *testing.T) {
	t.Parallel()
	p := open(t, newConfig(t))
	from, err := p.origin(t.Context(), sandbox.Spec{Template: ready(t, p, templateOf(t, "nodejs-18"))})
	if err != nil {
		t.Fatal(err)
	}
	labels, err := from.labels()
	if err != nil {
		t.Fatal(err)
	}
	again, err := originOf(from.parent, labels)
	if err != nil || again.template != from.template || again.parent != from.parent || again.config.User != from.config.User ||
		again.config.WorkingDir != from.config.WorkingDir || !maps.Equal(again.config.Labels, from.config.Labels) || strings.Join(again.config.Env, " ") != strings.Join(from.config.Env, " ") {
		t.Errorf("%+v is kept as %+v, %v", from, again, err)
	}
	if _, err := p.roots().Stat(p.ctx(t.Context()), from.parent); errdefs.IsNotFound(err) {
		t.Errorf("the engine does not know %s", from.parent)
	}
}
