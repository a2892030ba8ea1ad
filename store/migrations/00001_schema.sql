-- One text for SQLite and PostgreSQL. Times are Unix milliseconds, NULL where
-- there is none; hashes and sealed keys are base64url; JSON is TEXT. The
-- collation "binary" compares bytes: SQLite has it, Migrate adds it to
-- PostgreSQL, so that both sort alike and no system update reorders an index.

-- +goose Up

-- Of two processes that apply one migration, the second fails here and rolls back.
CREATE UNIQUE INDEX schema_versions_once ON schema_versions (version_id);

CREATE TABLE providers (
    code            TEXT COLLATE "binary" PRIMARY KEY,
    app_id          TEXT COLLATE "binary" NOT NULL UNIQUE,
    app_secret_hash TEXT,
    subject_salt    TEXT,
    settings        TEXT   NOT NULL,
    version         BIGINT NOT NULL,
    created_at      BIGINT,
    updated_at      BIGINT
);

CREATE TABLE signing_keys (
    provider   TEXT COLLATE "binary" NOT NULL REFERENCES providers (code),
    kid        TEXT COLLATE "binary" NOT NULL UNIQUE,
    alg        TEXT NOT NULL,
    sealed     TEXT,
    kek_id     TEXT NOT NULL,
    created_at BIGINT,
    PRIMARY KEY (provider, kid)
);

CREATE TABLE clients (
    id          TEXT COLLATE "binary" PRIMARY KEY,
    secret_hash TEXT,
    metadata    TEXT   NOT NULL,
    version     BIGINT NOT NULL,
    created_at  BIGINT,
    updated_at  BIGINT
);

-- The empty provider is the deployment as a whole.
CREATE TABLE consumed (
    provider   TEXT COLLATE "binary" NOT NULL,
    kind       TEXT COLLATE "binary" NOT NULL,
    key_hash   TEXT COLLATE "binary" NOT NULL,
    keep_until BIGINT NOT NULL,
    PRIMARY KEY (provider, kind, key_hash)
);

-- authorizations and grants do not refer to providers and clients: every
-- insert would lock one hot row. Providers and clients are never deleted.
CREATE TABLE authorizations (
    provider        TEXT COLLATE "binary" NOT NULL,
    id              TEXT COLLATE "binary" NOT NULL,
    client_id       TEXT NOT NULL,
    request         TEXT NOT NULL,
    status          TEXT NOT NULL CHECK (status IN ('pending', 'approved', 'denied', 'exchanged')),
    browser_hash    TEXT,
    code_hash       TEXT COLLATE "binary",
    sealed_code     TEXT,
    code_expires_at BIGINT,
    grant_id        TEXT COLLATE "binary",
    -- The access token whose call spent the code.
    access_token_id TEXT COLLATE "binary",
    created_at      BIGINT,
    expires_at      BIGINT,
    decided_at      BIGINT,
    PRIMARY KEY (provider, id)
);
CREATE UNIQUE INDEX authorizations_code ON authorizations (provider, code_hash) WHERE code_hash IS NOT NULL;

CREATE TABLE grants (
    provider       TEXT COLLATE "binary" NOT NULL,
    id             TEXT COLLATE "binary" NOT NULL,
    client_id      TEXT NOT NULL,
    user_id        TEXT NOT NULL,
    subject        TEXT NOT NULL,
    scope          TEXT NOT NULL,
    intent_id      TEXT NOT NULL,
    accounts       TEXT,
    debtor_account TEXT,
    auth_time      BIGINT,
    acr            TEXT NOT NULL,
    created_at     BIGINT,
    expires_at     BIGINT,
    revoked_at     BIGINT,
    PRIMARY KEY (provider, id)
);

CREATE TABLE access_tokens (
    provider   TEXT COLLATE "binary" NOT NULL,
    id         TEXT COLLATE "binary" NOT NULL,
    grant_id   TEXT COLLATE "binary" NOT NULL,
    client_id  TEXT NOT NULL,
    scope      TEXT NOT NULL,
    hash       TEXT,
    issued_at  BIGINT,
    expires_at BIGINT,
    PRIMARY KEY (provider, id),
    FOREIGN KEY (provider, grant_id) REFERENCES grants (provider, id)
);

CREATE TABLE refresh_tokens (
    provider   TEXT COLLATE "binary" NOT NULL,
    id         TEXT COLLATE "binary" NOT NULL,
    grant_id   TEXT COLLATE "binary" NOT NULL,
    client_id  TEXT NOT NULL,
    hash       TEXT,
    issued_at  BIGINT,
    expires_at BIGINT,
    PRIMARY KEY (provider, id),
    FOREIGN KEY (provider, grant_id) REFERENCES grants (provider, id)
);
