package playbook

import (
	"io/fs"
	"path"
	"regexp"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// pythonNames are the files in which a project says what it needs, beside its requirements files.
var pythonNames = []string{"Pipfile", "Pipfile.lock", "pyproject.toml", "poetry.lock"}

// requirementsFile is a file of pip's, by its name.
var requirementsFile = regexp.MustCompile(`^(requirements|constraints)[A-Za-z0-9._-]*\.txt$`)

// readsProject are parts of install commands that build or install the project itself.
var readsProject = regexp.MustCompile(`install( -\S+)* \.|uv sync|pdm sync|poetry install(?:.*--no-root)?`)

// pythonManifests are the files that pip and the like read, and whether the install reads more than them:
// the project itself, or packages that lie in the upload.
func pythonManifests(tree fs.FS, plan coderunner.Plan) (manifests map[string][]byte, whole bool, err error) {
	entries, err := fs.ReadDir(tree, path.Clean(plan.Root))
	if err != nil {
		return nil, false, err
	}
	names := append([]string(nil), pythonNames...)
	for _, e := range entries {
		if requirementsFile.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	if manifests, err = readManifests(tree, plan.Root, names); err != nil {
		return nil, false, err
	}
	if found := readsProject.FindString(plan.Install.Value); found != "" && !strings.HasSuffix(found, "--no-root") {
		return manifests, true, nil
	}
	for name, content := range manifests {
		if readsUpload(path.Base(name), string(content)) {
			return manifests, true, nil
		}
	}
	return manifests, len(manifests) == 0, nil
}

// readsUpload reports whether a file names something within the upload to be installed.
func readsUpload(name, content string) bool {
	if !requirementsFile.MatchString(name) {
		return strings.Contains(content, "path =") || strings.Contains(content, "path=") || strings.Contains(content, "file:")
	}
	for line := range strings.Lines(content) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "-r") || strings.HasPrefix(line, "-c") || strings.HasPrefix(line, "--requirement") || strings.HasPrefix(line, "--constraint"):
			other := strings.TrimLeft(strings.TrimLeft(line, "-abcdefghijklmnopqrstuvwxyz"), " =")
			if !requirementsFile.MatchString(other) { // it is not among the manifests
				return true
			}
		case strings.HasPrefix(line, "-e"), strings.HasPrefix(line, "--editable"), strings.HasPrefix(line, "-f"), strings.HasPrefix(line, "--find-links"),
			strings.HasPrefix(line, "."), strings.HasPrefix(line, "/"), strings.Contains(line, "file:"), strings.HasSuffix(line, ".whl"), strings.HasSuffix(line, ".tar.gz"):
			return true
		}
	}
	return false
}
