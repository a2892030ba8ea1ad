package store

import (
	"context"
	"time"

	"gatehouse"
)

// ProvidersToTell lists the providers with notices that may be claimed. ORDER
// BY leads PostgreSQL to the index, at whose first row it can stop: a bank that
// is away has many.
func (db *DB) ProvidersToTell(ctx context.Context, now time.Time) ([]string, error) {
	var codes []string
	err := db.readRows(ctx, query(`
		SELECT p.code FROM providers p
		WHERE p.deleted_at IS NULL AND 1 =
		    (SELECT 1 FROM notices n WHERE n.provider = p.code AND n.due_at <= $1 AND NOT EXISTS
		        (SELECT 1 FROM notices e WHERE e.provider = n.provider AND e.consent_id = n.consent_id AND e.step < n.step)
		     ORDER BY n.due_at LIMIT 1)
		ORDER BY p.code`, unixMillis(now)), func() []any {
		codes = append(codes, "")
		return []any{&codes[len(codes)-1]}
	})
	return codes, err
}

// ClaimNotices returns due notices for the caller alone, of each consent the
// first. due_at is also the end of the claim. The outer condition on it is for
// PostgreSQL, which looks at a row again after it has waited for another
// claimant; the one on claim for a repetition, which must not claim more.
func (db *DB) ClaimNotices(ctx context.Context, provider, claim string, limit int, until, now time.Time) ([]*gatehouse.Notice, error) {
	out, err := db.write(ctx, query(`
		UPDATE notices SET claim = $2, due_at = $3, attempts = attempts + 1
		WHERE due_at <= $4 AND (provider, consent_id, step) IN
		    (SELECT n.provider, n.consent_id, n.step FROM notices n
		     WHERE n.provider = $1 AND n.due_at <= $4 AND NOT EXISTS
		         (SELECT 1 FROM notices e WHERE e.provider = $1 AND e.consent_id = n.consent_id AND e.step < n.step)
		     ORDER BY n.due_at, n.consent_id LIMIT $5)
		  AND NOT EXISTS (SELECT 1 FROM notices m WHERE m.provider = $1 AND m.due_at = $3 AND m.claim = $2)`,
		provider, claim, unixMillis(until), unixMillis(now), limit))
	if err != nil || out.changed[0] == 0 && !out.repeated {
		return nil, err
	}
	var list []*gatehouse.Notice
	err = db.readRows(ctx, query(`
		SELECT provider, consent_id, step, attempts, created_at, claim
		FROM notices WHERE provider = $1 AND due_at = $2 AND claim = $3 ORDER BY created_at, consent_id`,
		provider, unixMillis(until), claim), func() []any {
		n := new(gatehouse.Notice)
		list = append(list, n)
		return []any{&n.Provider, &n.ConsentID, &n.Step, &n.Attempts, timeField{&n.CreatedAt}, &n.Claim}
	})
	if err == nil && out.repeated {
		err = db.confirm(ctx)
	}
	if err != nil {
		return nil, err
	}
	return list, nil
}

// NoticeDelivered removes a notice.
func (db *DB) NoticeDelivered(ctx context.Context, n *gatehouse.Notice) error {
	out, err := db.write(ctx, query(`
		DELETE FROM notices WHERE provider = $1 AND consent_id = $2 AND step = $3 AND claim = $4`,
		n.Provider, n.ConsentID, string(n.Step), n.Claim))
	if err == nil && out.repeated { // it may have met its own deletion
		return db.confirm(ctx)
	}
	return err
}

// NoticeFailed gives a claim back, or the notice up: then the claim becomes
// that of the event, so that nobody else has the notice when it is deleted.
func (db *DB) NoticeFailed(ctx context.Context, n *gatehouse.Notice, again, now time.Time) error {
	statements := []statement{query(`
		UPDATE notices SET claim = NULL, due_at = $5 WHERE provider = $1 AND consent_id = $2 AND step = $3 AND claim = $4`,
		n.Provider, n.ConsentID, string(n.Step), n.Claim, unixMillis(again))}
	if again.IsZero() {
		e := newEntry(ctx, now)
		statements = []statement{query(`
			UPDATE notices SET claim = $5 WHERE provider = $1 AND consent_id = $2 AND step = $3 AND claim = $4`,
			n.Provider, n.ConsentID, string(n.Step), n.Claim, e.id),
			e.event(gatehouse.EventBankNotTold, string(n.Step), `n.provider, COALESCE(c.client_id, ''), '', n.consent_id
				FROM notices n LEFT JOIN consents c ON c.provider = n.provider AND c.id = n.consent_id
				WHERE n.provider = $8 AND n.consent_id = $9 AND n.claim = $10`, n.Provider, n.ConsentID, e.id),
			query(`DELETE FROM notices WHERE provider = $1 AND consent_id = $2 AND claim = $3`, n.Provider, n.ConsentID, e.id)}
	}
	out, err := db.write(ctx, statements...)
	if err == nil && out.repeated { // it may have met what it did itself
		return db.confirm(ctx)
	}
	return err
}
