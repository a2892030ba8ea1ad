-- What Purge reads by; see 00004_purge.postgres.sql. One transaction, so
-- writers wait while the indexes are built.

-- +goose Up

CREATE INDEX consumed_keep_until ON consumed (keep_until);
CREATE INDEX access_tokens_expires_at ON access_tokens (expires_at);
CREATE INDEX refresh_tokens_expires_at ON refresh_tokens (expires_at);
CREATE INDEX authorizations_expires_at ON authorizations (expires_at);
CREATE INDEX grants_expires_at ON grants (expires_at);

-- Drops the foreign keys without writing the tables anew: "Making Other Kinds
-- Of Table Schema Changes" of https://www.sqlite.org/lang_altertable.html. The
-- indexes above have counted schema_version up, so every other connection
-- reads the schema again; RESET makes this one do so.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(sql, ',
    FOREIGN KEY (provider, grant_id) REFERENCES grants (provider, id)', '')
WHERE type = 'table' AND name IN ('access_tokens', 'refresh_tokens');
PRAGMA writable_schema = RESET;
