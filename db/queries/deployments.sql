-- name: CreateDeployment :one
INSERT INTO deployments (project_id, bundle_id, number, plan, runtime_type, origin, from_deployment_id, release, variables)
SELECT @project_id, sqlc.narg('bundle_id'), coalesce(max(number), 0) + 1, @plan, @runtime_type, @origin, sqlc.narg('from_deployment_id'), sqlc.narg('release'), sqlc.narg('variables')
FROM deployments WHERE project_id = @project_id
RETURNING *;

-- name: CurrentDeployment :one
-- The version that serves, or that would if it were started.
SELECT d.* FROM deployments d JOIN projects p ON p.id = d.project_id
WHERE d.project_id = @project_id AND p.user_id = @user_id AND d.released_at IS NOT NULL ORDER BY d.number DESC LIMIT 1;

-- name: DeploymentVariables :one
SELECT variables FROM deployments WHERE id = $1;

-- name: SetDeploymentRelease :exec
UPDATE deployments SET release = sqlc.narg('release') WHERE id = @id;

-- name: Release :exec
-- The deployment serves from now on, from this sandbox and with these variables.
UPDATE deployments SET released_at = coalesce(released_at, now()), status = 'RUNNING', app_sandbox_id = @sandbox_id, variables = coalesce(sqlc.narg('variables'), variables),
    failure = NULL, observed_at = now(), observed_state = 'running' WHERE id = @id;

-- name: SetAppliedDatabases :exec
UPDATE deployments SET applied_databases = @databases WHERE id = @id;

-- name: SupersedeDeployments :exec
UPDATE deployments SET status = 'STOPPED', app_sandbox_id = NULL WHERE project_id = @project_id AND id <> @id AND status = 'RUNNING';

-- name: KeptReleases :many
-- Those that have a release, newest first.
SELECT * FROM deployments WHERE project_id = $1 AND release IS NOT NULL ORDER BY number DESC;

-- name: ForgetDeploymentSecrets :exec
-- Those of deployments that neither serve nor can be rolled back to any more.
UPDATE deployments d SET variables = NULL, db_connection_info = NULL
WHERE d.project_id = $1 AND d.release IS NULL AND d.status IN ('STOPPED', 'FAILED') AND (d.variables IS NOT NULL OR d.db_connection_info IS NOT NULL)
    AND d.number < (SELECT max(l.number) FROM deployments l WHERE l.project_id = $1 AND l.released_at IS NOT NULL);

-- name: Deployment :one
SELECT d.* FROM deployments d JOIN projects p ON p.id = d.project_id WHERE d.id = @id AND p.user_id = @user_id;

-- name: DeploymentByID :one
SELECT * FROM deployments WHERE id = $1;

-- name: DeploymentForUpdate :one
SELECT * FROM deployments WHERE id = $1 FOR UPDATE;

-- name: ProjectDeployments :many
SELECT d.* FROM deployments d JOIN projects p ON p.id = d.project_id
WHERE d.project_id = @project_id AND p.user_id = @user_id ORDER BY d.number DESC LIMIT @page_size::int OFFSET @page_start::int;

-- name: SetDeploymentStatus :exec
UPDATE deployments SET status = $2 WHERE id = $1 AND status <> $2;

-- name: SetDeploymentFailure :exec
UPDATE deployments SET failure = $2 WHERE id = $1;

-- name: SetDeploymentSandbox :exec
UPDATE deployments SET app_sandbox_id = sqlc.narg('app_sandbox_id') WHERE id = @id;

-- name: SetDeploymentDatabase :exec
UPDATE deployments SET db_sandbox_id = sqlc.narg('db_sandbox_id'), db_connection_info = sqlc.narg('info') WHERE id = @id;

-- name: MoveProjectURL :exec
UPDATE deployments SET public_url = NULL WHERE project_id = @project_id AND id <> @id AND public_url IS NOT NULL;

-- name: SetDeploymentURL :exec
UPDATE deployments SET public_url = sqlc.narg('public_url') WHERE id = @id;

-- name: ObserveDeployment :exec
UPDATE deployments SET observed_at = now(), observed_state = @state WHERE app_sandbox_id = @sandbox_id;

-- name: DestroyProjectDeployments :exec
UPDATE deployments SET status = 'DESTROYED', public_url = NULL, app_sandbox_id = NULL, db_sandbox_id = NULL, db_connection_info = NULL, release = NULL, variables = NULL WHERE project_id = $1;

-- name: UpsertDatabase :one
INSERT INTO databases (project_id, appliance, name, volume, detached_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (project_id, appliance) DO UPDATE SET updated_at = now() RETURNING *;

-- name: SetDatabaseStopped :exec
UPDATE databases SET stopped_at = CASE WHEN @stopped::bool THEN now() END WHERE id = @id;

-- name: SetDatabaseDetached :exec
UPDATE databases SET detached_at = CASE WHEN @detached::bool THEN coalesce(detached_at, now()) END WHERE id = @id;

-- name: ProjectDatabases :many
SELECT * FROM databases WHERE project_id = $1 AND detached_at IS NULL ORDER BY created_at;

-- name: AllDatabases :many
SELECT * FROM databases WHERE project_id = $1 ORDER BY created_at;

-- name: DeleteDatabase :exec
DELETE FROM databases WHERE id = $1 AND detached_at IS NOT NULL;

-- name: SetDatabaseConnection :exec
UPDATE databases SET sandbox_id = @sandbox_id, connection = @connection WHERE id = @id;

-- name: DeleteProjectDatabases :exec
DELETE FROM databases WHERE project_id = $1;

-- name: UpsertRoute :execrows
INSERT INTO routes (host, project_id, deployment_id, sandbox_id, target, state) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (host) DO UPDATE SET deployment_id = excluded.deployment_id, sandbox_id = excluded.sandbox_id, target = excluded.target, state = excluded.state
WHERE routes.project_id = excluded.project_id;

-- name: RetargetRoute :exec
UPDATE routes SET target = @target WHERE host = @host AND sandbox_id = @sandbox_id;

-- name: Routes :many
SELECT * FROM routes;

-- name: ProjectRoutes :many
SELECT * FROM routes WHERE project_id = $1;

-- name: StopProjectRoutes :exec
UPDATE routes SET state = 'stopped' WHERE project_id = $1;

-- name: DeleteProjectRoutes :exec
DELETE FROM routes WHERE project_id = $1;

-- name: UpsertSandbox :exec
INSERT INTO sandboxes (id, provider, project_id, deployment_id, database_id, run_id, purpose, appliance)
VALUES (@id, @provider, @project_id, sqlc.narg('deployment_id'), sqlc.narg('database_id'), sqlc.narg('run_id'), @purpose, @appliance)
ON CONFLICT (id) DO UPDATE SET unwanted_at = NULL;

-- name: AbandonSandboxes :many
-- The project's app sandboxes but one are not wanted any more.
UPDATE sandboxes SET unwanted_at = coalesce(unwanted_at, now()) WHERE project_id = @project_id AND purpose = 'app' AND id <> @keep RETURNING id;

-- name: AbandonSandbox :exec
UPDATE sandboxes SET unwanted_at = coalesce(unwanted_at, now()) WHERE id = $1;

-- name: CountRestart :exec
UPDATE sandboxes SET restarts = restarts + 1, restart_at = now() + make_interval(secs => @wait_seconds::float8), last_exit = coalesce(sqlc.narg('last_exit'), last_exit) WHERE id = @id;

-- name: ForgetRestarts :exec
UPDATE sandboxes SET restarts = 0, restart_at = NULL WHERE id = $1 AND restarts > 0;

-- name: ObserveSandbox :exec
UPDATE sandboxes SET state = $2, observed_at = now() WHERE id = $1;

-- name: DeleteSandbox :exec
DELETE FROM sandboxes WHERE id = $1;

-- name: SandboxExpected :one
SELECT EXISTS (SELECT 1 FROM sandboxes WHERE id = $1);

-- name: ProjectSandboxes :many
SELECT * FROM sandboxes WHERE project_id = $1 ORDER BY created_at;

-- name: Sandboxes :many
SELECT * FROM sandboxes WHERE provider = $1 ORDER BY id;

-- name: ClearProjectURL :exec
UPDATE deployments SET public_url = NULL WHERE project_id = $1;

-- name: NotifyRoutes :exec
SELECT pg_notify('routes', '');

-- name: InsertSnapshot :exec
INSERT INTO snapshots (name, provider, project_id, kind, basis, depth, bytes) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (name) DO UPDATE SET last_used_at = now();

-- name: UseSnapshot :execrows
UPDATE snapshots SET last_used_at = now() WHERE name = $1;

-- name: LatestDependencies :many
-- Those that an install may be done on top of.
SELECT * FROM snapshots WHERE project_id = @project_id AND provider = @provider AND kind = 'dependencies' AND basis = @basis ORDER BY last_used_at DESC LIMIT 1;

-- name: ProjectSnapshots :many
SELECT * FROM snapshots WHERE project_id = $1 ORDER BY created_at;

-- name: Snapshots :many
SELECT * FROM snapshots WHERE provider = $1 ORDER BY last_used_at;

-- name: DeleteSnapshot :exec
DELETE FROM snapshots WHERE name = $1;

-- name: ReleaseUses :one
-- Whether any kept deployment is made from the snapshot.
SELECT EXISTS (SELECT 1 FROM deployments WHERE release ->> 'snapshot' = @name::text);
