package main

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/coderunner/coderunner/examples"
	"github.com/coderunner/coderunner/internal/api"
	"github.com/coderunner/coderunner/internal/pglocal"
)

const (
	projects = 1000
	owned    = 50  // of them, by each user
	requests = 100 // of each page
)

// fill makes 1,000 projects with three deployments each, their runs, steps and 50
// lines of log, and one run with 2,000. They belong to twenty users in turn. Their plan
// is that of a real deployment.
var fill = []string{
	`INSERT INTO users (email, password_hash) SELECT 'owner-' || i || '@example.com', '' FROM generate_series(1, $PROJECTS / $OWNED - 1) i`,
	`INSERT INTO projects (user_id, name, slug, plan, created_at)
		SELECT u.id, 'Project ' || i, 'project-' || i, (SELECT plan FROM deployments ORDER BY created_at LIMIT 1), now() - i * interval '1 hour'
		FROM generate_series(1, $PROJECTS) i JOIN (SELECT id, row_number() OVER (ORDER BY created_at, id) AS n, count(*) OVER () AS all_users FROM users) u ON i % u.all_users = u.n % u.all_users`,
	`INSERT INTO deployments (project_id, number, plan, runtime_type, status, created_at)
		SELECT p.id, n, p.plan, 'nodejs', 'STOPPED', p.created_at + n * interval '1 minute' FROM projects p, generate_series(1, 3) n WHERE p.name LIKE 'Project %'`,
	`INSERT INTO runs (project_id, deployment_id, playbook, state, created_at, started_at, finished_at)
		SELECT d.project_id, d.id, 'deploy', 'SUCCEEDED', d.created_at, d.created_at, d.created_at + interval '8 s' FROM deployments d JOIN projects p ON p.id = d.project_id WHERE p.name LIKE 'Project %'`,
	`INSERT INTO steps (run_id, position, name, title, state, attempts, started_at, finished_at)
		SELECT r.id, n, s.name, initcap(s.name), 'DONE', 1, r.started_at, r.finished_at FROM runs r JOIN projects p ON p.id = r.project_id,
		unnest(ARRAY['database', 'sandbox', 'upload', 'install', 'start', 'health', 'route', 'drain']) WITH ORDINALITY AS s(name, n) WHERE p.name LIKE 'Project %'`,
	`INSERT INTO run_log_lines (run_id, seq, at, stream, step, text)
		SELECT r.id, n, r.started_at, 'stdout', 'install', 'added package number ' || n || ' of the application' FROM runs r JOIN projects p ON p.id = r.project_id,
		generate_series(1, CASE WHEN p.name = 'Project 1' THEN 2000 ELSE 50 END) n WHERE p.name LIKE 'Project %'`,
}

// pages measures pages and API answers with a full database.
func (b *bench) pages(ctx context.Context) error {
	cluster, err := pglocal.Start(ctx, pglocal.Config{Dir: filepath.Join(b.dataDir(), "postgres")})
	if err != nil {
		return err
	}
	defer cluster.Release() // it is the server's
	db, err := pgx.Connect(ctx, cluster.DSN(pglocal.Database))
	if err != nil {
		return err
	}
	defer db.Close(context.WithoutCancel(ctx))
	var deployed bool // by another part
	if err := db.QueryRow(ctx, "SELECT EXISTS (SELECT FROM deployments)").Scan(&deployed); err != nil {
		return err
	}
	if !deployed {
		files, err := fs.Sub(examples.FS, "express-postgres")
		if err != nil {
			return err
		}
		if _, err := b.deployOnce(ctx, "first", files); err != nil {
			return err
		}
	}
	project, run, err := fillDatabase(ctx, db)
	if err != nil {
		return err
	}
	if err := b.logInToPages(ctx); err != nil {
		return err
	}
	for _, page := range [][2]string{
		{"projects, the newest 48 of one user's 50", "/projects"},
		{"a project", "/projects/" + project},
		{"its deployments", "/projects/" + project + "/deployments"},
		{"a run with 2,000 lines", "/runs/" + run},
		{"account", "/account"},
		{"API: projects, 50 of the 1,000", api.Prefix + "/projects"},
		{"API: a run", api.Prefix + "/runs/" + run},
	} {
		if err := b.page(ctx, page[0], page[1]); err != nil {
			return err
		}
	}
	// And if one user has all of them.
	if _, err := db.Exec(ctx, "UPDATE projects SET user_id = (SELECT id FROM users WHERE email = $1)", email); err != nil {
		return err
	}
	if err := b.page(ctx, "projects, the newest 48 of one user's 1,000", "/projects"); err != nil {
		return err
	}
	return b.page(ctx, "API: projects, 50 of 1,000 of one user", api.Prefix+"/projects")
}

// page requests one page again and again.
func (b *bench) page(ctx context.Context, what, path string) error {
	var took samples
	for i := range requests + 10 {
		begin := time.Now()
		status, _, err := b.client.Get(ctx, "localhost", path)
		if err != nil {
			return err
		}
		if status != http.StatusOK {
			return fmt.Errorf("%s answers %d", path, status)
		}
		if i >= 10 {
			took.took(time.Since(begin))
		}
	}
	b.report.add(row{what: "Page: " + what, unit: "ms", values: took, p95: true, target: 20})
	return nil
}

// fillDatabase answers a project of the user's and its last run.
func fillDatabase(ctx context.Context, db *pgx.Conn) (project, run string, err error) {
	for _, sql := range fill {
		sql = strings.NewReplacer("$PROJECTS", strconv.Itoa(projects), "$OWNED", strconv.Itoa(owned)).Replace(sql)
		if _, err := db.Exec(ctx, sql); err != nil {
			return "", "", err
		}
	}
	// As the database's own housekeeping does within a minute.
	if _, err := db.Exec(ctx, "ANALYZE"); err != nil {
		return "", "", err
	}
	var user string
	err = db.QueryRow(ctx, `SELECT r.project_id::text, r.id::text, u.email FROM runs r JOIN projects p ON p.id = r.project_id JOIN users u ON u.id = p.user_id
		WHERE p.name = 'Project 1' ORDER BY r.created_at DESC LIMIT 1`).Scan(&project, &run, &user)
	if err == nil && user != email {
		err = fmt.Errorf("the project to look at belongs to %s", user)
	}
	return project, run, err
}
