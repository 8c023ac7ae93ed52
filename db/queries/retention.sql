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

-- name: ProjectsWithOldHistory :many
-- Projects that have more runs or deployments than keep, and those destroyed longer than their age ago that have any.
SELECT p.id, (p.destroyed_at IS NOT NULL)::bool AS destroyed FROM projects p
WHERE (p.destroyed_at < now() - make_interval(secs => @age_seconds::float8)
        AND (EXISTS (SELECT 1 FROM runs r WHERE r.project_id = p.id) OR EXISTS (SELECT 1 FROM deployments d WHERE d.project_id = p.id)))
    OR (p.destroyed_at IS NULL AND (p.id IN (SELECT r.project_id FROM runs r GROUP BY r.project_id HAVING count(*) > @keep::int)
        OR p.id IN (SELECT d.project_id FROM deployments d GROUP BY d.project_id HAVING count(*) > @keep::int)));

-- name: ForgetRuns :execrows
-- Ended ones beyond the newest, with their steps. Lines go before them, in smaller pieces, but for a destroyed project's.
-- What made a sandbox that is there stays, and the first run of a deployment that serves or can be rolled back to.
DELETE FROM runs WHERE runs.id IN (
    SELECT r.id FROM (SELECT o.*, row_number() OVER (ORDER BY o.created_at DESC, o.id) AS newer FROM runs o WHERE o.project_id = @project_id) AS r
    WHERE r.newer > @keep::int AND r.state IN ('SUCCEEDED', 'FAILED', 'CANCELLED') AND r.finished_at < now() - make_interval(secs => @age_seconds::float8)
      AND (r.log_dropped_at IS NOT NULL OR EXISTS (SELECT 1 FROM projects p WHERE p.id = r.project_id AND p.destroyed_at IS NOT NULL))
      AND NOT EXISTS (SELECT 1 FROM sandboxes s WHERE s.run_id = r.id)
      AND NOT EXISTS (SELECT 1 FROM deployments d WHERE d.id = r.deployment_id
          AND (d.release IS NOT NULL OR d.status IN ('PENDING', 'PROVISIONING', 'BUILDING', 'RUNNING')
              OR (d.status <> 'DESTROYED' AND d.number = (SELECT max(c.number) FROM deployments c WHERE c.project_id = d.project_id AND c.released_at IS NOT NULL)))
          AND NOT EXISTS (SELECT 1 FROM runs f WHERE f.deployment_id = d.id AND (f.created_at, f.id) < (r.created_at, r.id)))
    ORDER BY r.created_at LIMIT @batch::int);

-- name: ForgetDeployments :execrows
-- Those beyond the newest that neither serve, nor can be rolled back to, nor are named by what stays. The newest number
-- stays, so that none is given twice.
WITH ranked AS (
    SELECT x.id, x.number, x.status, x.release, x.from_deployment_id, x.public_url, x.updated_at, row_number() OVER (ORDER BY x.number DESC) AS newer,
        max(CASE WHEN x.released_at IS NOT NULL AND x.status <> 'DESTROYED' THEN x.number END) OVER () AS current
    FROM deployments x WHERE x.project_id = @project_id
), kept AS (
    SELECT * FROM ranked WHERE newer <= @keep::int OR release IS NOT NULL OR status IN ('PENDING', 'PROVISIONING', 'BUILDING', 'RUNNING') OR number = current
        OR public_url IS NOT NULL OR updated_at >= now() - make_interval(secs => @age_seconds::float8)
)
DELETE FROM deployments WHERE deployments.id IN (
    SELECT d.id FROM ranked d
    WHERE d.id NOT IN (SELECT k.id FROM kept k) AND NOT EXISTS (SELECT 1 FROM kept k WHERE k.from_deployment_id = d.id)
      AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.deployment_id = d.id) AND NOT EXISTS (SELECT 1 FROM routes r WHERE r.deployment_id = d.id)
      AND NOT EXISTS (SELECT 1 FROM sandboxes s WHERE s.deployment_id = d.id) AND NOT EXISTS (SELECT 1 FROM runtime_log_cursors c WHERE c.deployment_id = d.id)
    ORDER BY d.number LIMIT @batch::int);

-- name: LargestTables :many
-- With indexes, in bytes; without those that are measured by themselves.
SELECT c.relname::text AS name, pg_total_relation_size(c.oid::regclass)::bigint AS bytes FROM pg_catalog.pg_class c
WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace AND c.relname NOT IN ('run_log_lines', 'runtime_log_lines')
ORDER BY bytes DESC, name LIMIT @count::int;

-- name: OwnedVolumes :many
-- Those of databases and of apps.
SELECT volume FROM databases UNION ALL SELECT volume FROM backends;
