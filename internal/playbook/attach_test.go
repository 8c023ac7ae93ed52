package playbook

import (
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/testdb"
)

// psql asks a project's PostgreSQL as its app does, with the variables that the app has.
func (p *platform) psql(t *testing.T, s sample, sql string) string {
	t.Helper()
	env := p.env(t, s.project.Slug, "/env")
	var out strings.Builder
	exit, err := p.provider.Exec(t.Context(), databaseSandbox(p.database(t, s).ID), sandbox.Command{Argv: []string{"psql", "-XqAt", env["DATABASE_URL"], "-c", sql}, Stdout: &out, Stderr: &out})
	if err != nil || exit.Code != 0 {
		t.Fatalf("%s ended with exit code %d: %s (%v)", sql, exit.Code, out.String(), err)
	}
	return strings.TrimSpace(out.String())
}

// database is the only one that a project has or had.
func (p *platform) database(t *testing.T, s sample) coderunner.DatabaseStatus {
	t.Helper()
	list, err := p.engine.Databases(t.Context(), s.user.ID, s.project.ID)
	if err != nil || len(list) != 1 {
		t.Fatalf("the project has the databases %+v (%v)", list, err)
	}
	return list[0]
}

// TestAttachAndDetach of an app that runs: what was written is there when it comes back.
func TestAttachAndDetach(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	s := p.upload(t, "shop", answer)
	p.succeeds(t, s)
	attach := func(restart bool) {
		t.Helper()
		run, err := p.engine.AttachDatabase(t.Context(), s.user.ID, s.project.ID, "postgres-15", restart)
		p.succeeded(t, run, err)
	}
	detach := func(restart bool) {
		t.Helper()
		run, err := p.engine.DetachDatabase(t.Context(), s.user.ID, s.project.ID, "postgres-15", restart)
		p.succeeded(t, run, err)
	}
	// is compares what the app has with what the page says of the database.
	is := func(when string, variable, attached, pending bool) {
		t.Helper()
		d := p.database(t, s)
		if has := p.env(t, "shop", "/env")["DATABASE_URL"] != ""; has != variable || (d.DetachedAt == nil) != attached || d.Pending != pending {
			t.Errorf("%s the app has DATABASE_URL: %v; the database is detached at %v, not applied yet: %v", when, has, d.DetachedAt, d.Pending)
		}
		_, err := p.provider.Get(t.Context(), databaseSandbox(d.ID))
		if missing := coderunner.KindOf(err) == coderunner.NotFound; missing == attached {
			t.Errorf("%s its sandbox is missing: %v (%v)", when, missing, err)
		}
	}

	attach(false)
	is("attached without a restart", false, true, true)
	restart, err := p.engine.RestartApp(t.Context(), s.user.ID, s.project.ID)
	p.succeeded(t, restart, err)
	is("after the restart", true, true, false)
	p.psql(t, s, "CREATE TABLE notes (text text); INSERT INTO notes VALUES ('kept')")
	volume := p.database(t, s).Volume
	if _, err := p.engine.AttachDatabase(t.Context(), s.user.ID, s.project.ID, "postgres-15", true); coderunner.KindOf(err) != coderunner.Conflict {
		t.Errorf("attaching what is attached answers %v", err)
	}

	detach(true)
	is("detached with a restart", false, false, false)
	if _, err := p.engine.DetachDatabase(t.Context(), s.user.ID, s.project.ID, "postgres-15", true); coderunner.KindOf(err) != coderunner.Conflict {
		t.Errorf("detaching what is detached answers %v", err)
	}
	redeploy := p.succeeds(t, s)
	is("after another deploy", false, false, false)
	if text := p.logText(t, redeploy.ID); strings.Contains(text, "PostgreSQL") {
		t.Errorf("a deploy without it tells of it:\n%s", text)
	}

	attach(true)
	is("attached again", true, true, false)
	if text := p.psql(t, s, "SELECT text FROM notes"); text != "kept" || p.database(t, s).Volume != volume {
		t.Errorf("attached again, it has %q on the volume %s; it was %s", text, p.database(t, s).Volume, volume)
	}

	detach(false)
	is("detached without a restart", true, false, true)
	with := p.succeeds(t, s, "postgres-15")
	is("deployed with it ticked", true, true, false)
	if text := p.psql(t, s, "SELECT text FROM notes"); text != "kept" {
		t.Errorf("deployed with it ticked, it has %q", text)
	}

	detach(true)
	const tells = "This version ran with PostgreSQL 15, which is detached: it is started without DATABASE_URL."
	detachedAt := p.database(t, s).DetachedAt
	for _, to := range []struct {
		deployment string
		had        bool
	}{{redeploy.DeploymentID, true}, {with.DeploymentID, false}} { // when they were last started
		rollback := p.rollsBack(t, s, to.deployment)
		if text := p.logText(t, rollback.ID); strings.Contains(text, tells) != to.had {
			t.Errorf("a rollback to a version that had the database, %v, says:\n%s", to.had, text)
		}
		is("after a rollback", false, false, false)
	}
	if now := p.database(t, s).DetachedAt; !now.Equal(*detachedAt) {
		t.Errorf("a rollback changes since when it is detached, from %s to %s", detachedAt, now)
	}
	destroy, err := p.engine.Destroy(t.Context(), s.user.ID, s.project.ID, "shop")
	p.succeeded(t, destroy, err)
	p.nothingLeft(t)
}

// TestDetachThatTheAppDoesNotSurvive is undone: the database stays attached, and the version goes on.
func TestDetachThatTheAppDoesNotSurvive(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	s := p.upload(t, "needy", `if (!process.env.DATABASE_URL) throw new Error("no DATABASE_URL");`+answer)
	p.succeeds(t, s, "postgres-15")
	p.databaseRuns(t, s)
	run, err := p.engine.DetachDatabase(t.Context(), s.user.ID, s.project.ID, "postgres-15", true)
	if err != nil {
		t.Fatal(err)
	}
	if run = p.ended(t, run.ID); run.State != coderunner.RunFailed {
		t.Errorf("the detach ended %s\n%s", run.State, p.logText(t, run.ID))
	}
	d := p.database(t, s)
	if text := p.logText(t, run.ID); d.DetachedAt != nil || d.StoppedAt != nil || d.Pending || !strings.Contains(text, "PostgreSQL 15 is attached again.") {
		t.Errorf("the database is %+v\n%s", d, text)
	}
	if p.psql(t, s, "SELECT 1") != "1" {
		t.Error("the app's database does not answer")
	}
}

// TestAttachThatIsCancelled leaves the project without the database, and keeps its data.
func TestAttachThatIsCancelled(t *testing.T) {
	t.Parallel()
	var stop trap
	p := startPlatformIn(t, t.TempDir(), testdb.New(t), func(p *platform) { p.engine.breakpoint = stop.breakpoint })
	s := p.upload(t, "shop", answer)
	p.succeeds(t, s)
	reached, release := stop.set("database", true)
	run, err := p.engine.AttachDatabase(t.Context(), s.user.ID, s.project.ID, "postgres-15", true)
	if err != nil {
		t.Fatal(err)
	}
	<-reached
	_, err = p.engine.Cancel(t.Context(), s.user.ID, run.ID)
	release()
	if run = p.ended(t, run.ID); err != nil || run.State != coderunner.RunCancelled {
		t.Errorf("the attach ended %s (%v)\n%s", run.State, err, p.logText(t, run.ID))
	}
	if d := p.database(t, s); d.DetachedAt == nil || d.Pending {
		t.Errorf("the database is %+v", d)
	}
	volumes, err := p.provider.ListVolumes(t.Context(), ProjectLabels(s.project.ID))
	if err != nil || len(volumes) != 1 {
		t.Errorf("its volumes are %+v (%v)", volumes, err)
	}
}

// TestAttachBeforeTheFirstDeploy makes the database, and the deploy finds it.
func TestAttachBeforeTheFirstDeploy(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	s := p.upload(t, "early", answer)
	run, err := p.engine.AttachDatabase(t.Context(), s.user.ID, s.project.ID, "postgres-15", true)
	p.succeeded(t, run, err)
	p.databaseRuns(t, s)
	p.succeeds(t, s)
	if p.psql(t, s, "SELECT 1") != "1" {
		t.Error("the app's database does not answer")
	}
}

// rollsBack to a deployment, and wants it to run.
func (p *platform) rollsBack(t *testing.T, s sample, deploymentID string) coderunner.Run {
	t.Helper()
	_, run, err := p.engine.Rollback(t.Context(), s.user.ID, deploymentID)
	return p.succeeded(t, run, err)
}

// TestDeletedDatabase is gone with its data: the next one is another, on another volume.
func TestDeletedDatabase(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	s := p.upload(t, "shop", answer)
	p.succeeds(t, s, "postgres-15")
	p.psql(t, s, "CREATE TABLE notes (text text)")
	erase := func(confirm string) (coderunner.Run, error) {
		return p.engine.DeleteDatabase(t.Context(), s.user.ID, s.project.ID, "postgres-15", confirm)
	}
	if _, err := erase("postgres-15"); coderunner.KindOf(err) != coderunner.Conflict {
		t.Errorf("deleting what is attached answers %v", err)
	}
	former := p.database(t, s)
	run, err := p.engine.DetachDatabase(t.Context(), s.user.ID, s.project.ID, "postgres-15", true)
	p.succeeded(t, run, err)
	if _, err := erase("postgres"); coderunner.KindOf(err) != coderunner.Invalid {
		t.Errorf("with another name typed it answers %v", err)
	}
	run, err = erase("postgres-15")
	p.succeeded(t, run, err)
	volumes, err := p.provider.ListVolumes(t.Context(), ProjectLabels(s.project.ID))
	if err != nil || len(volumes) != 0 {
		t.Errorf("its volumes are %+v (%v)", volumes, err)
	}
	run, err = p.engine.AttachDatabase(t.Context(), s.user.ID, s.project.ID, "postgres-15", true)
	p.succeeded(t, run, err)
	if now := p.database(t, s); now.ID == former.ID || now.Volume == former.Volume {
		t.Errorf("the next database is %+v, the deleted one was %+v", now.Database, former.Database)
	}
	if tables := p.psql(t, s, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"); tables != "0" {
		t.Errorf("the next database has %s tables", tables)
	}
}

// TestDetachTwice: the second run, which waited for the first, finds nothing to detach and changes nothing.
func TestDetachTwice(t *testing.T) {
	t.Parallel()
	var stop trap
	p := startPlatformIn(t, t.TempDir(), testdb.New(t), func(p *platform) { p.engine.breakpoint = stop.breakpoint })
	s := p.upload(t, "twice", answer)
	p.succeeds(t, s, "postgres-15")
	detach := func() coderunner.Run {
		t.Helper()
		run, err := p.engine.DetachDatabase(t.Context(), s.user.ID, s.project.ID, "postgres-15", true)
		if err != nil {
			t.Fatal(err)
		}
		return run
	}
	reached, release := stop.set("detach_database", false)
	first := detach()
	<-reached
	second := detach()
	release()
	if first = p.ended(t, first.ID); first.State != coderunner.RunSucceeded {
		t.Errorf("the first detach ended %s\n%s", first.State, p.logText(t, first.ID))
	}
	if second = p.ended(t, second.ID); second.State != coderunner.RunFailed || second.Failure.Title != "PostgreSQL 15 is detached already." {
		t.Errorf("the second detach ended %s, %+v\n%s", second.State, second.Failure, p.logText(t, second.ID))
	}
	if d := p.database(t, s); d.DetachedAt == nil || d.Pending {
		t.Errorf("the database is %+v", d)
	}
}
