package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/coderunner/coderunner/e2e/demo/platform"
	"github.com/coderunner/coderunner/examples"
	"github.com/coderunner/coderunner/internal/api"
)

const (
	projectName = "Guest book"
	example     = "express-postgres"
	database    = "postgres-15"
	// cleanTime bounds what comes after an interrupt.
	cleanTime = 3 * time.Minute
)

// demo is one go, and what of it has to be undone.
type demo struct {
	program, dir string
	out          io.Writer
	server       *platform.Server
	client       *platform.Client
	project      api.Project // that exists on the server
}

func (d *demo) dataDir() string { return filepath.Join(d.dir, "data") }

// row prints one measured thing.
func (d *demo) row(what string, took time.Duration, note string) {
	line := fmt.Sprintf("  %-34s %9s  %s", what, shown(took), note)
	fmt.Fprintln(d.out, strings.TrimRight(line, " "))
}

func shown(took time.Duration) string {
	if took < time.Second {
		return fmt.Sprintf("%d ms", took.Milliseconds())
	}
	return fmt.Sprintf("%.2f s", took.Seconds())
}

func (d *demo) play(ctx context.Context) error {
	fmt.Fprintf(d.out, "CodeRunner with a data directory of its own: %s\n\n", d.dataDir())
	begin := time.Now()
	if err := platform.Command(ctx, d.program, d.dataDir(), io.Discard, "appliance", "build", "nodejs-24", database); err != nil {
		return err
	}
	d.row("templates", time.Since(begin), "engine started; built, or read from this machine's archive")
	var err error
	if d.server, err = platform.Start(ctx, d.program, d.dataDir()); err != nil {
		return err
	}
	d.row("serve: first start", d.server.Ready, "with a new private database")
	if d.client, err = platform.NewClient(d.server.Port); err != nil {
		return err
	}
	bundle, err := d.upload(ctx)
	if err != nil {
		return err
	}
	if err := d.deploy(ctx, bundle); err != nil {
		return err
	}
	if err := d.use(ctx); err != nil {
		return err
	}
	if err := d.destroy(ctx); err != nil {
		return err
	}
	return d.nothingLeft(ctx)
}

// upload is what comes before Deploy: an account, a project, the code, its plan.
func (d *demo) upload(ctx context.Context) (bundle api.Bundle, err error) {
	begin := time.Now()
	if err := d.client.Register(ctx, "demo@example.com", rand.Text()); err != nil {
		return bundle, err
	}
	d.row("register", time.Since(begin), "")
	begin = time.Now()
	if d.project, err = d.client.CreateProject(ctx, projectName); err != nil {
		return bundle, err
	}
	files, err := fs.Sub(examples.FS, example)
	if err != nil {
		return bundle, err
	}
	archive, err := platform.Tar(files)
	if err != nil {
		return bundle, err
	}
	if bundle, err = d.client.Upload(ctx, d.project.ID, example+".tar", archive); err != nil {
		return bundle, err
	}
	d.row("create project, upload, analyze", time.Since(begin), fmt.Sprintf("%d files, %d bytes", bundle.Files, len(archive)))
	plan := bundle.Plan
	for _, line := range [][2]string{{"runtime", plan.Runtime.Appliance + ": " + plan.Runtime.Why}, {"install", plan.Install.Value}, {"start", plan.Start.Value}, {"port", fmt.Sprint(plan.Port)}} {
		fmt.Fprintf(d.out, "    plan: %-8s %s\n", line[0], line[1])
	}
	for _, need := range plan.Databases {
		fmt.Fprintf(d.out, "    plan: %-8s %s: %s\n", "database", need.Appliance, need.Why)
	}
	return bundle, nil
}

// deploy presses Deploy and watches from two sides: the run's events, and the URL from outside.
func (d *demo) deploy(ctx context.Context, bundle api.Bundle) error {
	host := d.project.Slug + ".localhost"
	watch, stop := context.WithCancel(ctx)
	defer stop()
	type answer struct {
		at  time.Time
		err error
	}
	answered := make(chan answer, 1)
	begin := time.Now()
	started, err := d.client.Deploy(ctx, d.project.ID, platform.Deployment{BundleID: bundle.ID, Databases: []string{database}})
	if err != nil {
		return err
	}
	accepted := time.Since(begin)
	go func() {
		at, err := d.client.Await(watch, host, "/")
		answered <- answer{at, err}
	}()
	followed, err := d.client.Follow(ctx, started.Run.ID, nil)
	if err == nil {
		err = followed.Succeeded()
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, d.server.Log())
	}
	done := time.Since(begin)
	first := <-answered
	if first.err != nil {
		return first.err
	}
	d.row("Deploy accepted", accepted, "")
	d.row("first line of the log", followed.FirstLine.Sub(begin), "since Deploy")
	for _, s := range followed.Run.Steps {
		if s.StartedAt != nil && s.FinishedAt != nil {
			d.row("  "+s.Title, s.FinishedAt.Sub(*s.StartedAt), fmt.Sprintf("from %s on", shown(s.StartedAt.Sub(begin))))
		}
	}
	d.row("Deploy to first 200", first.at.Sub(begin), "asked from outside every 5 ms")
	d.row("Deploy to run ended", done, fmt.Sprintf("%d lines", followed.Lines))
	fmt.Fprintf(d.out, "\n  http://%s\n\n", net.JoinHostPort(host, d.server.Port))
	return nil
}

// use writes a row through the app's URL and reads it back.
func (d *demo) use(ctx context.Context) error {
	host, words := d.project.Slug+".localhost", "still here, "+rand.Text()
	begin := time.Now()
	entry, err := json.Marshal(map[string]string{"name": "Demo", "message": words})
	if err != nil {
		return err
	}
	res, err := d.client.Do(ctx, http.MethodPost, host, "/entries", strings.NewReader(string(entry)), "Content-Type", "application/json")
	if err != nil {
		return err
	}
	res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		return fmt.Errorf("writing a row through the app answers %d", res.StatusCode)
	}
	status, body, err := d.client.Get(ctx, host, "/api/entries")
	if err != nil {
		return err
	}
	if status != http.StatusOK || !strings.Contains(body, words) {
		return fmt.Errorf("the row is not read back: %d %s", status, body)
	}
	d.row("write a row, read it back", time.Since(begin), fmt.Sprintf("%q, through the app's URL", words))
	rss, err := d.server.RSS()
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "  %-34s %5.1f MiB\n", "memory of serve itself", float64(rss)/(1<<20))
	if rss, err = d.server.EdgeRSS(ctx); err != nil {
		return err
	}
	fmt.Fprintf(d.out, "  %-34s %5.1f MiB\n", "memory of the edge", float64(rss)/(1<<20))
	return nil
}

func (d *demo) destroy(ctx context.Context) error {
	begin := time.Now()
	run, err := d.client.Destroy(ctx, d.project.ID, d.project.Name)
	if err != nil {
		return err
	}
	followed, err := d.client.Follow(ctx, run.ID, nil)
	if err == nil {
		err = followed.Succeeded()
	}
	if err != nil {
		return err
	}
	d.row("destroy", time.Since(begin), "")
	return nil
}

// nothingLeft asks the API, the URL and the machine.
func (d *demo) nothingLeft(ctx context.Context) error {
	project, err := d.client.Project(ctx, d.project.ID)
	if err != nil {
		return err
	}
	if project.DestroyedAt == nil || project.PublicURL != "" || len(project.Databases) > 0 {
		return fmt.Errorf("after the destroy the API answers %+v", project)
	}
	if status, _, err := d.client.Get(ctx, d.project.Slug+".localhost", "/"); err != nil || status == http.StatusOK {
		return errors.Join(fmt.Errorf("after the destroy the URL answers %d", status), err)
	}
	left, err := platform.Leftovers(d.dataDir())
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("after the destroy these are left:\n  %s", strings.Join(left, "\n  "))
	}
	d.project = api.Project{}
	return nil
}

// clean undoes whatever play got to, also after an interrupt, and looks whether it is undone.
func (d *demo) clean() error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanTime)
	defer cancel()
	var errs []error
	if d.project.ID != "" {
		fmt.Fprintln(d.out, "  Destroying the project …")
		if err := d.destroy(ctx); err != nil {
			errs = append(errs, fmt.Errorf("destroying the project: %w", err))
		}
	}
	begin := time.Now()
	errs = append(errs, platform.Remove(ctx, d.program, d.dir, d.server))
	d.row("down, directory removed", time.Since(begin), "")
	return errors.Join(errs...)
}
