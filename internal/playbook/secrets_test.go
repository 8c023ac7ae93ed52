package playbook

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
	"github.com/coderunner/coderunner/internal/testdb"
)

// What an app has printed is stored after it was stopped and before its sandbox goes.
func TestOutputIsDrainedBeforeASandboxGoes(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	p, err := openPlatform(ctx, t.TempDir(), testdb.New(t), "test-"+strings.ToLower(rand.Text()[:10]))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var drained []string
	p.engine.cfg.Output.Drain = func(ctx context.Context, id string) error {
		if status, err := p.provider.Process(ctx, id, appProcess); err != nil || status.Running {
			t.Errorf("when %s is drained its app is %+v (%v)", id, status, err)
		}
		mu.Lock()
		defer mu.Unlock()
		drained = append(drained, id)
		return nil
	}
	if err := p.engine.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		p.engine.Wait()
		p.wipe(t)
		p.store.Close()
		p.provider.Close()
	})
	s := p.upload(t, "drained", answer)
	var boxes []string
	for range 2 {
		run := p.succeeds(t, s)
		d, err := p.store.DeploymentByID(t.Context(), run.DeploymentID)
		if err != nil {
			t.Fatal(err)
		}
		boxes = append(boxes, d.AppSandboxID)
	}
	mu.Lock()
	if !slices.Equal(drained, boxes[:1]) {
		t.Errorf("after a redeploy %v are drained, want %v", drained, boxes[:1])
	}
	mu.Unlock()
	destroy, err := p.engine.Destroy(t.Context(), s.user.ID, s.project.ID, "drained")
	if err != nil {
		t.Fatal(err)
	}
	if destroy = p.ended(t, destroy.ID); destroy.State != coderunner.RunSucceeded {
		t.Fatalf("the destroy ended %s", destroy.State)
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(drained, boxes) {
		t.Errorf("in the end %v are drained, want %v", drained, boxes)
	}
}

func TestSecretsOfADeployment(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	s := p.upload(t, "secrets", answer)
	sealed, err := p.engine.keys.Seal(s.project.ID, "variable/GREETING", []byte("a secret greeting"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.store.SetVariable(t.Context(), s.project.ID, store.SealedVariable{Key: "GREETING", Sealed: sealed, Secret: true}); err != nil {
		t.Fatal(err)
	}
	deployment, err := p.store.CreateDeployment(t.Context(), store.NewDeployment{ProjectID: s.project.ID})
	if err != nil {
		t.Fatal(err)
	}
	applied, err := p.engine.sealVariables(s.project.ID, deploymentVariables(deployment.ID), coderunner.Variables{{Key: "GREETING", Value: "a former greeting", Secret: true}})
	if err != nil {
		t.Fatal(err)
	}
	for _, status := range []coderunner.DeploymentStatus{coderunner.Provisioning, coderunner.Building} {
		if err := p.store.SetDeploymentStatus(t.Context(), deployment.ID, status); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.store.Release(t.Context(), deployment, "app-1", applied); err != nil {
		t.Fatal(err)
	}
	d, err := p.store.EnsureDatabase(t.Context(), newDatabase(s.project.ID, "postgres-15"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := p.engine.Secrets(t.Context(), s.project.ID, deployment.ID); err != nil || !slices.Equal(got, []string{"a secret greeting", "a former greeting"}) {
		t.Errorf("before its database is there, the secrets are %q (%v)", got, err)
	}
	if sealed, err = p.engine.keys.Seal(s.project.ID, connectionName(d.ID), []byte(`{"password": "of the database"}`)); err != nil {
		t.Fatal(err)
	}
	if err := p.store.SetDatabaseConnection(t.Context(), d.ID, "db-1", sealed); err != nil {
		t.Fatal(err)
	}
	if got, err := p.engine.Secrets(t.Context(), s.project.ID, deployment.ID); err != nil || !slices.Equal(got, []string{"a secret greeting", "a former greeting", "of the database"}) {
		t.Errorf("the secrets are %q (%v)", got, err)
	}
	if err := p.store.SetDatabaseConnection(t.Context(), d.ID, "db-1", []byte("not of our key")); err != nil {
		t.Fatal(err)
	}
	if _, err := p.engine.Secrets(t.Context(), s.project.ID, deployment.ID); err == nil {
		t.Error("what cannot be opened is no error")
	}
}
