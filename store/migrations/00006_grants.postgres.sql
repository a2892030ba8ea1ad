-- What a PSU's page reads by, and Purge, which keeps what PSUs granted longer
-- than the rest. Not a transaction: each statement stands alone, and all may
-- run again after an end at any of them.

-- +goose NO TRANSACTION
-- +goose Up

-- What an attempt leaves that died while it built one.
-- +goose StatementBegin
DO $$ DECLARE unfinished regclass; BEGIN
    FOR unfinished IN
        SELECT indexrelid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
        WHERE NOT indisvalid AND relnamespace = current_schema()::regnamespace AND relname IN ('grants_psu', 'grants_without_psu')
    LOOP
        EXECUTE 'DROP INDEX ' || unfinished;
    END LOOP;
END $$;
-- +goose StatementEnd

-- Builds wait for the end of older transactions, and nobody waits for them.
SET lock_timeout = 0;
CREATE INDEX CONCURRENTLY IF NOT EXISTS grants_psu ON grants (provider, (user_id COLLATE "binary"), id) WHERE user_id <> '';
CREATE INDEX CONCURRENTLY IF NOT EXISTS grants_without_psu ON grants (expires_at) WHERE user_id = '';
