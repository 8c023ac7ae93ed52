package playbook

import (
	"io/fs"
	"path"
	"regexp"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// localModule is a directive of a go.mod that has a module come from a folder.
var localModule = regexp.MustCompile(`=>\s*"?\.{0,2}/`)

// goManifests are the files that go mod download reads, and whether the install reads more than them: the code,
// or modules that lie in the upload.
func goManifests(tree fs.FS, plan coderunner.Plan) (manifests map[string][]byte, whole bool, err error) {
	if manifests, err = readManifests(tree, plan.Root, []string{"go.mod", "go.sum"}); err != nil {
		return nil, false, err
	}
	mod, found := manifests[path.Join(plan.Root, "go.mod")]
	whole = !found || localModule.Match(mod) || plan.Install.Value != "go mod download"
	for dir := path.Clean(plan.Root); ; dir = path.Dir(dir) { // a workspace's file may lie in any folder above
		if _, err := fs.Stat(tree, path.Join(dir, "go.work")); err == nil {
			whole = true
		}
		if dir == "." {
			return manifests, whole, nil
		}
	}
}
