-- What Purge reads by, and no foreign keys that would make it scan every token
-- for every grant it deletes, and every token lock the row of its grant. The
-- conditions of each statement that adds a token keep the rule instead.
--
-- Not a transaction: each statement stands alone, and all may run again after
-- an end at any of them.

-- +goose NO TRANSACTION
-- +goose Up

-- grants is locked first, as by those who add tokens, so that nobody deadlocks.
-- +goose StatementBegin
DO $$ BEGIN
    LOCK TABLE grants, access_tokens IN ACCESS EXCLUSIVE MODE;
    ALTER TABLE access_tokens DROP CONSTRAINT IF EXISTS access_tokens_provider_grant_id_fkey;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
DO $$ BEGIN
    LOCK TABLE grants, refresh_tokens IN ACCESS EXCLUSIVE MODE;
    ALTER TABLE refresh_tokens DROP CONSTRAINT IF EXISTS refresh_tokens_provider_grant_id_fkey;
END $$;
-- +goose StatementEnd

-- What an attempt leaves that died while it built one.
-- +goose StatementBegin
DO $$ DECLARE unfinished regclass; BEGIN
    FOR unfinished IN
        SELECT indexrelid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
        WHERE NOT indisvalid AND relnamespace = current_schema()::regnamespace AND relname IN ('consumed_keep_until',
            'access_tokens_expires_at', 'refresh_tokens_expires_at', 'authorizations_expires_at', 'grants_expires_at')
    LOOP
        EXECUTE 'DROP INDEX ' || unfinished;
    END LOOP;
END $$;
-- +goose StatementEnd

-- Builds wait for the end of older transactions, and nobody waits for them.
SET lock_timeout = 0;
CREATE INDEX CONCURRENTLY IF NOT EXISTS consumed_keep_until ON consumed (keep_until);
CREATE INDEX CONCURRENTLY IF NOT EXISTS access_tokens_expires_at ON access_tokens (expires_at);
CREATE INDEX CONCURRENTLY IF NOT EXISTS refresh_tokens_expires_at ON refresh_tokens (expires_at);
CREATE INDEX CONCURRENTLY IF NOT EXISTS authorizations_expires_at ON authorizations (expires_at);
CREATE INDEX CONCURRENTLY IF NOT EXISTS grants_expires_at ON grants (expires_at);
