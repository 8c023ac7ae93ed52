package sandboxtest

import (
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/sandbox"
)

var restartTests = map[string]func(*testing.T, *suite){
	"Restart": testRestart,
}

// testRestart closes the provider and opens it again, as a program does that
// was restarted: sandboxes, processes and what they print meanwhile are there.
func testRestart(t *testing.T, s *suite) {
	before := s.open(t)
	network, volume := s.network(t), s.volume(t)
	spec := sandbox.Spec{Name: unique("box"), Template: s.template.TemplateRef, Network: network, Labels: map[string]string{"a": "b"},
		Volumes: []sandbox.Mount{{Volume: volume, Path: "/data"}}}
	b := s.make(t, spec)
	b.provider = before
	b.start(t, "app", shell(`mkfifo go ended; echo one; cat go > /dev/null; echo two; cat go > /dev/null; exit 7`))
	b.start(t, "brief", shell(`mkfifo away; cat away > /dev/null; echo done; exit 9`))
	b.follow(t, "app").wait(t, "one\n")
	_, next := b.output(t, "app", 0)
	was, address := b.status(t, "app"), b.address(t, 80)
	if err := before.Close(); err != nil {
		t.Fatal(err)
	}

	// Things happen while nobody is there.
	after := s.open(t)
	other := box{b.name, s.provider}
	other.sh(t, `echo > go; until test -p away; do :; done; echo > away`)

	b.provider = after
	info, err := after.Create(within(t), spec)
	if err != nil || info.State != sandbox.StateRunning || info.Labels["a"] != "b" || info.Network != network {
		t.Errorf("the sandbox is %+v, %v", info, err)
	}
	if got := b.address(t, 80); got != address {
		t.Errorf("its address is %+v, it was %+v", got, address)
	}
	if got := b.status(t, "app"); !got.Running || got.PID != was.PID || !got.StartedAt.Equal(was.StartedAt) {
		t.Errorf("its process is %+v, it was %+v", got, was)
	}
	b.start(t, "app", shell(`echo started again`)) // it runs
	b.follow(t, "app").wait(t, "two\n")
	if got, _ := b.output(t, "app", next); got != "two\n" {
		t.Errorf("since then it has printed %q", got)
	}
	if got := b.waitFor(t, "brief"); got.Exit.Code != 9 {
		t.Errorf("a process that ended meanwhile is %+v", got)
	}
	b.sh(t, `echo > go`)
	if got := b.waitFor(t, "app"); got.Exit.Code != 7 {
		t.Errorf("the process ended with %+v", got)
	}
	if err := after.Close(); err != nil {
		t.Fatal(err)
	}

	again := s.open(t)
	defer again.Close()
	b.provider = again
	for process, code := range map[string]int{"app": 7, "brief": 9} {
		if got := b.status(t, process); got.Running || got.Exit.Code != code {
			t.Errorf("the ended %s is %+v, want exit code %d", process, got, code)
		}
	}
	if got, _ := b.output(t, "app", 0); got != "one\ntwo\n" || strings.Contains(got, "again") {
		t.Errorf("in all it printed %q", got)
	}
	infos, err := again.List(within(t), map[string]string{"a": "b"})
	if err != nil || len(infos) != 1 || infos[0].Name != spec.Name {
		t.Errorf("the sandboxes are %+v, %v", infos, err)
	}
}
