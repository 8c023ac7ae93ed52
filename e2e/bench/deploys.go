package main

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/coderunner/coderunner/e2e/demo/platform"
	"github.com/coderunner/coderunner/examples"
	"github.com/coderunner/coderunner/internal/api"
)

// deployment is what one measured deploy took.
type deployment struct {
	answered, firstLine time.Duration // since Deploy was pressed
	steps               map[string]time.Duration
}

// idle is for how long a server must be left alone to have done what it puts off: a
// copy of the database's files is got ready for the next one.
const idle = 20 * time.Second

// leaveAlone gives the server time for what it does when it has nothing to do.
func leaveAlone(ctx context.Context, during time.Duration) error {
	select {
	case <-time.After(during):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// deploys measures Deploy to the first 200 of an app with a database, and beside
// each, in turn first and second, the same files with npm and node alone.
func (b *bench) deploys(ctx context.Context) error {
	files, err := fs.Sub(examples.FS, "express-postgres")
	if err != nil {
		return err
	}
	bare, err := b.openBare(ctx, files)
	if err != nil {
		return err
	}
	defer bare.close()
	var deployed, alone, npm, node, firstLine samples
	steps := map[string]*samples{"database": {}, "install": {}, "sandbox": {}, "start": {}, "health": {}, "route": {}}
	for round := range b.rounds + 1 {
		var d deployment
		var install, start time.Duration
		work := []func() error{
			func() (err error) { d, err = b.deployOnce(ctx, fmt.Sprintf("deploy %d", round), files); return err },
			func() (err error) { install, start, err = bare.once(ctx, fmt.Sprint(round)); return err },
		}
		if round%2 == 1 {
			work[0], work[1] = work[1], work[0]
		}
		if err := leaveAlone(ctx, idle); err != nil {
			return err
		}
		for _, do := range work {
			if err := do(); err != nil {
				return err
			}
		}
		if round == 0 {
			continue // the first of each warms the page cache and the registry
		}
		deployed.took(d.answered)
		firstLine.took(d.firstLine)
		alone.took(install + start)
		npm.took(install)
		node.took(start)
		for name, s := range steps {
			s.took(d.steps[name])
		}
	}
	b.report.add(
		row{what: "Deploy to first 200, beside npm ci and node alone", unit: "ratio", values: ratios(deployed, alone), target: 1.3},
		row{what: "  Deploy to first 200", unit: "ms", values: deployed},
		row{what: "  npm ci and node alone, same root", unit: "ms", values: alone},
		row{what: "    npm ci", unit: "ms", values: npm},
		row{what: "    node index.js to first 200", unit: "ms", values: node},
	)
	for _, name := range []string{"database", "install", "sandbox", "start", "health", "route"} {
		b.report.add(row{what: "  step " + name, unit: "ms", values: *steps[name]})
	}
	b.report.add(row{what: "Deploy to first line of the log", unit: "ms", values: firstLine, target: 500})
	return nil
}

func (b *bench) deployOnce(ctx context.Context, name string, files fs.FS) (d deployment, err error) {
	project, bundle, err := b.newProject(ctx, name, files)
	if err != nil {
		return d, err
	}
	watch, stop := context.WithCancel(ctx)
	defer stop()
	answered := make(chan time.Time, 1)
	begin := time.Now()
	started, err := b.client.Deploy(ctx, project.ID, platform.Deployment{BundleID: bundle.ID, Databases: []string{databaseAppliance}})
	if err != nil {
		return d, err
	}
	// Nothing answers at the URL before the app has answered on its port, and asking
	// takes time from the install and the app's start.
	await := sync.OnceFunc(func() {
		go func() {
			if at, err := b.client.Await(watch, project.Slug+".localhost", "/"); err == nil {
				answered <- at
			}
		}()
	})
	followed, err := b.client.Follow(ctx, started.Run.ID, func(l api.LogLine, _ time.Time) {
		if l.Step == "health" && strings.HasPrefix(l.Text, "It answered") {
			await()
		}
	})
	if err == nil {
		err = followed.Succeeded()
	}
	if err != nil {
		return d, err
	}
	select {
	case at := <-answered:
		d = deployment{answered: at.Sub(begin), firstLine: followed.FirstLine.Sub(begin), steps: stepTimes(followed.Run)}
	case <-time.After(10 * time.Second):
		return d, fmt.Errorf("the run succeeded and %s does not answer 200", project.Slug)
	}
	return d, b.destroy(ctx, project)
}

func stepTimes(run api.Run) map[string]time.Duration {
	times := map[string]time.Duration{}
	for _, s := range run.Steps {
		if s.StartedAt != nil && s.FinishedAt != nil {
			times[s.Name] = s.FinishedAt.Sub(*s.StartedAt)
		}
	}
	return times
}
