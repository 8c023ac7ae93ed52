package appliance

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/coderunner/coderunner/internal/sandbox"
)

// lockfilePackage is an entry of "packages" in npm's lockfile, version 2 or 3.
type lockfilePackage struct {
	Name      string   `json:"name"` // where the folder has another
	Version   string   `json:"version"`
	Integrity string   `json:"integrity"`
	InBundle  bool     `json:"inBundle"` // comes with the package that it is in
	OS        []string `json:"os"`
	CPU       []string `json:"cpu"`
	Libc      []string `json:"libc"`
}

// lockfileDownloads are the packages of a lockfile, each to its place beside it, as npm ci would
// install them on Linux. The provider downloads them with this machine's proxies and
// certificates, which programs that run inside the new root do not have.
func lockfileDownloads(files fs.FS, name string) ([]sandbox.Download, error) {
	text, err := fs.ReadFile(files, name)
	if err != nil {
		return nil, fmt.Errorf("downloads names the lockfile %q, and there is no such file in files", name)
	}
	var lockfile struct {
		Packages map[string]lockfilePackage `json:"packages"`
	}
	if err := json.Unmarshal(text, &lockfile); err != nil {
		return nil, fmt.Errorf("the lockfile %s cannot be read: %w", name, err)
	}
	var list []sandbox.Download
	for place, p := range lockfile.Packages {
		if place == "" || p.InBundle || !fits(p.OS, "linux") || !fits(p.Libc, "glibc") {
			continue
		}
		d := sandbox.Download{Package: p.Name, Version: p.Version, Integrity: map[string]string{"any": p.Integrity}, Into: "/" + path.Join(path.Dir(name), place)}
		if d.Package == "" {
			d.Package = place[strings.LastIndex(place, "node_modules/")+len("node_modules/"):]
		}
		if len(p.CPU) == 0 {
			list = append(list, d)
			continue
		}
		for _, arch := range []string{"x64", "arm64"} {
			if fits(p.CPU, arch) {
				d.Only = arch
				list = append(list, d)
			}
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("the lockfile %s has no packages; it must be of npm 7 or newer", name)
	}
	slices.SortFunc(list, func(a, b sandbox.Download) int { return strings.Compare(a.Into+a.Only, b.Into+b.Only) })
	return list, nil
}

// fits reports whether one of npm's lists of systems has this one. An empty list has all.
func fits(list []string, system string) bool {
	return len(list) == 0 || slices.Contains(list, system)
}
