-- +goose Up
-- What a project's apps have printed, as a whole: its lines are numbered from
-- first_seq to last_seq without gaps. Whoever adds or removes lines holds this row,
-- so that no number becomes visible before a smaller one.
CREATE TABLE runtime_logs (
    project_id uuid PRIMARY KEY REFERENCES projects ON DELETE CASCADE,
    first_seq  bigint NOT NULL DEFAULT 1,
    last_seq   bigint NOT NULL DEFAULT 0,
    bytes      bigint NOT NULL DEFAULT 0 -- of its lines, with what each takes beside its text
) WITH (fillfactor = 50);

-- It has no foreign keys: a check for each line would cost more than the line. The
-- trigger below keeps lines from outliving their log.
CREATE TABLE runtime_log_lines (
    project_id    uuid        NOT NULL,
    seq           bigint      NOT NULL,
    at            timestamptz NOT NULL, -- as the provider recorded it
    stream        text        NOT NULL,
    deployment_id uuid        NOT NULL,
    sandbox_id    text        NOT NULL,
    text          text        NOT NULL,
    PRIMARY KEY (project_id, seq)
);

-- +goose StatementBegin
CREATE FUNCTION drop_runtime_log_lines() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM runtime_log_lines WHERE project_id = OLD.project_id;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER runtime_logs_drop AFTER DELETE ON runtime_logs FOR EACH ROW EXECUTE FUNCTION drop_runtime_log_lines();

-- How far the output of a sandbox has been read. It changes together with the lines
-- that were read. epoch goes up with each claim: a reader that was replaced is refused.
CREATE TABLE runtime_log_cursors (
    sandbox_id    text PRIMARY KEY REFERENCES sandboxes ON DELETE CASCADE,
    project_id    uuid   NOT NULL REFERENCES projects ON DELETE CASCADE,
    deployment_id uuid   NOT NULL REFERENCES deployments ON DELETE CASCADE,
    owner         text   NOT NULL,
    epoch         bigint NOT NULL DEFAULT 1,
    version       bigint NOT NULL DEFAULT 0, -- writes so far
    state         jsonb  NOT NULL DEFAULT '{}'
) WITH (fillfactor = 50);
CREATE INDEX runtime_log_cursors_project ON runtime_log_cursors (project_id);
CREATE INDEX runtime_log_cursors_deployment ON runtime_log_cursors (deployment_id);

-- Nodes that collect output. What belongs to one that has fallen silent may be claimed.
CREATE TABLE runtime_log_collectors (
    owner      text PRIMARY KEY,
    expires_at timestamptz NOT NULL
);

-- +goose Down
DROP TABLE runtime_log_collectors, runtime_log_cursors, runtime_log_lines, runtime_logs;
DROP FUNCTION drop_runtime_log_lines();
