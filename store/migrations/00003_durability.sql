-- What crashes, clocks and replicas need: memories that outlive purged rows,
-- calls that recognise their own first attempt, rotation.

-- +goose Up

-- purged: every row of consumed whose keep_until was up to here may be gone.
-- restored: the database is a copy from before this moment.
-- purging: until when one process alone purges.
CREATE TABLE marks (
    name TEXT COLLATE "binary" PRIMARY KEY,
    at   BIGINT NOT NULL
);

-- The oldest schema whose programs still work with this one. A migration that
-- takes something away from them, or asks for what they do not do, raises it.
CREATE TABLE schema_support (
    oldest BIGINT NOT NULL
);
INSERT INTO schema_support (oldest) VALUES (3);

-- The call that used the key.
ALTER TABLE consumed ADD COLUMN used_by TEXT;

ALTER TABLE refresh_tokens ADD COLUMN successor_id TEXT COLLATE "binary";
ALTER TABLE refresh_tokens ADD COLUMN rotated_at BIGINT;

ALTER TABLE providers ADD COLUMN deleted_at BIGINT;
