-- What Purge reads of the visits that never got a code by, which it keeps for a
-- shorter time. Writers wait while the index is built.

-- +goose Up

CREATE INDEX authorizations_without_code ON authorizations (expires_at) WHERE code_expires_at IS NULL;
