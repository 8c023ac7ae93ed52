package web_test

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/PuerkitoBio/goquery"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
	"github.com/coderunner/coderunner/internal/web"
	"github.com/coderunner/coderunner/views"
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
	page := w.ada.get("/projects").wantText(".extent", "Projects 1 to 48 of 1,000, newest first.").wantText(".pager", "Page 1 of 21").page()
	if cards, running := page.Find("#projects > li").Length(), page.Find("#projects .tile-run ~ span time[data-elapsed]").Length(); cards != views.CardsPerPage || running != views.CardsPerPage {
		t.Errorf("it has %d cards, %d of them with a run in progress", cards, running)
	}
	// The last page has the oldest project, whose run is over.
	last := w.ada.get("/projects?page=21")
	if page = last.page(); page.Find("#projects > li").Length() != 40 || page.Find("a[href='/projects/"+p.ID+"']").Length() != 1 || page.Find("a[href='/runs/"+run.ID+"']").Length() != 0 {
		t.Errorf("the first project's card is %s", last.text("#projects > li:last-child"))
	}
}

// pagesOf follows the links to older projects and answers each page's names.
func pagesOf(t *testing.T, b browser, path string) (pages [][]string) {
	t.Helper()
	for path != "" {
		page := b.get(path).want(http.StatusOK).page()
		pages = append(pages, page.Find("#projects h2").Map(func(_ int, name *goquery.Selection) string { return name.Text() }))
		if newer, found := page.Find(".pager a[rel=prev]").Attr("href"); found != (len(pages) > 1) || found && !strings.Contains(newer, "q=shop") {
			t.Errorf("page %d leads back to %q", len(pages), newer)
		}
		path, _ = page.Find(".pager a[rel=next]").Attr("href")
	}
	return pages
}

func TestProjectsAreListedInPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	add := func(b browser, from, to int) {
		t.Helper()
		if _, err := w.store.Pool().Exec(t.Context(), `INSERT INTO projects (user_id, name, slug, created_at)
			SELECT $1, 'Shop & Son ' || n, $2 || n, now() + n * interval '1 second' FROM generate_series($3::int, $4::int) AS n`, b.user.ID, b.user.Email[:3]+"-shop-", from, to); err != nil {
			t.Fatal(err)
		}
	}
	w.ada.get("/projects").want(http.StatusOK).wantText(".drop-large", "Drop your project here")
	add(w.ada, 1, views.CardsPerPage)
	add(w.bob, 1, 1)
	if page := w.ada.get("/projects").want(http.StatusOK).page(); page.Find(".find, .pager, .extent").Length() != 0 || page.Find("#projects > li").Length() != views.CardsPerPage {
		t.Error("one page of projects has a search or pages")
	}
	add(w.ada, views.CardsPerPage+1, 2*views.CardsPerPage+1)
	must(w.store.CreateProject(t.Context(), w.ada.user.ID, "Another", "another"))(t)
	var want []string
	for n := 2*views.CardsPerPage + 1; n >= 1; n-- {
		want = append(want, "Shop & Son "+strconv.Itoa(n))
	}
	pages := pagesOf(t, w.ada, "/projects?q=shop")
	if got := slices.Concat(pages...); !slices.Equal(got, want) || len(pages) != 3 || len(pages[2]) != 1 {
		t.Errorf("the search has %d pages with %q", len(pages), got)
	}
	w.ada.get("/projects?q=SHOP&page=2").wantText(".extent", "Projects 49 to 96 of 97 that match “SHOP”.")
	w.ada.get("/projects?q=son+97").wantText(".extent", "1 project matches “son 97”.").wantText("#projects", "Shop & Son 97")
	w.ada.get("/projects?q=ada-shop-9").wantText(".extent", "9 projects match “ada-shop-9”.")

	// What is beyond the last page is the last page.
	w.ada.get("/projects?page=4").wantRedirect("/projects?page=3")
	w.ada.get("/projects?q=shop&page=99999999999999").wantRedirect("/projects?page=3&q=shop")
	w.ada.get("/projects?q=another&page=2").wantRedirect("/projects?q=another")
	for _, page := range []string{"0", "-1", "x", ""} {
		w.ada.get("/projects?page="+page).want(http.StatusOK).wantText(".pager", "Page 1 of 3")
	}
}

func TestSearchThatFindsNoProject(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project(w.ada, "shop")
	a := w.ada.get("/projects?q=%3Cb%3E%00%ff").want(http.StatusOK).wantText("main .nothing", "No project of yours has <b> in its name or address.")
	page := a.page()
	if value, _ := page.Find(".find input[name=q]").Attr("value"); value != "<b>" || page.Find("main .nothing a[href='/projects']").Length() != 1 {
		t.Errorf("the search is for %q, or nothing leads back", value)
	}
	if page.Find(".drop-large, #samples, .pager, #projects").Length() != 0 {
		t.Error("who has projects is shown how to begin")
	}
}

// A list that asks for itself again asks for the same part of it.
func TestMovingProjectsKeepTheirPageAndSearch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deployed(w.ada, "café & bar")
	if _, err := w.store.Pool().Exec(t.Context(), `INSERT INTO projects (user_id, name, slug, created_at) SELECT $1, 'café & ' || n, 'x' || n, now() + n * interval '1 second' FROM generate_series(1, 48) AS n`, w.ada.user.ID); err != nil {
		t.Fatal(err)
	}
	if _, moving := w.ada.get("/projects").page().Find("#projects").Attr("hx-get"); moving {
		t.Error("a page where nothing moves asks again")
	}
	const path = "/projects?page=2&q=caf%C3%A9+%26"
	for _, a := range []answer{w.ada.get(path), w.ada.get(path, "HX-Request", "true")} {
		list := a.want(http.StatusOK).page().Find("#projects")
		if again, _ := list.Attr("hx-get"); again != path || list.Find("li").Length() != 1 {
			t.Errorf("%d cards; asks again for %q", list.Find("li").Length(), again)
		}
	}
}
