package analyzer

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/coderunner/coderunner/internal/coderunner"
)

func TestManifestDrops(t *testing.T) {
	t.Parallel()
	const before = `name: Pets
entities:
  Owner:
    authenticable: true
    properties: [name]
  Dog:
    properties: [name]
  🐱 Cat:
    properties:
      - name
      - { name: age, type: number }
      - { name: bio, type: text }
    belongsTo: [Owner]
groups:
  Toys:
    properties: [label]
`
	for change, want := range map[string]string{
		"":                                "[]",
		"      - name\n=>      - title\n": "[{🐱 Cat name }]",
		"      - { name: age, type: number }\n=>":                  "[{🐱 Cat age }]",
		"type: number=>type: money":                                "[]",
		"type: number=>type: string":                               "[{🐱 Cat age string}]",
		"{ name: bio, type: text }=>{ name: bio, type: richText }": "[]",
		"    authenticable: true\n=>":                              "[{Owner email } {Owner password }]",
		"    belongsTo: [Owner]\n=>":                               "[{🐱 Cat OwnerId }]",
		"[label]=>[]":                                              "[{Toys label }]",
		"  Dog:\n    properties: [name]\n=>":                       "[]", // its table stays
		"  🐱 Cat:=>  Cat:":                                         "[]",
		"- name\n=>- Name\n":                                       "[]",
		"properties: [name]=>properties: [":                        "[]", // Manifest does not start with it
	} {
		from, to, _ := strings.Cut(change, "=>")
		if !strings.Contains(before, from) {
			t.Fatalf("%q is not in the file", from)
		}
		if got := fmt.Sprint(ManifestDrops([]byte(before), []byte(strings.Replace(before, from, to, 1)))); got != want {
			t.Errorf("%q drops %s, want %s", change, got, want)
		}
	}
}

func TestManifestFileIsTheOneThatIsStarted(t *testing.T) {
	t.Parallel()
	tree := fstest.MapFS{"api/manifest.yml": {Data: []byte("first")}, "api/my own.yml": {Data: []byte("named")}, "api/manifest/backend.yml": {Data: []byte("later")}}
	for start, want := range map[string]string{"manifest-runner 'my own.yml'": "named", "manifest-runner manifest/backend.yml": "later", "node main.js": "first", "manifest-runner ../../etc/passwd": "first"} {
		plan := coderunner.Plan{Root: "api", Start: coderunner.Choice{Value: start}}
		if got, err := ManifestFile(tree, plan); err != nil || string(got) != want {
			t.Errorf("%s starts with %q (%v), want %q", start, got, err, want)
		}
	}
	if got, err := ManifestFile(fstest.MapFS{}, coderunner.Plan{Root: "."}); err != nil || got != nil {
		t.Errorf("a tree without one has %q (%v)", got, err)
	}
}
