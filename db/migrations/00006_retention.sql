-- What is kept for a while only.
-- +goose Up
ALTER TABLE runs ADD COLUMN log_dropped_at timestamptz; -- its lines are not kept any more
CREATE INDEX runs_log_dropped ON runs (id) WHERE log_dropped_at IS NOT NULL;
CREATE INDEX audit_events_at ON audit_events (at);

-- Uploads that nothing can run any more: no kept release, not the current
-- deployment and not the newest. A project's newest upload is always needed.
CREATE VIEW unneeded_bundles AS
SELECT b.id, b.project_id, b.created_at FROM bundles b
WHERE EXISTS (SELECT 1 FROM bundles n WHERE n.project_id = b.project_id AND (n.created_at, n.id) > (b.created_at, b.id))
  AND NOT EXISTS (SELECT 1 FROM deployments d WHERE d.bundle_id = b.id AND (d.release IS NOT NULL OR d.status IN ('PENDING', 'PROVISIONING', 'BUILDING', 'RUNNING')
      OR d.number = (SELECT max(c.number) FROM deployments c WHERE c.project_id = d.project_id)
      OR d.number = (SELECT max(c.number) FROM deployments c WHERE c.project_id = d.project_id AND c.released_at IS NOT NULL)));

-- +goose Down
DROP VIEW unneeded_bundles;
DROP INDEX audit_events_at;
ALTER TABLE runs DROP COLUMN log_dropped_at;
