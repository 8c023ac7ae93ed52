package sandboxtest

import (
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

var lifecycleTests = map[string]func(*testing.T, *suite){
	"CreateTells":    testCreateTells,
	"CreateTwice":    testCreateTwice,
	"CreateAtOnce":   testCreateAtOnce,
	"CreateConflict": testCreateConflict,
	"LongNames":      testLongNames,
	"List":           testList,
	"DestroyTwice":   testDestroyTwice,
	"Check":          testCheck,
}

func testCreateTells(t *testing.T, s *suite) {
	labels := map[string]string{"project": "p-1", "kind": "app", "odd": "ünï \"quoted\" = ,", "empty": ""}
	spec := sandbox.Spec{Name: unique("box"), Template: s.template.TemplateRef, Labels: labels, Network: s.network(t)}
	before := time.Now().Add(-time.Second)
	b := s.make(t, spec)
	got, err := s.provider.Get(within(t), b.name)
	if err != nil {
		t.Fatal(err)
	}
	if got.Name != spec.Name || got.State != sandbox.StateRunning || got.Template != spec.Template || got.Network != spec.Network || !maps.Equal(got.Labels, labels) {
		t.Errorf("Get = %+v, want what was asked for: %+v", got, spec)
	}
	if got.CreatedAt.Before(before) || got.CreatedAt.After(got.ObservedAt) || got.ObservedAt.After(time.Now()) {
		t.Errorf("it was created at %s and observed at %s", got.CreatedAt, got.ObservedAt)
	}
}

func testCreateTwice(t *testing.T, s *suite) {
	spec := sandbox.Spec{Name: unique("box"), Template: s.template.TemplateRef, Labels: map[string]string{"a": "b"}, Env: map[string]string{"X": "1", "Y": "2"}}
	b := s.make(t, spec)
	b.sh(t, `echo kept > file`)
	first, err := s.provider.Get(within(t), spec.Name)
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.provider.Create(within(t), spec)
	if err != nil || !second.CreatedAt.Equal(first.CreatedAt) {
		t.Errorf("the second Create = %+v, %v, want the sandbox of the first: %+v", second, err, first)
	}
	if got := b.sh(t, `cat file`); got != "kept\n" {
		t.Errorf("after the second Create the file has %q", got)
	}
}

func testCreateAtOnce(t *testing.T, s *suite) {
	spec := sandbox.Spec{Name: unique("box"), Template: s.template.TemplateRef}
	b := s.make(t, spec)
	if err := s.provider.Destroy(within(t), b.name); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	infos, errs := make([]sandbox.Info, 4), make([]error, 4)
	for i := range infos {
		group.Go(func() { infos[i], errs[i] = s.provider.Create(within(t), spec) })
	}
	group.Wait()
	for i := range infos {
		if errs[i] != nil || !infos[i].CreatedAt.Equal(infos[0].CreatedAt) {
			t.Errorf("Create %d of 4 at once = %+v, %v", i, infos[i], errs[i])
		}
	}
	if got := b.sh(t, `echo works`); got != "works\n" {
		t.Errorf("the sandbox says %q", got)
	}
}

func testCreateConflict(t *testing.T, s *suite) {
	spec := sandbox.Spec{Name: unique("box"), Template: s.template.TemplateRef, Env: map[string]string{"X": "1"}}
	b := s.make(t, spec)
	b.sh(t, `echo kept > file`)
	for what, change := range map[string]func(*sandbox.Spec){
		"environment": func(s *sandbox.Spec) { s.Env = map[string]string{"X": "2"} },
		"labels":      func(s *sandbox.Spec) { s.Labels = map[string]string{"new": "label"} },
		"network":     func(s *sandbox.Spec) { s.Network = "another" },
		"volumes":     func(s *sandbox.Spec) { s.Volumes = []sandbox.Mount{{Volume: "another", Path: "/data"}} },
	} {
		other := spec
		change(&other)
		_, err := s.provider.Create(within(t), other)
		wantKind(t, err, coderunner.Conflict, "Create of a name that is taken, with other "+what)
	}
	if got := b.sh(t, `cat file`); got != "kept\n" {
		t.Errorf("after the refusals the file has %q", got)
	}
}

func testLongNames(t *testing.T, s *suite) {
	// Wherever a provider cuts the name, a dash is at the end or at the beginning of what is left.
	for _, name := range []string{strings.Repeat("a-", 31) + "a", "bb" + strings.Repeat("-a", 30), "b" + strings.Repeat("c-c", 20), strings.Repeat("d", 63)} {
		long := (unique("") + "-" + name)[1:64]
		long = strings.TrimRight(long, "-")
		b := s.make(t, sandbox.Spec{Name: long})
		if got := b.sh(t, `hostname`); got != long+"\n" {
			t.Errorf("the sandbox %s is called %q", long, got)
		}
		other := s.make(t, sandbox.Spec{Name: long[:len(long)-2] + "zz"})
		b.sh(t, `touch /tmp/mine`)
		if r := other.run(t, shell(`test -e /tmp/mine`)); r.exit.Code == 0 {
			t.Errorf("%s and %s are the same", b.name, other.name)
		}
	}
}

func testList(t *testing.T, s *suite) {
	project := unique("project")
	app := s.make(t, sandbox.Spec{Labels: map[string]string{"project": project, "kind": "app"}})
	db := s.make(t, sandbox.Spec{Labels: map[string]string{"project": project, "kind": "db"}})
	s.box(t)
	for _, c := range []struct {
		labels map[string]string
		want   []string
	}{
		{map[string]string{"project": project}, []string{app.name, db.name}},
		{map[string]string{"project": project, "kind": "db"}, []string{db.name}},
		{map[string]string{"project": project, "kind": "other"}, nil},
		{map[string]string{"project": project, "missing": ""}, nil},
		{map[string]string{"project": project[:len(project)-1]}, nil},
	} {
		infos, err := s.provider.List(within(t), c.labels)
		got := map[string]bool{}
		for _, i := range infos {
			got[i.Name] = true
			if i.State != sandbox.StateRunning || i.Labels["project"] != project {
				t.Errorf("List tells %+v", i)
			}
		}
		if err != nil || len(got) != len(c.want) || len(infos) != len(c.want) {
			t.Errorf("List(%v) = %v, %v, want %q", c.labels, infos, err, c.want)
		}
		for _, name := range c.want {
			if !got[name] {
				t.Errorf("List(%v) misses %s", c.labels, name)
			}
		}
	}
	all, err := s.provider.List(within(t), nil)
	if err != nil || len(all) < 3 {
		t.Errorf("List of all has %d sandboxes, %v", len(all), err)
	}
}

func testDestroyTwice(t *testing.T, s *suite) {
	spec := sandbox.Spec{Name: unique("box"), Template: s.template.TemplateRef}
	b := s.make(t, spec)
	b.sh(t, `echo old > file`)
	if err := s.provider.Start(within(t), b.name, "app", shell(`echo old; sleep 1000`)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.provider.Destroy(within(t), b.name); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.provider.Get(within(t), b.name)
	wantKind(t, err, coderunner.NotFound, "Get after Destroy")
	infos, err := s.provider.List(within(t), nil)
	for _, i := range infos {
		if i.Name == b.name {
			t.Errorf("after Destroy List has %+v", i)
		}
	}
	if err != nil {
		t.Error(err)
	}
	// Its name can be used again, and nothing is left of it.
	s.make(t, spec)
	if r := b.run(t, shell(`cat file`)); r.exit.Code == 0 {
		t.Error("the new sandbox has the old one's files")
	}
	_, err = s.provider.Process(within(t), b.name, "app")
	wantKind(t, err, coderunner.NotFound, "Process in a new sandbox of an old name")
}

func testCheck(t *testing.T, s *suite) {
	if s.provider.Name() == "" {
		t.Error("the provider has no name")
	}
	if err := s.provider.Check(within(t)); err != nil {
		t.Errorf("Check of a provider that works: %v", err)
	}
	_, snapshots := s.provider.(sandbox.Snapshotter)
	_, pause := s.provider.(sandbox.Pauser)
	if c := s.provider.Capabilities(); c.Snapshots && !snapshots || c.Pause && !pause {
		t.Errorf("%+v promises what is not implemented", c)
	}
}
