package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"

	"gatehouse"
)

// CreateGrant adds a grant with its tokens; refresh may be nil.
func (db *DB) CreateGrant(ctx context.Context, g *gatehouse.Grant, access *gatehouse.AccessToken, refresh *gatehouse.RefreshToken) error {
	statements := []statement{query(`
		INSERT INTO grants (provider, id, client_id, user_id, subject, scope, intent_id, accounts, debtor_account,
		       auth_time, acr, created_at, expires_at, revoked_at)
		SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14
		WHERE NOT EXISTS (SELECT 1 FROM clients WHERE id = $3 AND status = 'deleted')`,
		g.Provider, g.ID, g.ClientID, g.UserID, g.Subject, g.Scope.String(), g.IntentID, rawJSON(g.Accounts), rawJSON(g.DebtorAccount),
		unixMillis(g.AuthTime), g.ACR, unixMillis(g.CreatedAt), unixMillis(g.ExpiresAt), unixMillis(g.RevokedAt)), query(`
		INSERT INTO access_tokens (provider, id, grant_id, client_id, scope, hash, issued_at, expires_at)
		SELECT $1, $2, $3, $4, $5, $6, $7, $8 WHERE EXISTS (SELECT 1 FROM grants WHERE provider = $1 AND id = $3)`,
		g.Provider, access.ID, g.ID, access.ClientID, access.Scope.String(), base64url(access.Hash),
		unixMillis(access.IssuedAt), unixMillis(access.ExpiresAt))}
	if refresh != nil {
		statements = append(statements, query(`
			INSERT INTO refresh_tokens (provider, id, grant_id, client_id, hash, issued_at, expires_at)
			SELECT $1, $2, $3, $4, $5, $6, $7 WHERE EXISTS (SELECT 1 FROM grants WHERE provider = $1 AND id = $3)`,
			g.Provider, refresh.ID, g.ID, refresh.ClientID, base64url(refresh.Hash),
			unixMillis(refresh.IssuedAt), unixMillis(refresh.ExpiresAt)))
	}
	out, err := db.write(ctx, statements...)
	if err != nil {
		return db.unlessIssued(ctx, out, err, access)
	}
	if out.changed[0] == 0 {
		return gatehouse.ErrNotFound
	}
	return nil
}

// unlessIssued returns nil in place of err when an earlier attempt of the same
// call has added the access token.
func (db *DB) unlessIssued(ctx context.Context, out outcome, err error, access *gatehouse.AccessToken) error {
	if !out.repeated || !errors.Is(err, gatehouse.ErrExists) {
		return err
	}
	found, _, lookErr := db.AccessToken(ctx, access.Provider, access.ID)
	if lookErr != nil || !bytes.Equal(found.Hash, access.Hash) {
		return err
	}
	return db.confirm(ctx)
}

// Refresh adds an access token on the strength of a refresh token, and puts
// successor in the token's place. A token still opens something when it has no
// successor, or one that nobody has used and that was made between $4 and $5:
// within the grace before or after now, so that a clock set back does not
// lengthen it. When access is there from an earlier attempt of this call, it
// collides, which takes back all else: somebody may have used the successor
// since.
func (db *DB) Refresh(ctx context.Context, provider, id string, access *gatehouse.AccessToken, successor *gatehouse.RefreshToken, grace time.Duration, now time.Time) error {
	at, from, to := unixMillis(now), unixMillis(now.Add(-grace)), unixMillis(now.Add(grace))
	statements := []statement{query(`
		UPDATE grants SET revoked_at = $3
		WHERE provider = $1 AND revoked_at IS NULL
		  AND id = (SELECT r.grant_id FROM refresh_tokens r WHERE r.provider = $1 AND r.id = $2 AND NOT
		    (r.successor_id IS NULL OR r.rotated_at BETWEEN $4 AND $5 AND NOT EXISTS
		         (SELECT 1 FROM refresh_tokens s WHERE s.provider = $1 AND s.id = r.successor_id AND s.successor_id IS NOT NULL)))`,
		provider, id, at, from, to), query(`
		INSERT INTO access_tokens (provider, id, grant_id, client_id, scope, hash, issued_at, expires_at)
		SELECT r.provider, $6, r.grant_id, r.client_id, $7, $8, $9, $10
		FROM refresh_tokens r JOIN grants g ON g.provider = r.provider AND g.id = r.grant_id
		WHERE r.provider = $1 AND r.id = $2 AND (EXISTS (SELECT 1 FROM access_tokens WHERE provider = $1 AND id = $6)
		    OR r.expires_at > $3 AND g.revoked_at IS NULL AND g.expires_at > $3 AND
		    NOT EXISTS (SELECT 1 FROM clients WHERE id = r.client_id AND status = 'deleted') AND
		    (r.successor_id IS NULL OR r.rotated_at BETWEEN $4 AND $5 AND NOT EXISTS
		         (SELECT 1 FROM refresh_tokens s WHERE s.provider = $1 AND s.id = r.successor_id AND s.successor_id IS NOT NULL)))`,
		provider, id, at, from, to, access.ID, access.Scope.String(), base64url(access.Hash), unixMillis(access.IssuedAt), unixMillis(access.ExpiresAt))}
	if successor != nil {
		statements = append(statements, query(`
			UPDATE refresh_tokens SET successor_id = $3, rotated_at = $4
			WHERE provider = $1 AND id = $2 AND successor_id IS NULL AND EXISTS (SELECT 1 FROM access_tokens WHERE provider = $1 AND id = $5)`,
			provider, id, successor.ID, at, access.ID), query(`
			INSERT INTO refresh_tokens (provider, id, grant_id, client_id, hash, issued_at, expires_at)
			SELECT provider, $3, grant_id, client_id, $4, $5, expires_at FROM refresh_tokens
			WHERE provider = $1 AND id = $2 AND successor_id = $3
			ON CONFLICT (provider, id) DO NOTHING`,
			provider, id, successor.ID, base64url(successor.Hash), unixMillis(successor.IssuedAt)))
	}
	out, err := db.write(ctx, statements...)
	switch {
	case err != nil:
		return db.unlessIssued(ctx, out, err, access)
	case out.changed[1] == 1:
		return nil
	}
	return gatehouse.ErrNotFound
}

// RefreshToken returns a refresh token and its grant.
func (db *DB) RefreshToken(ctx context.Context, provider, id string) (*gatehouse.RefreshToken, *gatehouse.Grant, error) {
	var t gatehouse.RefreshToken
	var g gatehouse.Grant
	err := db.readRow(ctx, query(`
		SELECT t.provider, t.id, t.grant_id, t.client_id, t.hash, t.issued_at, t.expires_at, t.successor_id, t.rotated_at,
		       g.provider, g.id, g.client_id, g.user_id, g.subject, g.scope, g.intent_id, g.accounts,
		       g.debtor_account, g.auth_time, g.acr, g.created_at, g.expires_at,
		       CASE WHEN c.status = 'deleted' THEN COALESCE(g.revoked_at, c.updated_at) ELSE g.revoked_at END
		FROM refresh_tokens t JOIN grants g ON g.provider = t.provider AND g.id = t.grant_id LEFT JOIN clients c ON c.id = g.client_id
		WHERE t.provider = $1 AND t.id = $2`, provider, id),
		append([]any{&t.Provider, &t.ID, &t.GrantID, &t.ClientID, bytesField{&t.Hash}, timeField{&t.IssuedAt}, timeField{&t.ExpiresAt},
			textField[string]{&t.SuccessorID}, timeField{&t.RotatedAt}},
			grantFields(&g)...)...)
	if err != nil {
		return nil, nil, err
	}
	return &t, &g, nil
}

// AccessToken returns an access token and its grant.
func (db *DB) AccessToken(ctx context.Context, provider, id string) (*gatehouse.AccessToken, *gatehouse.Grant, error) {
	var t gatehouse.AccessToken
	var g gatehouse.Grant
	err := db.readRow(ctx, query(`
		SELECT t.provider, t.id, t.grant_id, t.client_id, t.scope, t.hash, t.issued_at, t.expires_at,
		       g.provider, g.id, g.client_id, g.user_id, g.subject, g.scope, g.intent_id, g.accounts,
		       g.debtor_account, g.auth_time, g.acr, g.created_at, g.expires_at,
		       CASE WHEN c.status = 'deleted' THEN COALESCE(g.revoked_at, c.updated_at) ELSE g.revoked_at END
		FROM access_tokens t JOIN grants g ON g.provider = t.provider AND g.id = t.grant_id LEFT JOIN clients c ON c.id = g.client_id
		WHERE t.provider = $1 AND t.id = $2`, provider, id),
		append([]any{&t.Provider, &t.ID, &t.GrantID, &t.ClientID, scopesField{&t.Scope}, bytesField{&t.Hash}, timeField{&t.IssuedAt}, timeField{&t.ExpiresAt}},
			grantFields(&g)...)...)
	if err != nil {
		return nil, nil, err
	}
	return &t, &g, nil
}

// ClientAccessToken returns an access token of a client, at whatever provider:
// one probe of the primary key for each.
func (db *DB) ClientAccessToken(ctx context.Context, clientID, id string) (*gatehouse.AccessToken, *gatehouse.Grant, error) {
	var provider string
	err := db.readRow(ctx, query(`
		SELECT provider FROM access_tokens WHERE provider IN (SELECT code FROM providers WHERE deleted_at IS NULL) AND id = $1 AND client_id = $2`, id, clientID),
		&provider)
	if err != nil {
		return nil, nil, err
	}
	return db.AccessToken(ctx, provider, id)
}

// grantFields stays zero where a LEFT JOIN found no grant. A grant of a deleted
// client is over even if it was made while DeleteClient looked for those to end.
func grantFields(g *gatehouse.Grant) []any {
	return []any{textField[string]{&g.Provider}, textField[string]{&g.ID}, textField[string]{&g.ClientID}, textField[string]{&g.UserID},
		textField[string]{&g.Subject}, scopesField{&g.Scope}, textField[string]{&g.IntentID},
		textField[json.RawMessage]{&g.Accounts}, textField[json.RawMessage]{&g.DebtorAccount}, timeField{&g.AuthTime},
		textField[string]{&g.ACR}, timeField{&g.CreatedAt}, timeField{&g.ExpiresAt}, timeField{&g.RevokedAt}}
}

// RevokeGrant ends a grant and with it every token.
func (db *DB) RevokeGrant(ctx context.Context, provider, id string, now time.Time) error {
	out, err := db.write(ctx, query(`
		UPDATE grants SET revoked_at = COALESCE(revoked_at, $3) WHERE provider = $1 AND id = $2`,
		provider, id, unixMillis(now)))
	if err != nil {
		return err
	}
	if out.changed[0] == 0 {
		return gatehouse.ErrNotFound
	}
	return nil
}
