package app

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/coderunner/coderunner/appliances"
	"github.com/coderunner/coderunner/internal/appliance"
	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox/containerd"
)

// Doctor tries what CodeRunner depends on and writes a line about each. Its
// error says how many of them are not well.
func Doctor(ctx context.Context, config Config, out io.Writer) error {
	if err := config.check(); err != nil {
		return err
	}
	failed := 0
	tell := func(what string, err error) {
		if err != nil {
			failed++
			fmt.Fprintf(out, "  ✗ %s: %s\n", what, coderunner.Sentence(err))
			return
		}
		fmt.Fprintf(out, "  ✓ %s\n", what)
	}
	for _, program := range slices.Sorted(maps.Keys(programs)) {
		tell(program, installed(program))
	}
	tellPart := func(part coderunner.Part) {
		var err error
		if part.Trouble != "" {
			err = coderunner.Errorf(coderunner.Unavailable, "%s", part.Trouble)
		}
		tell(strings.TrimSpace(part.Name+" "+part.Version), err)
	}
	linux, _ := kernel()
	tellPart(linux)
	if installed("runc") == nil {
		tellPart(runc(ctx))
	}
	tell("the data directory "+config.DataDir, writable(config.DataDir))
	tell(checkDisk(config))
	catalogue, err := appliance.Load(appliances.FS)
	if err != nil {
		return err
	}
	checkSources(ctx, config, suitesOf(catalogue), tell)
	tell("sandboxes", withProvider(ctx, config, func(p *containerd.Provider) error {
		tellPart(engine(ctx, p))
		return p.Check(ctx)
	}))
	if failed > 0 {
		return coderunner.Errorf(coderunner.Unavailable, "%d of these are not well. Correct them in the order shown.", failed)
	}
	return nil
}

// suitesOf are the Debian releases that templates are made of.
func suitesOf(catalogue *appliance.Catalogue) []string {
	suites := map[string]bool{}
	for _, def := range catalogue.All() {
		suites[def.Template().Suite] = true
	}
	return slices.Sorted(maps.Keys(suites))
}

// programs are those that sandboxes need, with what they do.
var programs = map[string]string{"containerd": "runs the sandboxes", "runc": "starts their processes", "mmdebstrap": "makes the base of the templates"}

// installed says in a sentence that one of programs is not there.
func installed(program string) error {
	if _, err := exec.LookPath(program); err != nil {
		return coderunner.Wrap(err, coderunner.Unavailable, "%s, which %s, is not installed. Install it with apt-get install %s.", program, programs[program], program)
	}
	return nil
}

func writable(dir string) error {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return coderunner.Wrap(err, coderunner.Unavailable, "It cannot be made. Run this as root, or choose another with --data-dir.")
	}
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return coderunner.Wrap(err, coderunner.Unavailable, "It cannot be written to. Run this as root, or choose another with --data-dir.")
	}
	defer os.Remove(f.Name())
	return f.Close()
}

func withProvider(ctx context.Context, config Config, do func(*containerd.Provider) error) error {
	if err := os.MkdirAll(config.DataDir, 0o711); err != nil {
		return err
	}
	provider, err := providerConfig(config)
	if err != nil {
		return err
	}
	p, err := containerd.Open(ctx, provider)
	if err != nil {
		return err
	}
	defer p.Close()
	return do(p)
}

// BuildTemplates makes the templates of the named appliances, of all without names.
func BuildTemplates(ctx context.Context, config Config, names []string, out io.Writer) error {
	if err := config.check(); err != nil {
		return err
	}
	catalogue, err := appliance.Load(appliances.FS)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		for _, def := range catalogue.All() {
			names = append(names, def.Name)
		}
	}
	return withProvider(ctx, config, func(p *containerd.Provider) error {
		for _, name := range names {
			def, err := catalogue.Get(name)
			if err != nil {
				return err
			}
			if err := p.BuildTemplate(ctx, def.Template(), out); err != nil {
				return err
			}
			fmt.Fprintf(out, "%s is ready.\n", def.Title)
		}
		return nil
	})
}
