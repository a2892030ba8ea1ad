-- What Purge reads of the visits that never got a code by, which it keeps for a
-- shorter time. Not a transaction: each statement stands alone, and all may run
-- again after an end at any of them.

-- +goose NO TRANSACTION
-- +goose Up

-- What an attempt leaves that died while it built it.
-- +goose StatementBegin
DO $$ BEGIN
    IF EXISTS (SELECT 1 FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
        WHERE NOT indisvalid AND relnamespace = current_schema()::regnamespace AND relname = 'authorizations_without_code')
    THEN
        DROP INDEX authorizations_without_code;
    END IF;
END $$;
-- +goose StatementEnd

-- Builds wait for the end of older transactions, and nobody waits for them.
SET lock_timeout = 0;
CREATE INDEX CONCURRENTLY IF NOT EXISTS authorizations_without_code ON authorizations (expires_at) WHERE code_expires_at IS NULL;
