// Package appliance reads the catalogue: for each appliance a folder with an
// appliance.yaml and, if it needs any, a directory files that mirrors the root
// of its template. A definition that could not be built or run is refused when
// the catalogue is read, with everything that is wrong with it.
//
// A definition's digest covers what a template is made of (suite, packages,
// account, environment, working directory, setup, files with their modes) and
// nothing else, so that a reworded description builds nothing anew.
package appliance

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sort"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// Catalogue is the set of appliances that can be instantiated. It does not change.
type Catalogue struct {
	byName map[string]Definition
	names  []string
}

// Definition is one appliance, read and checked.
type Definition struct {
	Name        string // "nodejs-18"
	Title       string // "Node.js 18"
	Description string
	Kind        coderunner.ApplianceKind
	Digest      string        // lower-case hex SHA-256
	Database    *DatabaseSpec // nil unless Kind is DatabaseAppliance
	// ServeCommand serves the folder STATIC_DIR on PORT, without a shell; nil where the app's own
	// start command is what runs. What is not there is answered with the page STATIC_FALLBACK, if that is set.
	ServeCommand []string
	Builder      string // the appliance that installs and builds for this one; "" where it does so itself
	// VolumePath is where the app's sandboxes have the project's own volume, "" for none. It is
	// owned by the template's user and outlives deployments.
	VolumePath string

	template sandbox.Template
}

// DatabaseSpec is how a database appliance is run. A playbook mounts a volume at
// VolumePath, starts StartCommand as a long-lived process, with what its sandbox may
// have in MEMORY_BYTES if there is a limit, repeats ReadyCommand
// until it exits 0, and then runs InitCommand with Protocol.InitEnvironment in its
// environment, which may be repeated. All three run as the template's own user,
// without a shell.
type DatabaseSpec struct {
	Protocol     coderunner.Protocol
	Port         int
	VolumePath   string // absolute; the volume is owned by the template's user
	StartCommand []string
	ReadyCommand []string
	InitCommand  []string
}

// Load reads every folder at the top of definitions. One bad definition is an
// Invalid error for all: the catalogue is part of the program.
func Load(definitions fs.FS) (*Catalogue, error) {
	folders, err := fs.ReadDir(definitions, ".")
	if err != nil {
		return nil, coderunner.Wrap(err, coderunner.Unavailable, "The catalogue of appliances cannot be read.")
	}
	c := &Catalogue{byName: map[string]Definition{}}
	var problems []error
	for _, folder := range folders {
		if !folder.IsDir() || strings.HasPrefix(folder.Name(), ".") {
			continue
		}
		definition, err := read(definitions, folder.Name())
		if err != nil {
			problems = append(problems, err)
			continue
		}
		c.byName[definition.Name] = definition
		c.names = append(c.names, definition.Name)
	}
	for _, d := range c.byName {
		if d.Builder != "" && c.byName[d.Builder].Kind != coderunner.BuilderAppliance {
			problems = append(problems, fmt.Errorf("%s/appliance.yaml: runtime.builder is %q, which is no appliance of kind builder", d.Name, d.Builder))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, coderunner.Errorf(coderunner.Invalid, "%w", err)
	}
	if len(c.names) == 0 {
		return nil, coderunner.Errorf(coderunner.Invalid, "The catalogue has no appliance: no folder with an appliance.yaml was found.")
	}
	sort.Strings(c.names)
	return c, nil
}

// Get finds an appliance by name; an unknown one is a NotFound error that lists
// those that exist.
func (c *Catalogue) Get(name string) (Definition, error) {
	definition, ok := c.byName[name]
	if !ok {
		return Definition{}, coderunner.Errorf(coderunner.NotFound, "There is no appliance %q. There are %s.", name, strings.Join(c.names, ", "))
	}
	return definition, nil
}

// All lists the appliances by name.
func (c *Catalogue) All() []Definition {
	all := make([]Definition, 0, len(c.names))
	for _, name := range c.names {
		all = append(all, c.byName[name])
	}
	return all
}

// Template is what a provider builds. The caller may change the maps and slices it gets.
func (d Definition) Template() sandbox.Template {
	t := d.template
	t.Packages = slices.Clone(t.Packages)
	env := make(map[string]string, len(t.Env))
	for key, value := range t.Env {
		env[key] = value
	}
	t.Env = env
	return t
}

// Domain is the catalogue entry as pages show it.
func (d Definition) Domain() coderunner.Appliance {
	return coderunner.Appliance{Name: d.Name, Title: d.Title, Kind: d.Kind, Description: d.Description, Digest: d.Digest}
}
