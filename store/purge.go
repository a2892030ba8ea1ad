package store

import (
	"context"
	"time"
)

// purgeBatch bounds a transaction of the purge, to some 15 ms on SQLite, where
// nobody else writes meanwhile.
const purgeBatch = 100

// visitsKeptFor is how long a visit that never got a code outlives its expiry.
// Anybody can begin one, and nothing is used twice when it is forgotten; what
// is wanted is that a clock which goes wrong by an hour or two ends none.
const visitsKeptFor = 3 * time.Hour

// purges delete some rows each, at most $1, that ended at or before $2 or
// belong to a deleted provider. Tokens go before their grants; what a PSU
// granted stays for their history. What is deleted
// from consumed leaves its mark, for Consume; and only what is marked goes:
// another process may have deleted the batch that was marked.
var purges = []struct {
	keptFor time.Duration
	sql     []fragment
}{
	{0, []fragment{`
		INSERT INTO marks (name, at) SELECT 'purged', MAX(keep_until) FROM
			(SELECT keep_until FROM consumed WHERE keep_until <= $2 ORDER BY keep_until LIMIT $1) AS batch
		HAVING MAX(keep_until) IS NOT NULL
		ON CONFLICT (name) DO UPDATE SET at = excluded.at WHERE marks.at < excluded.at`, `
		DELETE FROM consumed WHERE (provider, kind, key_hash) IN
			(SELECT provider, kind, key_hash FROM consumed WHERE keep_until <= $2
			 AND keep_until <= (SELECT at FROM marks WHERE name = 'purged') ORDER BY keep_until LIMIT $1)`}},
	{keptFor, []fragment{`
		DELETE FROM access_tokens WHERE (provider, id) IN
			(SELECT provider, id FROM access_tokens WHERE expires_at <= $2 ORDER BY expires_at LIMIT $1)`}},
	{keptFor, []fragment{`
		DELETE FROM refresh_tokens WHERE (provider, id) IN
			(SELECT provider, id FROM refresh_tokens WHERE expires_at <= $2 ORDER BY expires_at LIMIT $1)`}},
	{visitsKeptFor, []fragment{`
		DELETE FROM authorizations WHERE (provider, id) IN
			(SELECT provider, id FROM authorizations WHERE expires_at <= $2 AND code_expires_at IS NULL ORDER BY expires_at LIMIT $1)`}},
	{keptFor, []fragment{`
		DELETE FROM authorizations WHERE (provider, id) IN
			(SELECT provider, id FROM authorizations WHERE expires_at <= $2 AND code_expires_at <= $2 ORDER BY expires_at LIMIT $1)`}},
	{keptFor, []fragment{`
		DELETE FROM grants WHERE (provider, id) IN
			(SELECT provider, id FROM grants WHERE expires_at <= $2 AND user_id = '' ORDER BY expires_at LIMIT $1)`}},
	{historyFor, []fragment{`
		DELETE FROM grants WHERE (provider, id) IN
			(SELECT provider, id FROM grants WHERE expires_at <= $2 ORDER BY expires_at LIMIT $1)`}},
	{0, []fragment{`
		DELETE FROM consents WHERE (provider, id) IN
			(SELECT provider, id FROM consents WHERE keep_until <= $2 ORDER BY keep_until LIMIT $1)`}},
	{keptFor, []fragment{`
		DELETE FROM psu_sessions WHERE (provider, id) IN
			(SELECT provider, id FROM psu_sessions WHERE expires_at <= $2 ORDER BY expires_at LIMIT $1)`}},
	{0, []fragment{`
		DELETE FROM access_tokens WHERE (provider, id) IN
			(SELECT provider, id FROM access_tokens WHERE provider IN (SELECT code FROM providers WHERE deleted_at <= $2) LIMIT $1)`}},
	{0, []fragment{`
		DELETE FROM refresh_tokens WHERE (provider, id) IN
			(SELECT provider, id FROM refresh_tokens WHERE provider IN (SELECT code FROM providers WHERE deleted_at <= $2) LIMIT $1)`}},
	{0, []fragment{`
		DELETE FROM authorizations WHERE (provider, id) IN
			(SELECT provider, id FROM authorizations WHERE provider IN (SELECT code FROM providers WHERE deleted_at <= $2) LIMIT $1)`}},
	{0, []fragment{`
		DELETE FROM grants WHERE (provider, id) IN
			(SELECT provider, id FROM grants WHERE provider IN (SELECT code FROM providers WHERE deleted_at <= $2) LIMIT $1)`}},
	{0, []fragment{`
		DELETE FROM consents WHERE (provider, id) IN
			(SELECT provider, id FROM consents WHERE provider IN (SELECT code FROM providers WHERE deleted_at <= $2) LIMIT $1)`}},
	{0, []fragment{`
		DELETE FROM notices WHERE (provider, consent_id, step) IN
			(SELECT provider, consent_id, step FROM notices WHERE provider IN (SELECT code FROM providers WHERE deleted_at <= $2) LIMIT $1)`}},
	{0, []fragment{`
		DELETE FROM psu_sessions WHERE (provider, id) IN
			(SELECT provider, id FROM psu_sessions WHERE provider IN (SELECT code FROM providers WHERE deleted_at <= $2) LIMIT $1)`}},
	{0, []fragment{`
		DELETE FROM resource_servers WHERE (provider, id) IN
			(SELECT provider, id FROM resource_servers WHERE provider IN (SELECT code FROM providers WHERE deleted_at <= $2) LIMIT $1)`}},
}

// Purge deletes what ended long enough before now, a little at a time. Each
// transaction is followed by a pause as long as itself, so that half of the
// time at least is everybody else's. Processes that purge at the same time
// wait for each other's rows, and stop when they find none of their own.
func (db *DB) Purge(ctx context.Context, now time.Time) (deleted int, err error) {
	for _, purge := range purges {
		var statements []statement
		for _, text := range purge.sql {
			statements = append(statements, query(text, purgeBatch, unixMillis(now.Add(-purge.keptFor))))
		}
		for {
			began := time.Now()
			out, err := db.write(ctx, statements...)
			if err != nil {
				return deleted, err
			}
			n := int(out.changed[len(out.changed)-1])
			deleted += n
			if n < purgeBatch {
				break
			}
			select {
			case <-ctx.Done():
				return deleted, ctx.Err()
			case <-time.After(time.Since(began)):
			}
		}
	}
	return deleted, nil
}
