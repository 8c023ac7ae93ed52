package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

const month = 30 * 24 * time.Hour

// past makes a project with deployments 1 to n, each with a run that failed long ago.
func (w world) past(t *testing.T, n int) {
	t.Helper()
	w.exec(t, "ALTER TABLE deployments DISABLE TRIGGER deployments_touch") // it knows no past
	w.exec(t, `WITH d AS (
			INSERT INTO deployments (project_id, number, plan, runtime_type, status, created_at, updated_at)
			SELECT $1, n, '{}', 'nodejs', 'FAILED', now() - interval '100 days' + n * interval '1 minute', now() - interval '90 days' FROM generate_series(1, $2::int) AS n RETURNING *
		), r AS (
			INSERT INTO runs (project_id, deployment_id, playbook, state, created_at, finished_at, log_dropped_at)
			SELECT project_id, id, 'deploy', 'FAILED', created_at, updated_at, now() - interval '50 days' FROM d RETURNING id
		)
		INSERT INTO steps (run_id, position, name, title) SELECT id, 1, 'one', 'One' FROM r`, w.project.ID, n)
}

// numbers are those of the project's deployments, and the deployments' of its runs.
func (w world) numbers(t *testing.T) (deployments, runs []int32) {
	t.Helper()
	for sql, list := range map[string]*[]int32{
		"SELECT number FROM deployments WHERE project_id = $1 ORDER BY number":                                                                               &deployments,
		"SELECT coalesce(d.number, 0) FROM runs r LEFT JOIN deployments d ON d.id = r.deployment_id WHERE r.project_id = $1 ORDER BY r.created_at, d.number": &runs,
	} {
		rows, err := w.Pool().Query(t.Context(), sql, w.project.ID)
		if err != nil {
			t.Fatal(err)
		}
		if *list, err = pgx.CollectRows(rows, pgx.RowTo[int32]); err != nil {
			t.Fatal(err)
		}
	}
	return deployments, runs
}

// TestHistoryIsForgotten: what stays has a reason, each of which is here once.
func TestHistoryIsForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.past(t, 12)
	set := func(number int, what string) {
		t.Helper()
		w.exec(t, "UPDATE deployments SET "+what+" WHERE project_id = $1 AND number = $2", w.project.ID, number)
	}
	ofRun := func(number int, what string) {
		t.Helper()
		w.exec(t, "UPDATE runs SET "+what+" FROM deployments d WHERE d.id = runs.deployment_id AND d.project_id = $1 AND d.number = $2", w.project.ID, number)
	}
	again := func(number int, state string, age int) {
		t.Helper()
		w.exec(t, `INSERT INTO runs (project_id, deployment_id, playbook, state, created_at, finished_at, log_dropped_at)
			SELECT project_id, id, 'restart', $3::run_state, created_at + interval '30 seconds', CASE WHEN $3 = 'FAILED' THEN now() - make_interval(days => $4) END, now() FROM deployments WHERE project_id = $1 AND number = $2`, w.project.ID, number, state, age)
	}
	set(2, "from_deployment_id = (SELECT id FROM deployments WHERE number = 1)") // but what refers to 1 goes itself
	set(3, "status = 'STOPPED', released_at = created_at, release = '{}'")       // can be rolled back to
	again(3, "FAILED", 80)                                                       // not the run that made it
	set(4, "status = 'STOPPED', released_at = created_at")                       // would serve if it were started
	set(12, "from_deployment_id = (SELECT id FROM deployments WHERE number = 5)")
	set(6, "updated_at = now() - interval '29 days'")
	ofRun(7, "finished_at = now() - interval '29 days'")
	ofRun(8, "log_dropped_at = NULL")
	w.exec(t, "INSERT INTO sandboxes (id, provider, project_id, appliance, run_id) SELECT 'it', 'test', project_id, 'nodejs-18', id FROM runs WHERE deployment_id = (SELECT id FROM deployments WHERE number = 9)")
	again(10, "QUEUED", 0)

	runs, deployments, err := w.ForgetHistory(t.Context(), month, 2)
	if err != nil || runs != 6 || deployments != 2 {
		t.Errorf("%d runs and %d deployments went, %v", runs, deployments, err)
	}
	left, leftRuns := w.numbers(t)
	if want := []int32{3, 4, 5, 6, 7, 8, 9, 10, 11, 12}; !slices.Equal(left, want) {
		t.Errorf("left are the deployments %v, want %v", left, want)
	}
	if want := []int32{3, 4, 7, 8, 9, 10, 11, 12}; !slices.Equal(leftRuns, want) {
		t.Errorf("left are runs of %v, want %v", leftRuns, want)
	}
	var steps int
	if err := w.Pool().QueryRow(t.Context(), "SELECT count(*) FROM steps").Scan(&steps); err != nil || steps != 7 {
		t.Errorf("%d steps are left, %v", steps, err)
	}
	if runs, deployments, err := w.ForgetHistory(t.Context(), month, 2); err != nil || runs+deployments != 0 {
		t.Errorf("again, %d runs and %d deployments went, %v", runs, deployments, err)
	}
	w.exec(t, "DELETE FROM sandboxes")
	if _, deployments, err := w.ForgetHistory(t.Context(), month, 2); err != nil || deployments != 1 {
		t.Errorf("with the sandbox, %d deployments went, %v", deployments, err)
	}
}

// TestNumbersAreNotGivenTwice, however many went.
func TestNumbersAreNotGivenTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.past(t, 2500) // more than go at once
	runs, deployments, err := w.ForgetHistory(t.Context(), month, 0)
	if err != nil || runs != 2499 || deployments != 2499 {
		t.Errorf("%d runs and %d deployments went, %v", runs, deployments, err)
	}
	if d, _ := w.deploy(t); d.Number != 2501 {
		t.Errorf("the next deployment is %d", d.Number)
	}
}

// TestHistoryOfADestroyedProject goes as a whole, later; its address stays taken.
func TestHistoryOfADestroyedProject(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.past(t, 3)
	w.exec(t, "UPDATE deployments SET status = 'DESTROYED', released_at = created_at")
	w.exec(t, "INSERT INTO runs (project_id, playbook, state, finished_at) VALUES ($1, 'destroy', 'SUCCEEDED', now() - interval '31 days')", w.project.ID)
	w.exec(t, "INSERT INTO run_log_lines (run_id, seq, at, stream, step, text) SELECT id, 1, now(), 'stdout', '', 'gone' FROM runs WHERE playbook = 'destroy'")
	for days, want := range []int64{29: 0, 31: 4 + 3} {
		if days != 29 && days != 31 {
			continue
		}
		w.exec(t, "UPDATE projects SET destroyed_at = now() - make_interval(days => $1)", days)
		if runs, deployments, err := w.ForgetHistory(t.Context(), month, 200); err != nil || runs+deployments != want {
			t.Errorf("after %d days %d runs and %d deployments went, %v", days, runs, deployments, err)
		}
	}
	stranger := must(w.CreateUser(t.Context(), "eve@example.com", "hash"))(t)
	_, err := w.CreateProject(t.Context(), stranger.ID, "mine now", w.project.Slug)
	wantKind(t, "taking a destroyed project's address", err, coderunner.Conflict)
}

// TestHistoryIsKeptWhileSomebodyDeploys: the project's row is held by whoever makes a deployment.
func TestHistoryIsKeptWhileSomebodyDeploys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.past(t, 5)
	ended := make(chan error, 1)
	err := w.InTx(t.Context(), func(s *store.Store) error {
		d, err := s.CreateDeployment(t.Context(), store.NewDeployment{ProjectID: w.project.ID, BundleID: w.bundle.ID})
		if err != nil {
			return err
		}
		if _, _, err := s.CreateRun(t.Context(), store.NewRun{ProjectID: w.project.ID, DeploymentID: d.ID, Playbook: "deploy"}); err != nil {
			return err
		}
		go func() {
			_, _, err := w.ForgetHistory(t.Context(), month, 1)
			ended <- err
		}()
		for waiting := 0; waiting == 0; { // until it stands before the row
			if err := w.Pool().QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'").Scan(&waiting); err != nil {
				return err
			}
			select {
			case err := <-ended:
				ended <- err
				return fmt.Errorf("it did not wait: %w", err)
			default:
			}
		}
		return nil
	})
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if left, _ := w.numbers(t); err != nil || !slices.Equal(left, []int32{6}) {
		t.Errorf("left are %v, %v", left, err)
	}
}

func TestLargestTables(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec(t, "INSERT INTO audit_events (action, detail) SELECT 'test', jsonb_build_object('text', repeat(md5(n::text), 20)) FROM generate_series(1, 2000) AS n")
	w.exec(t, "INSERT INTO runtime_log_lines (project_id, seq, at, stream, deployment_id, sandbox_id, text) SELECT gen_random_uuid(), n, now(), '', gen_random_uuid(), '', repeat(md5(n::text), 20) FROM generate_series(1, 4000) AS n")
	tables, err := w.LargestTables(t.Context())
	if err != nil || len(tables) != 5 || tables[0].Name != "audit_events" || tables[0].Bytes < 1<<20 || tables[1].Bytes > tables[0].Bytes {
		t.Errorf("they are %+v, %v", tables, err)
	}
	for _, table := range tables {
		if strings.HasSuffix(table.Name, "_lines") {
			t.Errorf("the logs are measured twice: %+v", tables)
		}
	}
}
