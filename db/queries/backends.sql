-- name: EnsureBackend :exec
INSERT INTO backends (project_id, volume, secrets) VALUES ($1, $2, $3) ON CONFLICT (project_id) DO NOTHING;

-- name: ProjectBackend :one
SELECT * FROM backends WHERE project_id = $1;

-- name: SetBackendAdmin :exec
UPDATE backends SET admin_state = @admin_state WHERE project_id = @project_id;

-- name: DeleteProjectBackend :exec
DELETE FROM backends WHERE project_id = $1;
