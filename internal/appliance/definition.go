package appliance

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"go.yaml.in/yaml/v3"
)

// document is appliance.yaml as it is written.
type document struct {
	Name        string                   `yaml:"name"`
	Title       string                   `yaml:"title"`
	Kind        coderunner.ApplianceKind `yaml:"kind"`
	Description string                   `yaml:"description"`
	Suite       string                   `yaml:"suite"`
	Packages    []string                 `yaml:"packages"`
	Downloads   []struct {
		Package   string            `yaml:"npm"`
		Module    string            `yaml:"module"`
		Version   string            `yaml:"version"`
		Integrity map[string]string `yaml:"integrity"`
		Into      string            `yaml:"into"`
		Lockfile  string            `yaml:"lockfile"` // of npm, among the files; or this, and nothing else
	} `yaml:"downloads"`
	User struct {
		Name string `yaml:"name"`
		UID  uint32 `yaml:"uid"`
		GID  uint32 `yaml:"gid"`
		Home string `yaml:"home"`
	} `yaml:"user"`
	WorkDir string            `yaml:"workdir"`
	Env     map[string]string `yaml:"env"`
	Setup   string            `yaml:"setup"`
	Runtime struct {
		Serve   []string `yaml:"serve"`
		Builder string   `yaml:"builder"`
		Volume  string   `yaml:"volume"`
	} `yaml:"runtime"`
	Database *struct {
		Protocol coderunner.Protocol `yaml:"protocol"`
		Port     int                 `yaml:"port"` // 0 for the protocol's own
		Volume   string              `yaml:"volume"`
		Start    []string            `yaml:"start"`
		Ready    []string            `yaml:"ready"`
		Init     []string            `yaml:"init"`
	} `yaml:"database"`
}

// read reads and checks one folder. Its error lists all that is wrong.
func read(definitions fs.FS, folder string) (Definition, error) {
	file := path.Join(folder, "appliance.yaml")
	text, err := fs.ReadFile(definitions, file)
	if errors.Is(err, fs.ErrNotExist) {
		return Definition{}, fmt.Errorf("appliance %s: the folder has no appliance.yaml", folder)
	}
	if err != nil {
		return Definition{}, fmt.Errorf("appliance %s: %w", folder, err)
	}
	var doc document
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&doc); err != nil {
		return Definition{}, fmt.Errorf("%s: %w", file, err)
	}
	if err := decoder.Decode(new(document)); !errors.Is(err, io.EOF) {
		return Definition{}, fmt.Errorf("%s: there is more than one document in it", file)
	}
	files, err := openFiles(definitions, folder)
	if err != nil {
		return Definition{}, fmt.Errorf("appliance %s: %w", folder, err)
	}
	if problems := doc.check(folder, files); len(problems) > 0 {
		return Definition{}, fmt.Errorf("%s: %s", file, strings.Join(problems, "; "))
	}
	return doc.definition(files)
}

// definition turns a checked document into what the rest of the program uses.
func (doc document) definition(files *Files) (Definition, error) {
	t := sandbox.Template{
		TemplateRef: sandbox.TemplateRef{Name: doc.Name},
		Suite:       doc.Suite,
		Packages:    doc.Packages,
		Setup:       doc.Setup,
		User:        sandbox.User{Name: doc.User.Name, UID: doc.User.UID, GID: doc.User.GID, Home: doc.User.Home},
		Env:         doc.Env,
		WorkDir:     doc.WorkDir,
	}
	for _, d := range doc.Downloads {
		if d.Lockfile == "" {
			t.Downloads = append(t.Downloads, sandbox.Download{Package: d.Package, Module: d.Module, Version: d.Version, Integrity: d.Integrity, Into: d.Into})
			continue
		}
		list, err := lockfileDownloads(rootOf(files), d.Lockfile)
		if err != nil {
			return Definition{}, fmt.Errorf("appliance %s: %w", doc.Name, err)
		}
		t.Downloads = append(t.Downloads, list...)
	}
	digest, err := templateDigest(t, files)
	if err != nil {
		return Definition{}, fmt.Errorf("appliance %s: %w", doc.Name, err)
	}
	t.Digest = digest
	if files != nil {
		t.Files = files
	}
	d := Definition{
		Name: doc.Name, Title: doc.Title, Description: strings.TrimSpace(doc.Description), Kind: doc.Kind,
		Digest: digest, ServeCommand: doc.Runtime.Serve, Builder: doc.Runtime.Builder, VolumePath: doc.Runtime.Volume, template: t,
	}
	if doc.Database != nil {
		d.Database = &DatabaseSpec{
			Protocol: doc.Database.Protocol, Port: cmp.Or(doc.Database.Port, doc.Database.Protocol.Port()), VolumePath: doc.Database.Volume,
			StartCommand: doc.Database.Start, ReadyCommand: doc.Database.Ready, InitCommand: doc.Database.Init,
		}
	}
	return d, nil
}

// templateDigest covers all that goes into a template. The order of packages
// does not matter to apt, nor here.
func templateDigest(t sandbox.Template, files *Files) (string, error) {
	t.Packages = slices.Sorted(slices.Values(t.Packages))
	definition, err := json.Marshal(t) // maps are written in the order of their keys
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "definition %d\n%s\n", len(definition), definition)
	if files == nil {
		return hex.EncodeToString(sum.Sum(nil)), nil
	}
	err = fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		content, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		fmt.Fprintf(sum, "file %q %o %d\n", name, info.Mode().Perm(), len(content))
		sum.Write(content)
		return nil
	})
	return hex.EncodeToString(sum.Sum(nil)), err
}
