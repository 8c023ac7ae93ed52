package appliance

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/coderunner/coderunner/appliances"
)

const lockfile = `{"lockfileVersion": 3, "packages": {
	"": {"name": "root"},
	"node_modules/b": {"version": "1.0.0", "integrity": "sha512-b"},
	"node_modules/b/node_modules/@c/d": {"version": "2.0.0", "integrity": "sha512-d"},
	"node_modules/alias": {"name": "e", "version": "3.0.0", "integrity": "sha512-e"},
	"node_modules/bundled": {"version": "1.0.0", "inBundle": true},
	"node_modules/mac": {"version": "1.0.0", "os": ["darwin"]},
	"node_modules/musl": {"version": "1.0.0", "os": ["linux"], "cpu": ["x64"], "libc": ["musl"]},
	"node_modules/arm": {"version": "1.0.0", "integrity": "sha512-arm", "os": ["linux"], "cpu": ["arm64"], "libc": ["glibc"]},
	"node_modules/s390": {"version": "1.0.0", "cpu": ["s390x"]}}}`

// TestLockfileDownloads are what npm ci would install on Linux, each at its place.
func TestLockfileDownloads(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{"opt/x/package-lock.json": {Data: []byte(lockfile)}, "old.json": {Data: []byte(`{"dependencies": {}}`)}, "broken.json": {Data: []byte("{")}}
	list, err := lockfileDownloads(files, "opt/x/package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range list {
		got = append(got, fmt.Sprintf("%s@%s %s %s %s", d.Package, d.Version, d.Integrity["any"], d.Into, d.Only))
	}
	want := []string{"e@3.0.0 sha512-e /opt/x/node_modules/alias ", "arm@1.0.0 sha512-arm /opt/x/node_modules/arm arm64", "b@1.0.0 sha512-b /opt/x/node_modules/b ",
		"@c/d@2.0.0 sha512-d /opt/x/node_modules/b/node_modules/@c/d "}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the downloads are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for name, says := range map[string]string{"gone.json": "no such file", "old.json": "npm 7 or newer", "broken.json": "cannot be read"} {
		if _, err := lockfileDownloads(files, name); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s gives %v, want something about %q", name, err, says)
		}
	}
}

// TestManifestRunnerIsLocked: the template has the release of Manifest that is known to work.
func TestManifestRunnerIsLocked(t *testing.T) {
	t.Parallel()
	catalogue, err := Load(appliances.FS)
	if err != nil {
		t.Fatal(err)
	}
	d, err := catalogue.Get("manifest-runner")
	if err != nil || d.VolumePath != "/data" {
		t.Fatalf("manifest-runner: %+v, %v", d, err)
	}
	found := false
	for _, download := range d.Template().Downloads {
		for _, hash := range download.Integrity {
			if !matches(`sha512-[A-Za-z0-9+/]{86}==`, hash) {
				t.Errorf("%s has the integrity %q", download.Package, hash)
			}
		}
		found = found || download.Package == "manifest" && download.Version == "4.17.13" && download.Into == "/usr/local/lib/manifest/node_modules/manifest"
	}
	if !found {
		t.Error("manifest 4.17.13 is not among the downloads")
	}
}
