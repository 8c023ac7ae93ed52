package containerd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// testUnwantedTemplatesGo: only what nobody of this machine has named for a while,
// and nothing that was made from it.
func testUnwantedTemplatesGo(t *testing.T, p *Provider) {
	other := bare
	other.Digest = strings.Repeat("07e5", 16)
	kept, gone := ready(t, p, bare), ready(t, p, other)
	makeBox(t, p, sandbox.Spec{Name: "box", Template: gone})
	sh(t, p, "box", `dd if=/dev/zero of=file bs=1M count=3`)
	before := usage(t, p)
	if s := before[coderunner.StoredSandboxes]; s.Count != 1 || s.Bytes < 3<<20 {
		t.Errorf("the sandboxes take %+v", s)
	}
	if s := before[coderunner.StoredTemplates]; s.Count < 2 || s.Bytes < 100<<20 {
		t.Errorf("the templates take %+v", s)
	}
	drop := func(unused time.Duration) (names []string) {
		t.Helper()
		names, err := p.DropTemplates(within(t), []sandbox.TemplateRef{kept}, unused)
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	if names := drop(time.Hour); len(names) != 0 {
		t.Errorf("templates that may be another's went: %v", names)
	}
	if _, err := p.DropTemplates(within(t), []sandbox.TemplateRef{kept, gone}, time.Nanosecond); err != nil || !has(t, p, gone) {
		t.Errorf("one that is wanted is there: %v, %v", has(t, p, gone), err)
	}
	archive := filepath.Join(p.cfg.CacheDir, templateKey(gone)+".tar")
	ago := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(archive, ago, ago); err != nil {
		t.Fatal(err)
	}
	if drop(time.Nanosecond); has(t, p, gone) || !has(t, p, kept) {
		t.Errorf("the unwanted one is there: %v; the wanted one: %v", has(t, p, gone), has(t, p, kept))
	}
	if _, err := os.Stat(archive); !os.IsNotExist(err) {
		t.Errorf("its archive: %v", err)
	}
	collect(t, p)
	sh(t, p, "box", `test -e file && ls /usr > /dev/null`)
	if err := p.Destroy(within(t), "box"); err != nil {
		t.Fatal(err)
	}
	collect(t, p)
	if after := usage(t, p); after[coderunner.StoredSandboxes].Count != 0 || after[coderunner.StoredTemplates].Bytes >= before[coderunner.StoredTemplates].Bytes {
		t.Errorf("afterwards there is %+v, before %+v", after, before)
	}
}

func has(t *testing.T, p *Provider, ref sandbox.TemplateRef) bool {
	t.Helper()
	there, err := p.HasTemplate(within(t), ref)
	if err != nil {
		t.Fatal(err)
	}
	return there
}

func usage(t *testing.T, p *Provider) map[coderunner.StoredKind]coderunner.Stored {
	t.Helper()
	list, err := p.Usage(within(t))
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[coderunner.StoredKind]coderunner.Stored{}
	for _, s := range list {
		kinds[s.Kind] = s
	}
	return kinds
}
