package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/coderunner/coderunner/appliances"
	"github.com/coderunner/coderunner/e2e/demo/platform"
	"github.com/coderunner/coderunner/internal/analyzer"
	"github.com/coderunner/coderunner/internal/api"
	"github.com/coderunner/coderunner/internal/appliance"
	"github.com/coderunner/coderunner/internal/coderunner"
)

const (
	// tryTime bounds one example, from its upload to its end.
	tryTime = 6 * time.Minute
	// cleanTime bounds what comes after an interrupt.
	cleanTime = 3 * time.Minute
	// lastLines are what is shown of the log of a deploy that failed.
	lastLines = 15
)

// stand is a server with one user, and an index for Python beside it.
type stand struct {
	program, dir, pythonIndex string
	server                    *platform.Server
	client                    *platform.Client
	index                     *index
}

// tried is one row of the table.
type tried struct {
	kind, plan, did string
	first           time.Duration // from Deploy to the first 200; 0 if there was none
	err             error
}

func (s *stand) dataDir() string { return filepath.Join(s.dir, "data") }

// open builds the templates that the samples run on, so that no row has them in its time, and starts the server.
func (s *stand) open(ctx context.Context, samples []coderunner.Sample) error {
	needed, python, err := neededBy(samples)
	if err != nil {
		return err
	}
	if err := platform.Command(ctx, s.program, s.dataDir(), io.Discard, append([]string{"appliance", "build"}, needed...)...); err != nil {
		return err
	}
	if python && s.pythonIndex == "" {
		wheels, err := debianWheels(ctx, filepath.Join(s.dir, "debian"))
		if err != nil {
			return fmt.Errorf("making an index of Debian's packages: %w", err)
		}
		if s.index, err = serveIndex(wheels); err != nil {
			return fmt.Errorf("serving the index: %w", err)
		}
		s.pythonIndex = s.index.address
	}
	if s.server, err = platform.Start(ctx, s.program, s.dataDir()); err != nil {
		return err
	}
	if s.client, err = platform.NewClient(s.server.Port); err != nil {
		return err
	}
	return s.client.Register(ctx, "examples@example.com", rand.Text())
}

// neededBy answers the appliances of the catalogue that the samples need, and whether one is in Python.
func neededBy(samples []coderunner.Sample) (names []string, python bool, err error) {
	catalogue, err := appliance.Load(appliances.FS)
	if err != nil {
		return nil, false, err
	}
	for _, sample := range samples {
		plan, err := analyzer.Analyze(sample.Files)
		if err != nil {
			return nil, false, fmt.Errorf("%s: %w", sample.Name, err)
		}
		names = append(names, plan.Runtime.Appliance)
		if plan.Static() {
			names = append(names, "static")
		}
		for _, need := range plan.Databases {
			names = append(names, need.Appliance)
		}
		python = python || plan.Type == "python"
	}
	slices.Sort(names)
	names = slices.DeleteFunc(slices.Compact(names), func(name string) bool {
		return !slices.ContainsFunc(catalogue.All(), func(def appliance.Definition) bool { return def.Name == name })
	})
	return names, python, nil
}

// try deploys a sample, has it prove that it works, and destroys it.
func (s *stand) try(ctx context.Context, sample coderunner.Sample) (row tried) {
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	project, err := s.client.CreateProject(ctx, sample.Title)
	if err != nil {
		return tried{err: err}
	}
	defer func() { row.err = errors.Join(row.err, s.destroy(project)) }()
	archive, err := platform.Tar(sample.Files)
	if err != nil {
		return tried{err: err}
	}
	bundle, err := s.client.Upload(ctx, project.ID, sample.Name+".tar", archive)
	if err != nil {
		return tried{err: err}
	}
	row = tried{kind: bundle.Plan.Type, plan: inOneLine(bundle.Plan)}
	if row.first, row.err = s.deploy(ctx, project, bundle); row.err != nil {
		return row
	}
	row.did, row.err = proofs[sample.Name](ctx, app{client: s.client, host: project.Slug + ".localhost"})
	return row
}

// deploy presses Deploy with what the plan says, and waits for the URL's first 200 and the run's end.
func (s *stand) deploy(ctx context.Context, project api.Project, bundle api.Bundle) (first time.Duration, err error) {
	request := platform.Deployment{BundleID: bundle.ID}
	for _, need := range bundle.Plan.Databases {
		request.Databases = append(request.Databases, need.Appliance)
	}
	if bundle.Plan.Type == "python" {
		if err := s.client.SetVariables(ctx, project.ID, indexVariables(s.pythonIndex)); err != nil {
			return 0, err
		}
	}
	watch, stop := context.WithCancel(ctx)
	defer stop()
	begin := time.Now()
	started, err := s.client.Deploy(ctx, project.ID, request)
	if err != nil {
		return 0, err
	}
	type answer struct {
		at  time.Time
		err error
	}
	answered := make(chan answer, 1)
	go func() {
		at, err := s.client.Await(watch, project.Slug+".localhost", "/")
		answered <- answer{at, err}
	}()
	var lines []string
	followed, err := s.client.Follow(ctx, started.Run.ID, func(line api.LogLine, _ time.Time) {
		lines = append(lines, line.Text)
		lines = lines[max(0, len(lines)-lastLines):]
	})
	if err == nil {
		err = followed.Succeeded()
	}
	if err != nil {
		return 0, fmt.Errorf("%w\n    %s", err, strings.Join(lines, "\n    "))
	}
	got := <-answered
	return got.at.Sub(begin), got.err
}

// destroy ends a project also when the time for its example is over.
func (s *stand) destroy(project api.Project) error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanTime)
	defer cancel()
	run, err := s.client.Destroy(ctx, project.ID, project.Name)
	if err != nil {
		return fmt.Errorf("destroying it: %w", err)
	}
	followed, err := s.client.Follow(ctx, run.ID, nil)
	if err == nil {
		err = followed.Succeeded()
	}
	if err != nil {
		return fmt.Errorf("destroying it: %w", err)
	}
	return nil
}

func (s *stand) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanTime)
	defer cancel()
	var err error
	if s.index != nil {
		err = s.index.Close()
	}
	return errors.Join(err, platform.Remove(ctx, s.program, s.dir, s.server))
}

// inOneLine is what of a plan tells it from others.
func inOneLine(plan coderunner.Plan) string {
	parts := []string{plan.Runtime.Appliance}
	for _, command := range []string{plan.Install.Value, plan.Build.Value, plan.Start.Value} {
		if command != "" {
			parts = append(parts, command)
		}
	}
	if plan.Static() {
		parts = append(parts, "files of "+plan.StaticDir.Value)
	}
	for _, need := range plan.Databases {
		parts = append(parts, need.Appliance)
	}
	line := strings.Join(parts, " · ")
	if runes := []rune(line); len(runes) > 86 {
		line = string(runes[:85]) + "…"
	}
	return line
}
