BEGIN;
CREATE TABLE schema_versions (
		id INTEGER PRIMARY KEY AUTOINCREMENT,
		version_id INTEGER NOT NULL,
		is_applied INTEGER NOT NULL,
		tstamp TIMESTAMP DEFAULT (datetime('now'))
	);
INSERT INTO schema_versions VALUES (1,0,1,'2026-11-24 12:52:56');
INSERT INTO schema_versions VALUES (2,1,1,'2026-11-24 12:52:56');
INSERT INTO schema_versions VALUES (3,2,1,'2026-11-24 12:52:56');
INSERT INTO schema_versions VALUES (4,3,1,'2026-11-24 12:52:56');
INSERT INTO schema_versions VALUES (5,4,1,'2026-11-24 12:52:56');
INSERT INTO schema_versions VALUES (6,5,1,'2026-11-24 12:52:56');
INSERT INTO schema_versions VALUES (7,6,1,'2026-11-24 12:52:56');
INSERT INTO schema_versions VALUES (8,7,1,'2026-11-24 12:52:56');
CREATE TABLE providers (
    code            TEXT COLLATE "binary" PRIMARY KEY,
    app_id          TEXT COLLATE "binary" NOT NULL UNIQUE,
    app_secret_hash TEXT,
    subject_salt    TEXT,
    settings        TEXT   NOT NULL,
    version         BIGINT NOT NULL,
    created_at      BIGINT,
    updated_at      BIGINT
, deleted_at BIGINT, changed_event TEXT COLLATE "binary");
INSERT INTO providers VALUES ('alpha','app-alpha','hH6LVQcMBYW6zCW2-CYqc7uNhQCPhfcUXBCg51SrKko','gMbWFyH2pFfedB6jNw8ylmxlshO2mkj1u10n_4-IR6s','{"provider_code":"alpha","name":"Bank alpha","status":"live","profile":"psd2","issuer":"https://bank.example/alpha","scopes":["openid","accounts"],"signing_alg":"PS256","connector":{"connector_url":"https://bank.example/connector","login_url":"https://bank.example/login","app_id":"app-alpha","jwks":{"keys":[]}},"rules":{"code_lifetime":"30s","require_pkce":true},"version":1,"created_at":"2026-03-01T12:00:00.123Z","updated_at":"2026-03-01T12:00:00.123Z"}',1,1772366400123,1772366400123,NULL,NULL);
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
, status TEXT NOT NULL DEFAULT 'active', directory TEXT COLLATE "binary", tpp TEXT COLLATE "binary", software_id TEXT COLLATE "binary", registration_token_hash TEXT, changed_event TEXT COLLATE "binary");
INSERT INTO clients VALUES ('tpp','J5LxGjh6MX-5O2PGiS4wIFd5UyjsgtYjPUm7urImMGs','{"client_id":"tpp","client_name":"TPP tpp","providers":["alpha"],"redirect_uris":["https://tpp.example/back?a=1\u0026b=\u003c2\u003e"],"grant_types":["authorization_code","client_credentials","refresh_token"],"response_types":["code"],"scope":"openid accounts","token_endpoint_auth_method":"client_secret_basic","id_token_signed_response_alg":"PS256","jwks":{"keys":[]},"status":"active","version":1,"created_at":"2026-03-01T12:00:00.123Z","updated_at":"2026-03-01T12:00:00.123Z"}',1,1772366400123,1772366400123,'active',NULL,NULL,NULL,NULL,NULL);
CREATE TABLE consumed (
    provider   TEXT COLLATE "binary" NOT NULL,
    kind       TEXT COLLATE "binary" NOT NULL,
    key_hash   TEXT COLLATE "binary" NOT NULL,
    keep_until BIGINT NOT NULL, used_by TEXT,
    PRIMARY KEY (provider, kind, key_hash)
);
INSERT INTO consumed VALUES ('','assertion','JwXYP6e8MunWT7qazj4L5i4Br0zSIn7QDlOMjZRLddY',1772456400123,'06eaih8afdoga5nje3sbs7080g');
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
    decided_at      BIGINT, intent_id TEXT COLLATE "binary", decided_event TEXT COLLATE "binary",
    PRIMARY KEY (provider, id)
);
INSERT INTO authorizations VALUES ('alpha','pending','tpp','{"client_id":"tpp","redirect_uri":"https://tpp.example/back","response_type":"code","scope":"openid accounts","state":"state\u0000\u003c\u0026\u003e","nonce":"nonce","code_challenge":"challenge","prompt":["login"],"max_age":300,"acr_values":["sca"],"acr_essential":true}','pending','1MPooRJWq4Kk_HJWDrSisOh7rYIMKQ3ZsDYW3iQKpts','vlpXmM7zgGw3CLqlAkOtO8zDD_vPdf-iGwwRpCk2P4E','c2VhbGVkIGNvZGUgb2YgcGVuZGluZw',1772366460123,NULL,NULL,1772366400123,1772367300123,NULL,NULL,NULL);
INSERT INTO authorizations VALUES ('alpha','denied','tpp','{"client_id":"tpp","redirect_uri":"https://tpp.example/back","response_type":"code","scope":"openid accounts","state":"state\u0000\u003c\u0026\u003e","nonce":"nonce","code_challenge":"challenge","prompt":["login"],"max_age":300,"acr_values":["sca"],"acr_essential":true}','denied','1MPooRJWq4Kk_HJWDrSisOh7rYIMKQ3ZsDYW3iQKpts','1W_c6G84WLN8OFLgo_CqZo2XBZvEGXx3yHMbUxco4OE','c2VhbGVkIGNvZGUgb2YgZGVuaWVk',1772366460123,NULL,NULL,1772366400123,1772367300123,1772366400123,NULL,'06eaih8afeffcl6noe10gms3ck');
INSERT INTO authorizations VALUES ('alpha','approved','tpp','{"client_id":"tpp","redirect_uri":"https://tpp.example/back","response_type":"code","scope":"openid accounts","state":"state\u0000\u003c\u0026\u003e","nonce":"nonce","code_challenge":"challenge","prompt":["login"],"max_age":300,"acr_values":["sca"],"acr_essential":true}','approved','1MPooRJWq4Kk_HJWDrSisOh7rYIMKQ3ZsDYW3iQKpts','lHpQFxwP-J2RxZqAWwPYUoRaNyXJv2jOHn2WyyF7rXs','c2VhbGVkIGNvZGUgb2YgYXBwcm92ZWQ',1772366460123,'approved',NULL,1772366400123,1772367300123,1772366400123,NULL,'06eaih8afev7og6l86ng9n9ni8');
INSERT INTO authorizations VALUES ('alpha','exchanged','tpp','{"client_id":"tpp","redirect_uri":"https://tpp.example/back","response_type":"code","scope":"openid accounts","state":"state\u0000\u003c\u0026\u003e","nonce":"nonce","code_challenge":"challenge","prompt":["login"],"max_age":300,"acr_values":["sca"],"acr_essential":true}','exchanged','1MPooRJWq4Kk_HJWDrSisOh7rYIMKQ3ZsDYW3iQKpts','qbZWWCUx79hKZQvZFlv8zUaweKL4bl3NUEZj_4lRTGY',NULL,1772366460123,'exchanged','exchanged',1772366400123,1772367300123,1772366400123,NULL,'06eaih8afe7hhi6oor2r5g2j2o');
INSERT INTO authorizations VALUES ('alpha','authorised','tpp','{"client_id":"tpp","redirect_uri":"https://tpp.example/back","response_type":"code","scope":"openid accounts","state":"state\u0000\u003c\u0026\u003e","nonce":"nonce","code_challenge":"challenge","prompt":["login"],"max_age":300,"acr_values":["sca"],"acr_essential":true,"openbanking_intent_id":"authorised"}','approved','1MPooRJWq4Kk_HJWDrSisOh7rYIMKQ3ZsDYW3iQKpts','9026wKWUJ2BNZfAVXq6Bun_JqqxktsrUA8ZGbns5Bb4','c2VhbGVkIGNvZGUgb2YgYXV0aG9yaXNlZA',1772366460123,'authorised',NULL,1772366400123,1772367300123,1772366400123,'authorised','06eaih8aff3glhpufc87mapjvg');
INSERT INTO authorizations VALUES ('alpha','withdrawn','tpp','{"client_id":"tpp","redirect_uri":"https://tpp.example/back","response_type":"code","scope":"openid accounts","state":"state\u0000\u003c\u0026\u003e","nonce":"nonce","code_challenge":"challenge","prompt":["login"],"max_age":300,"acr_values":["sca"],"acr_essential":true,"openbanking_intent_id":"withdrawn"}','approved','1MPooRJWq4Kk_HJWDrSisOh7rYIMKQ3ZsDYW3iQKpts','awgwA7k5XfwlJuJTv4IlMgcYEteV5A1dt1X4-yDJKOg','c2VhbGVkIGNvZGUgb2Ygd2l0aGRyYXdu',1772366460123,'withdrawn',NULL,1772366400123,1772367300123,1772366400123,'withdrawn','06eaih8afdlffribr3ji83501c');
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
    revoked_at     BIGINT, authentication_expires_at BIGINT, last_used_at BIGINT, ended_event TEXT COLLATE "binary",
    PRIMARY KEY (provider, id)
);
INSERT INTO grants VALUES ('alpha','approved','tpp','user','subject','openid accounts','','[ {"id": "<1>"} ]','{"iban":"GB33"}',1772366340123,'sca',1772366400123,1772370000123,NULL,1772373600123,NULL,NULL);
INSERT INTO grants VALUES ('alpha','exchanged','tpp','user','subject','openid accounts','','[ {"id": "<1>"} ]','{"iban":"GB33"}',1772366340123,'sca',1772366400123,1772370000123,NULL,1772373600123,NULL,NULL);
INSERT INTO grants VALUES ('alpha','granted','tpp','user','subject','openid accounts','','[ {"id": "<1>"} ]','{"iban":"GB33"}',1772366340123,'sca',1772366400123,1772370000123,NULL,1772373600123,NULL,NULL);
INSERT INTO grants VALUES ('alpha','revoked','tpp','user','subject','openid accounts','','[ {"id": "<1>"} ]','{"iban":"GB33"}',1772366340123,'sca',1772366400123,1772370000123,1772366400123,1772373600123,NULL,'06eaih8afetijgsrkmoil0hnis');
INSERT INTO grants VALUES ('alpha','authorised','tpp','user','subject','openid accounts','authorised','[ {"id": "<1>"} ]','{"iban":"GB33"}',1772366340123,'sca',1772366400123,1772370000123,NULL,1772373600123,NULL,NULL);
INSERT INTO grants VALUES ('alpha','withdrawn','tpp','user','subject','openid accounts','withdrawn','[ {"id": "<1>"} ]','{"iban":"GB33"}',1772366340123,'sca',1772366400123,1772370000123,1772366400123,1772373600123,NULL,'06eaih8afdquf5cbvmr8bttklc');
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
INSERT INTO consents VALUES ('alpha','waiting','tpp','account-access','AwaitingAuthorisation','{"Data":{"Permissions":["ReadBalances"]},"Risk":{}}',1772370000123,NULL,NULL,'78bIpiT2xqZgpTJiUXZdqAt5bhCU0b_0WLDh7_hSbBQ','jQwZa2Jl1lnKxVDEa96VNzOoFCdbUm75-MR_yeY0Hmc',1772366400123,1772366400123,1774958400123,NULL);
INSERT INTO consents VALUES ('alpha','authorised','tpp','account-access','Authorised','{"Data":{"Permissions":["ReadBalances"]},"Risk":{}}',1772370000123,'user','authorised','EbRlbkLfV4uEXdQPOq6_CvetvfoQg16AlVGeZVwyLGo','g6j-ktOukzJ6q2dlBFOSa3EfJRncA7zobrmv1A5M9Dk',1772366400123,1772366400123,1835442000123,'06eaih8aff3glhpufc87mapjvg');
INSERT INTO consents VALUES ('alpha','withdrawn','tpp','account-access','Revoked','{"Data":{"Permissions":["ReadBalances"]},"Risk":{}}',1772370000123,'user','withdrawn','AV6hd6Op39eNCg2qnJsPuiexiPSam2Xvdcqw-zmFkzU','IOLnvl9QMXfxIe6xxcbO1h27sOhXIUdR3BDdjoc0mLA',1772366400123,1772366400123,1835442000123,'06eaih8afdquf5cbvmr8bttklc');
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
INSERT INTO notices VALUES ('alpha','waiting','lodged',1772366400123,0,NULL,1772366400123);
INSERT INTO notices VALUES ('alpha','authorised','lodged',1772366400123,0,NULL,1772366400123);
INSERT INTO notices VALUES ('alpha','withdrawn','lodged',1772366400123,0,NULL,1772366400123);
INSERT INTO notices VALUES ('alpha','withdrawn','revoked',1772366400123,0,NULL,1772366400123);
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
INSERT INTO events VALUES ('06eaih8afdlj6pf5nj8lhtjh80',1772366400123,'provider.created','alpha','','','','','system','','',5,'2axNCYBRwBpxLDMFjjrL6x0wS1Vn3PJBmygT4qmMeCI');
INSERT INTO events VALUES ('06eaih8afd9rp6dvuh1kjetjog',1772366400123,'client.created','','tpp','','','','system','','',3,'yG5vjfeZegwRmL2eyVdrTVpIMEEZ1qGQEk37hG6mDj4');
INSERT INTO events VALUES ('06eaih8afeffcl6noe10gms3ck',1772366400123,'authorization.denied','alpha','tpp','','','','system','','',11,'eKPWG-IAPLK0LvZgUBjxL9PV0y9t-rGJNZrOfwZAZrw');
INSERT INTO events VALUES ('06eaih8afev7og6l86ng9n9ni8',1772366400123,'authorization.approved','alpha','tpp','approved','','','system','','',13,'FR-i_z7yu-Sg1oQygJPVW_6BwQIwlqEvzQlP-8Y165c');
INSERT INTO events VALUES ('06eaih8afe7hhi6oor2r5g2j2o',1772366400123,'authorization.approved','alpha','tpp','exchanged','','','system','','',8,'HTwm9yBfdxqeKHzm-HsByFVvUogqsHE2JhLtP1jRYFI');
INSERT INTO events VALUES ('06eaih8afftgcisnipe0opd8qo',1772366400123,'token.issued','alpha','tpp','exchanged','','authorization_code','system','','',16,'g0kfanzodvBYrqjJe1X1kCAxxpgvmAjD3wxNE7zVv8Y');
INSERT INTO events VALUES ('06eaih8afd1l6ccm9cm53keik0',1772366400123,'token.issued','alpha','tpp','granted','','client_credentials','system','','',2,'_Y0r033gpDRNIhb-2wseGOXDlq1SUDm-1c9-GU8FDfo');
INSERT INTO events VALUES ('06eaih8aff5v91hgpheo61h9eo',1772366400123,'token.issued','alpha','tpp','revoked','','client_credentials','system','','',15,'Hyq8WvB4EVRmdApaVr50gpBkI5Bl3d5A6Z1eMX4fzbM');
INSERT INTO events VALUES ('06eaih8afetijgsrkmoil0hnis',1772366400123,'grant.revoked','alpha','tpp','revoked','','','system','','',12,'kXHZ0hhZQxa4SW5OP29kOSS-K8sBP9B-fqKfqoOqdis');
INSERT INTO events VALUES ('06eaih8afck85bkevglnqvknlc',1772366400123,'consent.lodged','alpha','tpp','','waiting','account-access','system','','',1,'J5BPjDLqJHiltAyIfvmnGxNLzqnItUdrNR2bLiRZQe4');
INSERT INTO events VALUES ('06eaih8afea05gkgsm154t6oc8',1772366400123,'consent.lodged','alpha','tpp','','authorised','account-access','system','','',9,'pLdB4GwszQCyGdMOoEiC4ufTIKRZUEtKABjPBOjXcaI');
INSERT INTO events VALUES ('06eaih8aff3glhpufc87mapjvg',1772366400123,'authorization.approved','alpha','tpp','authorised','authorised','','system','','',14,'GEIi0VHWySFVBFjf0hqpJrPW2m6Zg-EpjMgkke2ayJ0');
INSERT INTO events VALUES ('06eaih8afec5d7bsgpq9n3f7u4',1772366400123,'consent.lodged','alpha','tpp','','withdrawn','account-access','system','','',10,'bO6gY2clnqv7bn0t5R3mpAkWiRd4A8vVgEXOKKGtqVk');
INSERT INTO events VALUES ('06eaih8afdlffribr3ji83501c',1772366400123,'authorization.approved','alpha','tpp','withdrawn','withdrawn','','system','','',4,'lOdSnS83L30irbJqmjykxVKNie3wHuykbrh9EwrD0kk');
INSERT INTO events VALUES ('06eaih8afdquf5cbvmr8bttklc',1772366400123,'consent.revoked','alpha','tpp','withdrawn','withdrawn','','system','','',6,'1_-vhCtPXEVbYzqG3XxZzQ5TO8i_qYtFEH3zgcyNpUw');
INSERT INTO events VALUES ('06eaih8afe01n325l3v3ih2ajg',1772366400123,'resource_server.created','alpha','','','','gateway','system','','',7,'v-LzK_WjIuKErbeLSr9uBBAPlSz0tfbF2gh30mlfavU');
CREATE TABLE resource_servers (
    provider    TEXT COLLATE "binary" NOT NULL,
    id          TEXT COLLATE "binary" NOT NULL,
    name        TEXT NOT NULL,
    secret_hash TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (provider, id)
);
INSERT INTO resource_servers VALUES ('alpha','gateway','Gateway gateway','wGX8mEIxaIj-6LyUV4JlN4FUjxIxgJIhdECfV9-rT_0',1772366400123);
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
INSERT INTO psu_sessions VALUES ('alpha','session','user','ZQ8XxUvHULooZmcXMFLemX4yuoMFzweJ_jvg-7PMxHI',NULL,1772366400123,1772366460123);
CREATE INDEX access_tokens_expires_at ON access_tokens (expires_at);
CREATE UNIQUE INDEX authorizations_code ON authorizations (provider, code_hash) WHERE code_hash IS NOT NULL;
CREATE INDEX authorizations_expires_at ON authorizations (expires_at);
CREATE INDEX authorizations_without_code ON authorizations (expires_at) WHERE code_expires_at IS NULL;
CREATE INDEX clients_software ON clients (directory, tpp, software_id, created_at) WHERE software_id IS NOT NULL;
CREATE INDEX consents_client ON consents (client_id);
CREATE UNIQUE INDEX consents_idempotency ON consents (provider, client_id, idempotency_key_hash) WHERE idempotency_key_hash IS NOT NULL;
CREATE INDEX consents_keep_until ON consents (keep_until);
CREATE INDEX consumed_keep_until ON consumed (keep_until);
CREATE INDEX events_provider ON events (provider, id);
CREATE UNIQUE INDEX events_sequence ON events (sequence) WHERE sequence IS NOT NULL;
CREATE INDEX events_unsealed ON events (id) WHERE sequence IS NULL;
CREATE INDEX grants_client ON grants (client_id COLLATE "binary");
CREATE INDEX grants_expires_at ON grants (expires_at);
CREATE INDEX grants_psu ON grants (provider, user_id, id) WHERE user_id <> '';
CREATE INDEX grants_without_psu ON grants (expires_at) WHERE user_id = '';
CREATE INDEX notices_due_at ON notices (provider, due_at);
CREATE INDEX psu_sessions_expires_at ON psu_sessions (expires_at);
CREATE UNIQUE INDEX psu_sessions_handover ON psu_sessions (provider, handover_hash);
CREATE UNIQUE INDEX psu_sessions_session ON psu_sessions (provider, session_hash) WHERE session_hash IS NOT NULL;
CREATE INDEX refresh_tokens_expires_at ON refresh_tokens (expires_at);
CREATE UNIQUE INDEX schema_versions_once ON schema_versions (version_id);
COMMIT;
