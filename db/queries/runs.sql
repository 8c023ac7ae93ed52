-- name: CreateRun :one
INSERT INTO runs (project_id, deployment_id, playbook, options) VALUES (@project_id, sqlc.narg('deployment_id'), @playbook, @options) RETURNING *;

-- name: LockProject :exec
-- Not against foreign keys that are checked: two that did so before could not both lock it.
SELECT id FROM projects WHERE id = $1 FOR NO KEY UPDATE;

-- name: ReplaceRun :execrows
UPDATE runs SET state = 'CANCELLED', replaced_by = sqlc.narg('replaced_by'), cancel_requested_at = now(), finished_at = now() WHERE id = @id AND state = 'QUEUED';

-- name: SetReplacedBy :exec
UPDATE runs SET replaced_by = sqlc.narg('replaced_by') WHERE id = @id;

-- name: RunsReplacedBy :many
SELECT * FROM runs WHERE replaced_by = @id ORDER BY created_at;

-- name: SetRunVariables :exec
UPDATE runs SET variables = $2 WHERE id = $1;

-- name: SetRunFailure :exec
-- The first failure of a run is the one that counts.
UPDATE runs SET failure = coalesce(failure, sqlc.narg('failure')) WHERE id = @id;

-- name: SetRunDeployment :exec
UPDATE runs SET deployment_id = sqlc.narg('deployment_id') WHERE id = @id;

-- name: RunVariables :one
SELECT variables FROM runs WHERE id = $1;

-- name: InsertSteps :copyfrom
INSERT INTO steps (run_id, position, name, title, after) VALUES ($1, $2, $3, $4, $5);

-- name: Run :one
SELECT r.* FROM runs r JOIN projects p ON p.id = r.project_id WHERE r.id = @id AND p.user_id = @user_id;

-- name: RunByID :one
SELECT * FROM runs WHERE id = $1;

-- name: RunSteps :many
SELECT * FROM steps WHERE run_id = $1 ORDER BY position;

-- name: ProjectRuns :many
SELECT r.* FROM runs r JOIN projects p ON p.id = r.project_id
WHERE r.project_id = @project_id AND p.user_id = @user_id ORDER BY r.created_at DESC LIMIT @page_size::int OFFSET @page_start::int;

-- name: NewestRuns :many
SELECT DISTINCT ON (deployment_id) * FROM runs WHERE deployment_id = ANY(@deployments::uuid[]) ORDER BY deployment_id, created_at DESC;

-- name: OpenRuns :many
SELECT * FROM runs WHERE project_id = $1 AND state IN ('QUEUED', 'RUNNING', 'CANCELLING') ORDER BY created_at;

-- name: ClaimRun :one
-- A run waits until the one before it has ended.
UPDATE runs SET owner = @owner, epoch = epoch + 1, lease_expires_at = now() + make_interval(secs => @lease_seconds::float8),
    state = CASE WHEN state = 'QUEUED' THEN 'RUNNING'::run_state ELSE state END, started_at = coalesce(started_at, now())
WHERE runs.id = @id AND (runs.state = 'QUEUED' OR (runs.state IN ('RUNNING', 'CANCELLING') AND runs.lease_expires_at < now()))
  AND NOT EXISTS (SELECT 1 FROM runs o WHERE o.project_id = runs.project_id AND o.id <> runs.id AND o.state IN ('RUNNING', 'CANCELLING'))
RETURNING *;

-- name: RenewRun :one
UPDATE runs SET lease_expires_at = now() + make_interval(secs => @lease_seconds::float8)
WHERE id = @id AND owner = @owner AND epoch = @epoch AND state IN ('RUNNING', 'CANCELLING') RETURNING cancel_requested_at;

-- name: LeaseHolds :one
SELECT cancel_requested_at FROM runs
WHERE id = @id AND owner = @owner AND epoch = @epoch AND state IN ('RUNNING', 'CANCELLING');

-- name: ReleaseRun :exec
UPDATE runs SET lease_expires_at = now() - interval '1 second' WHERE id = @id AND owner = @owner AND epoch = @epoch;

-- name: GuardRun :one
SELECT id FROM runs WHERE id = @id AND owner = @owner AND epoch = @epoch AND state IN ('RUNNING', 'CANCELLING') FOR SHARE;

-- name: CancelRequested :one
SELECT (cancel_requested_at IS NOT NULL)::bool FROM runs WHERE id = $1;

-- name: FinishRun :one
UPDATE runs SET state = @state, failure = sqlc.narg('failure'), finished_at = now(), lease_expires_at = NULL, owner = '', variables = NULL
WHERE id = @id AND owner = @owner AND epoch = @epoch AND state IN ('RUNNING', 'CANCELLING') RETURNING project_id;

-- name: RequestCancel :one
-- A queued run ends at once; a running one is told, and ends when its work is dead.
UPDATE runs SET cancel_requested_at = coalesce(cancel_requested_at, now()),
    state = CASE state WHEN 'QUEUED' THEN 'CANCELLED'::run_state ELSE 'CANCELLING'::run_state END,
    finished_at = CASE state WHEN 'QUEUED' THEN now() END
WHERE id = $1 AND state IN ('QUEUED', 'RUNNING', 'CANCELLING') RETURNING *;

-- name: ClaimableRuns :many
SELECT id FROM runs r WHERE (state = 'QUEUED' OR (state IN ('RUNNING', 'CANCELLING') AND lease_expires_at < now()))
  AND NOT EXISTS (SELECT 1 FROM runs o WHERE o.project_id = r.project_id AND o.id <> r.id AND o.state IN ('RUNNING', 'CANCELLING'))
ORDER BY created_at LIMIT 100;

-- name: StartStep :exec
UPDATE steps SET state = 'RUNNING', attempts = attempts + 1, started_at = coalesce(started_at, now()), finished_at = NULL, error = ''
WHERE run_id = $1 AND name = $2;

-- name: FinishStep :exec
UPDATE steps SET state = $3, error = $4, output = coalesce(sqlc.narg('output'), output), finished_at = now() WHERE run_id = $1 AND name = $2;

-- name: SaveStepOutput :exec
UPDATE steps SET output = $3 WHERE run_id = $1 AND name = $2;

-- name: SkipOpenSteps :exec
UPDATE steps SET state = CASE state WHEN 'RUNNING' THEN 'CANCELLED'::step_state ELSE 'SKIPPED'::step_state END, finished_at = now()
WHERE run_id = $1 AND state IN ('PENDING', 'RUNNING');

-- name: AppendLog :one
WITH lease AS (
    SELECT id FROM runs WHERE runs.id = @run_id AND owner = @owner AND epoch = @epoch AND state IN ('RUNNING', 'CANCELLING') FOR SHARE
), added AS (
    INSERT INTO run_log_lines (run_id, seq, at, stream, step, text)
    SELECT lease.id, line.n - 1 + sqlc.arg('first_seq')::bigint, line.at, line.stream, line.step, line.text
    FROM lease, (SELECT generate_subscripts(@at::timestamptz[], 1) AS n, unnest(@at::timestamptz[]) AS at, unnest(@stream::text[]) AS stream,
        unnest(@step::text[]) AS step, unnest(@text::text[]) AS text) AS line
    RETURNING 1
)
SELECT count(*), pg_notify('run_log', @run_id::text)::text, set_config('synchronous_commit', 'off', true)::text FROM added;

-- name: LastLogSeq :one
SELECT coalesce(max(seq), 0)::bigint FROM run_log_lines WHERE run_id = $1;

-- name: LogAfter :many
SELECT * FROM run_log_lines WHERE run_id = @run_id AND seq > @after::bigint ORDER BY seq LIMIT @page_size::int;

-- name: LogBefore :many
SELECT * FROM (SELECT * FROM run_log_lines WHERE run_id = @run_id AND seq < @before::bigint ORDER BY seq DESC LIMIT @page_size::int) AS newest ORDER BY seq;

-- name: NotifyRun :exec
SELECT pg_notify('run_log', @run_id::text);

-- name: CommitSoon :exec
-- The transaction's commit does not wait for the disk.
SELECT set_config('synchronous_commit', 'off', true);
