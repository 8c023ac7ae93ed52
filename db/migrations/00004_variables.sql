-- Variables that are no secrets, and variables for the build or the app alone.
-- +goose Up
ALTER TABLE variables
    ADD COLUMN secret boolean NOT NULL DEFAULT true, -- the value is never shown again
    ADD COLUMN scope  text    NOT NULL DEFAULT 'both' CHECK (scope IN ('build', 'run', 'both'));

-- A new key changes how a value is encrypted and not when it was set.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('coderunner.sealing_again', true) IS DISTINCT FROM 'on' THEN
        NEW.updated_at := now();
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END $$;
-- +goose StatementEnd
ALTER TABLE variables DROP COLUMN secret, DROP COLUMN scope;
