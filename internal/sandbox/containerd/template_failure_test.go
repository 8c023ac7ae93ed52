package containerd

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// A build that would end alike whenever it is tried says so and why, and leaves nothing.
func TestTemplatesThatCannotBeBuilt(t *testing.T) {
	t.Parallel()
	p := open(t, newConfig(t))
	for name, test := range map[string]struct {
		digest string // one of its own, always the same, so that the locks do not pile up
		change func(*sandbox.Template)
		want   string
	}{
		"unknown package": {
			strings.Repeat("bad1", 16),
			func(t *sandbox.Template) { t.Packages = []string{"no-such-package-anywhere"} },
			"Debian bookworm has no package no-such-package-anywhere, which the appliance hopeless names. Correct its appliance.yaml.",
		},
		"setup that fails": {
			strings.Repeat("bad2", 16),
			func(t *sandbox.Template) {
				script := "#!/bin/sh\necho one\necho the port is taken >&2\necho\nexit 7\n"
				t.Files, t.Setup = fstest.MapFS{"opt/setup.sh": {Data: []byte(script), Mode: fs.FileMode(0o755)}}, "/opt/setup.sh"
			},
			"The template hopeless could not be built: the port is taken.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hopeless := bare
			hopeless.TemplateRef = sandbox.TemplateRef{Name: "hopeless", Digest: test.digest}
			test.change(&hopeless)
			var told strings.Builder
			err := p.BuildTemplate(t.Context(), hopeless, &told)
			if coderunner.KindOf(err) != coderunner.Invalid || coderunner.Sentence(err) != test.want {
				t.Errorf("building it answers %v\n%s", err, &told)
			}
			if has, err := p.HasTemplate(t.Context(), hopeless.TemplateRef); has || err != nil {
				t.Errorf("HasTemplate = %v, %v", has, err)
			}
		})
	}
}
