package store_test

import (
	"strings"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

func TestRename(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	renamed := must(w.RenameProject(ctx, w.user.ID, w.project.ID, "Visitors", "visitors"))(t)
	if renamed.Name != "Visitors" || renamed.Slug != "visitors" || !renamed.UpdatedAt.After(w.project.UpdatedAt) {
		t.Errorf("it is now %+v", renamed)
	}
	other := must(w.CreateProject(ctx, w.user.ID, "Other", "other"))(t)
	mallory := must(w.CreateUser(ctx, "mallory@example.com", "hash"))(t)
	wantKind(t, "a name of one's own", second(w.RenameProject(ctx, w.user.ID, other.ID, "VISITORS", "new")), coderunner.Conflict)
	wantKind(t, "a slug that is taken", second(w.RenameProject(ctx, w.user.ID, other.ID, "New", "visitors")), coderunner.Conflict)
	wantKind(t, "another's project", second(w.RenameProject(ctx, mallory.ID, other.ID, "Mine", "mine")), coderunner.NotFound)
	if err := w.EndProject(ctx, other.ID); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "a destroyed project", second(w.RenameProject(ctx, w.user.ID, other.ID, "New", "new")), coderunner.NotFound)
	if p := must(w.Project(ctx, w.user.ID, other.ID))(t); p.Name != "Other" || p.Slug != "other" {
		t.Errorf("what could not be renamed is now %+v", p)
	}
}

func TestUploadsOfAProject(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	for _, b := range []coderunner.Bundle{{SHA256: strings.Repeat("b", 64), SizeBytes: 100}, {SHA256: strings.Repeat("b", 64), SizeBytes: 100}, {SHA256: strings.Repeat("c", 64), SizeBytes: 7}} {
		b.ProjectID = w.project.ID
		must(w.CreateBundle(ctx, b))(t)
	}
	if n, bytes, err := w.ProjectUploads(ctx, w.user.ID, w.project.ID); err != nil || n != 4 || bytes != 107 {
		t.Errorf("%d uploads of %d bytes (%v), want 4 of 107", n, bytes, err)
	}
	empty := must(w.CreateProject(ctx, w.user.ID, "Empty", "empty"))(t)
	if n, bytes, err := w.ProjectUploads(ctx, w.user.ID, empty.ID); err != nil || n != 0 || bytes != 0 {
		t.Errorf("%d uploads of %d bytes (%v), want none", n, bytes, err)
	}
	mallory := must(w.CreateUser(ctx, "mallory@example.com", "hash"))(t)
	_, _, err := w.ProjectUploads(ctx, mallory.ID, w.project.ID)
	wantKind(t, "another's uploads", err, coderunner.NotFound)
}

func TestVariableSaysWhenItWasSet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	set := func(value string) store.SealedVariable {
		t.Helper()
		if err := w.SetVariable(ctx, w.project.ID, store.SealedVariable{Key: "A", Sealed: []byte(value)}); err != nil {
			t.Fatal(err)
		}
		return must(w.Variables(ctx, w.project.ID))(t)[0]
	}
	first := set("one")
	if second := set("two"); first.UpdatedAt.IsZero() || !second.UpdatedAt.After(first.UpdatedAt) || string(second.Sealed) != "two" {
		t.Errorf("set at %s, and again at %s", first.UpdatedAt, second.UpdatedAt)
	}
}

// A summary says of the newest deployment and run what they say themselves.
func TestProjectSummary(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	summary := func() store.ProjectSummary {
		t.Helper()
		list, total, err := w.ProjectSummaries(ctx, w.user.ID, "", 10, 0)
		if err != nil || total != 1 || len(list) != 1 {
			t.Fatalf("%d summaries of %d: %v", len(list), total, err)
		}
		return list[0]
	}
	if s := summary(); s.Project.ID != w.project.ID || s.Deployment != nil || s.Run != nil || s.PublicURL != "" {
		t.Errorf("before the first deploy: %+v", s)
	}
	_, old := w.deploy(t)
	must(w.RequestCancel(ctx, old.ID))(t)
	d, r := w.deploy(t)
	if _, claimed, err := w.ClaimRun(ctx, r.ID, "me", time.Minute); err != nil || !claimed {
		t.Fatal(claimed, err)
	}
	if err := w.SetDeploymentStatus(ctx, d.ID, coderunner.Provisioning); err != nil {
		t.Fatal(err)
	}
	if err := w.MoveRoute(ctx, coderunner.Route{Host: "guest-book.localhost", ProjectID: w.project.ID, DeploymentID: d.ID, SandboxID: "x", Target: "y"}, "http://guest-book.localhost"); err != nil {
		t.Fatal(err)
	}
	d, r = must(w.DeploymentByID(ctx, d.ID))(t), must(w.RunByID(ctx, r.ID))(t)
	s := summary()
	if got := s.Deployment; got.ID != d.ID || got.Number != 2 || got.Status != coderunner.Provisioning || got.RuntimeType != "nodejs" ||
		!got.CreatedAt.Equal(d.CreatedAt) || !got.UpdatedAt.Equal(d.UpdatedAt) || got.ObservedAt != nil {
		t.Errorf("the newest deployment is %+v, want %+v", got, d)
	}
	if got := s.Run; got.ID != r.ID || got.DeploymentID != d.ID || got.Playbook != "deploy" || got.State != coderunner.RunRunning ||
		!got.CreatedAt.Equal(r.CreatedAt) || got.StartedAt == nil || !got.StartedAt.Equal(*r.StartedAt) || got.FinishedAt != nil {
		t.Errorf("the newest run is %+v, want %+v", got, r)
	}
	if s.PublicURL != "http://guest-book.localhost" || s.Current != nil {
		t.Errorf("it serves %q, and before it has %+v is current", s.PublicURL, s.Current)
	}
	// A newer one that comes to nothing is the newest, and not the current one.
	if err := w.SetDeploymentStatus(ctx, d.ID, coderunner.Building); err != nil {
		t.Fatal(err)
	}
	if err := w.Release(ctx, d, "app-1", nil); err != nil {
		t.Fatal(err)
	}
	if err := w.FinishRun(ctx, store.Lease{RunID: r.ID, Owner: "me", Epoch: r.Epoch}, coderunner.RunSucceeded, nil); err != nil {
		t.Fatal(err)
	}
	failed, _ := w.deploy(t)
	if err := w.SetDeploymentStatus(ctx, failed.ID, coderunner.Failed); err != nil {
		t.Fatal(err)
	}
	if s = summary(); s.Deployment.ID != failed.ID || s.Current == nil || s.Current.ID != d.ID || s.Current.Status != coderunner.Running || s.Current.Observed != coderunner.SeenRunning || s.Current.ObservedAt == nil {
		t.Errorf("after a failed deploy the newest is %+v, the current one %+v", s.Deployment, s.Current)
	}
	if err := w.SetDeploymentFailure(ctx, d.ID, &coderunner.Failure{ID: coderunner.Crashed}); err != nil {
		t.Fatal(err)
	}
	if s = summary(); s.Current.Failure == nil || s.Current.Failure.ID != coderunner.Crashed {
		t.Errorf("of a crashed app the failure is %+v", s.Current.Failure)
	}
}
