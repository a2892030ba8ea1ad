package store

import (
	"context"
	"time"

	"gatehouse"
)

// keptFor is how long a row outlives its expiry, so that a clock set back
// brings nothing to life again.
const keptFor = 24 * time.Hour

// Consume marks key as used. Its hash is stored, so that a key may be of any
// length and have any bytes. used_by tells the call that used it, so that a
// repetition of this call after an unknown outcome is not taken for another.
func (db *DB) Consume(ctx context.Context, provider string, kind gatehouse.ConsumeKind, key string, issued, expires, now time.Time) error {
	if expires.Before(now) {
		expires = now
	}
	out, err := db.write(ctx, query(`
		INSERT INTO consumed (provider, kind, key_hash, keep_until, used_by) SELECT $1, $2, $3, $4, $5
		WHERE NOT EXISTS (SELECT 1 FROM marks WHERE name = 'purged' AND at >= $4 OR name = 'restored' AND (at > $6 OR $6 IS NULL))
		ON CONFLICT (provider, kind, key_hash) DO UPDATE SET used_by = excluded.used_by WHERE consumed.used_by = excluded.used_by`,
		provider, string(kind), base64url(gatehouse.HashSecret(key)), unixMillis(expires.Add(keptFor)), gatehouse.NewID(now), unixMillis(issued)))
	if err != nil {
		return err
	}
	if out.changed[0] == 0 {
		return gatehouse.ErrSpent
	}
	return nil
}
