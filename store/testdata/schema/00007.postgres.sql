CREATE COLLATION public."binary" (provider = libc, locale = 'C');
CREATE TABLE public.access_tokens (
    provider text NOT NULL COLLATE public."binary",
    id text NOT NULL COLLATE public."binary",
    grant_id text NOT NULL COLLATE public."binary",
    client_id text NOT NULL,
    scope text NOT NULL,
    hash text,
    issued_at bigint,
    expires_at bigint
);
CREATE TABLE public.authorizations (
    provider text NOT NULL COLLATE public."binary",
    id text NOT NULL COLLATE public."binary",
    client_id text NOT NULL,
    request text NOT NULL,
    status text NOT NULL,
    browser_hash text,
    code_hash text COLLATE public."binary",
    sealed_code text,
    code_expires_at bigint,
    grant_id text COLLATE public."binary",
    access_token_id text COLLATE public."binary",
    created_at bigint,
    expires_at bigint,
    decided_at bigint,
    intent_id text COLLATE public."binary",
    decided_event text COLLATE public."binary",
    CONSTRAINT authorizations_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'approved'::text, 'denied'::text, 'exchanged'::text])))
);
CREATE TABLE public.clients (
    id text NOT NULL COLLATE public."binary",
    secret_hash text,
    metadata text NOT NULL,
    version bigint NOT NULL,
    created_at bigint,
    updated_at bigint,
    status text DEFAULT 'active'::text NOT NULL,
    directory text COLLATE public."binary",
    tpp text COLLATE public."binary",
    software_id text COLLATE public."binary",
    registration_token_hash text,
    changed_event text COLLATE public."binary"
);
CREATE TABLE public.consents (
    provider text NOT NULL COLLATE public."binary",
    id text NOT NULL COLLATE public."binary",
    client_id text NOT NULL COLLATE public."binary",
    kind text NOT NULL,
    status text NOT NULL,
    lodged text NOT NULL,
    expires_at bigint,
    user_id text COLLATE public."binary",
    grant_id text COLLATE public."binary",
    idempotency_key_hash text COLLATE public."binary",
    request_hash text,
    created_at bigint NOT NULL,
    status_updated_at bigint NOT NULL,
    keep_until bigint NOT NULL,
    moved_event text COLLATE public."binary",
    CONSTRAINT consents_status_check CHECK ((status = ANY (ARRAY['AwaitingAuthorisation'::text, 'Authorised'::text, 'Rejected'::text, 'Revoked'::text, 'Consumed'::text])))
);
CREATE TABLE public.consumed (
    provider text NOT NULL COLLATE public."binary",
    kind text NOT NULL COLLATE public."binary",
    key_hash text NOT NULL COLLATE public."binary",
    keep_until bigint NOT NULL,
    used_by text
);
CREATE TABLE public.events (
    id text NOT NULL COLLATE public."binary",
    at bigint NOT NULL,
    kind text NOT NULL,
    provider text NOT NULL COLLATE public."binary",
    client_id text NOT NULL,
    grant_id text NOT NULL,
    consent_id text NOT NULL,
    detail text NOT NULL,
    actor text NOT NULL,
    actor_name text NOT NULL,
    request_id text NOT NULL,
    sequence bigint,
    hash text
);
CREATE TABLE public.grants (
    provider text NOT NULL COLLATE public."binary",
    id text NOT NULL COLLATE public."binary",
    client_id text NOT NULL,
    user_id text NOT NULL,
    subject text NOT NULL,
    scope text NOT NULL,
    intent_id text NOT NULL,
    accounts text,
    debtor_account text,
    auth_time bigint,
    acr text NOT NULL,
    created_at bigint,
    expires_at bigint,
    revoked_at bigint,
    authentication_expires_at bigint,
    last_used_at bigint,
    ended_event text COLLATE public."binary"
);
CREATE TABLE public.marks (
    name text NOT NULL COLLATE public."binary",
    at bigint NOT NULL
);
CREATE TABLE public.notices (
    provider text NOT NULL COLLATE public."binary",
    consent_id text NOT NULL COLLATE public."binary",
    step text NOT NULL COLLATE public."binary",
    due_at bigint NOT NULL,
    attempts bigint NOT NULL,
    claim text COLLATE public."binary",
    created_at bigint NOT NULL
);
CREATE TABLE public.providers (
    code text NOT NULL COLLATE public."binary",
    app_id text NOT NULL COLLATE public."binary",
    app_secret_hash text,
    subject_salt text,
    settings text NOT NULL,
    version bigint NOT NULL,
    created_at bigint,
    updated_at bigint,
    deleted_at bigint,
    changed_event text COLLATE public."binary"
);
CREATE TABLE public.psu_sessions (
    provider text NOT NULL COLLATE public."binary",
    id text NOT NULL COLLATE public."binary",
    user_id text NOT NULL COLLATE public."binary",
    handover_hash text NOT NULL COLLATE public."binary",
    session_hash text COLLATE public."binary",
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL
);
CREATE TABLE public.refresh_tokens (
    provider text NOT NULL COLLATE public."binary",
    id text NOT NULL COLLATE public."binary",
    grant_id text NOT NULL COLLATE public."binary",
    client_id text NOT NULL,
    hash text,
    issued_at bigint,
    expires_at bigint,
    successor_id text COLLATE public."binary",
    rotated_at bigint
);
CREATE TABLE public.resource_servers (
    provider text NOT NULL COLLATE public."binary",
    id text NOT NULL COLLATE public."binary",
    name text NOT NULL,
    secret_hash text NOT NULL,
    created_at bigint NOT NULL
);
CREATE TABLE public.schema_support (
    oldest bigint NOT NULL
);
CREATE TABLE public.schema_versions (
    id integer NOT NULL,
    version_id bigint NOT NULL,
    is_applied boolean NOT NULL,
    tstamp timestamp without time zone DEFAULT now() NOT NULL
);
ALTER TABLE public.schema_versions ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.schema_versions_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.signing_keys (
    provider text NOT NULL COLLATE public."binary",
    kid text NOT NULL COLLATE public."binary",
    alg text NOT NULL,
    sealed text,
    kek_id text NOT NULL,
    created_at bigint
);
INSERT INTO public.access_tokens VALUES ('alpha', 'exchanged', 'exchanged', 'tpp', 'accounts', 'Jrn8OuXIANNdrIXFbth45hiuAmFmt2EiVb0-S7BhbqE', 1772366400123, 1772367000123);
INSERT INTO public.access_tokens VALUES ('alpha', 'granted', 'granted', 'tpp', 'accounts', '427zpu0NmgJ1YjYT2PYjssCM9Pay8DUSycSHNHWFEsk', 1772366400123, 1772367000123);
INSERT INTO public.access_tokens VALUES ('alpha', 'revoked', 'revoked', 'tpp', 'accounts', 'NCklSGdIR9XHQw8FWruxfu1iegOATUqaTmyPgNJkGZU', 1772366400123, 1772367000123);
INSERT INTO public.authorizations VALUES ('alpha', 'pending', 'tpp', '{"client_id":"tpp","redirect_uri":"https://tpp.example/back","response_type":"code","scope":"openid accounts","state":"state\u0000\u003c\u0026\u003e","nonce":"nonce","code_challenge":"challenge","prompt":["login"],"max_age":300,"acr_values":["sca"],"acr_essential":true}', 'pending', '1MPooRJWq4Kk_HJWDrSisOh7rYIMKQ3ZsDYW3iQKpts', 'vlpXmM7zgGw3CLqlAkOtO8zDD_vPdf-iGwwRpCk2P4E', 'c2VhbGVkIGNvZGUgb2YgcGVuZGluZw', 1772366460123, NULL, NULL, 1772366400123, 1772367300123, NULL, NULL, NULL);
INSERT INTO public.authorizations VALUES ('alpha', 'denied', 'tpp', '{"client_id":"tpp","redirect_uri":"https://tpp.example/back","response_type":"code","scope":"openid accounts","state":"state\u0000\u003c\u0026\u003e","nonce":"nonce","code_challenge":"challenge","prompt":["login"],"max_age":300,"acr_values":["sca"],"acr_essential":true}', 'denied', '1MPooRJWq4Kk_HJWDrSisOh7rYIMKQ3ZsDYW3iQKpts', '1W_c6G84WLN8OFLgo_CqZo2XBZvEGXx3yHMbUxco4OE', 'c2VhbGVkIGNvZGUgb2YgZGVuaWVk', 1772366460123, NULL, NULL, 1772366400123, 1772367300123, 1772366400123, NULL, '06eaih8afd4rpu7iu05sl2ihs4');
INSERT INTO public.authorizations VALUES ('alpha', 'approved', 'tpp', '{"client_id":"tpp","redirect_uri":"https://tpp.example/back","response_type":"code","scope":"openid accounts","state":"state\u0000\u003c\u0026\u003e","nonce":"nonce","code_challenge":"challenge","prompt":["login"],"max_age":300,"acr_values":["sca"],"acr_essential":true}', 'approved', '1MPooRJWq4Kk_HJWDrSisOh7rYIMKQ3ZsDYW3iQKpts', 'lHpQFxwP-J2RxZqAWwPYUoRaNyXJv2jOHn2WyyF7rXs', 'c2VhbGVkIGNvZGUgb2YgYXBwcm92ZWQ', 1772366460123, 'approved', NULL, 1772366400123, 1772367300123, 1772366400123, NULL, '06eaih8affm19rlb1endukth2c');
INSERT INTO public.authorizations VALUES ('alpha', 'exchanged', 'tpp', '{"client_id":"tpp","redirect_uri":"https://tpp.example/back","response_type":"code","scope":"openid accounts","state":"state\u0000\u003c\u0026\u003e","nonce":"nonce","code_challenge":"challenge","prompt":["login"],"max_age":300,"acr_values":["sca"],"acr_essential":true}', 'exchanged', '1MPooRJWq4Kk_HJWDrSisOh7rYIMKQ3ZsDYW3iQKpts', 'qbZWWCUx79hKZQvZFlv8zUaweKL4bl3NUEZj_4lRTGY', NULL, 1772366460123, 'exchanged', 'exchanged', 1772366400123, 1772367300123, 1772366400123, NULL, '06eaih8afc916bnmom65jkhd9o');
INSERT INTO public.authorizations VALUES ('alpha', 'authorised', 'tpp', '{"client_id":"tpp","redirect_uri":"https://tpp.example/back","response_type":"code","scope":"openid accounts","state":"state\u0000\u003c\u0026\u003e","nonce":"nonce","code_challenge":"challenge","prompt":["login"],"max_age":300,"acr_values":["sca"],"acr_essential":true,"openbanking_intent_id":"authorised"}', 'approved', '1MPooRJWq4Kk_HJWDrSisOh7rYIMKQ3ZsDYW3iQKpts', '9026wKWUJ2BNZfAVXq6Bun_JqqxktsrUA8ZGbns5Bb4', 'c2VhbGVkIGNvZGUgb2YgYXV0aG9yaXNlZA', 1772366460123, 'authorised', NULL, 1772366400123, 1772367300123, 1772366400123, 'authorised', '06eaih8affo9l94hb1k6m3u548');
INSERT INTO public.authorizations VALUES ('alpha', 'withdrawn', 'tpp', '{"client_id":"tpp","redirect_uri":"https://tpp.example/back","response_type":"code","scope":"openid accounts","state":"state\u0000\u003c\u0026\u003e","nonce":"nonce","code_challenge":"challenge","prompt":["login"],"max_age":300,"acr_values":["sca"],"acr_essential":true,"openbanking_intent_id":"withdrawn"}', 'approved', '1MPooRJWq4Kk_HJWDrSisOh7rYIMKQ3ZsDYW3iQKpts', 'awgwA7k5XfwlJuJTv4IlMgcYEteV5A1dt1X4-yDJKOg', 'c2VhbGVkIGNvZGUgb2Ygd2l0aGRyYXdu', 1772366460123, 'withdrawn', NULL, 1772366400123, 1772367300123, 1772366400123, 'withdrawn', '06eaih8afc2pjjd3btk9fn7jfk');
INSERT INTO public.clients VALUES ('tpp', 'J5LxGjh6MX-5O2PGiS4wIFd5UyjsgtYjPUm7urImMGs', '{"client_id":"tpp","client_name":"TPP tpp","providers":["alpha"],"redirect_uris":["https://tpp.example/back?a=1\u0026b=\u003c2\u003e"],"grant_types":["authorization_code","client_credentials","refresh_token"],"response_types":["code"],"scope":"openid accounts","token_endpoint_auth_method":"client_secret_basic","id_token_signed_response_alg":"PS256","jwks":{"keys":[]},"status":"active","version":1,"created_at":"2026-03-01T12:00:00.123Z","updated_at":"2026-03-01T12:00:00.123Z"}', 1, 1772366400123, 1772366400123, 'active', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.consents VALUES ('alpha', 'waiting', 'tpp', 'account-access', 'AwaitingAuthorisation', '{"Data":{"Permissions":["ReadBalances"]},"Risk":{}}', 1772370000123, NULL, NULL, '78bIpiT2xqZgpTJiUXZdqAt5bhCU0b_0WLDh7_hSbBQ', 'jQwZa2Jl1lnKxVDEa96VNzOoFCdbUm75-MR_yeY0Hmc', 1772366400123, 1772366400123, 1774958400123, NULL);
INSERT INTO public.consents VALUES ('alpha', 'authorised', 'tpp', 'account-access', 'Authorised', '{"Data":{"Permissions":["ReadBalances"]},"Risk":{}}', 1772370000123, 'user', 'authorised', 'EbRlbkLfV4uEXdQPOq6_CvetvfoQg16AlVGeZVwyLGo', 'g6j-ktOukzJ6q2dlBFOSa3EfJRncA7zobrmv1A5M9Dk', 1772366400123, 1772366400123, 1835442000123, '06eaih8affo9l94hb1k6m3u548');
INSERT INTO public.consents VALUES ('alpha', 'withdrawn', 'tpp', 'account-access', 'Revoked', '{"Data":{"Permissions":["ReadBalances"]},"Risk":{}}', 1772370000123, 'user', 'withdrawn', 'AV6hd6Op39eNCg2qnJsPuiexiPSam2Xvdcqw-zmFkzU', 'IOLnvl9QMXfxIe6xxcbO1h27sOhXIUdR3BDdjoc0mLA', 1772366400123, 1772366400123, 1835442000123, '06eaih8affbk9ov7hpddb51emg');
INSERT INTO public.consumed VALUES ('', 'assertion', 'JwXYP6e8MunWT7qazj4L5i4Br0zSIn7QDlOMjZRLddY', 1772456400123, '06eaih8afdgbj3h1i6d8f1f0vs');
INSERT INTO public.events VALUES ('06eaih8afc2pjjd3btk9fn7jfk', 1772366400123, 'authorization.approved', 'alpha', 'tpp', 'withdrawn', 'withdrawn', '', 'system', '', '', 1, 'i0eKM_sAYK0zJxDocszd5wyNgZreMYVQp9syHeMOoOA');
INSERT INTO public.events VALUES ('06eaih8afc916bnmom65jkhd9o', 1772366400123, 'authorization.approved', 'alpha', 'tpp', 'exchanged', '', '', 'system', '', '', 2, 'PfzZZnoQj1t8TJLTv2lXygqB1zZnbYcJsb4EbRnHuT4');
INSERT INTO public.events VALUES ('06eaih8afc99fdqmh4n4kijca4', 1772366400123, 'client.created', '', 'tpp', '', '', '', 'system', '', '', 3, 'ZIuF94CmzCs2gc-VdTcjohaXNubSqP98NecM3G_zKBI');
INSERT INTO public.events VALUES ('06eaih8afcjdtm62648h3er3ps', 1772366400123, 'consent.lodged', 'alpha', 'tpp', '', 'authorised', 'account-access', 'system', '', '', 4, 'W2lT1Jnhnn2vNROjrAfRtRQI6IVvzQkvIaGnlqFpJF4');
INSERT INTO public.events VALUES ('06eaih8afd4rpu7iu05sl2ihs4', 1772366400123, 'authorization.denied', 'alpha', 'tpp', '', '', '', 'system', '', '', 5, 'khCvjavu_IqbSqy5kK1kUM2dwea1v2txGFU8h0xV_As');
INSERT INTO public.events VALUES ('06eaih8afdcj4tdapi1a2ee90g', 1772366400123, 'provider.created', 'alpha', '', '', '', '', 'system', '', '', 6, 'cs1R-U4H99QoImdENR32Xgpf9LN-CVJsQHRKXXviMXI');
INSERT INTO public.events VALUES ('06eaih8afdivgb1orl5bgm7b2o', 1772366400123, 'consent.lodged', 'alpha', 'tpp', '', 'waiting', 'account-access', 'system', '', '', 7, '5t_cNLRsrUPdvgjoFbcURT1F31BDluPfBLTFqHzaQoo');
INSERT INTO public.events VALUES ('06eaih8afe00a3bhvlfm8kq914', 1772366400123, 'resource_server.created', 'alpha', '', '', '', 'gateway', 'system', '', '', 8, 'ktoIoDnva-Ln8utjceAUvUfB3RxZdEJuDzfTPej5rhk');
INSERT INTO public.events VALUES ('06eaih8afe84e71tsrd6g58rj4', 1772366400123, 'consent.lodged', 'alpha', 'tpp', '', 'withdrawn', 'account-access', 'system', '', '', 9, 'adJSEH6ES87R9hMDOWOM6V5H33nwYafU5S2jT5hnee0');
INSERT INTO public.events VALUES ('06eaih8afealr2j379lidbvj9s', 1772366400123, 'token.issued', 'alpha', 'tpp', 'exchanged', '', 'authorization_code', 'system', '', '', 10, 'Ql6bxCacP4EYGcRe7qAdMTZ9j5zdMMxqapyzLTF1LnI');
INSERT INTO public.events VALUES ('06eaih8afeqkj3ep4ee1c663bo', 1772366400123, 'token.issued', 'alpha', 'tpp', 'granted', '', 'client_credentials', 'system', '', '', 11, 'm-0osO7bVwiZZhPLbYOpjPpfSQgrDCD4YMtgBVGmtL4');
INSERT INTO public.events VALUES ('06eaih8aff16gvi1hhs0cfdv6c', 1772366400123, 'token.issued', 'alpha', 'tpp', 'revoked', '', 'client_credentials', 'system', '', '', 12, '1ZFdg_kOmKFZpLNmxeYHpeyiqwFEmsGoiURJqXbeN6M');
INSERT INTO public.events VALUES ('06eaih8aff2mm934g6j6dqkc7s', 1772366400123, 'grant.revoked', 'alpha', 'tpp', 'revoked', '', '', 'system', '', '', 13, '3cQUlSjkCf9Iw3Xsc496pCegsl7fD1nzctso6ktRGAQ');
INSERT INTO public.events VALUES ('06eaih8affbk9ov7hpddb51emg', 1772366400123, 'consent.revoked', 'alpha', 'tpp', 'withdrawn', 'withdrawn', '', 'system', '', '', 14, 'FG30tbSyZ2nNSXzjhRUriaSJzw2PIxMzx67HrTf6_Cw');
INSERT INTO public.events VALUES ('06eaih8affm19rlb1endukth2c', 1772366400123, 'authorization.approved', 'alpha', 'tpp', 'approved', '', '', 'system', '', '', 15, 'sa3VVuVooR0XiFus-sayRDWqDmzcXb2FaEBZyulHVns');
INSERT INTO public.events VALUES ('06eaih8affo9l94hb1k6m3u548', 1772366400123, 'authorization.approved', 'alpha', 'tpp', 'authorised', 'authorised', '', 'system', '', '', 16, 'DFFCHxFPi6ydaztituhmmTGdoIg0p_i2YJi5Giad29g');
INSERT INTO public.grants VALUES ('alpha', 'approved', 'tpp', 'user', 'subject', 'openid accounts', '', '[ {"id": "<1>"} ]', '{"iban":"GB33"}', 1772366340123, 'sca', 1772366400123, 1772370000123, NULL, 1772373600123, NULL, NULL);
INSERT INTO public.grants VALUES ('alpha', 'exchanged', 'tpp', 'user', 'subject', 'openid accounts', '', '[ {"id": "<1>"} ]', '{"iban":"GB33"}', 1772366340123, 'sca', 1772366400123, 1772370000123, NULL, 1772373600123, NULL, NULL);
INSERT INTO public.grants VALUES ('alpha', 'granted', 'tpp', 'user', 'subject', 'openid accounts', '', '[ {"id": "<1>"} ]', '{"iban":"GB33"}', 1772366340123, 'sca', 1772366400123, 1772370000123, NULL, 1772373600123, NULL, NULL);
INSERT INTO public.grants VALUES ('alpha', 'revoked', 'tpp', 'user', 'subject', 'openid accounts', '', '[ {"id": "<1>"} ]', '{"iban":"GB33"}', 1772366340123, 'sca', 1772366400123, 1772370000123, 1772366400123, 1772373600123, NULL, '06eaih8aff2mm934g6j6dqkc7s');
INSERT INTO public.grants VALUES ('alpha', 'authorised', 'tpp', 'user', 'subject', 'openid accounts', 'authorised', '[ {"id": "<1>"} ]', '{"iban":"GB33"}', 1772366340123, 'sca', 1772366400123, 1772370000123, NULL, 1772373600123, NULL, NULL);
INSERT INTO public.grants VALUES ('alpha', 'withdrawn', 'tpp', 'user', 'subject', 'openid accounts', 'withdrawn', '[ {"id": "<1>"} ]', '{"iban":"GB33"}', 1772366340123, 'sca', 1772366400123, 1772370000123, 1772366400123, 1772373600123, NULL, '06eaih8affbk9ov7hpddb51emg');
INSERT INTO public.marks VALUES ('purged', 1772280000123);
INSERT INTO public.notices VALUES ('alpha', 'waiting', 'lodged', 1772366400123, 0, NULL, 1772366400123);
INSERT INTO public.notices VALUES ('alpha', 'authorised', 'lodged', 1772366400123, 0, NULL, 1772366400123);
INSERT INTO public.notices VALUES ('alpha', 'withdrawn', 'lodged', 1772366400123, 0, NULL, 1772366400123);
INSERT INTO public.notices VALUES ('alpha', 'withdrawn', 'revoked', 1772366400123, 0, NULL, 1772366400123);
INSERT INTO public.providers VALUES ('alpha', 'app-alpha', 'hH6LVQcMBYW6zCW2-CYqc7uNhQCPhfcUXBCg51SrKko', 'gMbWFyH2pFfedB6jNw8ylmxlshO2mkj1u10n_4-IR6s', '{"provider_code":"alpha","name":"Bank alpha","status":"live","profile":"psd2","issuer":"https://bank.example/alpha","scopes":["openid","accounts"],"signing_alg":"PS256","connector":{"connector_url":"https://bank.example/connector","login_url":"https://bank.example/login","app_id":"app-alpha","jwks":{"keys":[]}},"rules":{"code_lifetime":"30s","require_pkce":true},"version":1,"created_at":"2026-03-01T12:00:00.123Z","updated_at":"2026-03-01T12:00:00.123Z"}', 1, 1772366400123, 1772366400123, NULL, NULL);
INSERT INTO public.psu_sessions VALUES ('alpha', 'session', 'user', 'ZQ8XxUvHULooZmcXMFLemX4yuoMFzweJ_jvg-7PMxHI', NULL, 1772366400123, 1772366460123);
INSERT INTO public.refresh_tokens VALUES ('alpha', 'exchanged', 'exchanged', 'tpp', '6u4MtbHDvEyhzN84e02D2CcvDBL0lQFdBsnFY7ljj7U', 1772366400123, 1772368200123, NULL, NULL);
INSERT INTO public.refresh_tokens VALUES ('alpha', 'granted', 'granted', 'tpp', 'RYBuUwbh1q6IVrdvRznyaLNMUK9C_LH3Y99ORqgpM4E', 1772366400123, 1772368200123, NULL, NULL);
INSERT INTO public.refresh_tokens VALUES ('alpha', 'revoked', 'revoked', 'tpp', 'FwHNGAIxUiM7N5dpfYxdTDKIsP01aqpJSqUt-Fgtquk', 1772366400123, 1772368200123, NULL, NULL);
INSERT INTO public.resource_servers VALUES ('alpha', 'gateway', 'Gateway gateway', 'wGX8mEIxaIj-6LyUV4JlN4FUjxIxgJIhdECfV9-rT_0', 1772366400123);
INSERT INTO public.schema_support VALUES (3);
INSERT INTO public.schema_versions VALUES (1, 0, true, '2026-11-24 12:52:57.653613');
INSERT INTO public.schema_versions VALUES (2, 1, true, '2026-11-24 12:52:57.662299');
INSERT INTO public.schema_versions VALUES (3, 2, true, '2026-11-24 12:52:57.752483');
INSERT INTO public.schema_versions VALUES (4, 3, true, '2026-11-24 12:52:57.765705');
INSERT INTO public.schema_versions VALUES (5, 4, true, '2026-11-24 12:52:57.810951');
INSERT INTO public.schema_versions VALUES (6, 5, true, '2026-11-24 12:52:57.816884');
INSERT INTO public.schema_versions VALUES (7, 6, true, '2026-11-24 12:52:57.876588');
INSERT INTO public.schema_versions VALUES (8, 7, true, '2026-11-24 12:52:57.900143');
INSERT INTO public.signing_keys VALUES ('alpha', 'first', 'PS256', 'c2VhbGVkIGZpcnN0', 'kek', 1772366400123);
INSERT INTO public.signing_keys VALUES ('alpha', 'second', 'PS256', 'c2VhbGVkIHNlY29uZA', 'kek', 1772366400123);
SELECT pg_catalog.setval('public.schema_versions_id_seq', 8, true);
ALTER TABLE ONLY public.access_tokens
    ADD CONSTRAINT access_tokens_pkey PRIMARY KEY (provider, id);
ALTER TABLE ONLY public.authorizations
    ADD CONSTRAINT authorizations_pkey PRIMARY KEY (provider, id);
ALTER TABLE ONLY public.clients
    ADD CONSTRAINT clients_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.consents
    ADD CONSTRAINT consents_pkey PRIMARY KEY (provider, id);
ALTER TABLE ONLY public.consumed
    ADD CONSTRAINT consumed_pkey PRIMARY KEY (provider, kind, key_hash);
ALTER TABLE ONLY public.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.grants
    ADD CONSTRAINT grants_pkey PRIMARY KEY (provider, id);
ALTER TABLE ONLY public.marks
    ADD CONSTRAINT marks_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.notices
    ADD CONSTRAINT notices_pkey PRIMARY KEY (provider, consent_id, step);
ALTER TABLE ONLY public.providers
    ADD CONSTRAINT providers_app_id_key UNIQUE (app_id);
ALTER TABLE ONLY public.providers
    ADD CONSTRAINT providers_pkey PRIMARY KEY (code);
ALTER TABLE ONLY public.psu_sessions
    ADD CONSTRAINT psu_sessions_pkey PRIMARY KEY (provider, id);
ALTER TABLE ONLY public.refresh_tokens
    ADD CONSTRAINT refresh_tokens_pkey PRIMARY KEY (provider, id);
ALTER TABLE ONLY public.resource_servers
    ADD CONSTRAINT resource_servers_pkey PRIMARY KEY (provider, id);
ALTER TABLE ONLY public.schema_versions
    ADD CONSTRAINT schema_versions_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.signing_keys
    ADD CONSTRAINT signing_keys_kid_key UNIQUE (kid);
ALTER TABLE ONLY public.signing_keys
    ADD CONSTRAINT signing_keys_pkey PRIMARY KEY (provider, kid);
CREATE INDEX access_tokens_expires_at ON public.access_tokens USING btree (expires_at);
CREATE UNIQUE INDEX authorizations_code ON public.authorizations USING btree (provider, code_hash) WHERE (code_hash IS NOT NULL);
CREATE INDEX authorizations_expires_at ON public.authorizations USING btree (expires_at);
CREATE INDEX authorizations_without_code ON public.authorizations USING btree (expires_at) WHERE (code_expires_at IS NULL);
CREATE INDEX clients_software ON public.clients USING btree (directory, tpp, software_id, created_at) WHERE (software_id IS NOT NULL);
CREATE INDEX consents_client ON public.consents USING btree (client_id);
CREATE UNIQUE INDEX consents_idempotency ON public.consents USING btree (provider, client_id, idempotency_key_hash) WHERE (idempotency_key_hash IS NOT NULL);
CREATE INDEX consents_keep_until ON public.consents USING btree (keep_until);
CREATE INDEX consumed_keep_until ON public.consumed USING btree (keep_until);
CREATE INDEX events_provider ON public.events USING btree (provider, id);
CREATE UNIQUE INDEX events_sequence ON public.events USING btree (sequence) WHERE (sequence IS NOT NULL);
CREATE INDEX events_unsealed ON public.events USING btree (id) WHERE (sequence IS NULL);
CREATE INDEX grants_client ON public.grants USING btree (client_id COLLATE public."binary");
CREATE INDEX grants_expires_at ON public.grants USING btree (expires_at);
CREATE INDEX grants_psu ON public.grants USING btree (provider, user_id COLLATE public."binary", id) WHERE (user_id <> ''::text);
CREATE INDEX grants_without_psu ON public.grants USING btree (expires_at) WHERE (user_id = ''::text);
CREATE INDEX notices_due_at ON public.notices USING btree (provider, due_at);
CREATE INDEX psu_sessions_expires_at ON public.psu_sessions USING btree (expires_at);
CREATE UNIQUE INDEX psu_sessions_handover ON public.psu_sessions USING btree (provider, handover_hash);
CREATE UNIQUE INDEX psu_sessions_session ON public.psu_sessions USING btree (provider, session_hash) WHERE (session_hash IS NOT NULL);
CREATE INDEX refresh_tokens_expires_at ON public.refresh_tokens USING btree (expires_at);
CREATE UNIQUE INDEX schema_versions_once ON public.schema_versions USING btree (version_id);
ALTER TABLE ONLY public.signing_keys
    ADD CONSTRAINT signing_keys_provider_fkey FOREIGN KEY (provider) REFERENCES public.providers(code);
