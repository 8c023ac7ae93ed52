package playbook

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/store"
	"github.com/coderunner/coderunner/internal/testdb"
)

// together is a provider that makes no database's sandbox before so many have been asked for.
type together struct {
	sandbox.Provider
	asked atomic.Int64
	all   chan struct{} // closed once they are
	many  int64
}

func (p *together) Create(ctx context.Context, spec sandbox.Spec) (sandbox.Info, error) {
	if spec.Labels[labelDatabase] == "" {
		return p.Provider.Create(ctx, spec)
	}
	if p.asked.Add(1) == p.many {
		close(p.all)
	}
	select {
	case <-p.all:
		return p.Provider.Create(ctx, spec)
	case <-ctx.Done():
	case <-time.After(recovery):
	}
	return sandbox.Info{}, coderunner.Errorf(coderunner.Invalid, "Of %d databases %d are made at the same time.", p.many, p.asked.Load())
}

// TestDatabasesSideBySide: a project has one of each kind, its app reaches all of them
// by their own names, and what is in them outlives their sandboxes.
func TestDatabasesSideBySide(t *testing.T) {
	t.Parallel()
	kinds := []string{"redis-7", "mysql", "postgres-15"}
	p := startPlatformIn(t, t.TempDir(), testdb.New(t), func(p *platform) {
		p.engine.provider = &together{Provider: p.provider, all: make(chan struct{}), many: int64(len(kinds))}
	})
	s := p.upload(t, "all", answer)
	run := p.succeeds(t, s, kinds...)
	p.databaseRuns(t, s)
	trials := func() (env map[string]string, all []*trial) {
		env = p.env(t, "all", "/env")
		list, err := p.engine.Databases(t.Context(), s.user.ID, s.project.ID)
		if err != nil || len(list) != len(kinds) {
			t.Fatalf("the project has %+v (%v)", list, err)
		}
		for _, d := range list {
			def, err := p.engine.catalogue.Get(d.Appliance)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, &trial{T: t, provider: p.provider, def: def, speaker: speakers[d.Protocol()], database: databaseSandbox(d.ID), sibling: p.current(t, s).AppSandboxID})
		}
		return env, all
	}
	env, all := trials()
	for _, key := range coderunner.DatabaseKeys(coderunner.Protocols()...) {
		if env[key] == "" {
			t.Errorf("the app has no %s", key)
		}
	}
	if !strings.HasPrefix(env["DATABASE_URL"], "postgres://") {
		t.Errorf("beside the others, DATABASE_URL is %s", env["DATABASE_URL"])
	}
	text := p.logText(t, run.ID)
	for _, r := range all {
		if printed, code := r.sayWith(env, r.speaker.write); code != 0 {
			t.Errorf("writing into %s ended with exit code %d: %s", r.def.Name, code, printed)
		}
		protocol := r.def.Database.Protocol
		if want := r.def.Title + " is ready; the app reaches it through " + protocol.URLKey() + "."; !strings.Contains(text, want) {
			t.Errorf("the log lacks %q:\n%s", want, text)
		}
		if strings.Contains(text, env[protocol.PasswordKey()]) {
			t.Errorf("the log has the password of %s", r.def.Name)
		}
	}
	stop, err := p.engine.StopApp(t.Context(), s.user.ID, s.project.ID, true)
	p.succeeded(t, stop, err)
	start, err := p.engine.StartApp(t.Context(), s.user.ID, s.project.ID)
	p.succeeded(t, start, err)
	p.databaseRuns(t, s)
	env, all = trials()
	for _, r := range all {
		if printed, code := r.sayWith(env, r.speaker.read); code != 0 || printed != "kept\n" {
			t.Errorf("after a stop and a start, %s answers %q with exit code %d", r.def.Name, printed, code)
		}
	}
	destroy, err := p.engine.Destroy(t.Context(), s.user.ID, s.project.ID, "all")
	p.succeeded(t, destroy, err)
	p.nothingLeft(t)
}

func TestOneDatabaseOfEachKind(t *testing.T) {
	t.Parallel()
	of := func(appliances ...string) (list []store.SealedDatabase) {
		for _, name := range appliances {
			list = append(list, store.SealedDatabase{Database: newDatabase("p", name)})
		}
		return list
	}
	if err := oneOfEach(of("postgres-15", "mysql", "redis-7")); err != nil {
		t.Errorf("one of each kind: %v", err)
	}
	if err := oneOfEach(of("redis-7", "mysql", "mariadb-11")); coderunner.KindOf(err) != coderunner.Invalid || !strings.Contains(err.Error(), "both mysql and mariadb-11 speak MySQL") {
		t.Errorf("two of a kind: %v", err)
	}
}
