package main

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/coderunner/coderunner/internal/api"
	"github.com/coderunner/coderunner/internal/pglocal"
)

const (
	projects = 1000
	requests = 100 // of each page
)

// fill gives the user 1,000 projects with three deployments each, their runs,
// steps and 50 lines of log, and one run with 2,000. Their plan is that of a real deployment.
var fill = []string{
	`INSERT INTO projects (user_id, name, slug, plan, created_at)
		SELECT u.id, 'Project ' || i, 'project-' || i, (SELECT plan FROM deployments ORDER BY created_at LIMIT 1), now() - i * interval '1 hour'
		FROM users u, generate_series(1, $2::int) i WHERE u.email = $1`,
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
	project, run, err := b.fillDatabase(ctx)
	if err != nil {
		return err
	}
	if err := b.logInToPages(ctx); err != nil {
		return err
	}
	for _, page := range []struct{ what, path string }{
		{"projects", "/projects"},
		{"projects, searched", "/projects?q=project+77"},
		{"a project", "/projects/" + project},
		{"its deployments", "/projects/" + project + "/deployments"},
		{"a run with 2,000 lines", "/runs/" + run},
		{"account", "/account"},
		{"API: projects", api.Prefix + "/projects"},
		{"API: a run", api.Prefix + "/runs/" + run},
	} {
		var took samples
		for i := range requests + 10 {
			begin := time.Now()
			status, _, err := b.client.Get(ctx, "localhost", page.path)
			if err != nil {
				return err
			}
			if status != http.StatusOK {
				return fmt.Errorf("%s answers %d", page.path, status)
			}
			if i >= 10 {
				took.took(time.Since(begin))
			}
		}
		b.report.add(row{what: "Page: " + page.what, unit: "ms", values: took, p95: true, target: 20})
	}
	return nil
}

// fillDatabase answers a project and its last run.
func (b *bench) fillDatabase(ctx context.Context) (project, run string, err error) {
	cluster, err := pglocal.Start(ctx, pglocal.Config{Dir: filepath.Join(b.dataDir(), "postgres")})
	if err != nil {
		return "", "", err
	}
	defer cluster.Release() // it is the server's
	db, err := pgx.Connect(ctx, cluster.DSN(pglocal.Database))
	if err != nil {
		return "", "", err
	}
	defer db.Close(context.WithoutCancel(ctx))
	for i, sql := range fill {
		args := []any{}
		if i == 0 {
			args = []any{email, projects}
		}
		if _, err := db.Exec(ctx, sql, args...); err != nil {
			return "", "", err
		}
	}
	// As the database's own housekeeping does within a minute.
	if _, err := db.Exec(ctx, "ANALYZE"); err != nil {
		return "", "", err
	}
	err = db.QueryRow(ctx, `SELECT r.project_id::text, r.id::text FROM runs r JOIN projects p ON p.id = r.project_id WHERE p.name = 'Project 1' ORDER BY r.created_at DESC LIMIT 1`).Scan(&project, &run)
	return project, run, err
}
