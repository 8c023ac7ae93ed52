package playbook

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/diagnosis"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// startApp starts the app's process. Its output is kept by the provider from here on.
func startApp(ctx context.Context, st *step) error {
	env, err := st.appEnv(ctx)
	if err != nil {
		return err
	}
	plan := st.deployment.Plan
	command, err := st.e.appCommand(plan, env)
	if err != nil {
		return err
	}
	if plan.Static() {
		st.say("Serving the files of %s.", staticDir(plan))
	} else {
		st.say("$ %s", plan.Start.Value)
	}
	err = st.e.provider.Start(ctx, st.appSandbox(), appProcess, command)
	if coderunner.KindOf(err) == coderunner.NotFound { // its machine has stopped since it was made
		if err = st.e.bootApp(ctx, st.execution, st.appSandbox()); err == nil {
			err = st.e.provider.Start(ctx, st.appSandbox(), appProcess, command)
		}
	}
	if err != nil {
		return err
	}
	st.e.followOutput(st.appSandbox())
	return st.tellDetached(ctx)
}

// wrongSocket is how long an app may listen at the wrong place only before the wait is given up.
const wrongSocket = 5 * time.Second

// outputRead is where the reading of the app's output got to.
type outputRead struct {
	Offset int64 `json:"offset"`
}

// awaitHealth waits until the app answers HTTP on its port, and fails as soon as
// it is clear that it will not: it ended, or listens only where nobody reaches it.
func awaitHealth(ctx context.Context, st *step) error {
	name, plan := st.appSandbox(), st.deployment.Plan
	address, err := st.e.provider.Address(ctx, name, plan.Port)
	if err != nil {
		return err
	}
	watch, stop := context.WithCancel(ctx)
	defer stop()
	output, stopReading := st.readOutput(ctx, name)
	healthy := false
	defer func() {
		if !healthy {
			stopReading()
		}
	}()
	ended := make(chan sandbox.ProcessStatus, 1)
	go func() {
		if status, err := st.e.provider.Wait(watch, name, appProcess); err == nil {
			ended <- status
		}
	}()
	path := st.healthPath()
	host, _ := st.e.cfg.PublicURL(st.project.Slug)
	begin := time.Now()
	check := healthCheck{client: probeClient(address.Proxy), url: "http://" + host + path, deadline: begin.Add(st.e.cfg.HealthTimeout)}
	st.say("Waiting for an answer on port %d.", plan.Port)
	for {
		status, err := check.try(ctx)
		switch {
		case err == nil && diagnosis.RefusesHost(status, check.body):
			stopReading()
			return st.diagnose(ctx, diagnosis.Evidence{Step: "health", Command: plan.Start.Value, Status: status, Body: check.body, HealthPath: path, Timeout: time.Since(begin)})
		case err == nil && status < 500:
			// What the app prints until the run's end belongs to this log.
			healthy, st.endOutput = true, stopReading
			st.say("It answered %d on port %d after %d ms.", status, plan.Port, time.Since(begin).Milliseconds())
			return nil
		case err == nil:
			check.lastStatus = status
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case status := <-ended:
			<-output // ends by itself once all is read
			return st.appEnded(ctx, status)
		case <-time.After(askAgain(time.Since(begin))):
		}
		sockets, giveUp, err := check.lookAround(ctx, st.e.provider, name, plan.Port)
		if coderunner.KindOf(err) == coderunner.NotFound {
			return st.appEnded(ctx, sandbox.ProcessStatus{})
		}
		if err != nil {
			return err
		}
		if giveUp {
			stopReading()
			return st.diagnose(ctx, diagnosis.Evidence{Step: "health", Command: plan.Start.Value, Sockets: sockets, Status: check.lastStatus, HealthPath: path, Timeout: time.Since(begin)})
		}
	}
}

// healthPath is what is requested to know whether the app is well.
func (x *execution) healthPath() string {
	if path := x.deployment.Plan.HealthPath.Value; path != "" {
		return path
	}
	return "/"
}

// readOutput begins to put what the app prints into the log. The channel is closed
// when the app has ended and all is read; the function ends it earlier, with what
// is there by then.
func (st *step) readOutput(ctx context.Context, name string) (<-chan struct{}, func()) {
	reading, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		// What cannot be read is missing in the log; the app's health is another matter.
		if err := st.followOutput(reading, name); err != nil && reading.Err() == nil {
			st.say("The app's output cannot be read: %s", coderunner.Sentence(err))
		}
	}()
	return done, func() {
		stop()
		<-done
	}
}

// lastOutput bounds the reading of what an app has printed by the end of a run.
const lastOutput = 2 * time.Second

// askAgain is the pause after an app did not answer: its first answer is noticed
// at most a hundredth later than it could be, or some milliseconds.
func askAgain(waited time.Duration) time.Duration {
	return min(max(waited/100, 2*time.Millisecond), 250*time.Millisecond)
}

// followOutput copies the app's output into the run's log. Where it got to is
// kept, so that a later attempt goes on from there.
func (st *step) followOutput(ctx context.Context, name string) error {
	var read outputRead
	if err := st.output(st.Name, &read); err != nil {
		return err
	}
	streams := map[string]io.WriteCloser{"stdout": st.log.Stream(st.Name, coderunner.Stdout), "stderr": st.log.Stream(st.Name, coderunner.Stderr)}
	defer func() {
		for _, w := range streams {
			w.Close()
		}
	}()
	deliver := func(chunk sandbox.OutputChunk) error {
		w := streams[chunk.Stream]
		if w == nil {
			return nil
		}
		if _, err := w.Write(chunk.Data); err != nil {
			return err
		}
		read.Offset = chunk.Next
		return st.leave(context.WithoutCancel(ctx), read)
	}
	err := st.e.provider.Output(ctx, name, appProcess, read.Offset, true, deliver)
	if ctx.Err() == nil {
		return err
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastOutput)
	defer cancel()
	return st.e.provider.Output(last, name, appProcess, read.Offset, false, deliver)
}

// healthCheck asks the app, and looks at where it listens instead.
type healthCheck struct {
	client     *http.Client
	url        string
	deadline   time.Time
	lastStatus int
	body       string // how the last answer from 400 to 499 begins
	looked     time.Time
	wrongSince time.Time
}

func (c *healthCheck) try(ctx context.Context) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, nil)
	if err != nil {
		return 0, fmt.Errorf("the health request %s: %w", c.url, err)
	}
	req.Header.Set("User-Agent", "CodeRunner-Health/1")
	res, err := c.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	c.body = ""
	if res.StatusCode >= 400 && res.StatusCode < 500 {
		begins, err := io.ReadAll(io.LimitReader(res.Body, 4096))
		if err != nil && len(begins) == 0 {
			return res.StatusCode, nil // its status is an answer
		}
		c.body = string(begins)
	}
	return res.StatusCode, nil
}

// lookAround tells, now and then, whether waiting longer is pointless.
func (c *healthCheck) lookAround(ctx context.Context, provider sandbox.Provider, name string, port int) (sockets []sandbox.Socket, giveUp bool, err error) {
	now := time.Now()
	late := now.After(c.deadline)
	if !late && now.Sub(c.looked) < 500*time.Millisecond {
		return nil, false, nil
	}
	c.looked = now
	if sockets, err = provider.Listening(ctx, name); err != nil {
		return nil, false, err
	}
	elsewhere := len(sockets) > 0
	for _, s := range sockets {
		if s.Port == port && !s.Loopback() {
			elsewhere = false
		}
	}
	if !elsewhere {
		c.wrongSince = time.Time{}
	} else if c.wrongSince.IsZero() {
		c.wrongSince = now
	}
	return sockets, late || elsewhere && now.Sub(c.wrongSince) > wrongSocket, nil
}

// probeClient dials one address whatever the URL says, and follows no redirect: any answer is an answer.
func probeClient(address string) *http.Client {
	return &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, network, address)
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
