-- name: CreateDeployment :one
INSERT INTO deployments (project_id, bundle_id, number, plan, runtime_type)
SELECT @project_id, @bundle_id, coalesce(max(number), 0) + 1, @plan, @runtime_type FROM deployments WHERE project_id = @project_id
RETURNING *;

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
UPDATE deployments SET observed_at = now() WHERE app_sandbox_id = @sandbox_id;

-- name: DestroyProjectDeployments :exec
UPDATE deployments SET status = 'DESTROYED', public_url = NULL, app_sandbox_id = NULL, db_sandbox_id = NULL, db_connection_info = NULL WHERE project_id = $1;

-- name: UpsertDatabase :one
INSERT INTO databases (project_id, appliance, name, volume) VALUES ($1, $2, $3, $4)
ON CONFLICT (project_id, appliance) DO UPDATE SET updated_at = now() RETURNING *;

-- name: ProjectDatabases :many
SELECT * FROM databases WHERE project_id = $1 ORDER BY created_at;

-- name: SetDatabaseConnection :exec
UPDATE databases SET sandbox_id = @sandbox_id, connection = @connection WHERE id = @id;

-- name: DeleteProjectDatabases :exec
DELETE FROM databases WHERE project_id = $1;

-- name: UpsertRoute :execrows
INSERT INTO routes (host, project_id, deployment_id, sandbox_id, target, state) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (host) DO UPDATE SET deployment_id = excluded.deployment_id, sandbox_id = excluded.sandbox_id, target = excluded.target, state = excluded.state
WHERE routes.project_id = excluded.project_id;

-- name: Routes :many
SELECT * FROM routes;

-- name: ProjectRoutes :many
SELECT * FROM routes WHERE project_id = $1;

-- name: StopProjectRoutes :exec
UPDATE routes SET state = 'stopped' WHERE project_id = $1;

-- name: DeleteProjectRoutes :exec
DELETE FROM routes WHERE project_id = $1;

-- name: UpsertSandbox :exec
INSERT INTO sandboxes (id, provider, project_id, deployment_id, database_id, appliance)
VALUES (@id, @provider, @project_id, sqlc.narg('deployment_id'), sqlc.narg('database_id'), @appliance)
ON CONFLICT (id) DO NOTHING;

-- name: ObserveSandbox :exec
UPDATE sandboxes SET state = $2, observed_at = now() WHERE id = $1;

-- name: DeleteSandbox :exec
DELETE FROM sandboxes WHERE id = $1;

-- name: ProjectSandboxes :many
SELECT * FROM sandboxes WHERE project_id = $1 ORDER BY created_at;

-- name: Sandboxes :many
SELECT * FROM sandboxes WHERE provider = $1 ORDER BY id;

-- name: ClearProjectURL :exec
UPDATE deployments SET public_url = NULL WHERE project_id = $1;

-- name: NotifyRoutes :exec
SELECT pg_notify('routes', '');
