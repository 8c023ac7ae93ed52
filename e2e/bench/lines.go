package main

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing/fstest"
	"time"

	"github.com/coderunner/coderunner/e2e/demo/platform"
	"github.com/coderunner/coderunner/internal/api"
)

// ticks is how many lines the app prints, some 90 in a second, each with the time at
// which it did.
const ticks = 500

var tickApp = fstest.MapFS{
	"package.json": {Data: []byte(`{"name": "ticks", "version": "1.0.0"}`), Mode: 0o644},
	"index.js":     {Data: []byte("require('node:http').createServer((q, a) => a.end('ok')).listen(process.env.PORT)\n"), Mode: 0o644},
	"tick.js": {Mode: 0o644, Data: []byte(fmt.Sprintf(`
let left = %d;
const timer = setInterval(() => {
  console.log('tick ' + Date.now());
  if (--left === 0) clearInterval(timer);
}, 11);
`, ticks))},
}

var tick = regexp.MustCompile(`tick (\d{13})`)

// lines measures how old a line of a running command is when it comes to a
// reader: one that follows by the API, and one that has the page open.
func (b *bench) lines(ctx context.Context) error {
	if err := b.logInToPages(ctx); err != nil {
		return err
	}
	nothing, build, start := "", "node tick.js", "node index.js"
	project, bundle, err := b.newProject(ctx, "ticks", fs.FS(tickApp))
	if err != nil {
		return err
	}
	started, err := b.client.Deploy(ctx, project.ID, platform.Deployment{BundleID: bundle.ID, Plan: &api.PlanChanges{Install: &nothing, Build: &build, Start: &start}})
	if err != nil {
		return err
	}
	var program, page samples
	var pageErr error
	var reading sync.WaitGroup
	reading.Go(func() {
		pageErr = b.client.Stream(ctx, "/runs/"+started.Run.ID+"/events", func(e platform.Event) error {
			page.ages(e.Data, e.At)
			return nil
		})
	})
	followed, err := b.client.Follow(ctx, started.Run.ID, func(l api.LogLine, at time.Time) { program.ages(l.Text, at) })
	reading.Wait()
	if err == nil {
		err = followed.Succeeded()
	}
	if err != nil {
		return err
	}
	if len(program) != ticks || len(page) != ticks {
		return fmt.Errorf("of %d lines the API sent %d and the page %d (%s)", ticks, len(program), len(page), fmt.Sprint(pageErr))
	}
	b.report.add(
		row{what: "Line printed until it is at the reader, page", unit: "ms", values: page, p95: true, target: 100},
		row{what: "Line printed until it is at the reader, API", unit: "ms", values: program, p95: true, target: 100},
	)
	return b.destroy(ctx, project)
}

// ages adds how old the lines in text were.
func (s *samples) ages(text string, at time.Time) {
	for _, found := range tick.FindAllStringSubmatch(text, -1) {
		ms, err := strconv.ParseInt(found[1], 10, 64)
		if err != nil {
			continue // fourteen digits are no number of milliseconds of ours
		}
		s.took(at.Sub(time.UnixMilli(ms)))
	}
}

// logInToPages gives the client a browser's session beside its tokens.
func (b *bench) logInToPages(ctx context.Context) error {
	form := url.Values{"email": {email}, "password": {b.password}}
	res, err := b.client.Do(ctx, http.MethodPost, "localhost", "/login", strings.NewReader(form.Encode()),
		"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin")
	if err != nil {
		return err
	}
	res.Body.Close()
	if res.StatusCode != http.StatusSeeOther {
		return fmt.Errorf("the log-in page answers %d", res.StatusCode)
	}
	return nil
}
