-- +goose Up

-- A stopped app keeps its host: visitors are told that it is stopped.
ALTER TABLE routes ADD COLUMN state text NOT NULL DEFAULT 'live' CHECK (state IN ('live', 'stopped'));

-- +goose Down
ALTER TABLE routes DROP COLUMN state;
