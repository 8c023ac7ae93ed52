-- +goose Up

-- A database that the project's app is not given any more. Its data stays.
ALTER TABLE databases ADD COLUMN detached_at timestamptz;

-- Those whose variables the app was started with the last time.
ALTER TABLE deployments ADD COLUMN applied_databases uuid[] NOT NULL DEFAULT '{}';
UPDATE deployments d SET applied_databases = ARRAY(SELECT b.id FROM databases b WHERE b.project_id = d.project_id AND b.connection IS NOT NULL) WHERE d.status = 'RUNNING';

-- +goose Down
ALTER TABLE deployments DROP COLUMN applied_databases;
ALTER TABLE databases DROP COLUMN detached_at;
