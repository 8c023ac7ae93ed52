-- An app's life after its first deploy: releases that can be run again, one run at
-- work and one that waits for each project, sandboxes that are watched.
-- +goose Up
ALTER TABLE deployments
    ADD COLUMN origin             text NOT NULL DEFAULT 'upload' CHECK (origin IN ('upload', 'redeploy', 'rollback')),
    ADD COLUMN from_deployment_id uuid REFERENCES deployments ON DELETE SET NULL,
    ADD COLUMN release            jsonb,       -- what its sandboxes are made from; NULL until built, and once it is no longer kept
    ADD COLUMN released_at        timestamptz, -- when it first served
    ADD COLUMN variables          bytea;       -- AEAD ciphertext of the variables that it last ran with
UPDATE deployments SET released_at = updated_at WHERE public_url IS NOT NULL OR status = 'RUNNING';
CREATE INDEX deployments_from ON deployments (from_deployment_id);
CREATE INDEX deployments_bundle ON deployments (bundle_id);

ALTER TABLE runs
    ADD COLUMN options     jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN variables   bytea, -- AEAD ciphertext of the variables that the run works with, while it is open
    ADD COLUMN replaced_by uuid REFERENCES runs ON DELETE SET NULL;
CREATE INDEX runs_replaced_by ON runs (replaced_by);
-- One run of a project is at work, and one may wait; the newest request is the one that waits.
DROP INDEX runs_one_open;
CREATE UNIQUE INDEX runs_one_at_work ON runs (project_id) WHERE state IN ('RUNNING', 'CANCELLING');
CREATE UNIQUE INDEX runs_one_waiting ON runs (project_id) WHERE state = 'QUEUED';

ALTER TABLE databases ADD COLUMN stopped_at timestamptz; -- by its owner; it is not started again by itself

ALTER TABLE sandboxes
    ADD COLUMN purpose     text NOT NULL DEFAULT 'app' CHECK (purpose IN ('app', 'build', 'database')),
    ADD COLUMN run_id      uuid REFERENCES runs ON DELETE SET NULL, -- that made it
    ADD COLUMN unwanted_at timestamptz, -- replaced or stopped; removed as soon as that can be done
    ADD COLUMN restarts    integer NOT NULL DEFAULT 0, -- in a row, since it was last seen well for a while
    ADD COLUMN restart_at  timestamptz, -- not started again before
    ADD COLUMN last_exit   jsonb; -- how its process ended the last time
UPDATE sandboxes SET purpose = 'database' WHERE database_id IS NOT NULL;
CREATE INDEX sandboxes_run ON sandboxes (run_id);

-- Roots that were kept: installed dependencies, and releases.
CREATE TABLE snapshots (
    name         text PRIMARY KEY,
    provider     text        NOT NULL,
    project_id   uuid        NOT NULL REFERENCES projects ON DELETE CASCADE,
    kind         text        NOT NULL CHECK (kind IN ('dependencies', 'release')),
    basis        text        NOT NULL DEFAULT '', -- what has to be equal for an install on top of it: template, command, environment
    depth        integer     NOT NULL DEFAULT 0,  -- how many installs lie on top of each other in it
    bytes        bigint      NOT NULL DEFAULT 0,
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX snapshots_project ON snapshots (project_id, kind, last_used_at DESC);

-- +goose Down
DROP TABLE snapshots;
ALTER TABLE sandboxes DROP COLUMN purpose, DROP COLUMN run_id, DROP COLUMN unwanted_at, DROP COLUMN restarts, DROP COLUMN restart_at, DROP COLUMN last_exit;
ALTER TABLE databases DROP COLUMN stopped_at;
DROP INDEX runs_one_at_work, runs_one_waiting;
CREATE UNIQUE INDEX runs_one_open ON runs (project_id, (playbook = 'destroy')) WHERE state IN ('QUEUED', 'RUNNING', 'CANCELLING');
ALTER TABLE runs DROP COLUMN options, DROP COLUMN variables, DROP COLUMN replaced_by;
ALTER TABLE deployments DROP COLUMN origin, DROP COLUMN from_deployment_id, DROP COLUMN release, DROP COLUMN released_at, DROP COLUMN variables;
