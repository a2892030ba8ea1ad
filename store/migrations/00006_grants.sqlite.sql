-- What a PSU's page reads by, and Purge, which keeps what PSUs granted longer
-- than the rest. Writers wait while the indexes are built.

-- +goose Up

CREATE INDEX grants_psu ON grants (provider, user_id, id) WHERE user_id <> '';
CREATE INDEX grants_without_psu ON grants (expires_at) WHERE user_id = '';
