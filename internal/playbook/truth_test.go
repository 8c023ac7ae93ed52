package playbook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

// standing is what a project was when it was looked at.
type standing struct {
	current   coderunner.Deployment       // zero before the first that served
	version   string                      // that answers, "" for none
	databases []coderunner.DatabaseStatus // detached ones too
}

func (l *lane) look(ctx context.Context) (s standing, err error) {
	if s.databases, err = l.engine.Databases(ctx, l.sample.user.ID, l.sample.project.ID); err != nil {
		return s, err
	}
	s.current, err = l.store.CurrentDeployment(ctx, l.sample.user.ID, l.sample.project.ID)
	if coderunner.KindOf(err) == coderunner.NotFound {
		return standing{databases: s.databases}, nil
	}
	if s.current.Status == coderunner.Running {
		s.version = l.versions[s.current.ID]
	}
	return s, err
}

// outcome is what must become of a run.
type outcome struct {
	run     coderunner.Run
	before  standing
	version string // that answers if it succeeds
	ends    coderunner.RunState
}

// settles waits until everything is true that must be after the run, for as long
// as a recovery may take, and tells what is not.
func (l *lane) settles(ctx context.Context, o outcome) error {
	ctx, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	wake, unsubscribe := l.hub.Subscribe(o.run.ID)
	defer unsubscribe()
	var why error
	for {
		look, enough := context.WithTimeout(ctx, 10*time.Second)
		err := l.truth(look, o)
		enough()
		if err == nil {
			return nil
		}
		if why == nil || ctx.Err() == nil {
			why = err
		}
		select {
		case <-wake:
		case <-time.After(50 * time.Millisecond): // not everything tells when it changes
		case <-ctx.Done():
			return why
		}
	}
}

// truth compares everything that there is of a project with what its rows say, and
// the rows with what the run's end means.
func (l *lane) truth(ctx context.Context, o outcome) error {
	run, err := l.store.RunByID(ctx, o.run.ID)
	if err != nil {
		return err
	}
	if !run.State.Ended() {
		return fmt.Errorf("the run is %s", run.State)
	}
	if run.State != o.ends {
		return fmt.Errorf("the run ended %s, %s", run.State, told(run.Failure))
	}
	succeeded := run.State == coderunner.RunSucceeded
	if succeeded && o.version != "" {
		l.versions[run.DeploymentID] = o.version
	}
	if err := errors.Join(l.stepsEnded(ctx, run), l.logWhole(ctx, run)); err != nil {
		return err
	}
	if succeeded && run.Playbook == DestroyPlaybook {
		return errors.Join(l.gone(ctx), l.answers(ctx, ""))
	}
	now, err := l.look(ctx)
	if err != nil {
		return err
	}
	want := o.before
	if succeeded {
		want.version = o.version
		if run.DeploymentID != now.current.ID && run.DeploymentID != "" {
			return fmt.Errorf("the current deployment is %s, and the run was about %s", now.current.ID, run.DeploymentID)
		}
	} else if now.current.ID != o.before.current.ID || now.current.Status != o.before.current.Status {
		return fmt.Errorf("the run came to nothing, and the current deployment became %d, %s", now.current.Number, now.current.Status)
	}
	if now.version != want.version {
		return fmt.Errorf("the current deployment is %d, %s, of %q; want %q", now.current.Number, now.current.Status, now.version, want.version)
	}
	if run.Playbook == DeleteDatabasePlaybook && succeeded {
		l.rows = 0
	}
	return errors.Join(databasesTrue(run, succeeded, o.before, now), l.deploymentsTrue(ctx, now), l.sandboxesTrue(ctx, now), l.keptTrue(ctx), l.rowsThere(ctx), l.answers(ctx, want.version))
}

func told(f *coderunner.Failure) string {
	if f == nil {
		return "without a failure"
	}
	return fmt.Sprintf("with the failure %q (%s)", f.Title, f.ID)
}

// stepsEnded: an ended run has no step that is under way.
func (l *lane) stepsEnded(ctx context.Context, run coderunner.Run) error {
	steps, err := l.store.Steps(ctx, run.ID)
	if err != nil {
		return err
	}
	for _, s := range steps {
		open := s.State == coderunner.StepPending || s.State == coderunner.StepRunning
		if open || run.State == coderunner.RunSucceeded && s.State != coderunner.StepDone {
			return fmt.Errorf("the run ended %s with its step %s %s", run.State, s.Name, s.State)
		}
	}
	return nil
}

// logWhole: the lines are numbered without gaps, and the last says how the run ended, once.
func (l *lane) logWhole(ctx context.Context, run coderunner.Run) error {
	lines, err := l.store.LogAfter(ctx, run.ID, 0, 5000)
	if err != nil {
		return err
	}
	ends, last := 0, 0
	for i, line := range lines {
		if line.Seq != int64(i+1) {
			return fmt.Errorf("line %d of the log has the number %d", i+1, line.Seq)
		}
		var end bool
		switch run.State {
		case coderunner.RunSucceeded:
			end = line.Text == "Done."
		case coderunner.RunFailed:
			end = strings.HasPrefix(line.Text, "Failed: ")
		default:
			end = line.Text == "Cancelled. What was begun was undone."
		}
		if line.Step == "" && end {
			ends, last = ends+1, i
		}
	}
	rest := slices.DeleteFunc(slices.Clone(lines[min(last+1, len(lines)):]), func(line coderunner.LogLine) bool {
		stays := line.Text == "The installed dependencies are kept for another try." || strings.HasSuffix(line.Text, " stays, with its data; the next deploy uses it.")
		return line.Step == "" && (stays || strings.HasSuffix(line.Text, "is still serving."))
	})
	if ends != 1 || len(rest) > 0 {
		return fmt.Errorf("the log tells the run's end %d times, and ends with %+v", ends, lines[max(0, len(lines)-2):])
	}
	return nil
}

// deploymentsTrue: nothing but the current deployment serves, and none is on its way.
func (l *lane) deploymentsTrue(ctx context.Context, now standing) error {
	all, err := l.store.ProjectDeployments(ctx, l.sample.user.ID, l.sample.project.ID, 100, 0)
	if err != nil {
		return err
	}
	for _, d := range all {
		serves := d.ID == now.current.ID && d.Status == coderunner.Running
		switch {
		case d.Status != coderunner.Running && d.Status != coderunner.Stopped && d.Status != coderunner.Failed:
			return fmt.Errorf("deployment %d is %s without a run", d.Number, d.Status)
		case !serves && (d.Status == coderunner.Running || d.PublicURL != "" || d.AppSandboxID != ""):
			return fmt.Errorf("deployment %d, %s, has the URL %q and the sandbox %q and is not the current one", d.Number, d.Status, d.PublicURL, d.AppSandboxID)
		case serves && (d.PublicURL == "" || d.AppSandboxID == "" || d.Failure != nil):
			return fmt.Errorf("deployment %d serves, at %q from %q, %s", d.Number, d.PublicURL, d.AppSandboxID, told(d.Failure))
		}
	}
	routes, err := l.store.ProjectRoutes(ctx, l.sample.project.ID)
	if err != nil {
		return err
	}
	for _, r := range routes {
		if live := now.current.Status == coderunner.Running; r.Stopped == live || live && r.SandboxID != now.current.AppSandboxID {
			return fmt.Errorf("the route is %+v, and deployment %d is %s in %q", r, now.current.Number, now.current.Status, now.current.AppSandboxID)
		}
	}
	if now.current.ID != "" && len(routes) != 1 || now.current.ID == "" && len(routes) > 0 {
		return fmt.Errorf("there are %d routes", len(routes))
	}
	return nil
}

// sandboxesTrue: the provider has those of which there are rows, there are rows of
// those that are needed, and all of them run.
func (l *lane) sandboxesTrue(ctx context.Context, now standing) error {
	infos, err := l.provider.List(ctx, ProjectLabels(l.sample.project.ID))
	if err != nil {
		return err
	}
	records, err := l.store.ProjectSandboxes(ctx, l.sample.project.ID)
	if err != nil {
		return err
	}
	databases, err := l.store.ProjectDatabases(ctx, l.sample.project.ID)
	if err != nil {
		return err
	}
	var there, recorded, needed []string
	for _, i := range infos {
		there = append(there, i.Name)
		if i.State != sandbox.StateRunning {
			return fmt.Errorf("the sandbox %s is %s", i.Name, i.State)
		}
	}
	for _, r := range records {
		recorded = append(recorded, r.ID)
		// A database that a cancelled deploy was making is begun once more; an app is not started twice for nothing.
		if r.UnwantedAt != nil || r.Restarts > 0 && r.Purpose == coderunner.ForApp && l.fault.kind != sandboxDown {
			return fmt.Errorf("the sandbox %s is unwanted since %v and was restarted %d times", r.ID, r.UnwantedAt, r.Restarts)
		}
	}
	if now.current.AppSandboxID != "" {
		needed = append(needed, now.current.AppSandboxID)
	}
	for _, d := range databases {
		// One that a cancelled deploy was making is the project's already.
		if d.StoppedAt == nil && (d.SandboxID != "" || slices.Contains(recorded, databaseSandbox(d.ID))) {
			needed = append(needed, databaseSandbox(d.ID))
		}
	}
	for _, list := range [][]string{there, recorded, needed} {
		slices.Sort(list)
	}
	if !slices.Equal(there, recorded) || !slices.Equal(recorded, needed) {
		return fmt.Errorf("the provider has the sandboxes %q, the rows say %q, needed are %q", there, recorded, needed)
	}
	return l.networkTrue(ctx, len(there) > 0)
}

func (l *lane) networkTrue(ctx context.Context, needed bool) error {
	networks, err := l.provider.ListNetworks(ctx)
	if err == nil && needed && !slices.Contains(networks, projectNetwork(l.sample.project.ID)) {
		err = fmt.Errorf("the project's network is not among %q", networks)
	}
	return err
}

// answers requests the project's URL through the edge, and wants the version; none
// for a URL that says that nothing is there.
func (l *lane) answers(ctx context.Context, version string) error {
	status, got, err := l.ask(ctx, http.DefaultClient)
	if err != nil {
		return err
	}
	if version == "" && (status == http.StatusNotFound || status == http.StatusServiceUnavailable) || version != "" && status == http.StatusOK && got == version {
		return nil
	}
	return fmt.Errorf("the URL answers %d from %q, want %q", status, got, version)
}

func (l *lane) ask(ctx context.Context, client *http.Client) (status int, version string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.address+"/", nil)
	if err != nil {
		return 0, "", err
	}
	req.Host = l.sample.project.Slug + ".apps.test"
	res, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return res.StatusCode, strings.TrimSpace(string(body[:min(len(body), 80)])), err
	}
	var a versionAnswer
	err = json.Unmarshal(body, &a)
	return res.StatusCode, a.Version, err
}

// gone: of a destroyed project there is nothing but its history.
func (l *lane) gone(ctx context.Context) error {
	labels := ProjectLabels(l.sample.project.ID)
	infos, err := l.provider.List(ctx, labels)
	volumes, volumesErr := l.provider.ListVolumes(ctx, labels)
	snapshots, snapshotsErr := l.provider.ListSnapshots(ctx, labels)
	networks, networksErr := l.provider.ListNetworks(ctx)
	records, recordsErr := l.store.ProjectSandboxes(ctx, l.sample.project.ID)
	kept, keptErr := l.store.ProjectSnapshots(ctx, l.sample.project.ID)
	deployments, deploymentsErr := l.store.ProjectDeployments(ctx, l.sample.user.ID, l.sample.project.ID, 100, 0)
	if err := errors.Join(err, volumesErr, snapshotsErr, networksErr, recordsErr, keptErr, deploymentsErr); err != nil {
		return err
	}
	if len(infos)+len(volumes)+len(snapshots)+len(records)+len(kept) > 0 || slices.Contains(networks, projectNetwork(l.sample.project.ID)) {
		return fmt.Errorf("the destroy left the sandboxes %v, volumes %v, snapshots %v, networks %v, rows %v and %v", infos, volumes, snapshots, networks, records, kept)
	}
	for _, d := range deployments {
		if d.Status != coderunner.Destroyed {
			return fmt.Errorf("the destroy left deployment %d %s", d.Number, d.Status)
		}
	}
	return nil
}

// watch requests the app again and again until it is stopped, and then tells every
// answer that was not of one of the versions.
func (l *lane) watch(ctx context.Context, versions ...string) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	var wrong []error
	work.Go(func() {
		transport := &http.Transport{}
		defer transport.CloseIdleConnections()
		tick := time.NewTicker(25 * time.Millisecond)
		defer tick.Stop()
		for {
			status, version, err := l.ask(context.WithoutCancel(ctx), &http.Client{Transport: transport, Timeout: 10 * time.Second})
			if err != nil || status != http.StatusOK || !slices.Contains(versions, version) {
				wrong = append(wrong, fmt.Errorf("meanwhile the URL answered %d from %q (%w)", status, version, err))
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	return func() error {
		cancel()
		work.Wait()
		return errors.Join(wrong[:min(len(wrong), 3)]...)
	}
}
