package containerd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHostSourcesTakesDebiansMainArchiveOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("sources.list", `# deb http://old.debian.example/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian bookworm main contrib # ours
deb-src http://mirror.example/debian bookworm main
deb http://mirror.example/debian bookworm-backports main
deb https://deb.nodesource.example/node_18.x bookworm main
deb https://download.docker.example/linux/debian bookworm stable
deb http://mirror.example/debian trixie main
`)
	write("sources.list.d/debian.sources", `Types: deb deb-src
# a comment
URIs: http://one.example/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main non-free
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc

Types: deb
URIs: http://two.example/debian-security
Suites: bookworm-security
Components: main
Enabled: no
`)
	write("sources.list.d/disabled.sources.save", "Types: deb\nURIs: http://three.example/debian\nSuites: bookworm\nComponents: main\n")
	got, err := hostSources(dir, "bookworm")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"debian.list": "deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian bookworm main\n",
		"debian.sources": `Types: deb
URIs: http://one.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
`,
	}
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s is\n%s\nwant\n%s", name, got[name], want[name])
		}
	}
	if len(got) != len(want) {
		t.Errorf("got the files %v", got)
	}

	for _, suite := range []string{"forky", "sid"} {
		got, err := hostSources(dir, suite)
		if err != nil || !strings.Contains(got["debian.sources"], "Suites: "+suite+" "+suite+"-updates\n") {
			t.Errorf("a suite that this machine does not know gives %q, %v", got, err)
		}
	}
}
