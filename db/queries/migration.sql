-- name: LockQueueMigration :exec
SELECT pg_advisory_lock(hashtext('coderunner river migrate'));

-- name: UnlockQueueMigration :exec
SELECT pg_advisory_unlock(hashtext('coderunner river migrate'));
