-- name: RenewRuntimeLogCollector :exec
INSERT INTO runtime_log_collectors (owner, expires_at) VALUES (@owner, now() + make_interval(secs => @seconds::float8))
ON CONFLICT (owner) DO UPDATE SET expires_at = excluded.expires_at;

-- name: DropRuntimeLogCollector :exec
DELETE FROM runtime_log_collectors WHERE owner = $1;

-- name: ClaimRuntimeLogCursor :one
-- A sandbox is claimed by one node at a time, unless force takes it away.
INSERT INTO runtime_log_cursors AS c (sandbox_id, project_id, deployment_id, owner)
SELECT s.id, s.project_id, s.deployment_id, @owner FROM sandboxes s WHERE s.id = @sandbox_id AND s.deployment_id IS NOT NULL
ON CONFLICT (sandbox_id) DO UPDATE SET owner = excluded.owner, epoch = c.epoch + 1
WHERE c.owner = excluded.owner OR @force::bool
   OR NOT EXISTS (SELECT 1 FROM runtime_log_collectors other WHERE other.owner = c.owner AND other.expires_at > now())
RETURNING *;

-- name: RuntimeLogCursor :one
SELECT * FROM runtime_log_cursors WHERE sandbox_id = $1;

-- name: AppendRuntimeLog :one
-- The project's row stays locked until all is committed. The commit does not wait for
-- the disk: what a crash of the database loses is read again, since the cursor is lost with it.
WITH quick AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'off', true) AS setting
), moved AS (
    UPDATE runtime_log_cursors c SET state = @state, version = c.version + 1
    WHERE c.sandbox_id = @sandbox_id AND c.epoch = @epoch AND c.version = @version RETURNING c.sandbox_id, c.project_id, c.deployment_id
), grown AS (
    INSERT INTO runtime_logs AS l (project_id, last_seq, bytes)
    SELECT moved.project_id, cardinality(@text::text[]), @bytes::bigint FROM moved WHERE cardinality(@text::text[]) > 0
    ON CONFLICT (project_id) DO UPDATE SET last_seq = l.last_seq + excluded.last_seq, bytes = l.bytes + excluded.bytes
    RETURNING l.project_id, l.last_seq
), added AS (
    INSERT INTO runtime_log_lines (project_id, seq, at, stream, deployment_id, sandbox_id, text)
    SELECT moved.project_id, grown.last_seq - cardinality(@text::text[]) + line.n, line.at, line.stream, moved.deployment_id, moved.sandbox_id, line.text
    FROM moved, grown, (SELECT generate_subscripts(@at::timestamptz[], 1) AS n, unnest(@at::timestamptz[]) AS at, unnest(@stream::text[]) AS stream,
        unnest(@text::text[]) AS text) AS line
    RETURNING 1
)
SELECT (SELECT count(setting) FROM quick) AS quick, (SELECT count(*) FROM moved) AS moved, (SELECT count(*) FROM added) AS added,
    coalesce((SELECT pg_notify('runtime_log', grown.project_id::text)::text FROM grown), '')::text AS notified;

-- name: RuntimeLog :one
SELECT * FROM runtime_logs WHERE project_id = $1;

-- name: RuntimeLogAfter :many
SELECT * FROM runtime_log_lines l
WHERE l.project_id = @project_id AND l.seq > @after::bigint
  AND (sqlc.narg('deployment_id')::uuid IS NULL OR l.deployment_id = sqlc.narg('deployment_id')::uuid)
  AND (@stream::text = '' OR l.stream = @stream::text)
  AND (sqlc.narg('since')::timestamptz IS NULL OR l.at >= sqlc.narg('since')::timestamptz)
  AND (sqlc.narg('until')::timestamptz IS NULL OR l.at < sqlc.narg('until')::timestamptz)
ORDER BY l.seq LIMIT @page_size::int;

-- name: RuntimeLogBefore :many
SELECT * FROM (SELECT * FROM runtime_log_lines l
    WHERE l.project_id = @project_id AND l.seq < @before::bigint
      AND (sqlc.narg('deployment_id')::uuid IS NULL OR l.deployment_id = sqlc.narg('deployment_id')::uuid)
      AND (@stream::text = '' OR l.stream = @stream::text)
      AND (sqlc.narg('since')::timestamptz IS NULL OR l.at >= sqlc.narg('since')::timestamptz)
      AND (sqlc.narg('until')::timestamptz IS NULL OR l.at < sqlc.narg('until')::timestamptz)
    ORDER BY l.seq DESC LIMIT @page_size::int) AS newest ORDER BY seq;

-- name: SearchRuntimeLog :many
-- Newest first. Colours do not part the words that they are between.
SELECT * FROM runtime_log_lines l
WHERE l.project_id = @project_id AND l.seq >= @first::bigint AND l.seq < @before::bigint
  AND (sqlc.narg('deployment_id')::uuid IS NULL OR l.deployment_id = sqlc.narg('deployment_id')::uuid)
  AND (@stream::text = '' OR l.stream = @stream::text)
  AND (sqlc.narg('since')::timestamptz IS NULL OR l.at >= sqlc.narg('since')::timestamptz)
  AND (sqlc.narg('until')::timestamptz IS NULL OR l.at < sqlc.narg('until')::timestamptz)
  AND CASE WHEN strpos(l.text, chr(27)) > 0 THEN regexp_replace(l.text, E'\x1b\\[[0-9;:]*m', '', 'g') ELSE l.text END ILIKE @pattern
ORDER BY l.seq DESC LIMIT @page_size::int;

-- name: SearchRunLog :many
SELECT * FROM run_log_lines l
WHERE l.run_id = @run_id AND l.seq >= @first::bigint AND l.seq < @before::bigint
  AND CASE WHEN strpos(l.text, chr(27)) > 0 THEN regexp_replace(l.text, E'\x1b\\[[0-9;:]*m', '', 'g') ELSE l.text END ILIKE @pattern
ORDER BY l.seq DESC LIMIT @page_size::int;

-- name: RuntimeLogsToTrim :many
SELECT l.project_id FROM runtime_logs l
LEFT JOIN runtime_log_lines oldest ON oldest.project_id = l.project_id AND oldest.seq = l.first_seq
WHERE l.last_seq - l.first_seq + 1 > @max_lines::bigint OR l.bytes > @max_bytes::bigint OR oldest.at < @since
ORDER BY l.project_id;

-- name: LockRuntimeLog :one
SELECT * FROM runtime_logs WHERE project_id = $1 FOR UPDATE;

-- name: FirstRuntimeLogLineToKeep :one
-- Among the oldest lines, the first that neither age nor size takes away; 0 if all of them go.
WITH oldest AS (
    SELECT l.seq, l.at, sum(octet_length(l.text) + @overhead::int) OVER (ORDER BY l.seq) - octet_length(l.text) - @overhead::int AS preceding
    FROM runtime_log_lines l WHERE l.project_id = @project_id AND l.seq >= @first::bigint AND l.seq < @until_seq::bigint
)
SELECT coalesce(min(seq), 0)::bigint FROM oldest WHERE at >= @since AND seq >= @least::bigint AND preceding >= @surplus::bigint;

-- name: DeleteRuntimeLogLines :one
WITH gone AS (
    DELETE FROM runtime_log_lines WHERE project_id = @project_id AND seq < @until_seq::bigint RETURNING octet_length(text) + @overhead::int AS size
)
UPDATE runtime_logs SET first_seq = @until_seq::bigint, bytes = bytes - (SELECT coalesce(sum(size), 0) FROM gone)::bigint
WHERE runtime_logs.project_id = @project_id RETURNING bytes;

-- name: DeleteRuntimeLog :exec
DELETE FROM runtime_logs WHERE project_id = $1;

-- name: DeploymentByNumber :one
SELECT d.* FROM deployments d JOIN projects p ON p.id = d.project_id WHERE d.project_id = @project_id AND p.user_id = @user_id AND d.number = @number;
