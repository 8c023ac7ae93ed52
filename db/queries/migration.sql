-- name: LockMigration :exec
-- The name is from the time when only the queue's tables needed it; older programs take it too.
SELECT pg_advisory_lock(hashtext('coderunner river migrate'));

-- name: UnlockMigration :exec
SELECT pg_advisory_unlock(hashtext('coderunner river migrate'));

-- name: DatabaseSize :one
SELECT pg_database_size(current_database())::bigint;

-- name: ServerVersion :one
SELECT current_setting('server_version')::text;
