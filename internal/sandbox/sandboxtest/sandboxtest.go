// Package sandboxtest is the conformance suite that every sandbox.Provider
// passes. It runs real sandboxes and asks of them what provider.go promises.
//
// Sandboxes are made from a Debian template with perl-base and util-linux,
// which every Debian has.
package sandboxtest

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// patience bounds whatever a test waits for; only a failure takes so long.
const patience = 30 * time.Second

// suite is what the tests share.
type suite struct {
	open     func(t *testing.T) sandbox.Provider
	provider sandbox.Provider
	template sandbox.Template
}

// Run tests the provider that open opens. Each call of open must open the same
// instance anew, as a program does that was restarted; the suite closes what it
// opens. Templates that are absent are built; the first is what the tests'
// sandboxes are made from.
//
// When Run returns, the suite has destroyed all it made.
func Run(t *testing.T, open func(t *testing.T) sandbox.Provider, templates ...sandbox.Template) {
	s := &suite{open: open, provider: open(t), template: templates[0]}
	t.Cleanup(func() {
		if err := s.provider.Close(); err != nil {
			t.Errorf("closing the provider: %v", err)
		}
	})
	for _, template := range templates {
		s.provideTemplate(t, template)
	}
	for _, group := range []map[string]func(*testing.T, *suite){
		execTests, killTests, fileTests, networkTests, wallTests, limitTests, diskTests,
		lifecycleTests, refusalTests, volumeTests, processTests, outputTests, restartTests, archiveTests, snapshotTests,
	} {
		for name, test := range group {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, s)
			})
		}
	}
	t.Run("Templates", func(t *testing.T) {
		t.Parallel()
		for _, template := range templates {
			s.testTemplate(t, template)
		}
	})
}

func (s *suite) provideTemplate(t *testing.T, template sandbox.Template) {
	t.Helper()
	has, err := s.provider.HasTemplate(t.Context(), template.TemplateRef)
	if err == nil && !has {
		err = s.provider.BuildTemplate(t.Context(), template, t.Output())
	}
	if err != nil {
		t.Fatalf("the template %s: %v", template.Name, err)
	}
}

// testTemplate looks at what a template promises of its sandboxes.
func (s *suite) testTemplate(t *testing.T, template sandbox.Template) {
	if has, err := s.provider.HasTemplate(t.Context(), template.TemplateRef); err != nil || !has {
		t.Errorf("HasTemplate(%s) = %v, %v after it was built", template.Name, has, err)
	}
	if err := s.provider.BuildTemplate(t.Context(), template, io.Discard); err != nil {
		t.Errorf("building %s again: %v", template.Name, err)
	}
	box := s.make(t, sandbox.Spec{Template: template.TemplateRef})
	got := box.sh(t, `id -u; id -g; pwd; echo "$HOME"; stat -c %u .; test -w "$HOME" && echo at home`)
	want := strings.Join([]string{decimal(template.User.UID), decimal(template.User.GID), template.WorkDir, template.User.Home, decimal(template.User.UID), "at home", ""}, "\n")
	if got != want {
		t.Errorf("in a sandbox of %s: uid, gid, directory, home and its owner are\n%s, want\n%s", template.Name, got, want)
	}
}

// box is a sandbox of a test.
type box struct {
	name     string
	provider sandbox.Provider
}

// box makes a plain sandbox, which ends with the test.
func (s *suite) box(t *testing.T) box {
	t.Helper()
	return s.make(t, sandbox.Spec{})
}

// make makes a sandbox as the spec says, with a name and a template if the spec has none.
func (s *suite) make(t *testing.T, spec sandbox.Spec) box {
	t.Helper()
	b, err := s.tryMake(t, spec)
	if err != nil {
		t.Fatalf("making a sandbox: %v", err)
	}
	return b
}

func (s *suite) tryMake(t *testing.T, spec sandbox.Spec) (box, error) {
	t.Helper()
	if spec.Name == "" {
		spec.Name = unique("box")
	}
	if spec.Template.Name == "" && spec.Snapshot == "" {
		spec.Template = s.template.TemplateRef
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.provider.Destroy(ctx, spec.Name); err != nil {
			t.Errorf("destroying %s: %v", spec.Name, err)
		}
	})
	_, err := s.provider.Create(within(t), spec)
	return box{spec.Name, s.provider}, err
}

// network names a network that is removed after its sandboxes.
func (s *suite) network(t *testing.T) string {
	name := unique("net")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.provider.RemoveNetwork(ctx, name); err != nil {
			t.Errorf("removing the network %s: %v", name, err)
		}
	})
	return name
}

// volume names a volume that is removed after its sandboxes.
func (s *suite) volume(t *testing.T) string {
	name := unique("vol")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.provider.RemoveVolume(ctx, name); err != nil {
			t.Errorf("removing the volume %s: %v", name, err)
		}
	})
	return name
}

// result is what a command printed and how it ended.
type result struct {
	stdout, stderr string
	exit           sandbox.Exit
}

// run runs a command; only a command that could not be run fails the test.
func (b box) run(t *testing.T, cmd sandbox.Command) result {
	t.Helper()
	var out, problems strings.Builder
	if cmd.Stdout == nil {
		cmd.Stdout = &out
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &problems
	}
	exit, err := b.provider.Exec(within(t), b.name, cmd)
	if err != nil {
		t.Fatalf("running %q: %v", cmd.Argv, err)
	}
	return result{out.String(), problems.String(), exit}
}

// shell is a command that runs a script with arguments.
func shell(script string, args ...string) sandbox.Command {
	return sandbox.Command{Argv: append([]string{"/bin/sh", "-c", script, "sh"}, args...)}
}

// sh runs a script that must succeed and returns what it printed.
func (b box) sh(t *testing.T, script string, args ...string) string {
	t.Helper()
	return b.must(t, shell(script, args...))
}

// must runs a command that must succeed and returns what it printed.
func (b box) must(t *testing.T, cmd sandbox.Command) string {
	t.Helper()
	r := b.run(t, cmd)
	if r.exit != (sandbox.Exit{}) {
		t.Fatalf("%q ended with %+v: %s%s", cmd.Argv, r.exit, r.stdout, r.stderr)
	}
	return r.stdout
}

// findMarked prints the processes whose command line has the line on its input.
const findMarked = `
chomp(my $marker = <STDIN>);
for my $file (glob "/proc/[0-9]*/cmdline") {
	open my $f, "<", $file or next;
	my $line = join "", <$f>;
	print "$file $line\n" if index($line, $marker) >= 0;
}`

// marked is a command that lists the processes with the marker on their command line.
func marked(marker string) sandbox.Command {
	return sandbox.Command{Argv: []string{"/usr/bin/perl", "-e", findMarked}, User: "root", Stdin: strings.NewReader(marker + "\n")}
}

// wantDead fails the test if a process with the marker on its command line lives.
func (b box) wantDead(t *testing.T, marker string) {
	t.Helper()
	if left := b.must(t, marked(marker)); left != "" {
		t.Errorf("these processes should be dead:\n%q", left)
	}
}

// within is the test's context with a limit.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// unique is a name that no other test uses.
func unique(prefix string) string { return prefix + "-" + strings.ToLower(rand.Text()[:12]) }

// wantKind checks the kind of an error of the contract.
func wantKind(t *testing.T, err error, kind coderunner.Kind, doing string) {
	t.Helper()
	if err == nil || coderunner.KindOf(err) != kind {
		t.Errorf("%s: error %v is of kind %q, want %q", doing, err, coderunner.KindOf(err), kind)
	}
}

// signalWriter passes on what it gets, and tells when it has seen a text.
type signalWriter struct {
	text string
	seen chan struct{}
	all  strings.Builder
}

// await is a writer whose seen is closed once text has come.
func await(text string) *signalWriter {
	return &signalWriter{text: text, seen: make(chan struct{})}
}

func (w *signalWriter) Write(data []byte) (int, error) {
	before := strings.Contains(w.all.String(), w.text)
	w.all.Write(data)
	if !before && strings.Contains(w.all.String(), w.text) {
		close(w.seen)
	}
	return len(data), nil
}

// wait waits until the text has come.
func (w *signalWriter) wait(t *testing.T) {
	t.Helper()
	select {
	case <-w.seen:
	case <-within(t).Done():
		t.Fatalf("%q never came", w.text)
	}
}

// outcome is what a call in the background returned.
type outcome struct {
	exit sandbox.Exit
	err  error
}

// begin runs a command in the background.
func (b box) begin(ctx context.Context, cmd sandbox.Command) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		exit, err := b.provider.Exec(ctx, b.name, cmd)
		done <- outcome{exit, err}
	}()
	return done
}

// receive waits for a value.
func receive[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-within(t).Done():
		t.Fatalf("%s did not come", what)
		panic(errors.New("unreachable"))
	}
}
