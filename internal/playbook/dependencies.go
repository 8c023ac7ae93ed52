package playbook

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// dependencies is what an install depends on.
type dependencies struct {
	key       string            // equal for two installs that must give the same
	basis     string            // equal for two of which one may be done on top of the other; "" for none
	manifests map[string][]byte // all that the install reads, by path within the bundle; nil when it may read anything
	lockfile  []byte            // npm's, for checking an install on top of another
	proposed  bool              // the command is the one that we found
}

// manifestNames are the files that package managers read beside package.json.
var manifestNames = []string{"package.json", "package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", "bun.lock", "bun.lockb", ".npmrc", ".yarnrc", ".yarnrc.yml"}

// maxManifest is the largest manifest that is looked into, in bytes.
const maxManifest = 64 << 20

// readDependencies looks at what the plan's install command depends on. usual is
// the command that the analyzer found: of another one nobody knows what it reads.
func readDependencies(tree fs.FS, sha string, plan coderunner.Plan, usual, template, project string, env map[string]string) (dependencies, error) {
	var d dependencies
	var whole bool
	var err error
	switch plan.Runtime.Name {
	case "nodejs":
		d.manifests, whole, err = nodeManifests(tree, plan.Root)
	case "python":
		d.manifests, whole, err = pythonManifests(tree, plan)
	case "go":
		d.manifests, whole, err = goManifests(tree, plan)
	default:
		whole = true
	}
	if err != nil {
		return d, err
	}
	d.proposed = plan.Install.Value == usual
	whole = whole || !d.proposed
	base := newDigest("template", template, "project", project, "command", plan.Install.Value, "root", plan.Root)
	if exact := plan.Runtime.ExactNode(); exact != "" {
		base.add("node", exact)
	}
	for _, key := range slices.Sorted(maps.Keys(env)) {
		base.add("env "+key, env[key])
	}
	if whole {
		d.manifests = nil
		base.add("bundle", sha)
		d.key = base.String()
		return d, nil
	}
	d.basis = base.String()
	for _, name := range slices.Sorted(maps.Keys(d.manifests)) {
		content := d.manifests[name]
		if plan.Runtime.Name == "nodejs" && name == path.Join(plan.Root, "package.json") {
			content = installPart(content)
		}
		base.add("file "+name, string(content))
	}
	d.key = base.String()
	if plan.Install.Value == "npm ci" {
		for _, name := range []string{"npm-shrinkwrap.json", "package-lock.json"} {
			if lock, found := d.manifests[path.Join(plan.Root, name)]; found {
				d.lockfile = lock
				break
			}
		}
	}
	if d.lockfile == nil {
		d.basis = "" // nothing to check the result against
	}
	return d, nil
}

// nodeManifests are the files that npm and the like read, and whether an install reads more than them.
func nodeManifests(tree fs.FS, root string) (manifests map[string][]byte, whole bool, err error) {
	if manifests, err = readManifests(tree, root, manifestNames); err != nil {
		return nil, false, err
	}
	pkg, found := manifests[path.Join(root, "package.json")]
	whole = !found || installsFromCode(pkg)
	for _, name := range []string{"binding.gyp", "pnpm-workspace.yaml", ".pnpmfile.cjs", ".yarn", "patches"} {
		if _, err := fs.Stat(tree, path.Join(root, name)); err == nil {
			whole = true
		}
	}
	return manifests, whole, nil
}

// readManifests reads those of the files that are in the root, by their paths.
func readManifests(tree fs.FS, root string, names []string) (map[string][]byte, error) {
	manifests := map[string][]byte{}
	for _, name := range names {
		content, err := readManifest(tree, path.Join(root, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		manifests[path.Join(root, name)] = content
	}
	return manifests, nil
}

func readManifest(tree fs.FS, name string) ([]byte, error) {
	info, err := fs.Stat(tree, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fs.ErrNotExist
	}
	if info.Size() > maxManifest {
		return nil, coderunner.Errorf(coderunner.TooLarge, "%s is larger than %d MiB, which cannot be right. Check what was written into it.", name, maxManifest>>20)
	}
	return fs.ReadFile(tree, name)
}

// installFields are the parts of package.json that an install reads.
var installFields = []string{"name", "version", "dependencies", "devDependencies", "optionalDependencies", "peerDependencies", "peerDependenciesMeta",
	"bundleDependencies", "bundledDependencies", "overrides", "resolutions", "pnpm", "engines", "packageManager", "os", "cpu", "installConfig", "dependenciesMeta"}

// installPart is package.json without what an install does not read, so that a
// changed script or description installs nothing.
func installPart(content []byte) []byte {
	var all map[string]json.RawMessage
	if json.Unmarshal(bytes.TrimPrefix(content, []byte("\xef\xbb\xbf")), &all) != nil {
		return content
	}
	part := map[string]json.RawMessage{}
	for _, name := range installFields {
		if raw, found := all[name]; found {
			part[name] = raw
		}
	}
	text, err := json.Marshal(part)
	if err != nil {
		return content
	}
	return text
}

// installsFromCode reports whether installing the package reads more than its manifests:
// scripts of its own run, or dependencies lie in the upload.
func installsFromCode(content []byte) bool {
	var pkg struct {
		Scripts    map[string]json.RawMessage `json:"scripts"`
		Workspaces json.RawMessage            `json:"workspaces"`
		Pnpm       struct {
			Patched json.RawMessage `json:"patchedDependencies"`
		} `json:"pnpm"`
		Dependencies         map[string]json.RawMessage `json:"dependencies"`
		DevDependencies      map[string]json.RawMessage `json:"devDependencies"`
		OptionalDependencies map[string]json.RawMessage `json:"optionalDependencies"`
		Resolutions          map[string]json.RawMessage `json:"resolutions"`
	}
	if json.Unmarshal(bytes.TrimPrefix(content, []byte("\xef\xbb\xbf")), &pkg) != nil || len(pkg.Workspaces) > 0 || len(pkg.Pnpm.Patched) > 0 {
		return true
	}
	for _, hook := range []string{"preinstall", "install", "postinstall", "preprepare", "prepare", "postprepare", "prepublish", "dependencies"} {
		if _, found := pkg.Scripts[hook]; found {
			return true
		}
	}
	for _, table := range []map[string]json.RawMessage{pkg.Dependencies, pkg.DevDependencies, pkg.OptionalDependencies, pkg.Resolutions} {
		for _, raw := range table {
			var wanted string
			if json.Unmarshal(raw, &wanted) != nil || isLocal(wanted) {
				return true
			}
		}
	}
	return false
}

// isLocal reports whether a dependency's specifier names something within the upload.
func isLocal(wanted string) bool {
	for _, prefix := range []string{"file:", "link:", "portal:", "workspace:", "patch:", ".", "/", "~/"} {
		if strings.HasPrefix(wanted, prefix) {
			return true
		}
	}
	return strings.HasSuffix(wanted, ".tgz") && !strings.Contains(wanted, "://")
}

// manifestsTar packs the manifests as they lie in the bundle.
func manifestsTar(manifests map[string][]byte) (io.ReadCloser, error) {
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	made := map[string]bool{".": true}
	for _, name := range slices.Sorted(maps.Keys(manifests)) {
		if err := addDirs(w, path.Dir(name), made); err != nil {
			return nil, err
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(manifests[name]))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(manifests[name]); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return io.NopCloser(&packed), nil
}

func addDirs(w *tar.Writer, dir string, made map[string]bool) error {
	if made[dir] {
		return nil
	}
	if err := addDirs(w, path.Dir(dir), made); err != nil {
		return err
	}
	made[dir] = true
	return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755})
}

// lockPackages are the packages of an npm lockfile, or of the record that npm keeps of
// what it has installed.
type lockPackages struct {
	Packages map[string]struct {
		Version   string `json:"version"`
		Integrity string `json:"integrity"`
		Resolved  string `json:"resolved"`
		Link      bool   `json:"link"`
		Optional  bool   `json:"optional"`
		DevOpt    bool   `json:"devOptional"`
	} `json:"packages"`
}

// installedAsLocked compares npm's record of what is installed with a lockfile,
// and says what differs. Only optional packages may be absent: those of other systems are.
func installedAsLocked(lockfile, record []byte) error {
	var want, have lockPackages
	if err := json.Unmarshal(lockfile, &want); err != nil {
		return fmt.Errorf("reading the lockfile: %w", err)
	}
	if err := json.Unmarshal(record, &have); err != nil {
		return fmt.Errorf("reading the record of what is installed: %w", err)
	}
	if len(want.Packages) == 0 {
		return errors.New("the lockfile is of an old format without a list of packages")
	}
	for name, w := range want.Packages {
		if name == "" {
			continue
		}
		h, found := have.Packages[name]
		switch {
		case !found && !w.Optional && !w.DevOpt:
			return fmt.Errorf("%s is not installed", name)
		case found && (h.Version != w.Version || h.Link != w.Link):
			return fmt.Errorf("%s is installed in version %q, the lockfile has %q", name, h.Version, w.Version)
		case found && w.Integrity != "" && h.Integrity != w.Integrity:
			return fmt.Errorf("%s is installed with other content than the lockfile has", name)
		case found && w.Integrity == "" && w.Resolved != "" && h.Resolved != w.Resolved:
			return fmt.Errorf("%s is installed from another place than the lockfile has", name)
		}
	}
	for name := range have.Packages {
		if _, found := want.Packages[name]; !found {
			return fmt.Errorf("%s is installed and not in the lockfile", name)
		}
	}
	return nil
}

// digest hashes named texts so that none can be taken for another.
type digest struct{ sum []byte }

func newDigest(pairs ...string) *digest {
	d := &digest{}
	for i := 0; i < len(pairs); i += 2 {
		d.add(pairs[i], pairs[i+1])
	}
	return d
}

func (d *digest) add(name, text string) {
	n, t := sha256.Sum256([]byte(name)), sha256.Sum256([]byte(text))
	sum := sha256.Sum256(slices.Concat(d.sum, n[:], t[:]))
	d.sum = sum[:]
}

// String is 128 bits in lower-case hex.
func (d *digest) String() string { return hex.EncodeToString(d.sum[:16]) }
