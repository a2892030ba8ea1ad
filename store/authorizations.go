package store

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"time"

	"gatehouse"
)

// CreateAuthorization adds a pending authorization.
func (db *DB) CreateAuthorization(ctx context.Context, a *gatehouse.Authorization) error {
	request, err := json.Marshal(a.Request)
	if err != nil {
		return err
	}
	out, err := db.write(ctx, query(`
		INSERT INTO authorizations (provider, id, client_id, request, status, browser_hash, code_hash, sealed_code,
		       code_expires_at, created_at, expires_at, intent_id)
		VALUES ($1, $2, $3, $4, 'pending', $5, $6, $7, $8, $9, $10, $11)`,
		a.Provider, a.ID, a.ClientID, string(request), base64url(a.BrowserHash), base64url(a.CodeHash), base64url(a.SealedCode),
		unixMillis(a.CodeExpiresAt), unixMillis(a.CreatedAt), unixMillis(a.ExpiresAt), orNull(a.Request.IntentID)))
	if out.repeated && errors.Is(err, gatehouse.ErrExists) {
		if _, notThere := db.Authorization(ctx, a.Provider, a.ID); notThere == nil {
			return db.confirm(ctx)
		}
	}
	return err
}

// Authorization returns an authorization by its id.
func (db *DB) Authorization(ctx context.Context, provider, id string) (*gatehouse.Authorization, error) {
	var a gatehouse.Authorization
	err := db.readRow(ctx, query(`
		SELECT provider, id, client_id, request, status, browser_hash, code_hash, sealed_code, code_expires_at, grant_id,
		       created_at, expires_at, decided_at
		FROM authorizations WHERE provider = $1 AND id = $2`, provider, id), authorizationFields(&a)...)
	if err != nil {
		return nil, err
	}
	return &a, nil
}

// AuthorizationByCode returns the authorization whose code has this hash, and
// its grant when it has one.
func (db *DB) AuthorizationByCode(ctx context.Context, provider string, codeHash []byte) (*gatehouse.Authorization, *gatehouse.Grant, error) {
	var a gatehouse.Authorization
	var g gatehouse.Grant
	err := db.readRow(ctx, query(`
		SELECT a.provider, a.id, a.client_id, a.request, a.status, a.browser_hash, a.code_hash, a.sealed_code, a.code_expires_at, a.grant_id,
		       a.created_at, a.expires_at, a.decided_at,
		       g.provider, g.id, g.client_id, g.user_id, g.subject, g.scope, g.intent_id, g.accounts,
		       g.debtor_account, g.auth_time, g.acr, g.created_at, g.expires_at, g.authentication_expires_at, g.last_used_at,
		       CASE WHEN c.status = 'deleted' THEN COALESCE(g.revoked_at, c.updated_at) ELSE g.revoked_at END
		FROM authorizations a LEFT JOIN grants g ON g.provider = a.provider AND g.id = a.grant_id LEFT JOIN clients c ON c.id = g.client_id
		WHERE a.provider = $1 AND a.code_hash = $2`, provider, base64url(codeHash)),
		append(authorizationFields(&a), grantFields(&g)...)...)
	if err != nil {
		return nil, nil, err
	}
	if a.GrantID == "" {
		return &a, nil, nil
	}
	return &a, &g, nil
}

func authorizationFields(a *gatehouse.Authorization) []any {
	return []any{&a.Provider, &a.ID, &a.ClientID, jsonField{&a.Request}, &a.Status, bytesField{&a.BrowserHash},
		bytesField{&a.CodeHash}, bytesField{&a.SealedCode}, timeField{&a.CodeExpiresAt}, textField[string]{&a.GrantID},
		timeField{&a.CreatedAt}, timeField{&a.ExpiresAt}, timeField{&a.DecidedAt}}
}

// ApproveAuthorization moves an authorization from pending to approved, adds
// the grant or puts it in the place of its earlier version, and authorises its
// consent. decided_event tells the statements whose decision it was. Everybody
// who decides about a consent meets at its row first.
func (db *DB) ApproveAuthorization(ctx context.Context, provider, id string, g *gatehouse.Grant, now time.Time) error {
	e := newEntry(ctx, now)
	const pending = `provider = $1 AND id = $2 AND status = 'pending' AND expires_at > $4
		  AND NOT EXISTS (SELECT 1 FROM clients WHERE id = authorizations.client_id AND status = 'deleted')`
	var statements []statement
	if g.IntentID != "" {
		statements = append(statements, query(`
			UPDATE consents SET status = 'Authorised', grant_id = $3, user_id = $5, keep_until = $6, moved_event = $7,
			       status_updated_at = CASE WHEN status = 'Authorised' THEN status_updated_at ELSE $4 END
			WHERE provider = $1 AND id = $8 AND client_id = $9 AND (expires_at IS NULL OR expires_at > $4)
			  AND (status = 'AwaitingAuthorisation' OR status = 'Authorised' AND kind <> 'domestic-payment' AND grant_id = $3 AND user_id = $5)
			  AND EXISTS (SELECT 1 FROM authorizations WHERE `+pending+`)
			  AND NOT EXISTS (SELECT 1 FROM grants WHERE provider = $1 AND id = $3 AND (intent_id = '' OR intent_id <> $8))`,
			provider, id, g.ID, unixMillis(now), g.UserID, unixMillis(g.ExpiresAt.Add(historyFor)), e.id, g.IntentID, g.ClientID))
	}
	decision := len(statements)
	statements = append(statements, query(`
		UPDATE authorizations SET status = 'approved', grant_id = $3, decided_at = $4, decided_event = $5
		WHERE `+pending+`
		  AND ($6 = '' OR EXISTS (SELECT 1 FROM consents WHERE provider = $1 AND id = $6 AND moved_event = $5))
		  AND NOT EXISTS (SELECT 1 FROM grants WHERE provider = $1 AND id = $3 AND (intent_id = '' OR intent_id <> $6))`,
		provider, id, g.ID, unixMillis(now), e.id, g.IntentID), query(`
		INSERT INTO grants (provider, id, client_id, user_id, subject, scope, intent_id, accounts, debtor_account,
		       auth_time, acr, created_at, expires_at, authentication_expires_at, revoked_at)
		SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15
		WHERE EXISTS (SELECT 1 FROM authorizations WHERE provider = $1 AND id = $16 AND decided_event = $17)
		ON CONFLICT (provider, id) DO UPDATE SET scope = excluded.scope, accounts = excluded.accounts, debtor_account = excluded.debtor_account,
		       auth_time = excluded.auth_time, acr = excluded.acr, expires_at = excluded.expires_at,
		       authentication_expires_at = excluded.authentication_expires_at
		WHERE grants.intent_id <> '' AND grants.intent_id = excluded.intent_id`,
		append(grantArgs(g), id, e.id)...),
		e.event(gatehouse.EventAuthorizationApproved, "", `a.provider, a.client_id, a.grant_id, COALESCE(a.intent_id, '')
			FROM authorizations a WHERE a.provider = $8 AND a.id = $9 AND a.decided_event = $1`, provider, id))
	out, err := db.write(ctx, statements...)
	return db.decided(ctx, provider, id, decision, out, err, func(a *gatehouse.Authorization) bool { return a.GrantID == g.ID })
}

// DenyAuthorization moves an authorization from pending to denied, and rejects
// a consent that waited for it.
func (db *DB) DenyAuthorization(ctx context.Context, provider, id string, now time.Time) error {
	e := newEntry(ctx, now)
	out, err := db.write(ctx, query(`
		UPDATE consents SET status = 'Rejected', status_updated_at = $3, moved_event = $4
		WHERE provider = $1 AND status = 'AwaitingAuthorisation'
		  AND id = (SELECT intent_id FROM authorizations WHERE provider = $1 AND id = $2 AND status = 'pending' AND expires_at > $3)`,
		provider, id, unixMillis(now), e.id), query(`
		UPDATE authorizations SET status = 'denied', decided_at = $3, decided_event = $4
		WHERE provider = $1 AND id = $2 AND status = 'pending' AND expires_at > $3`,
		provider, id, unixMillis(now), e.id),
		e.event(gatehouse.EventAuthorizationDenied, "", `a.provider, a.client_id, '', COALESCE(a.intent_id, '')
			FROM authorizations a WHERE a.provider = $8 AND a.id = $9 AND a.decided_event = $1`, provider, id))
	return db.decided(ctx, provider, id, 1, out, err, func(a *gatehouse.Authorization) bool {
		return a.Status == gatehouse.AuthorizationDenied && a.DecidedAt.Equal(milliseconds(now))
	})
}

// decided says why a decision changed nothing; decision is the statement that
// makes it, and mine reports whether the authorization is as it leaves it.
func (db *DB) decided(ctx context.Context, provider, id string, decision int, out outcome, err error, mine func(*gatehouse.Authorization) bool) error {
	switch {
	case err != nil:
		return err
	case out.changed[decision] == 1:
		return nil
	}
	a, err := db.Authorization(ctx, provider, id)
	if err != nil {
		return err
	}
	if out.repeated && mine(a) {
		return db.confirm(ctx)
	}
	return gatehouse.ErrConflict
}

// SetCode gives an authorization that has none its code.
func (db *DB) SetCode(ctx context.Context, provider, id string, codeHash []byte, expires time.Time) error {
	out, err := db.write(ctx, query(`
		UPDATE authorizations SET code_hash = $3, code_expires_at = $4
		WHERE provider = $1 AND id = $2 AND code_hash IS NULL AND status IN ('pending', 'approved')`,
		provider, id, base64url(codeHash), unixMillis(expires)))
	if err != nil {
		return err
	}
	if out.changed[0] == 1 {
		return nil
	}
	a, err := db.Authorization(ctx, provider, id)
	switch {
	case err != nil:
		return err
	case out.repeated && subtle.ConstantTimeCompare(a.CodeHash, codeHash) == 1:
		return db.confirm(ctx)
	case a.Status == gatehouse.AuthorizationDenied:
		return gatehouse.ErrConflict
	}
	return gatehouse.ErrSpent
}

// ExchangeCode spends the code of an approved authorization and adds its
// tokens. access_token_id says to the statements after the first whose exchange
// it was. When another call has spent the code, the grant is ended before the
// caller is told.
func (db *DB) ExchangeCode(ctx context.Context, provider, id string, access *gatehouse.AccessToken, refresh *gatehouse.RefreshToken, now time.Time) error {
	e := newEntry(ctx, now)
	statements := []statement{query(`
		UPDATE authorizations SET status = 'exchanged', access_token_id = $3, sealed_code = NULL
		WHERE provider = $1 AND id = $2 AND status = 'approved' AND code_expires_at > $4
		  AND NOT EXISTS (SELECT 1 FROM clients WHERE id = authorizations.client_id AND status = 'deleted')
		  AND EXISTS (SELECT 1 FROM grants g WHERE g.provider = $1 AND g.id = authorizations.grant_id
		              AND g.revoked_at IS NULL AND g.expires_at > $4
		              AND (g.authentication_expires_at IS NULL OR g.authentication_expires_at > $4))`,
		provider, id, access.ID, unixMillis(now)), query(`
		INSERT INTO access_tokens (provider, id, grant_id, client_id, scope, hash, issued_at, expires_at)
		SELECT $1, $2, $3, $4, $5, $6, $7, $8
		WHERE EXISTS (SELECT 1 FROM authorizations WHERE provider = $1 AND id = $9 AND access_token_id = $2)`,
		provider, access.ID, access.GrantID, access.ClientID, access.Scope.String(), base64url(access.Hash),
		unixMillis(access.IssuedAt), unixMillis(access.ExpiresAt), id),
		e.event(gatehouse.EventTokenIssued, gatehouse.GrantAuthorizationCode, `a.provider, a.client_id, a.grant_id, COALESCE(a.intent_id, '')
			FROM authorizations a WHERE a.provider = $8 AND a.id = $9 AND a.access_token_id = $10`, provider, id, access.ID)}
	if refresh != nil {
		statements = append(statements, query(`
			INSERT INTO refresh_tokens (provider, id, grant_id, client_id, hash, issued_at, expires_at)
			SELECT $1, $2, $3, $4, $5, $6, $7
			WHERE EXISTS (SELECT 1 FROM authorizations WHERE provider = $1 AND id = $8 AND access_token_id = $9)`,
			provider, refresh.ID, refresh.GrantID, refresh.ClientID, base64url(refresh.Hash),
			unixMillis(refresh.IssuedAt), unixMillis(refresh.ExpiresAt), id, access.ID))
	}
	out, err := db.write(ctx, statements...)
	if err != nil {
		return db.unlessIssued(ctx, out, err, access)
	}
	if out.changed[0] == 1 {
		return nil
	}
	a, err := db.Authorization(ctx, provider, id)
	switch {
	case err != nil:
		return err
	case a.Status != gatehouse.AuthorizationExchanged:
		return gatehouse.ErrConflict
	}
	if _, err := db.endGrant(ctx, provider, a.GrantID, gatehouse.EventCodeReplayed, now, ""); err != nil {
		return err
	}
	return gatehouse.ErrSpent
}
