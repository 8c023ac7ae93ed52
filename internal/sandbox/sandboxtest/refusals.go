package sandboxtest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

var refusalTests = map[string]func(*testing.T, *suite){
	"BadSpecs":       testBadSpecs,
	"BadCommands":    testBadCommands,
	"UnknownSandbox": testUnknownSandbox,
	"UnknownProcess": testUnknownProcess,
	"NoTemplate":     testNoTemplate,
	"BadTemplates":   testBadTemplates,
	"EndedContext":   testEndedContext,
}

// badNames can be the name of nothing.
var badNames = []string{"", ".", "..", "../x", "a/b", "/a", "A", "a_b", "a b", "-a", "a-", "a.b", "ä", "a\n", "a\x00", strings.Repeat("a", 64)}

func testBadSpecs(t *testing.T, s *suite) {
	refused := func(what string, change func(*sandbox.Spec)) {
		t.Helper()
		spec := sandbox.Spec{Name: unique("box"), Template: s.template.TemplateRef}
		change(&spec)
		_, err := s.provider.Create(within(t), spec)
		wantKind(t, err, coderunner.Invalid, "Create with "+what)
		if err == nil {
			_ = s.provider.Destroy(within(t), spec.Name)
		}
	}
	for _, name := range badNames {
		refused("the name "+name, func(s *sandbox.Spec) { s.Name = name })
		refused("the volume "+name, func(s *sandbox.Spec) { s.Volumes = []sandbox.Mount{{Volume: name, Path: "/data"}} })
		if name != "" {
			refused("the network "+name, func(s *sandbox.Spec) { s.Network = name })
			refused("the host name "+name, func(s *sandbox.Spec) { s.Hostname = name })
		}
	}
	for _, path := range []string{"", "data", "/", "/a/../b", "/a/", "//a"} {
		refused("a volume at "+path, func(s *sandbox.Spec) { s.Volumes = []sandbox.Mount{{Volume: "data", Path: path}} })
	}
	for _, env := range []map[string]string{{"": "x"}, {"a=b": "x"}, {"a\x00": "x"}, {"a": "x\x00"}, {"a.b": "x"}, {"1a": "x"}} {
		refused("a bad variable", func(s *sandbox.Spec) { s.Env = env })
	}
	for _, limits := range []sandbox.Limits{{MemoryBytes: -1}, {CPUs: -1}, {PIDs: -1}, {DiskBytes: -1}} {
		refused("a negative limit", func(s *sandbox.Spec) { s.Limits = limits })
	}
	if !s.provider.Capabilities().Snapshots {
		refused("a snapshot where there are none", func(s *sandbox.Spec) { s.Snapshot = "release" })
	}
}

func testBadCommands(t *testing.T, s *suite) {
	b := s.box(t)
	for what, cmd := range map[string]sandbox.Command{
		"no arguments":     {},
		"an empty program": {Argv: []string{""}},
		"a NUL":            {Argv: []string{"echo", "a\x00b"}},
		"bytes no text":    {Argv: []string{"echo", "\xff"}},
		"a bad id":         {Argv: []string{"true"}, ID: "../x"},
		"a bad variable":   {Argv: []string{"true"}, Env: map[string]string{"A": "\x00"}},
	} {
		_, err := b.provider.Exec(within(t), b.name, cmd)
		wantKind(t, err, coderunner.Invalid, "Exec with "+what)
		if cmd.ID == "" {
			wantKind(t, b.provider.Start(within(t), b.name, "app", cmd), coderunner.Invalid, "Start with "+what)
		}
	}
	for _, name := range badNames {
		wantKind(t, b.provider.Start(within(t), b.name, name, shell("true")), coderunner.Invalid, "Start of a process named "+name)
	}
	wantKind(t, b.provider.Start(within(t), b.name, "app", sandbox.Command{Argv: []string{"cat"}, Stdin: strings.NewReader(strings.Repeat("x", 64<<10+1))}),
		coderunner.Invalid, "Start with too much input")
	// Nothing of all that counts as started.
	_, err := b.provider.Process(within(t), b.name, "app")
	wantKind(t, err, coderunner.NotFound, "Process after refusals")
	b.sh(t, "true")
}

func testUnknownSandbox(t *testing.T, s *suite) {
	for _, name := range []string{"no-such-sandbox", "../x"} {
		for what, err := range s.askAll(within(t), name) {
			if what != "Destroy" && what != "Create" {
				if kind := coderunner.KindOf(err); err == nil || kind != coderunner.NotFound && (name == "no-such-sandbox" || kind != coderunner.Invalid) {
					t.Errorf("%s of %s: error %v of kind %q", what, name, err, kind)
				}
			}
		}
	}
	if err := s.provider.Destroy(within(t), "no-such-sandbox"); err != nil {
		t.Errorf("Destroy of a sandbox that does not exist: %v", err)
	}
	wantKind(t, s.provider.Destroy(within(t), "../x"), coderunner.Invalid, "Destroy of what is no name")
}

// askAll makes each call about a sandbox and a process "app" and returns their errors.
func (s *suite) askAll(ctx context.Context, name string) map[string]error {
	p, errs := s.provider, map[string]error{}
	_, errs["Get"] = p.Get(ctx, name)
	_, errs["Exec"] = p.Exec(ctx, name, shell("true"))
	errs["Start"] = p.Start(ctx, name, "app", shell("true"))
	_, errs["Process"] = p.Process(ctx, name, "app")
	_, errs["Wait"] = p.Wait(ctx, name, "app")
	errs["Stop"] = p.Stop(ctx, name, "app", time.Second)
	errs["Output"] = p.Output(ctx, name, "app", 0, true, func(sandbox.OutputChunk) error { return nil })
	errs["Upload"] = p.Upload(ctx, name, "/tmp", strings.NewReader(""))
	_, errs["ReadFile"] = p.ReadFile(ctx, name, "/etc/passwd", 10)
	_, errs["Address"] = p.Address(ctx, name, 80)
	_, errs["Listening"] = p.Listening(ctx, name)
	_, errs["Stats"] = p.Stats(ctx, name)
	errs["Destroy"] = p.Destroy(ctx, name)
	_, errs["Create"] = p.Create(ctx, sandbox.Spec{Name: name, Template: sandbox.TemplateRef{Name: "none", Digest: strings.Repeat("0", 16)}})
	return errs
}

func testUnknownProcess(t *testing.T, s *suite) {
	b := s.box(t)
	for _, process := range []string{"no-such-process", "../app"} {
		_, err := b.provider.Process(within(t), b.name, process)
		wantKind(t, err, coderunner.NotFound, "Process of "+process)
		_, err = b.provider.Wait(within(t), b.name, process)
		wantKind(t, err, coderunner.NotFound, "Wait for "+process)
		err = b.provider.Output(within(t), b.name, process, 0, true, func(sandbox.OutputChunk) error { return nil })
		wantKind(t, err, coderunner.NotFound, "Output of "+process)
	}
	if err := b.provider.Stop(within(t), b.name, "no-such-process", time.Second); err != nil {
		t.Errorf("Stop of a process that does not exist: %v", err)
	}
}

func testNoTemplate(t *testing.T, s *suite) {
	absent := sandbox.TemplateRef{Name: s.template.Name, Digest: strings.Repeat("0", 64)}
	if has, err := s.provider.HasTemplate(within(t), absent); has || err != nil {
		t.Errorf("HasTemplate of an unknown digest = %v, %v", has, err)
	}
	network, volume := s.network(t), s.volume(t)
	_, err := s.tryMake(t, sandbox.Spec{Name: "no-template", Template: absent, Network: network, Volumes: []sandbox.Mount{{Volume: volume, Path: "/data"}}})
	wantKind(t, err, coderunner.NotFound, "Create from a template that is absent")
	_, err = s.provider.Get(within(t), "no-template")
	wantKind(t, err, coderunner.NotFound, "Get of a sandbox that could not be made")
}

func testBadTemplates(t *testing.T, s *suite) {
	for what, change := range map[string]func(*sandbox.Template){
		"name":      func(t *sandbox.Template) { t.Name = "../x" },
		"digest":    func(t *sandbox.Template) { t.Digest = "short" },
		"package":   func(t *sandbox.Template) { t.Packages = []string{"--option"} },
		"user":      func(t *sandbox.Template) { t.User.Name = "a:b" },
		"directory": func(t *sandbox.Template) { t.WorkDir = "app" },
	} {
		template := s.template
		template.Digest = strings.Repeat("1", 64)
		change(&template)
		wantKind(t, s.provider.BuildTemplate(within(t), template, t.Output()), coderunner.Invalid, "building a template with a bad "+what)
	}
}

func testEndedContext(t *testing.T, s *suite) {
	b := s.box(t)
	if err := b.provider.Start(within(t), b.name, "app", shell("exec sleep 1000")); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for what, err := range s.askAll(ended, b.name) {
		if err != nil && !errors.Is(err, context.Canceled) && coderunner.KindOf(err) != coderunner.NotFound {
			t.Errorf("%s with a context that has ended: %v", what, err)
		}
	}
}
