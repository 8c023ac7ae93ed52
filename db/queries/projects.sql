-- name: CreateProject :one
INSERT INTO projects (user_id, name, slug, plan) VALUES ($1, $2, $3, $4) RETURNING *;

-- name: Project :one
SELECT * FROM projects WHERE id = $1 AND user_id = $2;

-- name: ProjectByID :one
SELECT * FROM projects WHERE id = $1;

-- name: ProjectSummaries :many
SELECT sqlc.embed(p),
    coalesce(d.id::text, '')::text AS deployment_id, coalesce(d.number, 0)::int AS deployment_number,
    coalesce(d.status::text, '')::text AS deployment_status, coalesce(d.runtime_type, '')::text AS runtime_type,
    d.observed_at AS deployment_observed_at,
    coalesce(d.created_at, p.created_at)::timestamptz AS deployment_created_at, coalesce(d.updated_at, p.updated_at)::timestamptz AS deployment_updated_at,
    coalesce(c.id::text, '')::text AS current_id, coalesce(c.number, 0)::int AS current_number, coalesce(c.status::text, '')::text AS current_status,
    coalesce(c.runtime_type, '')::text AS current_runtime_type, coalesce(c.failure ->> 'id', '')::text AS current_failure_id,
    c.observed_at AS current_observed_at, coalesce(c.observed_state, '')::text AS current_observed_state,
    coalesce(c.created_at, p.created_at)::timestamptz AS current_created_at, coalesce(c.updated_at, p.updated_at)::timestamptz AS current_updated_at,
    coalesce(l.public_url, '')::text AS public_url,
    coalesce(r.id::text, '')::text AS run_id, coalesce(r.playbook, '')::text AS run_playbook, coalesce(r.state::text, '')::text AS run_state,
    coalesce(r.deployment_id::text, '')::text AS run_deployment_id, coalesce(r.created_at, p.created_at)::timestamptz AS run_created_at,
    r.started_at AS run_started_at, r.finished_at AS run_finished_at
FROM projects p
LEFT JOIN LATERAL (SELECT * FROM deployments x WHERE x.project_id = p.id ORDER BY x.number DESC LIMIT 1) d ON true
LEFT JOIN LATERAL (SELECT * FROM deployments x WHERE x.project_id = p.id AND x.released_at IS NOT NULL ORDER BY x.number DESC LIMIT 1) c ON true
LEFT JOIN LATERAL (SELECT x.public_url FROM deployments x WHERE x.project_id = p.id AND x.public_url IS NOT NULL LIMIT 1) l ON true
LEFT JOIN LATERAL (SELECT * FROM runs x WHERE x.project_id = p.id ORDER BY x.created_at DESC LIMIT 1) r ON true
WHERE p.user_id = @user_id AND p.destroyed_at IS NULL
  AND (@search::text = '' OR strpos(lower(p.name), lower(@search)) > 0 OR strpos(p.slug, lower(@search)) > 0)
ORDER BY p.created_at DESC, p.id
LIMIT @page_size::int OFFSET @page_start::int;

-- name: CountProjects :one
SELECT count(*) FROM projects p WHERE p.user_id = @user_id AND p.destroyed_at IS NULL
  AND (@search::text = '' OR strpos(lower(p.name), lower(@search)) > 0 OR strpos(p.slug, lower(@search)) > 0);

-- name: ProjectNameTaken :one
SELECT EXISTS (SELECT 1 FROM projects WHERE user_id = @user_id AND lower(name) = lower(@name) AND destroyed_at IS NULL);

-- name: SlugTaken :one
SELECT EXISTS (SELECT 1 FROM projects WHERE slug = $1);

-- name: ReleaseSlug :exec
-- A destroyed project gives its slug back to its owner; with the dot it is nobody's host name.
UPDATE projects SET slug = slug || '.' || id WHERE slug = @slug AND user_id = @user_id AND destroyed_at IS NOT NULL;

-- name: LiveProjects :many
-- Those of ids that are there and not destroyed.
SELECT id::text FROM projects WHERE id::text = ANY(@ids::text[]) AND destroyed_at IS NULL;

-- name: SetProjectPlan :exec
UPDATE projects SET plan = $2 WHERE id = $1;

-- name: RenameProject :one
UPDATE projects SET name = @name, slug = @slug WHERE id = @id AND user_id = @user_id AND destroyed_at IS NULL RETURNING *;

-- name: MarkProjectDestroyed :exec
UPDATE projects SET destroyed_at = now(), plan = '{}' WHERE id = $1 AND destroyed_at IS NULL;

-- name: CreateBundle :one
INSERT INTO bundles (project_id, sha256, filename, size_bytes, expanded_bytes, files, omitted, plan)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING *;

-- name: Bundle :one
SELECT b.* FROM bundles b JOIN projects p ON p.id = b.project_id WHERE b.id = @id AND p.user_id = @user_id;

-- name: BundleByID :one
SELECT * FROM bundles WHERE id = $1;

-- name: LatestBundle :one
SELECT b.* FROM bundles b JOIN projects p ON p.id = b.project_id WHERE p.id = @project_id AND p.user_id = @user_id ORDER BY b.created_at DESC LIMIT 1;

-- name: ProjectUploads :one
-- A blob that was uploaded twice takes its bytes once.
SELECT (SELECT count(*) FROM bundles b WHERE b.project_id = p.id) AS uploads,
    coalesce((SELECT sum(size_bytes) FROM (SELECT DISTINCT ON (sha256) size_bytes FROM bundles b WHERE b.project_id = p.id) AS blobs), 0)::bigint AS bytes
FROM projects p WHERE p.id = @id AND p.user_id = @user_id;

-- name: DeleteProjectBundles :many
DELETE FROM bundles WHERE project_id = $1 RETURNING sha256;

-- name: BundleReferenced :one
SELECT EXISTS (SELECT 1 FROM bundles WHERE sha256 = $1);

-- name: LockVariables :one
-- Whoever changes a project's variables does so alone.
SELECT (destroyed_at IS NULL)::bool AS live FROM projects WHERE id = @project_id AND user_id = @user_id FOR NO KEY UPDATE;

-- name: SetVariable :exec
INSERT INTO variables (project_id, key, value, secret, scope) VALUES (@project_id, @key, @value, @secret, @scope)
ON CONFLICT (project_id, key) DO UPDATE SET value = excluded.value, secret = excluded.secret, scope = excluded.scope;

-- name: DeleteVariable :execrows
DELETE FROM variables WHERE project_id = $1 AND key = $2;

-- name: Variables :many
SELECT * FROM variables WHERE project_id = $1 ORDER BY key;

-- name: DeleteProjectVariables :exec
DELETE FROM variables WHERE project_id = $1;
