-- name: ProjectsWithUnneededBundles :many
SELECT DISTINCT project_id FROM unneeded_bundles WHERE created_at < now() - make_interval(secs => @age_seconds::float8);

-- name: DropUnneededBundles :execrows
DELETE FROM bundles WHERE id IN (SELECT u.id FROM unneeded_bundles u WHERE u.project_id = @project_id AND u.created_at < now() - make_interval(secs => @age_seconds::float8));

-- name: BundleHashes :many
SELECT DISTINCT sha256 FROM bundles;

-- name: UserUploadBytes :one
-- A tree that was uploaded twice to one project takes its bytes once.
SELECT coalesce(sum(size_bytes), 0)::bigint FROM (SELECT DISTINCT ON (b.sha256) b.size_bytes FROM bundles b JOIN projects p ON p.id = b.project_id WHERE p.user_id = @user_id) AS blobs;

-- name: DropOldRunLogs :execrows
-- Of each project the newest runs keep their logs, and all that ended lately.
UPDATE runs SET log_dropped_at = now() WHERE id IN (
    SELECT r.id FROM (SELECT o.id, o.state, o.finished_at, o.log_dropped_at, row_number() OVER (PARTITION BY o.project_id ORDER BY o.created_at DESC, o.id) AS newer FROM runs o) AS r
    WHERE r.newer > @keep::int AND r.log_dropped_at IS NULL AND r.state IN ('SUCCEEDED', 'FAILED', 'CANCELLED') AND r.finished_at < now() - make_interval(secs => @age_seconds::float8));

-- name: DeleteDroppedLines :execrows
DELETE FROM run_log_lines WHERE ctid = ANY (ARRAY(
    SELECT l.ctid FROM runs r CROSS JOIN LATERAL (SELECT x.ctid FROM run_log_lines x WHERE x.run_id = r.id LIMIT @batch::int) AS l
    WHERE r.log_dropped_at IS NOT NULL LIMIT @batch::int));

-- name: DeleteOldAuditEvents :execrows
DELETE FROM audit_events WHERE id IN (SELECT e.id FROM audit_events e WHERE e.at < now() - make_interval(secs => @age_seconds::float8) ORDER BY e.at LIMIT @batch::int);

-- name: StoredUploads :one
SELECT count(*) AS uploads, coalesce(sum(size_bytes), 0)::bigint AS bytes FROM (SELECT DISTINCT ON (sha256) size_bytes FROM bundles) AS blobs;

-- name: ProjectsUploads :many
SELECT project_id, count(*) AS uploads, coalesce(sum(size_bytes), 0)::bigint AS bytes FROM (SELECT DISTINCT ON (project_id, sha256) project_id, size_bytes FROM bundles) AS blobs GROUP BY project_id;

-- name: ProjectsRunLines :many
-- A run's lines are numbered from 1 without gaps.
SELECT r.project_id, coalesce(sum((SELECT max(l.seq) FROM run_log_lines l WHERE l.run_id = r.id)), 0)::bigint AS lines FROM runs r WHERE r.log_dropped_at IS NULL GROUP BY r.project_id;

-- name: ProjectsAppLogs :many
SELECT project_id, (last_seq - first_seq + 1)::bigint AS lines, bytes FROM runtime_logs WHERE bytes > 0;

-- name: DatabaseSizes :one
-- In bytes, indexes included.
SELECT pg_database_size(current_database())::bigint AS whole, pg_total_relation_size('run_log_lines')::bigint AS run_logs,
    pg_total_relation_size('runtime_log_lines')::bigint AS app_logs;

-- name: DatabaseVolumes :many
SELECT volume FROM databases;
