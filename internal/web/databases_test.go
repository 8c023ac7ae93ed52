package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/PuerkitoBio/goquery"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/web"
	"github.com/coderunner/coderunner/views"
)

const databasePassword = "hunter2-of-the-database"

// database is a provisioned one of a project, with its sandbox.
func (w *world) database(p coderunner.Project) coderunner.Database {
	w.Helper()
	ctx := w.Context()
	d := must(w.store.EnsureDatabase(ctx, coderunner.Database{ProjectID: p.ID, Appliance: "postgres-15", Name: "shopdb", Volume: "vol-1"}))(w)
	plain := must(json.Marshal(coderunner.Connection{Host: "10.7.0.3", Port: 5433, User: "shopkeeper", Database: "shopdb", Password: databasePassword}))(w)
	sealed := must(w.keys.Seal(p.ID, "database/"+d.ID, plain))(w)
	err := w.store.ExpectSandbox(ctx, coderunner.SandboxRecord{Purpose: coderunner.ForDatabase, ID: "db-1", Provider: "containerd", ProjectID: p.ID, DatabaseID: d.ID, Appliance: d.Appliance})
	if err := errors.Join(err, w.store.SetDatabaseConnection(ctx, d.ID, "db-1", sealed)); err != nil {
		w.Fatal(err)
	}
	return d.Database
}

// facts are what a page says under each name.
func (a answer) facts() map[string]string {
	a.t.Helper()
	facts := map[string]string{}
	a.page().Find(".facts > div").Each(func(_ int, fact *goquery.Selection) {
		facts[fact.Find("dt").Text()] = strings.Join(strings.Fields(fact.Find("dd").Text()), " ")
	})
	return facts
}

// wantFacts compares them, all of them.
func (a answer) wantFacts(want map[string]string) answer {
	a.t.Helper()
	if got := a.facts(); !maps.Equal(got, want) {
		a.t.Errorf("%s: the facts are %v, want %v", a.what, got, want)
	}
	return a
}

func TestDatabasesPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *web.Services) {
		s.Volumes = func(context.Context, string) ([]views.VolumeLoss, error) {
			return []views.VolumeLoss{{Name: "vol-0", SizeBytes: 3 << 10}, {Name: "vol-1", SizeBytes: 41 << 20}}, nil
		}
	})
	ctx := t.Context()
	p, _ := w.project(w.ada, "shop")
	path := "/projects/" + p.ID + "/databases"
	d := w.database(p)
	facts := func(state string) map[string]string {
		return map[string]string{"State": state, "Host": "10.7.0.3", "Port": "5433", "Database": "shopdb", "User": "shopkeeper", "Volume": "41.0 MB on disk"}
	}
	w.ada.get(path).want(http.StatusOK).wantText(".tabbar [aria-current]", "Databases").wantFacts(facts("Startingnot looked at yet"))
	if err := w.store.ObserveSandbox(ctx, "db-1", "running"); err != nil {
		t.Fatal(err)
	}
	a := w.ada.get(path).want(http.StatusOK).wantText("[data-database] h2", "PostgreSQL 15").wantText("[data-database] .state-good", "Running").wantFacts(facts("Runningseen just now")).
		wantText(".names", "DATABASE_URLPGHOSTPGPORTPGUSERPGPASSWORDPGDATABASE").wantText("[aria-labelledby=kept]", "Only deleting a detached database and destroying the project remove it")
	if strings.Contains(a.body, "hunter2") || strings.Contains(w.log.String(), "hunter2") {
		t.Error("the password is on the page or in the log")
	}
	if strings.Contains(a.text("[data-database]"), "page too") {
		t.Error("the page tells of a variable that nobody has set")
	}
	theirs, missing := w.bob.get(path).want(http.StatusNotFound), w.bob.get("/projects/00000000-0000-0000-0000-000000000000/databases").want(http.StatusNotFound)
	if theirs.text("h1") != missing.text("h1") || strings.Contains(theirs.body, "shop") {
		t.Error("another's databases are told from missing ones")
	}

	last := &coderunner.LastExit{Code: 3, At: time.Now()}
	if err := w.store.CountRestart(ctx, "db-1", time.Second, last); err != nil {
		t.Fatal(err)
	}
	w.ada.get(path).wantText("[data-database]", "started again, 1 time in a row. The last time it ended with exit code 3, just now")

	// A variable of the project's own stands in for that of the database.
	if err := w.projects.SetVariables(ctx, w.ada.user.ID, p.ID, []coderunner.Variable{{Key: "DATABASE_URL", Value: "hunter3"}}); err != nil {
		t.Fatal(err)
	}
	w.ada.get(path).wantText("[data-database]", "DATABASE_URL is set on the Variables page too; each of the two gets that value instead.")

	if err := errors.Join(w.store.SetDatabaseStopped(ctx, d.ID, true), w.store.ForgetSandbox(ctx, "db-1")); err != nil {
		t.Fatal(err)
	}
	w.ada.get(path).want(http.StatusOK).wantFacts(facts("Stoppedby its owner, just now")).wantText("[data-database]", "starts it again")
}

func TestDatabasesThatCannotBeTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *web.Services) {
		s.Volumes = func(context.Context, string) ([]views.VolumeLoss, error) {
			return nil, errors.New("dial unix: no such file")
		}
	})
	p, up := w.project(w.ada, "shop")
	path := "/projects/" + p.ID + "/databases"
	a := w.ada.get(path).want(http.StatusOK).wantText(".nothing", "no database. Attach one below, or tick one in the plan of the next deploy")
	if link, _ := a.page().Find(".nothing a").Attr("href"); link != "/projects/"+p.ID+"/bundles/"+up.ID {
		t.Errorf("it leads to %s", link)
	}
	d := must(w.store.EnsureDatabase(t.Context(), coderunner.Database{ProjectID: p.ID, Appliance: "postgres-9", Name: "old", Volume: "vol-1"}))(t)
	w.ada.get(path).want(http.StatusOK).wantText("[data-database] h2", "postgres-9").
		wantFacts(map[string]string{"State": "Not made yetthe next deploy makes it", "Address": "Known once it was started", "Volume": "size not known"})
	if err := w.store.SetDatabaseConnection(t.Context(), d.ID, "db-1", []byte("no ciphertext")); err != nil {
		t.Fatal(err)
	}
	w.ada.get(path).want(http.StatusOK).wantText(".facts", "Not running").wantText(".facts", "Cannot be decrypted")
}

// TestDatabasesOfAllKinds: each page says by which names the app reaches each of them.
func TestDatabasesOfAllKinds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, up := w.project(w.ada, "shop")
	for _, appliance := range []string{"postgres-15", "mysql", "redis-7"} {
		must(w.store.EnsureDatabase(t.Context(), coderunner.Database{ProjectID: p.ID, Appliance: appliance, Name: "of-" + appliance, Volume: "vol-" + appliance}))(t)
	}
	page := w.ada.get("/projects/" + p.ID + "/databases").want(http.StatusOK)
	panels := page.page().Find("[data-database]")
	for i, want := range []struct{ title, keys, secret string }{
		{"PostgreSQL 15", "DATABASE_URL PGHOST PGPORT PGUSER PGPASSWORD PGDATABASE", "given to them in DATABASE_URL and PGPASSWORD alone"},
		{"MySQL (MariaDB 10.11)", "MYSQL_URL MYSQL_HOST MYSQL_PORT MYSQL_USER MYSQL_PASSWORD MYSQL_DATABASE", "given to them in MYSQL_URL and MYSQL_PASSWORD alone"},
		{"Redis 7", "REDIS_URL REDIS_HOST REDIS_PORT REDIS_USERNAME REDIS_PASSWORD", "given to them in REDIS_URL and REDIS_PASSWORD alone"},
	} {
		panel := panels.Eq(i)
		keys := strings.Join(strings.Fields(panel.Find(".names").Text()), " ")
		if text := strings.Join(strings.Fields(panel.Text()), " "); panel.Find("h2").Text() != want.title || strings.ReplaceAll(want.keys, " ", "") != strings.ReplaceAll(keys, " ", "") || !strings.Contains(text, want.secret) {
			t.Errorf("the panel of %s has %q and says %q", want.title, keys, text)
		}
	}
	w.ada.get("/projects/"+p.ID).wantText(".rows", "the app reads it from DATABASE_URL").wantText(".rows", "the app reads it from MYSQL_URL").wantText(".rows", "the app reads it from REDIS_URL")
	w.ada.get("/projects/"+p.ID+"/variables").wantText(".panel", "PORT, DATABASE_URL, MYSQL_URL and REDIS_URL are set for you.")
	w.ada.get("/projects/"+p.ID+"/destroy").wantText("main", "mysql · of-mysql every table and row").wantText("main", "redis-7 · of-redis-7 every key")
	plan := w.ada.get("/projects/"+p.ID+"/bundles/"+up.ID).wantText(".options", "This project has it. Its data stays.")
	if has := plan.page().Find("input[type=hidden][name=database]").Length(); has != 3 {
		t.Errorf("the plan keeps %d of three databases", has)
	}
}

// TestMySQLAlone has DATABASE_URL as well, where no PostgreSQL has it.
func TestMySQLAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, up := w.project(w.ada, "shop")
	w.ada.get("/projects/"+p.ID+"/bundles/"+up.ID).wantText(".options", "PostgreSQL 15 Made for this project alone; the app reads DATABASE_URL.").
		wantText(".options", "Redis 7 Made for this project alone; the app reads REDIS_URL.").
		wantText(".options", "MySQL (MariaDB 10.11) Made for this project alone; the app reads MYSQL_URL, or DATABASE_URL in a project without PostgreSQL.")
	must(w.store.EnsureDatabase(t.Context(), coderunner.Database{ProjectID: p.ID, Appliance: "mysql", Name: "app", Volume: "vol-1"}))(t)
	w.ada.get("/projects/"+p.ID+"/databases").wantText(".names", "MYSQL_URLDATABASE_URLMYSQL_HOST").wantText("[data-database]", "in MYSQL_URL, DATABASE_URL and MYSQL_PASSWORD alone")
}
