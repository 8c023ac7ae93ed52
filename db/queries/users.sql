-- name: CreateUser :one
INSERT INTO users (email, password_hash) VALUES ($1, $2) RETURNING *;

-- name: UserByEmail :one
SELECT * FROM users WHERE lower(email) = lower($1);

-- name: UserByID :one
SELECT * FROM users WHERE id = $1;

-- name: InsertAuditEvent :exec
INSERT INTO audit_events (user_id, project_id, action, peer, detail) VALUES (sqlc.narg('user_id'), sqlc.narg('project_id'), @action, @peer, @detail);
