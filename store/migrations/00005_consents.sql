-- Consents and what ends with them, notices to banks, the audit log, resource
-- servers, the sessions of PSUs.

-- +goose Up

ALTER TABLE grants ADD COLUMN authentication_expires_at BIGINT;
ALTER TABLE grants ADD COLUMN last_used_at BIGINT;
-- The event of the call that ended the grant.
ALTER TABLE grants ADD COLUMN ended_event TEXT COLLATE "binary";

ALTER TABLE authorizations ADD COLUMN intent_id TEXT COLLATE "binary";
-- The event of the call that decided.
ALTER TABLE authorizations ADD COLUMN decided_event TEXT COLLATE "binary";

-- The event of the last call that changed the row.
ALTER TABLE providers ADD COLUMN changed_event TEXT COLLATE "binary";
ALTER TABLE clients ADD COLUMN changed_event TEXT COLLATE "binary";

CREATE TABLE consents (
    provider             TEXT COLLATE "binary" NOT NULL,
    id                   TEXT COLLATE "binary" NOT NULL,
    client_id            TEXT COLLATE "binary" NOT NULL,
    kind                 TEXT NOT NULL,
    status               TEXT NOT NULL CHECK (status IN ('AwaitingAuthorisation', 'Authorised', 'Rejected', 'Revoked', 'Consumed')),
    lodged               TEXT NOT NULL,
    expires_at           BIGINT,
    user_id              TEXT COLLATE "binary",
    grant_id             TEXT COLLATE "binary",
    idempotency_key_hash TEXT COLLATE "binary",
    request_hash         TEXT,
    created_at           BIGINT NOT NULL,
    status_updated_at    BIGINT NOT NULL,
    -- Purge deletes the row after it.
    keep_until           BIGINT NOT NULL,
    -- The event of the last call that moved the status.
    moved_event          TEXT COLLATE "binary",
    PRIMARY KEY (provider, id)
);
CREATE UNIQUE INDEX consents_idempotency ON consents (provider, client_id, idempotency_key_hash) WHERE idempotency_key_hash IS NOT NULL;
CREATE INDEX consents_client ON consents (client_id);
CREATE INDEX consents_keep_until ON consents (keep_until);

CREATE TABLE notices (
    provider      TEXT COLLATE "binary" NOT NULL,
    consent_id    TEXT COLLATE "binary" NOT NULL,
    step          TEXT COLLATE "binary" NOT NULL,
    due_at        BIGINT NOT NULL,
    attempts      BIGINT NOT NULL,
    claim         TEXT COLLATE "binary",
    created_at    BIGINT NOT NULL,
    PRIMARY KEY (provider, consent_id, step)
);
CREATE INDEX notices_due_at ON notices (provider, due_at);

CREATE TABLE events (
    id         TEXT COLLATE "binary" PRIMARY KEY,
    at         BIGINT NOT NULL,
    kind       TEXT NOT NULL,
    provider   TEXT COLLATE "binary" NOT NULL,
    client_id  TEXT NOT NULL,
    grant_id   TEXT NOT NULL,
    consent_id TEXT NOT NULL,
    detail     TEXT NOT NULL,
    actor      TEXT NOT NULL,
    actor_name TEXT NOT NULL,
    request_id TEXT NOT NULL,
    -- The place in the chain and the hash up to there, once it is sealed.
    sequence   BIGINT,
    hash       TEXT
);
CREATE UNIQUE INDEX events_sequence ON events (sequence) WHERE sequence IS NOT NULL;
CREATE INDEX events_unsealed ON events (id) WHERE sequence IS NULL;
CREATE INDEX events_provider ON events (provider, id);

CREATE TABLE resource_servers (
    provider    TEXT COLLATE "binary" NOT NULL,
    id          TEXT COLLATE "binary" NOT NULL,
    name        TEXT NOT NULL,
    secret_hash TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (provider, id)
);

CREATE TABLE psu_sessions (
    provider      TEXT COLLATE "binary" NOT NULL,
    id            TEXT COLLATE "binary" NOT NULL,
    user_id       TEXT COLLATE "binary" NOT NULL,
    handover_hash TEXT COLLATE "binary" NOT NULL,
    session_hash  TEXT COLLATE "binary",
    created_at    BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL,
    PRIMARY KEY (provider, id)
);
CREATE UNIQUE INDEX psu_sessions_handover ON psu_sessions (provider, handover_hash);
CREATE UNIQUE INDEX psu_sessions_session ON psu_sessions (provider, session_hash) WHERE session_hash IS NOT NULL;
CREATE INDEX psu_sessions_expires_at ON psu_sessions (expires_at);
