package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing/fstest"
	"time"

	"github.com/coderunner/coderunner/e2e/demo/platform"
	"github.com/coderunner/coderunner/internal/api"
	"github.com/coderunner/coderunner/internal/coderunner"
)

const (
	viewers     = coderunner.MaxStreams // all that one user may have
	runtimeRate = 20_000                // lines a second
	runtimeTime = 10                    // seconds
	viewTime    = time.Minute
)

// The app prints when it is asked to, so many lines every ten milliseconds, each with
// the time at which it did.
var printApp = fstest.MapFS{
	"package.json": {Data: []byte(`{"name": "prints", "version": "1.0.0"}`), Mode: 0o644},
	"index.js": {Mode: 0o644, Data: []byte(fmt.Sprintf(`
const rate = %d, seconds = %d;
require('node:http').createServer((request, answer) => {
  answer.end('ok');
  if (request.url !== '/go') return;
  const begin = Date.now();
  let printed = 0;
  const timer = setInterval(() => {
    const now = Date.now();
    const due = Math.min(rate * seconds, Math.floor((now - begin) * rate / 1000));
    let text = '';
    for (; printed < due; printed++) text += 'tick ' + now + ' of an app that prints line ' + printed + '\n';
    if (text) process.stdout.write(text);
    if (printed === rate * seconds) clearInterval(timer);
  }, 10);
}).listen(process.env.PORT);
`, runtimeRate, runtimeTime))},
}

// runtimeLines measures how old an app's lines are when they come to each of the pages
// that a user may have open. For each event it is the age of its oldest line that counts.
func (b *bench) runtimeLines(ctx context.Context) error {
	if err := b.logInToPages(ctx); err != nil {
		return err
	}
	nothing, start := "", "node index.js"
	project, bundle, err := b.newProject(ctx, "prints", fs.FS(printApp))
	if err != nil {
		return err
	}
	started, err := b.client.Deploy(ctx, project.ID, platform.Deployment{BundleID: bundle.ID, Plan: &api.PlanChanges{Install: &nothing, Build: &nothing, Start: &start}})
	if err != nil {
		return err
	}
	followed, err := b.client.Follow(ctx, started.Run.ID, nil)
	if err == nil {
		err = followed.Succeeded()
	}
	if err != nil {
		return err
	}
	limit, cancel := context.WithTimeout(ctx, viewTime)
	defer cancel()
	var connected, reading sync.WaitGroup
	seen := make([]view, viewers)
	for i := range seen {
		connected.Add(1)
		reading.Go(func() { seen[i].err = b.watch(limit, project.ID, &seen[i], sync.OnceFunc(connected.Done)) })
	}
	connected.Wait()
	res, err := b.client.Do(ctx, http.MethodGet, "prints.localhost", "/go", nil)
	if err != nil {
		return err
	}
	res.Body.Close()
	reading.Wait()
	var ages, rates samples
	for i, v := range seen {
		if v.err != nil {
			return fmt.Errorf("viewer %d has seen %d lines: %w", i, v.lines, v.err)
		}
		ages = append(ages, v.ages...)
		rates.add(float64(v.lines-1) / v.last.Sub(v.first).Seconds())
	}
	slices.Sort(rates)
	b.report.add(
		row{what: fmt.Sprintf("App's line printed until each of %d pages has it", viewers), unit: "ms", values: ages, p95: true, target: 250},
		row{what: "such lines, stored and seen by each", unit: "a second", values: rates},
	)
	return b.destroy(ctx, project)
}

// view is what one viewer has seen.
type view struct {
	lines       int
	ages        samples
	first, last time.Time
	err         error
}

var errSeen = errors.New("all lines were seen")

// watch reads the page's stream until all lines have come.
func (b *bench) watch(ctx context.Context, projectID string, v *view, connected func()) error {
	defer connected()
	res, err := b.client.Do(ctx, http.MethodGet, "localhost", "/projects/"+projectID+"/logs/events?after=0", nil, "Accept", "text/event-stream")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the stream answers %d", res.StatusCode)
	}
	in := bufio.NewReaderSize(res.Body, 1<<20)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if !bytes.HasPrefix(line, []byte("data: ")) {
			continue
		}
		connected() // it has seen that the app was started
		if err := v.take(line, time.Now()); err != nil {
			if errors.Is(err, errSeen) {
				return nil
			}
			return err
		}
	}
}

// take counts the lines of an event and notes how old the first of them is.
func (v *view) take(event []byte, at time.Time) error {
	const mark = "<span>tick "
	n := bytes.Count(event, []byte(mark))
	if n == 0 {
		return nil
	}
	begin := bytes.Index(event, []byte(mark)) + len(mark)
	ms, err := strconv.ParseInt(string(event[begin:begin+13]), 10, 64)
	if err != nil {
		return err
	}
	if v.lines == 0 {
		v.first = time.UnixMilli(ms)
	}
	v.lines += n
	v.last = at
	v.ages.took(at.Sub(time.UnixMilli(ms)))
	if v.lines == runtimeRate*runtimeTime {
		return errSeen
	}
	return nil
}
