package playbook

import (
	"testing"
	"testing/fstest"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// TestWhatGoDependsOn: go.mod and go.sum, unless a module comes from the upload.
func TestWhatGoDependsOn(t *testing.T) {
	t.Parallel()
	const mod = "module a\n\ngo 1.24\n\nrequire rsc.io/quote v1.5.2\n"
	read := func(install string, files map[string]string) dependencies {
		t.Helper()
		tree := fstest.MapFS{"api/go.mod": {Data: []byte(mod)}, "api/go.sum": {Data: []byte("x")}, "api/main.go": {Data: []byte("package main")}}
		for name, text := range files {
			tree[name] = &fstest.MapFile{Data: []byte(text)}
		}
		plan := coderunner.Plan{Root: "api", Runtime: coderunner.Runtime{Name: "go"}, Install: coderunner.Choice{Value: install}}
		d, err := readDependencies(tree, "sha of "+string(tree["api/main.go"].Data), plan, install, "template", "project", nil)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	before := read("go mod download", nil)
	if len(before.manifests) != 2 {
		t.Fatalf("the manifests are %v", before.manifests)
	}
	for name, c := range map[string]struct {
		install string
		files   map[string]string
		key     bool // changes
		whole   bool
	}{
		"code":             {"go mod download", map[string]string{"api/main.go": "package main // changed"}, false, false},
		"a requirement":    {"go mod download", map[string]string{"api/go.mod": mod + "require rsc.io/sampler v1.3.0\n"}, true, false},
		"go.sum":           {"go mod download", map[string]string{"api/go.sum": "y"}, true, false},
		"another module":   {"go mod download", map[string]string{"api/go.mod": mod + "replace rsc.io/quote => rsc.io/quote/v3 v3.1.0\n"}, true, false},
		"a folder":         {"go mod download", map[string]string{"api/go.mod": mod + "replace rsc.io/quote => ../quote\n"}, true, true},
		"an absolute one":  {"go mod download", map[string]string{"api/go.mod": mod + "replace rsc.io/quote => /app/quote\n"}, true, true},
		"a workspace":      {"go mod download", map[string]string{"api/go.work": "go 1.24\nuse ."}, true, true},
		"one of all above": {"go mod download", map[string]string{"go.work": "go 1.24\nuse ./api"}, true, true},
		"what is imported": {"go mod tidy", nil, true, true},
	} {
		after := read(c.install, c.files)
		if (after.key != before.key) != c.key || (after.manifests == nil) != c.whole {
			t.Errorf("%s: key changed %v, whole upload %v", name, after.key != before.key, after.manifests == nil)
		}
	}
}
