package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/coderunner/coderunner/appliances"
	"github.com/coderunner/coderunner/e2e/demo/platform"
	"github.com/coderunner/coderunner/internal/api"
	"github.com/coderunner/coderunner/internal/appliance"
	"github.com/coderunner/coderunner/internal/sandbox/containerd"
)

const (
	runtimeAppliance  = "nodejs-24"
	databaseAppliance = "postgres-15"
	email             = "bench@example.com"
)

// closeTime bounds what comes after an interrupt.
const closeTime = 3 * time.Minute

// bench is a CodeRunner with a user, and beside it a provider of our own on the same engine.
type bench struct {
	program, dir string
	rounds       int
	progress     io.Writer
	report       report

	server    *platform.Server
	client    *platform.Client
	password  string
	catalogue *appliance.Catalogue
	provider  *containerd.Provider
}

func (b *bench) dataDir() string   { return filepath.Join(b.dir, "data") }
func (b *bench) engineDir() string { return filepath.Join(b.dir, "engine") }

// open starts the engine with its templates, then the server.
func (b *bench) open(ctx context.Context) error {
	fmt.Fprintf(b.progress, "bench: templates …\n")
	if err := b.command(ctx, "appliance", "build", runtimeAppliance, databaseAppliance); err != nil {
		return err
	}
	var err error
	if b.catalogue, err = appliance.Load(appliances.FS); err != nil {
		return err
	}
	b.provider, err = containerd.Open(ctx, containerd.Config{EngineDir: b.engineDir(), Instance: "bench", StateDir: filepath.Join(b.dir, "bench")})
	if err != nil {
		return err
	}
	if err := b.serve(ctx); err != nil {
		return err
	}
	b.password = rand.Text()
	return b.client.Register(ctx, email, b.password)
}

// serve starts the server and makes a client for it. What apps print is not
// throttled, since it is measured how much of it can be stored.
func (b *bench) serve(ctx context.Context) (err error) {
	if b.server, err = platform.Start(ctx, b.program, b.dataDir(), "--engine-dir", b.engineDir(),
		"--log-rate", "1000000", "--log-lines", "1000000"); err != nil {
		return err
	}
	b.client, err = platform.NewClient(b.server.Port)
	return err
}

// command runs another of the program's commands on the bench's directories.
func (b *bench) command(ctx context.Context, args ...string) error {
	return platform.Command(ctx, b.program, b.dataDir(), io.Discard, append(args, "--engine-dir", b.engineDir())...)
}

// close stops everything, whatever open and the measurements got to.
func (b *bench) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	var errs []error
	if b.provider != nil {
		infos, err := b.provider.List(ctx, nil)
		errs = append(errs, err)
		for _, info := range infos {
			errs = append(errs, b.provider.Destroy(ctx, info.Name))
		}
		networks, err := b.provider.ListNetworks(ctx)
		errs = append(errs, err)
		for _, name := range networks {
			errs = append(errs, b.provider.RemoveNetwork(ctx, name))
		}
		errs = append(errs, b.provider.Close())
	}
	if b.server != nil {
		errs = append(errs, b.server.Stop())
	}
	return errors.Join(append(errs, b.command(ctx, "down"), platform.ForgetEngine(b.engineDir()))...)
}

// newProject makes a project with a tree uploaded.
func (b *bench) newProject(ctx context.Context, name string, files fs.FS) (project api.Project, bundle api.Bundle, err error) {
	archive, err := platform.Tar(files)
	if err != nil {
		return project, bundle, err
	}
	if project, err = b.client.CreateProject(ctx, name); err != nil {
		return project, bundle, err
	}
	bundle, err = b.client.Upload(ctx, project.ID, "bench.tar", archive)
	return project, bundle, err
}

// destroy removes a project and waits until it is gone.
func (b *bench) destroy(ctx context.Context, project api.Project) error {
	run, err := b.client.Destroy(ctx, project.ID, project.Name)
	if err != nil {
		return err
	}
	followed, err := b.client.Follow(ctx, run.ID, nil)
	if err != nil {
		return err
	}
	return followed.Succeeded()
}
