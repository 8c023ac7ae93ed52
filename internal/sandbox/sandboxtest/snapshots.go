package sandboxtest

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

var snapshotTests = map[string]func(*testing.T, *suite){
	"Snapshot":          testSnapshot,
	"SnapshotChain":     testSnapshotChain,
	"SnapshotIsolates":  testSnapshotIsolates,
	"SnapshotEndsAll":   testSnapshotEndsAll,
	"SnapshotTwice":     testSnapshotTwice,
	"SnapshotIsOfRoot":  testSnapshotIsOfRoot,
	"SnapshotTemplates": testSnapshotTemplates,
	"SnapshotUnknown":   testSnapshotUnknown,
	"SnapshotOfStopped": testSnapshotOfStopped,
	"ListSnapshots":     testListSnapshots,
	"RemoveSnapshot":    testRemoveSnapshot,
	"FilesOnSnapshot":   testFilesOnSnapshot,
}

// snapshotter is the provider's, if it has one; else the test is skipped.
func (s *suite) snapshotter(t *testing.T) sandbox.Snapshotter {
	t.Helper()
	if !s.provider.Capabilities().Snapshots {
		t.Skip("this provider has no snapshots")
	}
	return s.provider.(sandbox.Snapshotter)
}

// snapshot names a snapshot that is removed after the sandboxes made from it.
func (s *suite) snapshot(t *testing.T) string {
	t.Helper()
	name, of := unique("snap"), s.snapshotter(t)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := of.RemoveSnapshot(ctx, name); err != nil {
			t.Errorf("removing the snapshot %s: %v", name, err)
		}
	})
	return name
}

// keep makes a snapshot of the sandbox and destroys it.
func (s *suite) keep(t *testing.T, b box, snapshot string, labels map[string]string) {
	t.Helper()
	if err := s.snapshotter(t).Snapshot(within(t), b.name, snapshot, labels); err != nil {
		t.Fatalf("making the snapshot %s: %v", snapshot, err)
	}
	if err := s.provider.Destroy(within(t), b.name); err != nil {
		t.Fatalf("destroying what a snapshot was made of: %v", err)
	}
}

// contents shows all that a snapshot has to keep of the files below a directory.
const contents = `cd "$1" && find . -printf '%p %y %m %u %g %n %l\n' | sort; find . -type f | sort | xargs cksum; cat /etc/added; test -e /etc/issue || echo removed`

func testSnapshot(t *testing.T, s *suite) {
	snapshot := s.snapshot(t)
	labels := map[string]string{"project": unique("project"), "odd": "ünï \"quoted\" = ,", "empty": ""}
	before := time.Now().Add(-time.Second)
	b := s.make(t, sandbox.Spec{Env: map[string]string{"BUILDER": "1"}})
	b.sh(t, `umask 0; mkdir -p "dir/deep dir" empty; echo one > "dir/deep dir/file"; echo two > plain; ln plain twin; ln -s plain link; ln -s /nowhere dangling; mkfifo pipe
		printf %s "$1" > large; chmod 640 plain; chmod 2750 dir; printf '#!/bin/sh\n' > run; chmod 4755 run`, strings.Repeat("x", 100_000))
	rooted := shell(`echo added > /etc/added; chmod 600 /etc/added; chmod 644 /etc/added; rm /etc/issue; mkdir private; echo secret > private/file; chmod 700 private; chmod 600 private/file; chmod 755 private`)
	rooted.User = "root"
	b.must(t, rooted)
	want := b.sh(t, contents, s.template.WorkDir)
	s.keep(t, b, snapshot, labels)

	// Another program, much later.
	other := s.open(t)
	defer other.Close()
	list, err := other.(sandbox.Snapshotter).ListSnapshots(within(t), labels)
	if err != nil || len(list) != 1 {
		t.Fatalf("ListSnapshots = %+v, %v", list, err)
	}
	if got := list[0]; got.Name != snapshot || !maps.Equal(got.Labels, labels) || got.Template != s.template.TemplateRef ||
		got.Bytes < 100_000 || got.Bytes > 10_000_000 || got.CreatedAt.Before(before) || got.CreatedAt.After(time.Now()) {
		t.Errorf("the snapshot is %+v", got)
	}
	spec := sandbox.Spec{Name: unique("box"), Template: s.template.TemplateRef, Snapshot: snapshot, Labels: map[string]string{"a": "b"}}
	again := s.make(t, spec)
	if got := again.sh(t, contents, s.template.WorkDir); got != want {
		t.Errorf("from the snapshot there is\n%s, want\n%s", got, want)
	}
	if got := again.sh(t, `id -u; pwd; echo "$HOME $BUILDER"`); got != decimal(s.template.User.UID)+"\n"+s.template.WorkDir+"\n"+s.template.User.Home+" \n" {
		t.Errorf("in a sandbox from a snapshot: %q", got)
	}
	info, err := other.Create(within(t), spec)
	if err != nil || info.Template != s.template.TemplateRef || info.Labels["a"] != "b" {
		t.Errorf("Create again = %+v, %v", info, err)
	}
	if err := s.provider.Destroy(within(t), again.name); err != nil {
		t.Fatal(err)
	}
	if got := s.make(t, sandbox.Spec{Snapshot: snapshot}).sh(t, contents, s.template.WorkDir); got != want {
		t.Errorf("from the snapshot there is the second time\n%s, want\n%s", got, want)
	}
}

func testSnapshotChain(t *testing.T, s *suite) {
	parent, child := s.snapshot(t), s.snapshot(t)
	t.Cleanup(func() { _ = s.snapshotter(t).RemoveSnapshot(context.Background(), child) }) // before its parent
	b := s.box(t)
	b.sh(t, `echo base > a; echo base > b; echo base > c; mkdir dir; echo base > dir/x`)
	s.keep(t, b, parent, nil)
	b = s.make(t, sandbox.Spec{Snapshot: parent})
	b.sh(t, `echo changed > b; rm c; rm -r dir; mkdir dir; echo new > dir/y; echo new > d`)
	s.keep(t, b, child, nil)
	if got := s.make(t, sandbox.Spec{Snapshot: child}).sh(t, `cat a b d; ls; ls dir`); got != "base\nchanged\nnew\na\nb\nd\ndir\ny\n" {
		t.Errorf("the second snapshot has %q", got)
	}
	if got := s.make(t, sandbox.Spec{Snapshot: parent}).sh(t, `cat a b c dir/x; ls dir`); got != "base\nbase\nbase\nbase\nx\n" {
		t.Errorf("the first snapshot has %q", got)
	}
}

func testSnapshotIsolates(t *testing.T, s *suite) {
	snapshot := s.snapshot(t)
	b := s.box(t)
	b.sh(t, `echo original > file`)
	s.keep(t, b, snapshot, nil)
	one, two := s.make(t, sandbox.Spec{Snapshot: snapshot}), s.make(t, sandbox.Spec{Snapshot: snapshot})
	one.sh(t, `echo one > file; touch mine`)
	if got := two.sh(t, `cat file; ls; rm file; echo two > other`); got != "original\nfile\n" {
		t.Errorf("the second sandbox sees %q", got)
	}
	if got := one.sh(t, `cat file; ls`); got != "one\nfile\nmine\n" {
		t.Errorf("the first sandbox sees %q", got)
	}
	if got := s.make(t, sandbox.Spec{Snapshot: snapshot}).sh(t, `cat file; ls`); got != "original\nfile\n" {
		t.Errorf("the snapshot has become %q", got)
	}
}

func testSnapshotEndsAll(t *testing.T, s *suite) {
	snapshot := s.snapshot(t)
	spec := sandbox.Spec{Name: unique("box"), Template: s.template.TemplateRef}
	b := s.make(t, spec)
	b.start(t, "app", shell(`trap "" TERM; echo kept > file; echo up; while :; do sleep 1000; done`))
	b.follow(t, "app").wait(t, "up\n")
	ready := await("ready\n")
	cmd := shell(`echo ready; sleep 1000`)
	cmd.Stdout = ready
	done := b.begin(within(t), cmd)
	ready.wait(t)
	if err := s.snapshotter(t).Snapshot(within(t), b.name, snapshot, nil); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, done, "the end of a command"); got.err == nil && got.exit.Code == 0 {
		t.Errorf("the command ended with %+v", got.exit)
	}
	if got := b.status(t, "app"); got.Running {
		t.Errorf("its process is %+v", got)
	}
	// Again it is done already, also by way of the sandbox that has no root any more.
	if err := s.snapshotter(t).Snapshot(within(t), b.name, snapshot, nil); err != nil {
		t.Errorf("the same snapshot again: %v", err)
	}
	wantKind(t, s.snapshotter(t).Snapshot(within(t), b.name, unique("snap"), nil), coderunner.Conflict, "another snapshot of the same root")
	_, err := s.provider.Create(within(t), spec)
	wantKind(t, err, coderunner.Conflict, "Create of what has become a snapshot")
	for range 2 {
		if err := s.provider.Destroy(within(t), b.name); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.snapshotter(t).Snapshot(within(t), b.name, snapshot, nil); err != nil {
		t.Errorf("the same snapshot again, of a sandbox that is gone: %v", err)
	}
	if got := s.make(t, sandbox.Spec{Snapshot: snapshot}).sh(t, `cat file`); got != "kept\n" {
		t.Errorf("the snapshot has %q", got)
	}
	if got := s.make(t, spec).sh(t, `ls`); got != "" {
		t.Errorf("the name's next sandbox has %q", got)
	}
}

func testSnapshotTwice(t *testing.T, s *suite) {
	snapshot := s.snapshot(t)
	first, second := s.box(t), s.box(t)
	first.sh(t, `echo first > file`)
	second.sh(t, `echo second > file`)
	s.keep(t, first, snapshot, map[string]string{"n": "1"})
	if err := s.snapshotter(t).Snapshot(within(t), second.name, snapshot, map[string]string{"n": "2"}); err != nil {
		t.Errorf("Snapshot with a name that is there: %v", err)
	}
	if got := second.sh(t, `cat file`); got != "second\n" {
		t.Errorf("the second sandbox has %q", got)
	}
	if got := s.make(t, sandbox.Spec{Snapshot: snapshot}).sh(t, `cat file`); got != "first\n" {
		t.Errorf("the snapshot has %q", got)
	}
	for n, want := range map[string]int{"1": 1, "2": 0} {
		list, err := s.snapshotter(t).ListSnapshots(within(t), map[string]string{"n": n})
		count := 0
		for _, l := range list {
			if l.Name == snapshot {
				count++
			}
		}
		if err != nil || count != want {
			t.Errorf("with the label %s there is %+v, %v", n, list, err)
		}
	}
}

func testSnapshotIsOfRoot(t *testing.T, s *suite) {
	volume, snapshot := s.volume(t), s.snapshot(t)
	mounts := []sandbox.Mount{{Volume: volume, Path: "/data"}}
	b := s.make(t, sandbox.Spec{Volumes: mounts})
	b.sh(t, `echo volume > /data/file; echo root > file`)
	s.keep(t, b, snapshot, nil)
	if got := s.make(t, sandbox.Spec{Snapshot: snapshot}).sh(t, `cat file; ls /data`); got != "root\n" {
		t.Errorf("without the volume there is %q", got)
	}
	if got := s.make(t, sandbox.Spec{Snapshot: snapshot, Volumes: mounts}).sh(t, `cat file /data/file`); got != "root\nvolume\n" {
		t.Errorf("with the volume there is %q", got)
	}
}

// testSnapshotTemplates: a snapshot goes with its template's name, whatever the definition is by now.
func testSnapshotTemplates(t *testing.T, s *suite) {
	snapshot := s.snapshot(t)
	s.keep(t, s.box(t), snapshot, nil)
	newer := sandbox.TemplateRef{Name: s.template.Name, Digest: strings.Repeat("9", 64)}
	for _, ref := range []sandbox.TemplateRef{{}, newer} {
		name := unique("box")
		t.Cleanup(func() { _ = s.provider.Destroy(context.Background(), name) })
		info, err := s.provider.Create(within(t), sandbox.Spec{Name: name, Template: ref, Snapshot: snapshot})
		if err != nil || info.Template != s.template.TemplateRef {
			t.Errorf("Create from the snapshot with the template %+v = %+v, %v", ref, info, err)
		}
	}
	_, err := s.tryMake(t, sandbox.Spec{Template: sandbox.TemplateRef{Name: "another", Digest: s.template.Digest}, Snapshot: snapshot})
	wantKind(t, err, coderunner.Invalid, "a snapshot with another template")
}

func testSnapshotUnknown(t *testing.T, s *suite) {
	of, b := s.snapshotter(t), s.box(t)
	for _, name := range badNames {
		wantKind(t, of.Snapshot(within(t), b.name, name, nil), coderunner.Invalid, "a snapshot named "+name)
		wantKind(t, of.RemoveSnapshot(within(t), name), coderunner.Invalid, "removing a snapshot named "+name)
		if name != "" {
			_, err := s.provider.Create(within(t), sandbox.Spec{Name: unique("box"), Snapshot: name})
			wantKind(t, err, coderunner.Invalid, "Create from a snapshot named "+name)
		}
	}
	b.sh(t, `true`)
	wantKind(t, of.Snapshot(within(t), "no-such-sandbox", unique("snap"), nil), coderunner.NotFound, "a snapshot of no sandbox")
	name := unique("box")
	_, err := s.tryMake(t, sandbox.Spec{Name: name, Snapshot: unique("snap")})
	wantKind(t, err, coderunner.NotFound, "Create from a snapshot that is absent")
	_, err = s.provider.Get(within(t), name)
	wantKind(t, err, coderunner.NotFound, "Get of what could not be made")
	if err := of.RemoveSnapshot(within(t), unique("snap")); err != nil {
		t.Errorf("removing a snapshot that is not there: %v", err)
	}
}

// testSnapshotOfStopped: a sandbox whose processes are gone keeps its files, for a snapshot too.
func testSnapshotOfStopped(t *testing.T, s *suite) {
	snapshot, b := s.snapshot(t), s.box(t)
	b.sh(t, `echo kept > file`)
	_, _ = b.provider.Exec(within(t), b.name, shell(`kill -9 -1`))
	s.keep(t, b, snapshot, nil)
	if got := s.make(t, sandbox.Spec{Snapshot: snapshot}).sh(t, `cat file`); got != "kept\n" {
		t.Errorf("the snapshot has %q", got)
	}
}

func testListSnapshots(t *testing.T, s *suite) {
	project, a, b := unique("project"), s.snapshot(t), s.snapshot(t)
	s.keep(t, s.box(t), a, map[string]string{"project": project, "kind": "deps"})
	s.keep(t, s.box(t), b, map[string]string{"project": project, "kind": "release"})
	for range 3 { // what comes and goes meanwhile
		if err := s.provider.Destroy(within(t), s.box(t).name); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		labels map[string]string
		want   []string
	}{
		{map[string]string{"project": project}, []string{min(a, b), max(a, b)}},
		{map[string]string{"project": project, "kind": "release"}, []string{b}},
		{map[string]string{"project": project, "kind": ""}, nil},
		{map[string]string{"project": project, "missing": ""}, nil},
	} {
		list, err := s.snapshotter(t).ListSnapshots(within(t), c.labels)
		var got []string
		for _, l := range list {
			got = append(got, l.Name)
		}
		if err != nil || strings.Join(got, " ") != strings.Join(c.want, " ") {
			t.Errorf("ListSnapshots(%v) = %q, %v, want %q", c.labels, got, err, c.want)
		}
	}
	all, err := s.snapshotter(t).ListSnapshots(within(t), nil)
	if err != nil || len(all) < 2 {
		t.Errorf("ListSnapshots of all has %d, %v", len(all), err)
	}
}

func testRemoveSnapshot(t *testing.T, s *suite) {
	of, parent, child := s.snapshotter(t), s.snapshot(t), s.snapshot(t)
	s.keep(t, s.box(t), parent, nil)
	b := s.make(t, sandbox.Spec{Snapshot: parent})
	refused := func(what, because string) {
		t.Helper()
		err := of.RemoveSnapshot(within(t), parent)
		wantKind(t, err, coderunner.Conflict, "removing a snapshot with "+what)
		if err != nil && !strings.Contains(err.Error(), because) {
			t.Errorf("%q does not name %s", err, because)
		}
	}
	refused("a sandbox", b.name)
	b.sh(t, `echo works > file`)
	if err := of.Snapshot(within(t), b.name, child, nil); err != nil {
		t.Fatal(err)
	}
	refused("a snapshot made from it", child)
	if err := s.provider.Destroy(within(t), b.name); err != nil {
		t.Fatal(err)
	}
	refused("a snapshot made from it", child)
	if got := s.make(t, sandbox.Spec{Name: b.name, Snapshot: child}).sh(t, `cat file`); got != "works\n" {
		t.Errorf("after the refusals the second snapshot has %q", got)
	}
	if err := s.provider.Destroy(within(t), b.name); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{child, child, parent, parent} {
		if err := of.RemoveSnapshot(within(t), name); err != nil {
			t.Error(err)
		}
	}
	list, err := of.ListSnapshots(within(t), nil)
	for _, l := range list {
		if l.Name == parent || l.Name == child {
			t.Errorf("the snapshot %s is still listed", l.Name)
		}
	}
	if err != nil {
		t.Error(err)
	}
	_, err = s.tryMake(t, sandbox.Spec{Snapshot: child})
	wantKind(t, err, coderunner.NotFound, "Create from a snapshot that was removed")
	// The name is free for another root.
	b = s.box(t)
	b.sh(t, `echo another > file`)
	s.keep(t, b, child, nil)
	if got := s.make(t, sandbox.Spec{Snapshot: child}).sh(t, `cat file`); got != "another\n" {
		t.Errorf("the new snapshot has %q", got)
	}
}

// testFilesOnSnapshot is what a redeploy does: dependencies from a snapshot, new code over them.
func testFilesOnSnapshot(t *testing.T, s *suite) {
	snapshot := s.snapshot(t)
	b := s.make(t, sandbox.Spec{Files: []sandbox.Archive{files(t, s.template.WorkDir, file("app.js", "one"), file("package.json", "{}"))}})
	b.sh(t, `mkdir -p node_modules/x; echo dep > node_modules/x/index.js; ln -s /tmp node_modules/out`)
	s.keep(t, b, snapshot, nil)
	b = s.make(t, sandbox.Spec{Snapshot: snapshot, Files: []sandbox.Archive{files(t, s.template.WorkDir, file("app.js", "two"))}})
	if got := b.sh(t, `cat app.js package.json node_modules/x/index.js; stat -c %u app.js`); got != "two{}dep\n"+decimal(s.template.User.UID)+"\n" {
		t.Errorf("with new code there is %q", got)
	}
	_, err := s.tryMake(t, sandbox.Spec{Snapshot: snapshot, Files: []sandbox.Archive{files(t, s.template.WorkDir, file("node_modules/out/escaped", "x"))}})
	wantKind(t, err, coderunner.Invalid, "files through a link of the snapshot")
	if got := s.make(t, sandbox.Spec{Snapshot: snapshot}).sh(t, `cat app.js`); got != "one" {
		t.Errorf("the snapshot has %q", got)
	}
}
