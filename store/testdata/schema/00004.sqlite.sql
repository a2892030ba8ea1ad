BEGIN;
CREATE TABLE schema_versions (
		id INTEGER PRIMARY KEY AUTOINCREMENT,
		version_id INTEGER NOT NULL,
		is_applied INTEGER NOT NULL,
		tstamp TIMESTAMP DEFAULT (datetime('now'))
	);
INSERT INTO schema_versions VALUES (1,0,1,'2026-11-23 20:47:01');
INSERT INTO schema_versions VALUES (2,1,1,'2026-11-23 20:47:01');
INSERT INTO schema_versions VALUES (3,2,1,'2026-11-23 20:47:01');
INSERT INTO schema_versions VALUES (4,3,1,'2026-11-23 20:47:01');
INSERT INTO schema_versions VALUES (5,4,1,'2026-11-23 20:47:01');
CREATE TABLE providers (
    code            TEXT COLLATE "binary" PRIMARY KEY,
    app_id          TEXT COLLATE "binary" NOT NULL UNIQUE,
    app_secret_hash TEXT,
    subject_salt    TEXT,
    settings        TEXT   NOT NULL,
    version         BIGINT NOT NULL,
    created_at      BIGINT,
    updated_at      BIGINT
, deleted_at BIGINT);
INSERT INTO providers VALUES ('alpha','app-alpha','hH6LVQcMBYW6zCW2-CYqc7uNhQCPhfcUXBCg51SrKko','gMbWFyH2pFfedB6jNw8ylmxlshO2mkj1u10n_4-IR6s','{"provider_code":"alpha","name":"Bank alpha","status":"live","profile":"psd2","issuer":"https://bank.example/alpha","scopes":["openid","accounts"],"signing_alg":"PS256","connector":{"connector_url":"https://bank.example/connector","login_url":"https://bank.example/login","app_id":"app-alpha","jwks":{"keys":[]}},"rules":{"code_lifetime":"30s","require_pkce":true},"version":1,"created_at":"2026-03-01T12:00:00.123Z","updated_at":"2026-03-01T12:00:00.123Z"}',1,1772366400123,1772366400123,NULL);
CREATE TABLE signing_keys (
    provider   TEXT COLLATE "binary" NOT NULL REFERENCES providers (code),
    kid        TEXT COLLATE "binary" NOT NULL UNIQUE,
    alg        TEXT NOT NULL,
    sealed     TEXT,
    kek_id     TEXT NOT NULL,
    created_at BIGINT,
    PRIMARY KEY (provider, kid)
);
INSERT INTO signing_keys VALUES ('alpha','first','PS256','c2VhbGVkIGZpcnN0','kek',1772366400123);
INSERT INTO signing_keys VALUES ('alpha','second','PS256','c2VhbGVkIHNlY29uZA','kek',1772366400123);
CREATE TABLE clients (
    id          TEXT COLLATE "binary" PRIMARY KEY,
    secret_hash TEXT,
    metadata    TEXT   NOT NULL,
    version     BIGINT NOT NULL,
    created_at  BIGINT,
    updated_at  BIGINT
, status TEXT NOT NULL DEFAULT 'active', directory TEXT COLLATE "binary", tpp TEXT COLLATE "binary", software_id TEXT COLLATE "binary", registration_token_hash TEXT);
INSERT INTO clients VALUES ('tpp','J5LxGjh6MX-5O2PGiS4wIFd5UyjsgtYjPUm7urImMGs','{"client_id":"tpp","client_name":"TPP tpp","providers":["alpha"],"redirect_uris":["https://tpp.example/back?a=1\u0026b=\u003c2\u003e"],"grant_types":["authorization_code","client_credentials","refresh_token"],"response_types":["code"],"scope":"openid accounts","token_endpoint_auth_method":"client_secret_basic","id_token_signed_response_alg":"PS256","jwks":{"keys":[]},"status":"active","version":1,"created_at":"2026-03-01T12:00:00.123Z","updated_at":"2026-03-01T12:00:00.123Z"}',1,1772366400123,1772366400123,'active',NULL,NULL,NULL,NULL);
CREATE TABLE consumed (
    provider   TEXT COLLATE "binary" NOT NULL,
    kind       TEXT COLLATE "binary" NOT NULL,
    key_hash   TEXT COLLATE "binary" NOT NULL,
    keep_until BIGINT NOT NULL, used_by TEXT,
    PRIMARY KEY (provider, kind, key_hash)
);
INSERT INTO consumed VALUES ('','assertion','JwXYP6e8MunWT7qazj4L5i4Br0zSIn7QDlOMjZRLddY',1772456400123,'06eaih8afesvqq2ohaab79ooh0');
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
INSERT INTO authorizations VALUES ('alpha','pending','tpp','{"client_id":"tpp","redirect_uri":"https://tpp.example/back","response_type":"code","scope":"openid accounts","state":"state\u0000\u003c\u0026\u003e","nonce":"nonce","code_challenge":"challenge","prompt":["login"],"max_age":300,"acr_values":["sca"],"acr_essential":true,"openbanking_intent_id":"intent"}','pending','1MPooRJWq4Kk_HJWDrSisOh7rYIMKQ3ZsDYW3iQKpts','vlpXmM7zgGw3CLqlAkOtO8zDD_vPdf-iGwwRpCk2P4E','c2VhbGVkIGNvZGUgb2YgcGVuZGluZw',1772366460123,NULL,NULL,1772366400123,1772367300123,NULL);
INSERT INTO authorizations VALUES ('alpha','denied','tpp','{"client_id":"tpp","redirect_uri":"https://tpp.example/back","response_type":"code","scope":"openid accounts","state":"state\u0000\u003c\u0026\u003e","nonce":"nonce","code_challenge":"challenge","prompt":["login"],"max_age":300,"acr_values":["sca"],"acr_essential":true,"openbanking_intent_id":"intent"}','denied','1MPooRJWq4Kk_HJWDrSisOh7rYIMKQ3ZsDYW3iQKpts','1W_c6G84WLN8OFLgo_CqZo2XBZvEGXx3yHMbUxco4OE','c2VhbGVkIGNvZGUgb2YgZGVuaWVk',1772366460123,NULL,NULL,1772366400123,1772367300123,1772366400123);
INSERT INTO authorizations VALUES ('alpha','approved','tpp','{"client_id":"tpp","redirect_uri":"https://tpp.example/back","response_type":"code","scope":"openid accounts","state":"state\u0000\u003c\u0026\u003e","nonce":"nonce","code_challenge":"challenge","prompt":["login"],"max_age":300,"acr_values":["sca"],"acr_essential":true,"openbanking_intent_id":"intent"}','approved','1MPooRJWq4Kk_HJWDrSisOh7rYIMKQ3ZsDYW3iQKpts','lHpQFxwP-J2RxZqAWwPYUoRaNyXJv2jOHn2WyyF7rXs','c2VhbGVkIGNvZGUgb2YgYXBwcm92ZWQ',1772366460123,'approved',NULL,1772366400123,1772367300123,1772366400123);
INSERT INTO authorizations VALUES ('alpha','exchanged','tpp','{"client_id":"tpp","redirect_uri":"https://tpp.example/back","response_type":"code","scope":"openid accounts","state":"state\u0000\u003c\u0026\u003e","nonce":"nonce","code_challenge":"challenge","prompt":["login"],"max_age":300,"acr_values":["sca"],"acr_essential":true,"openbanking_intent_id":"intent"}','exchanged','1MPooRJWq4Kk_HJWDrSisOh7rYIMKQ3ZsDYW3iQKpts','qbZWWCUx79hKZQvZFlv8zUaweKL4bl3NUEZj_4lRTGY',NULL,1772366460123,'exchanged','exchanged',1772366400123,1772367300123,1772366400123);
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
INSERT INTO grants VALUES ('alpha','approved','tpp','user','subject','openid accounts','intent','[ {"id": "<1>"} ]','{"iban":"GB33"}',1772366340123,'sca',1772366400123,1772370000123,NULL);
INSERT INTO grants VALUES ('alpha','exchanged','tpp','user','subject','openid accounts','intent','[ {"id": "<1>"} ]','{"iban":"GB33"}',1772366340123,'sca',1772366400123,1772370000123,NULL);
INSERT INTO grants VALUES ('alpha','granted','tpp','user','subject','openid accounts','intent','[ {"id": "<1>"} ]','{"iban":"GB33"}',1772366340123,'sca',1772366400123,1772370000123,NULL);
INSERT INTO grants VALUES ('alpha','revoked','tpp','user','subject','openid accounts','intent','[ {"id": "<1>"} ]','{"iban":"GB33"}',1772366340123,'sca',1772366400123,1772370000123,1772366400123);
CREATE TABLE access_tokens (
    provider   TEXT COLLATE "binary" NOT NULL,
    id         TEXT COLLATE "binary" NOT NULL,
    grant_id   TEXT COLLATE "binary" NOT NULL,
    client_id  TEXT NOT NULL,
    scope      TEXT NOT NULL,
    hash       TEXT,
    issued_at  BIGINT,
    expires_at BIGINT,
    PRIMARY KEY (provider, id)
);
INSERT INTO access_tokens VALUES ('alpha','exchanged','exchanged','tpp','accounts','Jrn8OuXIANNdrIXFbth45hiuAmFmt2EiVb0-S7BhbqE',1772366400123,1772367000123);
INSERT INTO access_tokens VALUES ('alpha','granted','granted','tpp','accounts','427zpu0NmgJ1YjYT2PYjssCM9Pay8DUSycSHNHWFEsk',1772366400123,1772367000123);
INSERT INTO access_tokens VALUES ('alpha','revoked','revoked','tpp','accounts','NCklSGdIR9XHQw8FWruxfu1iegOATUqaTmyPgNJkGZU',1772366400123,1772367000123);
CREATE TABLE refresh_tokens (
    provider   TEXT COLLATE "binary" NOT NULL,
    id         TEXT COLLATE "binary" NOT NULL,
    grant_id   TEXT COLLATE "binary" NOT NULL,
    client_id  TEXT NOT NULL,
    hash       TEXT,
    issued_at  BIGINT,
    expires_at BIGINT, successor_id TEXT COLLATE "binary", rotated_at BIGINT,
    PRIMARY KEY (provider, id)
);
INSERT INTO refresh_tokens VALUES ('alpha','exchanged','exchanged','tpp','6u4MtbHDvEyhzN84e02D2CcvDBL0lQFdBsnFY7ljj7U',1772366400123,1772368200123,NULL,NULL);
INSERT INTO refresh_tokens VALUES ('alpha','granted','granted','tpp','RYBuUwbh1q6IVrdvRznyaLNMUK9C_LH3Y99ORqgpM4E',1772366400123,1772368200123,NULL,NULL);
INSERT INTO refresh_tokens VALUES ('alpha','revoked','revoked','tpp','FwHNGAIxUiM7N5dpfYxdTDKIsP01aqpJSqUt-Fgtquk',1772366400123,1772368200123,NULL,NULL);
CREATE TABLE marks (
    name TEXT COLLATE "binary" PRIMARY KEY,
    at   BIGINT NOT NULL
);
INSERT INTO marks VALUES ('purged',1772280000123);
CREATE TABLE schema_support (
    oldest BIGINT NOT NULL
);
INSERT INTO schema_support VALUES (3);
CREATE INDEX access_tokens_expires_at ON access_tokens (expires_at);
CREATE UNIQUE INDEX authorizations_code ON authorizations (provider, code_hash) WHERE code_hash IS NOT NULL;
CREATE INDEX authorizations_expires_at ON authorizations (expires_at);
CREATE INDEX clients_software ON clients (directory, tpp, software_id, created_at) WHERE software_id IS NOT NULL;
CREATE INDEX consumed_keep_until ON consumed (keep_until);
CREATE INDEX grants_client ON grants (client_id COLLATE "binary");
CREATE INDEX grants_expires_at ON grants (expires_at);
CREATE INDEX refresh_tokens_expires_at ON refresh_tokens (expires_at);
CREATE UNIQUE INDEX schema_versions_once ON schema_versions (version_id);
COMMIT;
