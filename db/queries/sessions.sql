-- name: InsertSession :exec
INSERT INTO sessions (id_hash, user_id, data, user_agent, peer, expires_at)
VALUES (@id_hash, sqlc.narg('user_id'), @data, @user_agent, @peer, now() + make_interval(secs => @lifetime_seconds::float8));

-- name: Session :one
SELECT * FROM sessions WHERE id_hash = $1 AND expires_at > now();

-- name: TouchSession :exec
UPDATE sessions SET last_seen_at = now() WHERE id_hash = $1 AND last_seen_at < now() - interval '1 minute';

-- name: UpdateSessionData :execrows
UPDATE sessions SET data = $2, last_seen_at = now() WHERE id_hash = $1;

-- name: DeleteSession :exec
DELETE FROM sessions WHERE id_hash = $1;

-- name: DeleteUserSession :execrows
DELETE FROM sessions WHERE user_id = @user_id AND encode(sha256(id_hash), 'hex') = @handle::text;

-- name: DeleteUserSessions :exec
DELETE FROM sessions WHERE user_id = $1;

-- name: UserSessions :many
SELECT *, encode(sha256(id_hash), 'hex')::text AS handle FROM sessions WHERE user_id = @user_id::uuid AND expires_at > now() ORDER BY last_seen_at DESC;

-- name: DeleteExpired :exec
WITH s AS (DELETE FROM sessions WHERE expires_at < now())
DELETE FROM refresh_tokens WHERE expires_at < now() - interval '1 day';

-- name: InsertRefreshToken :exec
INSERT INTO refresh_tokens (user_id, family, token_hash, expires_at)
VALUES (@user_id, @family, @token_hash, now() + make_interval(secs => @lifetime_seconds::float8));

-- name: RefreshTokenForUpdate :one
SELECT * FROM refresh_tokens WHERE token_hash = $1 FOR UPDATE;

-- name: MarkRefreshTokenUsed :exec
UPDATE refresh_tokens SET used_at = now() WHERE id = $1;

-- name: RevokeRefreshFamily :exec
UPDATE refresh_tokens SET revoked_at = now() WHERE family = $1 AND revoked_at IS NULL;

-- name: RevokeUserRefreshTokens :exec
UPDATE refresh_tokens SET revoked_at = now() WHERE user_id = $1 AND revoked_at IS NULL;

-- name: RefreshFamilyLive :one
SELECT EXISTS (SELECT 1 FROM refresh_tokens WHERE family = $1 AND revoked_at IS NULL AND expires_at > now());
