-- +goose Up
CREATE TYPE deployment_status AS ENUM ('PENDING', 'PROVISIONING', 'BUILDING', 'RUNNING', 'STOPPED', 'FAILED', 'DESTROYED');
CREATE TYPE run_state AS ENUM ('QUEUED', 'RUNNING', 'CANCELLING', 'SUCCEEDED', 'FAILED', 'CANCELLED');
CREATE TYPE step_state AS ENUM ('PENDING', 'RUNNING', 'DONE', 'FAILED', 'ERRORED', 'CANCELLED', 'SKIPPED');

-- +goose StatementBegin
CREATE FUNCTION touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END $$;
-- +goose StatementEnd

CREATE TABLE users (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email         text        NOT NULL,
    password_hash text        NOT NULL,
    plan_type     text        NOT NULL DEFAULT 'free' CHECK (plan_type IN ('free', 'personal', 'team')),
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX users_email_key ON users (lower(email));
CREATE TRIGGER users_touch BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

-- A browser's session. The cookie carries a random id; id_hash is its SHA-256.
CREATE TABLE sessions (
    id_hash      bytea PRIMARY KEY,
    user_id      uuid REFERENCES users ON DELETE CASCADE,
    data         jsonb       NOT NULL DEFAULT '{}',
    user_agent   text        NOT NULL DEFAULT '',
    peer         text        NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expiry ON sessions (expires_at);

-- Refresh tokens rotate; a family is the chain that began at one log-in.
CREATE TABLE refresh_tokens (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id    uuid        NOT NULL REFERENCES users ON DELETE CASCADE,
    family     uuid        NOT NULL,
    token_hash bytea       NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at    timestamptz,
    revoked_at timestamptz
);
CREATE INDEX refresh_tokens_user ON refresh_tokens (user_id);
CREATE INDEX refresh_tokens_family ON refresh_tokens (family);
CREATE INDEX refresh_tokens_expiry ON refresh_tokens (expires_at);

CREATE TABLE projects (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id      uuid        NOT NULL REFERENCES users ON DELETE CASCADE,
    name         text        NOT NULL,
    slug         text        NOT NULL UNIQUE,
    description  text        NOT NULL DEFAULT '',
    plan         jsonb       NOT NULL DEFAULT '{}',
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    destroyed_at timestamptz
);
CREATE UNIQUE INDEX projects_live_name ON projects (user_id, lower(name)) WHERE destroyed_at IS NULL;
CREATE INDEX projects_user ON projects (user_id, created_at DESC);
CREATE TRIGGER projects_touch BEFORE UPDATE ON projects FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

CREATE TABLE bundles (
    id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    project_id     uuid        NOT NULL REFERENCES projects ON DELETE CASCADE,
    sha256         text        NOT NULL,
    filename       text        NOT NULL,
    size_bytes     bigint      NOT NULL,
    expanded_bytes bigint      NOT NULL,
    files          integer     NOT NULL,
    omitted        text[]      NOT NULL DEFAULT '{}',
    plan           jsonb       NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX bundles_project ON bundles (project_id, created_at DESC);
CREATE INDEX bundles_sha256 ON bundles (sha256);

CREATE TABLE deployments (
    id                 uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    project_id         uuid              NOT NULL REFERENCES projects ON DELETE CASCADE,
    bundle_id          uuid              REFERENCES bundles ON DELETE SET NULL,
    number             integer           NOT NULL,
    plan               jsonb             NOT NULL,
    runtime_type       text              NOT NULL,
    app_sandbox_id     text UNIQUE,
    public_url         text UNIQUE,
    db_sandbox_id      text,
    db_connection_info jsonb, -- {"ciphertext": base64 of the AEAD's output}
    status             deployment_status NOT NULL DEFAULT 'PENDING',
    failure            jsonb,
    observed_at        timestamptz,
    created_at         timestamptz       NOT NULL DEFAULT now(),
    updated_at         timestamptz       NOT NULL DEFAULT now(),
    UNIQUE (project_id, number)
);
CREATE INDEX deployments_status ON deployments (status);
CREATE TRIGGER deployments_touch BEFORE UPDATE ON deployments FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

-- A database appliance of a project. It outlives deployments.
CREATE TABLE databases (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    project_id uuid        NOT NULL REFERENCES projects ON DELETE CASCADE,
    appliance  text        NOT NULL,
    name       text        NOT NULL,
    sandbox_id text        UNIQUE,
    volume     text        NOT NULL UNIQUE,
    connection bytea, -- AEAD ciphertext of the connection, NULL until provisioned
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (project_id, appliance)
);
CREATE TRIGGER databases_touch BEFORE UPDATE ON databases FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

CREATE TABLE variables (
    project_id uuid        NOT NULL REFERENCES projects ON DELETE CASCADE,
    key        text        NOT NULL,
    value      bytea       NOT NULL, -- AEAD ciphertext, bound to project and key
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, key)
);
CREATE TRIGGER variables_touch BEFORE UPDATE ON variables FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

CREATE TABLE runs (
    id                  uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    project_id          uuid        NOT NULL REFERENCES projects ON DELETE CASCADE,
    deployment_id       uuid        REFERENCES deployments ON DELETE CASCADE,
    playbook            text        NOT NULL,
    state               run_state   NOT NULL DEFAULT 'QUEUED',
    owner               text        NOT NULL DEFAULT '',
    epoch               bigint      NOT NULL DEFAULT 0,
    lease_expires_at    timestamptz,
    cancel_requested_at timestamptz,
    failure             jsonb,
    created_at          timestamptz NOT NULL DEFAULT now(),
    started_at          timestamptz,
    finished_at         timestamptz
);
-- One open run for each project. A destroy may wait behind the run that it cancels.
CREATE UNIQUE INDEX runs_one_open ON runs (project_id, (playbook = 'destroy')) WHERE state IN ('QUEUED', 'RUNNING', 'CANCELLING');
CREATE INDEX runs_project ON runs (project_id, created_at DESC);
CREATE INDEX runs_deployment ON runs (deployment_id);
CREATE INDEX runs_open ON runs (created_at) WHERE state IN ('QUEUED', 'RUNNING', 'CANCELLING');

CREATE TABLE steps (
    run_id      uuid       NOT NULL REFERENCES runs ON DELETE CASCADE,
    position    integer    NOT NULL,
    name        text       NOT NULL,
    title       text       NOT NULL,
    after       text[]     NOT NULL DEFAULT '{}',
    state       step_state NOT NULL DEFAULT 'PENDING',
    attempts    integer    NOT NULL DEFAULT 0,
    started_at  timestamptz,
    finished_at timestamptz,
    output      jsonb      NOT NULL DEFAULT '{}',
    error       text       NOT NULL DEFAULT '',
    PRIMARY KEY (run_id, position),
    UNIQUE (run_id, name)
);

CREATE TABLE run_log_lines (
    run_id uuid        NOT NULL REFERENCES runs ON DELETE CASCADE,
    seq    bigint      NOT NULL,
    at     timestamptz NOT NULL,
    stream text        NOT NULL,
    step   text        NOT NULL,
    text   text        NOT NULL,
    PRIMARY KEY (run_id, seq)
);

CREATE TABLE routes (
    host          text PRIMARY KEY,
    project_id    uuid        NOT NULL REFERENCES projects ON DELETE CASCADE,
    deployment_id uuid        NOT NULL REFERENCES deployments ON DELETE CASCADE,
    sandbox_id    text        NOT NULL,
    target        text        NOT NULL,
    updated_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX routes_project ON routes (project_id);
CREATE INDEX routes_deployment ON routes (deployment_id);
CREATE TRIGGER routes_touch BEFORE UPDATE ON routes FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

-- What we believe exists at a provider. A row is written before the sandbox is made.
CREATE TABLE sandboxes (
    id            text PRIMARY KEY,
    provider      text        NOT NULL,
    project_id    uuid        NOT NULL REFERENCES projects ON DELETE CASCADE,
    deployment_id uuid        REFERENCES deployments ON DELETE CASCADE,
    database_id   uuid        REFERENCES databases ON DELETE CASCADE,
    appliance     text        NOT NULL,
    state         text        NOT NULL DEFAULT 'unknown',
    observed_at   timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX sandboxes_project ON sandboxes (project_id);
CREATE INDEX sandboxes_deployment ON sandboxes (deployment_id);
CREATE INDEX sandboxes_database ON sandboxes (database_id);
CREATE TRIGGER sandboxes_touch BEFORE UPDATE ON sandboxes FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

-- Who did what. Never holds a secret.
CREATE TABLE audit_events (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id    uuid        REFERENCES users ON DELETE SET NULL,
    project_id uuid        REFERENCES projects ON DELETE SET NULL,
    action     text        NOT NULL,
    peer       text        NOT NULL DEFAULT '',
    detail     jsonb       NOT NULL DEFAULT '{}',
    at         timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX audit_events_user ON audit_events (user_id, at DESC);
CREATE INDEX audit_events_project ON audit_events (project_id, at DESC);

-- +goose Down
DROP TABLE audit_events, sandboxes, routes, run_log_lines, steps, runs, variables, databases, deployments, bundles, projects, refresh_tokens, sessions, users;
DROP FUNCTION touch_updated_at();
DROP TYPE step_state, run_state, deployment_status;
