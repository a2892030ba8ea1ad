package store

import (
	"context"
	"time"

	"gatehouse"
)

// consumedFor is how long a used key outlives its expiry, so that a clock set
// back does not make it usable again.
const consumedFor = 24 * time.Hour

// Consume marks key as used. Its hash is stored, so that a key may be of any
// length and have any bytes.
func (db *DB) Consume(ctx context.Context, provider string, kind gatehouse.ConsumeKind, key string, expires, now time.Time) error {
	if expires.Before(now) {
		expires = now
	}
	changed, err := db.write(ctx, query(`
		INSERT INTO consumed (provider, kind, key_hash, keep_until) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
		provider, string(kind), base64url(gatehouse.HashSecret(key)), unixMillis(expires.Add(consumedFor))))
	if err != nil {
		return err
	}
	if changed[0] == 0 {
		return gatehouse.ErrSpent
	}
	return nil
}
