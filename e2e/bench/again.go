package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"
	"testing/fstest"
	"time"

	"github.com/coderunner/coderunner/e2e/demo/platform"
	"github.com/coderunner/coderunner/internal/api"
)

// apps are what is deployed again and again: express alone, and express with what a
// front end of some size is built with. The files called changed have one package more.
//
//go:embed apps
var apps embed.FS

// again measures what happens to an app after its first deploy: a changed file, a
// changed package.json, a rollback, a restart; beside the start of node, and npm ci,
// in a chroot of the same template.
func (b *bench) again(ctx context.Context) error {
	for _, app := range []struct {
		name           string
		source, change float64 // targets
	}{{"small", 1.6, 0}, {"medium", 1.3, 0.7}} {
		if err := b.lifeOf(ctx, app.name, app.source, app.change); err != nil {
			return fmt.Errorf("the %s app: %w", app.name, err)
		}
	}
	return nil
}

// pause is what a user takes at least between two changes.
const pause = 5 * time.Second

// appFiles are an app's files with a version in them; changed has another package.json and lockfile.
func appFiles(name, version string, changed bool) (fs.FS, error) {
	files := fstest.MapFS{}
	for file, from := range map[string]string{"index.js": "index.js", "package.json": "package.json", "package-lock.json": "package-lock.json"} {
		if changed {
			from = strings.Replace(from, ".json", ".changed.json", 1)
		}
		text, err := apps.ReadFile(path.Join("apps", name, from))
		if err != nil {
			return nil, err
		}
		files[file] = &fstest.MapFile{Data: []byte(strings.ReplaceAll(string(text), "VERSION", version)), Mode: 0o644}
	}
	return files, nil
}

// life is an app that is there, beside the same without us.
type life struct {
	*bench
	name     string
	project  api.Project
	versions int
	bare     *bare
}

func (b *bench) lifeOf(ctx context.Context, name string, sourceTarget, changeTarget float64) (err error) {
	files, err := appFiles(name, "bare", false)
	if err != nil {
		return err
	}
	roots, err := b.openRoots(ctx, runtimeAppliance)
	if err != nil {
		return err
	}
	l := &life{bench: b, name: name, bare: &bare{b: b, files: files, roots: roots}}
	defer l.bare.close()
	root, err := roots.mount(ctx, "again-"+name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.remove()) }()
	if _, err := l.bare.install(ctx, root, files); err != nil {
		return err
	}
	if l.project, err = b.client.CreateProject(ctx, "again "+name); err != nil {
		return err
	}
	if _, _, err := l.deploy(ctx, false); err != nil {
		return err
	}
	docker, err := b.openDocker(ctx, l.bare, name)
	if err != nil {
		return err
	}
	if docker != nil {
		defer docker.close()
	}
	var source, node, restart, rollback, changed, clean, beside samples
	for round := range b.rounds + 1 {
		var started, took, restarted, back, docked time.Duration
		var deployment deployedVersion
		for _, do := range []func() error{
			func() (err error) { started, err = l.bare.start(ctx, root); return err },
			func() (err error) { took, deployment, err = l.deploy(ctx, false); return err },
			func() (err error) { restarted, err = l.restart(ctx); return err },
			func() (err error) { _, _, err = l.deploy(ctx, false); return err },
			func() (err error) { back, err = l.rollback(ctx, deployment); return err },
			func() (err error) { docked, err = l.inDocker(ctx, docker); return err },
		} {
			if err := leaveAlone(ctx, pause); err != nil {
				return err
			}
			if err := do(); err != nil {
				return err
			}
		}
		if round == 0 {
			continue // warms up
		}
		node.took(started)
		source.took(took)
		restart.took(restarted)
		rollback.took(back)
		if docker != nil {
			beside.took(docked)
		}
	}
	for round := range (b.rounds + 1) / 2 {
		npm, err := l.cleanInstall(ctx, round)
		if err != nil {
			return err
		}
		took, err := l.changedInstall(ctx)
		if err != nil {
			return err
		}
		clean.took(npm)
		changed.took(took)
	}
	b.report.add(
		row{what: name + " app: Deploy with an unchanged lockfile to first 200, beside the start of node alone", unit: "ratio", values: ratios(source, node), target: sourceTarget},
		row{what: "  Deploy to first 200", unit: "ms", values: source},
		row{what: "  node index.js to first 200, same root", unit: "ms", values: node},
		row{what: "  restart to first 200 of the new sandbox", unit: "ms", values: restart, target: 800},
		row{what: "  rollback to first 200", unit: "ms", values: rollback, target: 1000},
		row{what: "  package.json changed: the install, beside npm ci alone", unit: "ratio", values: ratios(changed, clean), target: changeTarget},
		row{what: "    the install on top of the last", unit: "ms", values: changed},
		row{what: "    npm ci alone", unit: "ms", values: clean},
	)
	if docker != nil {
		b.report.add(
			row{what: "  Deploy with an unchanged lockfile, beside docker build and run", unit: "ratio", values: ratios(source, beside), target: 1},
			row{what: "    docker build and run to first 200", unit: "ms", values: beside},
		)
	}
	return b.destroy(ctx, l.project)
}

// inDocker does the same with Docker, if there is one.
func (l *life) inDocker(ctx context.Context, d *docker) (time.Duration, error) {
	if d == nil {
		return 0, nil
	}
	l.versions++
	version := fmt.Sprintf("version-%d", l.versions)
	files, err := appFiles(l.name, version, false)
	if err != nil {
		return 0, err
	}
	return d.deploy(ctx, l.bare.roots, files, version)
}

// next uploads the app with a new version.
func (l *life) next(ctx context.Context, changed bool) (version string, bundle api.Bundle, err error) {
	l.versions++
	version = fmt.Sprintf("version-%d", l.versions)
	files, err := appFiles(l.name, version, changed)
	if err != nil {
		return version, bundle, err
	}
	archive, err := platform.Tar(files)
	if err != nil {
		return version, bundle, err
	}
	bundle, err = l.client.Upload(ctx, l.project.ID, "bench.tar", archive)
	return version, bundle, err
}

// deploy brings a new version online and says how long it took until that answered.
func (l *life) deploy(ctx context.Context, changed bool) (time.Duration, deployedVersion, error) {
	version, bundle, err := l.next(ctx, changed)
	if err != nil {
		return 0, deployedVersion{}, err
	}
	begin := time.Now()
	started, err := l.client.Deploy(ctx, l.project.ID, platform.Deployment{BundleID: bundle.ID})
	if err != nil {
		return 0, deployedVersion{}, err
	}
	took, err := l.until(ctx, begin, version, started.Run)
	return took, deployedVersion{started.Deployment.ID, version}, err
}

type deployedVersion struct{ id, version string }

// until waits for the version, then for the end of the run that brings it.
func (l *life) until(ctx context.Context, begin time.Time, version string, run api.Run) (time.Duration, error) {
	limit, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	took := make(chan time.Duration, 1)
	await := sync.OnceFunc(func() {
		go func() {
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for {
				if status, body, err := l.client.Get(limit, l.project.Slug+".localhost", "/"); err == nil && status == 200 && body == version {
					took <- time.Since(begin)
					return
				}
				select {
				case <-limit.Done():
					return
				case <-tick.C:
				}
			}
		}()
	})
	followed, err := l.client.Follow(limit, run.ID, func(line api.LogLine, _ time.Time) {
		if line.Step == "health" && strings.HasPrefix(line.Text, "It answered") {
			await()
		}
	})
	if err == nil {
		err = followed.Succeeded()
	}
	if err != nil {
		return 0, err
	}
	select {
	case t := <-took:
		return t, nil
	case <-time.After(5 * time.Second):
		return 0, fmt.Errorf("the run succeeded and %s does not answer %s", l.project.Slug, version)
	}
}

// restart runs the current version in a new sandbox. The version is the same, so
// what counts is when the run has moved the route.
func (l *life) restart(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	run, err := l.client.Restart(ctx, l.project.ID)
	if err != nil {
		return 0, err
	}
	followed, err := l.client.Follow(ctx, run.ID, func(api.LogLine, time.Time) {})
	if err == nil {
		err = followed.Succeeded()
	}
	if err != nil {
		return 0, err
	}
	for _, step := range followed.Run.Steps {
		if step.Name == "route" {
			return step.FinishedAt.Sub(begin), nil
		}
	}
	return 0, errors.New("the restart has no step that moves the route")
}

func (l *life) rollback(ctx context.Context, to deployedVersion) (time.Duration, error) {
	begin := time.Now()
	started, err := l.client.Rollback(ctx, to.id)
	if err != nil {
		return 0, err
	}
	return l.until(ctx, begin, to.version, started.Run)
}

// cleanInstall is npm ci of the changed files in a fresh root.
func (l *life) cleanInstall(ctx context.Context, round int) (took time.Duration, err error) {
	files, err := appFiles(l.name, "bare", true)
	if err != nil {
		return 0, err
	}
	root, err := l.bare.roots.mount(ctx, fmt.Sprintf("clean-%s-%d", l.name, round))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, root.remove()) }()
	return l.bare.install(ctx, root, files)
}

// changedInstall deploys the changed files to a project that has the others, and
// says how long the install took.
func (l *life) changedInstall(ctx context.Context) (time.Duration, error) {
	fresh := &life{bench: l.bench, name: l.name, bare: l.bare}
	var err error
	if fresh.project, err = l.client.CreateProject(ctx, fmt.Sprintf("changed %s %d", l.name, time.Now().UnixNano())); err != nil {
		return 0, err
	}
	if _, _, err := fresh.deploy(ctx, false); err != nil {
		return 0, err
	}
	version, bundle, err := fresh.next(ctx, true)
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	started, err := l.client.Deploy(ctx, fresh.project.ID, platform.Deployment{BundleID: bundle.ID})
	if err != nil {
		return 0, err
	}
	if _, err := fresh.until(ctx, begin, version, started.Run); err != nil {
		return 0, err
	}
	run, err := l.client.Run(ctx, started.Run.ID)
	if err != nil {
		return 0, err
	}
	return stepTimes(run)["install"], l.destroy(ctx, fresh.project)
}
