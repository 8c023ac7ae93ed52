-- name: SealedCounts :many
-- Every column that holds ciphertexts. The first bytes of one are its key's id.
SELECT s.place, substring(s.sealed, 1, @header_bytes::int)::bytea AS header, count(*) AS count FROM (
    SELECT 'variables' AS place, v.value AS sealed, 1 AS position FROM variables v
    UNION ALL SELECT 'database connections', d.connection, 2 FROM databases d
    UNION ALL SELECT 'connections of deployments', decode(d.db_connection_info ->> 'ciphertext', 'base64'), 3 FROM deployments d
    UNION ALL SELECT 'variables of deployments', d.variables, 4 FROM deployments d
    UNION ALL SELECT 'variables of runs', r.variables, 5 FROM runs r
    UNION ALL SELECT 'secrets of backends', b.secrets, 6 FROM backends b
) AS s WHERE s.sealed IS NOT NULL GROUP BY s.position, s.place, header ORDER BY s.position, header;

-- name: BeginSealingAgain :exec
-- For the rest of the transaction, times of the rows stay as they are (touch_updated_at).
SELECT set_config('coderunner.sealing_again', 'on', true);

-- name: SealedVariables :many
-- This and the next five are the same question, one for each column: FOR UPDATE does not
-- go with UNION. Their parameters and their rows are alike, and so are those of the replacements.
SELECT t.key AS id, t.project_id, ARRAY['variable/' || t.key]::text[] AS names, t.value AS sealed FROM variables t
WHERE substring(t.value, 1, length(@header::bytea)) <> @header AND NOT (t.project_id::text || '/' || t.key = ANY(@known::text[]))
LIMIT @batch::int FOR UPDATE OF t SKIP LOCKED;

-- name: ReplaceSealedVariable :exec
UPDATE variables t SET value = @sealed::bytea WHERE t.project_id = @project_id AND t.key = @id AND t.value = @former::bytea;

-- name: SealedDatabases :many
SELECT t.id, t.project_id, ARRAY['database/' || t.id]::text[] AS names, t.connection AS sealed FROM databases t
WHERE substring(t.connection, 1, length(@header::bytea)) <> @header AND NOT (t.project_id::text || '/' || t.id = ANY(@known::text[]))
LIMIT @batch::int FOR UPDATE OF t SKIP LOCKED;

-- name: ReplaceSealedDatabase :exec
UPDATE databases t SET connection = @sealed::bytea WHERE t.project_id = @project_id AND t.id = @id AND t.connection = @former::bytea;

-- name: SealedDeploymentConnections :many
-- A deployment does not say which of the project's databases it is about.
SELECT t.id, t.project_id, ARRAY(SELECT 'database/' || d.id FROM databases d WHERE d.project_id = t.project_id)::text[] AS names,
    decode(t.db_connection_info ->> 'ciphertext', 'base64')::bytea AS sealed FROM deployments t
WHERE substring(decode(t.db_connection_info ->> 'ciphertext', 'base64'), 1, length(@header::bytea)) <> @header AND NOT (t.project_id::text || '/' || t.id = ANY(@known::text[]))
LIMIT @batch::int FOR UPDATE OF t SKIP LOCKED;

-- name: ReplaceSealedDeploymentConnection :exec
UPDATE deployments t SET db_connection_info = jsonb_build_object('ciphertext', translate(encode(@sealed::bytea, 'base64'), E'\n', ''))
WHERE t.project_id = @project_id AND t.id = @id AND decode(t.db_connection_info ->> 'ciphertext', 'base64') = @former::bytea;

-- name: SealedDeploymentVariables :many
SELECT t.id, t.project_id, ARRAY['deployment/' || t.id || '/variables']::text[] AS names, t.variables AS sealed FROM deployments t
WHERE substring(t.variables, 1, length(@header::bytea)) <> @header AND NOT (t.project_id::text || '/' || t.id = ANY(@known::text[]))
LIMIT @batch::int FOR UPDATE OF t SKIP LOCKED;

-- name: ReplaceSealedDeploymentVariables :exec
UPDATE deployments t SET variables = @sealed::bytea WHERE t.project_id = @project_id AND t.id = @id AND t.variables = @former::bytea;

-- name: SealedRunVariables :many
SELECT t.id, t.project_id, ARRAY['run/' || t.id || '/variables']::text[] AS names, t.variables AS sealed FROM runs t
WHERE substring(t.variables, 1, length(@header::bytea)) <> @header AND NOT (t.project_id::text || '/' || t.id = ANY(@known::text[]))
LIMIT @batch::int FOR UPDATE OF t SKIP LOCKED;

-- name: ReplaceSealedRunVariables :exec
UPDATE runs t SET variables = @sealed::bytea WHERE t.project_id = @project_id AND t.id = @id AND t.variables = @former::bytea;

-- name: SealedBackends :many
SELECT t.project_id AS id, t.project_id, ARRAY['backend']::text[] AS names, t.secrets AS sealed FROM backends t
WHERE substring(t.secrets, 1, length(@header::bytea)) <> @header AND NOT (t.project_id::text || '/' || t.project_id = ANY(@known::text[]))
LIMIT @batch::int FOR UPDATE OF t SKIP LOCKED;

-- name: ReplaceSealedBackend :exec
UPDATE backends t SET secrets = @sealed::bytea WHERE t.project_id = @project_id AND t.project_id = @id AND t.secrets = @former::bytea;
