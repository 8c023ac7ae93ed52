-- What a project on Manifest has beside its deployments.
-- +goose Up
CREATE TABLE backends (
    project_id  uuid PRIMARY KEY REFERENCES projects ON DELETE CASCADE,
    volume      text        NOT NULL UNIQUE, -- of the provider: the SQLite file and the uploads
    secrets     bytea       NOT NULL,        -- AEAD ciphertext of coderunner.BackendSecrets
    admin_state text        NOT NULL DEFAULT '' CHECK (admin_state IN ('', 'created', 'foreign')), -- see coderunner.AdminState
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);
CREATE TRIGGER backends_touch BEFORE UPDATE ON backends FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

-- +goose Down
DROP TABLE backends;
