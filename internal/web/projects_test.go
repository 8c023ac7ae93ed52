package web_test

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
	"github.com/coderunner/coderunner/internal/web"
)

// counter counts the queries of a pool.
type counter struct{ queries atomic.Int32 }

func (c *counter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.queries.Add(1)
	return ctx
}

func (c *counter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// However many projects there are, their page asks the same few questions.
func TestProjectsPageOfAThousand(t *testing.T) {
	t.Parallel()
	var count counter
	w := newWorld(t, func(s *web.Services) {
		config := s.Store.Pool().Config()
		config.ConnConfig.Tracer = &count
		pool := must(pgxpool.NewWithConfig(t.Context(), config))(t)
		t.Cleanup(pool.Close)
		s.Store = store.New(pool)
	})
	queries := func() int32 {
		t.Helper()
		before := count.queries.Load()
		w.ada.get("/projects").want(http.StatusOK)
		return count.queries.Load() - before
	}
	p, run, lease := w.deployed(w.ada, "first")
	few := queries()
	if few == 0 || few > 3 {
		t.Errorf("the page of one project took %d queries", few)
	}
	w.finish(lease, coderunner.RunSucceeded, nil)
	for _, statement := range []string{
		`INSERT INTO projects (user_id, name, slug, created_at) SELECT $1, 'project ' || n, 'project-' || n, now() + n * interval '1 second' FROM generate_series(1, 999) AS n`,
		`INSERT INTO deployments (project_id, number, plan, runtime_type, status) SELECT p.id, n, '{}', 'nodejs', 'FAILED' FROM projects p, generate_series(1, 3) AS n WHERE p.user_id = $1 AND p.slug <> 'first'`,
		`INSERT INTO runs (project_id, deployment_id, playbook, state, created_at) SELECT p.id, d.id, 'deploy', CASE d.number WHEN 3 THEN 'RUNNING'::run_state ELSE 'FAILED' END, now() + d.number * interval '1 second'
			FROM projects p JOIN deployments d ON d.project_id = p.id WHERE p.user_id = $1 AND p.slug <> 'first'`,
	} {
		if _, err := w.store.Pool().Exec(t.Context(), statement, w.ada.user.ID); err != nil {
			t.Fatal(err)
		}
	}
	if many := queries(); many != few {
		t.Errorf("the page of 1,000 projects took %d queries, that of one %d", many, few)
	}
	a := w.ada.get("/projects").wantText("#projects", "project 999").wantText("#projects", "first")
	page := a.page()
	if cards, running := page.Find("#projects > li").Length(), page.Find("#projects .tile-run ~ span time[data-elapsed]").Length(); cards != 1000 || running != 999 {
		t.Errorf("it has %d cards, %d of them with a run in progress", cards, running)
	}
	if page.Find("a[href='/projects/"+p.ID+"']").Length() != 1 || page.Find("a[href='/runs/"+run.ID+"']").Length() != 0 || page.Find(".flash").Length() != 0 {
		t.Errorf("the first project's card is %s", a.text("#projects > li:last-child"))
	}
	must(w.store.CreateProject(t.Context(), w.ada.user.ID, "one more", "one-more"))(t)
	w.ada.get("/projects").wantText(".flash", "You have 1001 projects. The newest 1000 are shown").wantText("#projects", "project 2")
}
