-- +goose Up

-- What a deployment should be (status) and what was seen of it last are two things.
ALTER TABLE deployments ADD COLUMN observed_state text NOT NULL DEFAULT ''; -- of its sandbox, or of the app in it; see coderunner.Deployment
UPDATE deployments SET observed_state = 'running' WHERE observed_at IS NOT NULL;

-- +goose Down
ALTER TABLE deployments DROP COLUMN observed_state;
