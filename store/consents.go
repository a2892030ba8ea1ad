package store

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"time"

	"gatehouse"
)

const (
	// idempotencyWindow is how long an x-idempotency-key is remembered (UK Open
	// Banking Read/Write API 3.1, "Idempotency").
	idempotencyWindow = 24 * time.Hour
	// unauthorisedFor is how long a consent is kept that no PSU authorises.
	unauthorisedFor = 30 * 24 * time.Hour
	// historyFor is how long what a PSU granted is kept after its end.
	historyFor = 2 * 365 * 24 * time.Hour
)

// CreateConsent adds a consent and the notice to the bank, or returns the one
// that its client has lodged before under the same idempotency key.
func (db *DB) CreateConsent(ctx context.Context, c *gatehouse.Consent, now time.Time) (*gatehouse.Consent, error) {
	e := newEntry(ctx, now)
	out, err := db.write(ctx, query(`
		UPDATE consents SET idempotency_key_hash = NULL
		WHERE provider = $1 AND client_id = $2 AND idempotency_key_hash = $3 AND created_at <= $4`,
		c.Provider, c.ClientID, base64url(c.IdempotencyKeyHash), unixMillis(now.Add(-idempotencyWindow))), query(`
		INSERT INTO consents (provider, id, client_id, kind, status, lodged, expires_at, idempotency_key_hash, request_hash,
		       created_at, status_updated_at, keep_until)
		SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12
		WHERE NOT EXISTS (SELECT 1 FROM clients WHERE id = $3 AND status = 'deleted')`,
		c.Provider, c.ID, c.ClientID, string(c.Kind), string(gatehouse.ConsentAwaitingAuthorisation), string(c.Lodged), unixMillis(c.ExpiresAt),
		base64url(c.IdempotencyKeyHash), base64url(c.RequestHash), unixMillis(c.CreatedAt), unixMillis(c.StatusUpdatedAt),
		unixMillis(now.Add(unauthorisedFor))), query(`
		INSERT INTO notices (provider, consent_id, step, due_at, attempts, created_at)
		SELECT provider, id, 'lodged', $3, 0, $3 FROM consents WHERE provider = $1 AND id = $2`,
		c.Provider, c.ID, unixMillis(now)),
		e.event(gatehouse.EventConsentLodged, string(c.Kind), consentRow+` WHERE provider = $8 AND id = $9`, c.Provider, c.ID))
	switch {
	case err == nil && out.changed[1] == 0:
		return nil, gatehouse.ErrNotFound
	case err == nil:
		return c, nil
	case !errors.Is(err, gatehouse.ErrExists):
		return nil, err
	}
	if out.repeated {
		if found, notThere := db.Consent(ctx, c.Provider, c.ID); notThere == nil {
			return found, db.confirm(ctx)
		}
	}
	if c.IdempotencyKeyHash == nil {
		return nil, err
	}
	earlier, lookErr := db.readConsent(ctx, query(consentColumns+`
		WHERE c.provider = $1 AND c.client_id = $2 AND c.idempotency_key_hash = $3`,
		c.Provider, c.ClientID, base64url(c.IdempotencyKeyHash)))
	switch {
	case errors.Is(lookErr, gatehouse.ErrNotFound): // it was the id that is taken
		return nil, err
	case lookErr != nil:
		return nil, lookErr
	case subtle.ConstantTimeCompare(earlier.RequestHash, c.RequestHash) != 1:
		return nil, gatehouse.ErrConflict
	}
	return earlier, db.confirm(ctx)
}

// consentRow is what an event says of a consent; consentColumns is a consent
// whose grant has been ended by a program that knew nothing of consents.
const (
	consentRow     = `provider, client_id, COALESCE(grant_id, ''), id FROM consents`
	consentColumns = `
		SELECT c.provider, c.id, c.client_id, c.kind,
		       CASE WHEN c.status = 'Authorised' AND g.revoked_at IS NOT NULL THEN 'Revoked' ELSE c.status END,
		       c.lodged, c.expires_at, c.user_id, c.grant_id, c.idempotency_key_hash, c.request_hash, c.created_at, c.status_updated_at
		FROM consents c LEFT JOIN grants g ON g.provider = c.provider AND g.id = c.grant_id`
)

func consentFields(c *gatehouse.Consent) []any {
	return []any{&c.Provider, &c.ID, &c.ClientID, &c.Kind, &c.Status, textField[json.RawMessage]{&c.Lodged}, timeField{&c.ExpiresAt},
		textField[string]{&c.UserID}, textField[string]{&c.GrantID}, bytesField{&c.IdempotencyKeyHash}, bytesField{&c.RequestHash},
		timeField{&c.CreatedAt}, timeField{&c.StatusUpdatedAt}}
}

func (db *DB) readConsent(ctx context.Context, q statement) (*gatehouse.Consent, error) {
	var c gatehouse.Consent
	if err := db.readRow(ctx, q, consentFields(&c)...); err != nil {
		return nil, err
	}
	return &c, nil
}

// Consent returns a consent by its id.
func (db *DB) Consent(ctx context.Context, provider, id string) (*gatehouse.Consent, error) {
	return db.readConsent(ctx, query(consentColumns+` WHERE c.provider = $1 AND c.id = $2`, provider, id))
}

// Consents lists consents, the newest first.
func (db *DB) Consents(ctx context.Context, provider string, f gatehouse.ConsentFilter, before string, limit int) ([]*gatehouse.Consent, error) {
	var list []*gatehouse.Consent
	err := db.readRows(ctx, query(consentColumns+`
		WHERE c.provider = $1 AND ($2 = '' OR c.id < $2) AND ($3 = '' OR c.client_id = $3) AND ($4 = '' OR c.user_id = $4)
		  AND ($5 = '' OR CASE WHEN c.status = 'Authorised' AND g.revoked_at IS NOT NULL THEN 'Revoked' ELSE c.status END = $5)
		ORDER BY c.id DESC LIMIT $6`,
		provider, before, f.ClientID, f.UserID, string(f.Status), limit), func() []any {
		list = append(list, new(gatehouse.Consent))
		return consentFields(list[len(list)-1])
	})
	return list, err
}

// EndConsent moves a consent to Rejected, Revoked or Consumed and ends its
// grant. A grant is written after its consent, here as everywhere, so that
// nobody waits for the other way round.
func (db *DB) EndConsent(ctx context.Context, provider, id string, to gatehouse.ConsentStatus, now time.Time) error {
	e := newEntry(ctx, now)
	kind, from := gatehouse.EventConsentRevoked, fragment(`status IN ('AwaitingAuthorisation', 'Authorised')`)
	switch to {
	case gatehouse.ConsentRejected:
		kind, from = gatehouse.EventConsentRejected, `status = 'AwaitingAuthorisation'`
	case gatehouse.ConsentConsumed:
		kind, from = gatehouse.EventConsentConsumed, `status = 'Authorised'`
	}
	out, err := db.write(ctx, append([]statement{query(`
		UPDATE consents SET status = $3, status_updated_at = $4, moved_event = $5
		WHERE provider = $1 AND id = $2 AND `+from, provider, id, string(to), unixMillis(now), e.id), query(`
		UPDATE grants SET revoked_at = $3, ended_event = $4
		WHERE provider = $1 AND revoked_at IS NULL
		  AND id = (SELECT grant_id FROM consents WHERE provider = $1 AND id = $2 AND moved_event = $4)`,
		provider, id, unixMillis(now), e.id),
		e.event(kind, "", consentRow+` WHERE provider = $8 AND id = $9 AND moved_event = $1`, provider, id)},
		e.notice(provider, id)...)...)
	if err != nil {
		return err
	}
	if out.changed[0] == 1 {
		return nil
	}
	c, err := db.Consent(ctx, provider, id)
	switch {
	case err != nil:
		return err
	case c.Status == to:
		return db.confirm(ctx)
	}
	return gatehouse.ErrConflict
}

// notice is the notice of a consent that this call has revoked, unless it is
// the bank that calls.
func (e entry) notice(provider, consentID string) []statement {
	if e.Actor == gatehouse.ActorBank {
		return nil
	}
	return []statement{query(`
		INSERT INTO notices (provider, consent_id, step, due_at, attempts, created_at)
		SELECT provider, id, 'revoked', $4, 0, $4 FROM consents
		WHERE provider = $1 AND id = $2 AND moved_event = $3 AND status = 'Revoked'
		ON CONFLICT (provider, consent_id, step) DO NOTHING`, provider, consentID, e.id, unixMillis(e.at))}
}
