package store

import (
	"cmp"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"time"

	"gatehouse"
)

// CreateGrant adds a grant with its tokens; refresh may be nil.
func (db *DB) CreateGrant(ctx context.Context, g *gatehouse.Grant, access *gatehouse.AccessToken, refresh *gatehouse.RefreshToken) error {
	e := newEntry(ctx, g.CreatedAt)
	statements := []statement{query(`
		INSERT INTO grants (provider, id, client_id, user_id, subject, scope, intent_id, accounts, debtor_account,
		       auth_time, acr, created_at, expires_at, authentication_expires_at, revoked_at)
		SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15
		WHERE NOT EXISTS (SELECT 1 FROM clients WHERE id = $3 AND status = 'deleted')`, grantArgs(g)...), query(`
		INSERT INTO access_tokens (provider, id, grant_id, client_id, scope, hash, issued_at, expires_at)
		SELECT $1, $2, $3, $4, $5, $6, $7, $8 WHERE EXISTS (SELECT 1 FROM grants WHERE provider = $1 AND id = $3)`,
		g.Provider, access.ID, g.ID, access.ClientID, access.Scope.String(), base64url(access.Hash),
		unixMillis(access.IssuedAt), unixMillis(access.ExpiresAt)),
		e.event(gatehouse.EventTokenIssued, gatehouse.GrantClientCredentials, grantRow+` WHERE provider = $8 AND id = $9`, g.Provider, g.ID)}
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

// grantRow is what an event says of a grant.
const grantRow = `provider, client_id, id, intent_id FROM grants`

func grantArgs(g *gatehouse.Grant) []any {
	return []any{g.Provider, g.ID, g.ClientID, g.UserID, g.Subject, g.Scope.String(), g.IntentID, rawJSON(g.Accounts), rawJSON(g.DebtorAccount),
		unixMillis(g.AuthTime), g.ACR, unixMillis(g.CreatedAt), unixMillis(g.ExpiresAt), unixMillis(g.AuthenticationExpiresAt), unixMillis(g.RevokedAt)}
}

// unlessIssued returns nil in place of err when an earlier attempt of the same
// call has added the access token.
func (db *DB) unlessIssued(ctx context.Context, out outcome, err error, access *gatehouse.AccessToken) error {
	if !out.repeated || !errors.Is(err, gatehouse.ErrExists) {
		return err
	}
	found, _, lookErr := db.AccessToken(ctx, access.Provider, access.ID)
	if lookErr != nil || subtle.ConstantTimeCompare(found.Hash, access.Hash) != 1 {
		return err
	}
	return db.confirm(ctx)
}

// usable is whether a refresh token r still opens something at $3: it has no
// successor, or one that nobody has used and that was made between $4 and $5,
// within the grace before or after now, so that a clock set back does not
// lengthen it.
const usable = `(r.successor_id IS NULL OR r.rotated_at BETWEEN $4 AND $5 AND NOT EXISTS
	(SELECT 1 FROM refresh_tokens s WHERE s.provider = $1 AND s.id = r.successor_id AND s.successor_id IS NOT NULL))`

// Refresh adds an access token on the strength of a refresh token, and puts
// successor in the token's place. When access is there from an earlier attempt
// of this call, it collides, which takes back all else: somebody may have used
// the successor since.
func (db *DB) Refresh(ctx context.Context, provider, id string, access *gatehouse.AccessToken, successor *gatehouse.RefreshToken, grace time.Duration, now time.Time) error {
	e := newEntry(ctx, now)
	at, from, to := unixMillis(now), unixMillis(now.Add(-grace)), unixMillis(now.Add(grace))
	statements := []statement{query(`
		INSERT INTO access_tokens (provider, id, grant_id, client_id, scope, hash, issued_at, expires_at)
		SELECT r.provider, $6, r.grant_id, r.client_id, $7, $8, $9, $10
		FROM refresh_tokens r JOIN grants g ON g.provider = r.provider AND g.id = r.grant_id
		WHERE r.provider = $1 AND r.id = $2 AND (EXISTS (SELECT 1 FROM access_tokens WHERE provider = $1 AND id = $6)
		    OR r.expires_at > $3 AND g.revoked_at IS NULL AND g.expires_at > $3 AND
		    (g.authentication_expires_at IS NULL OR g.authentication_expires_at > $3) AND
		    NOT EXISTS (SELECT 1 FROM clients WHERE id = r.client_id AND status = 'deleted') AND `+usable+`)`,
		provider, id, at, from, to, access.ID, access.Scope.String(), base64url(access.Hash), unixMillis(access.IssuedAt), unixMillis(access.ExpiresAt)),
		e.event(gatehouse.EventTokenIssued, gatehouse.GrantRefreshToken, `g.provider, g.client_id, g.id, g.intent_id
			FROM access_tokens t JOIN grants g ON g.provider = t.provider AND g.id = t.grant_id
			WHERE t.provider = $8 AND t.id = $9`, provider, access.ID)}
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
	case out.changed[0] == 1:
		return nil
	}
	// Whoever shows a token that has been rotated, too late, ends the grant.
	token, _, err := db.RefreshToken(ctx, provider, id)
	if err != nil || token.SuccessorID == "" {
		return cmp.Or(err, gatehouse.ErrNotFound)
	}
	_, err = db.endGrant(ctx, provider, token.GrantID, gatehouse.EventRefreshTokenReplayed, now, `
		AND EXISTS (SELECT 1 FROM refresh_tokens r WHERE r.provider = $1 AND r.id = $5
		    AND NOT (r.rotated_at BETWEEN $6 AND $7 AND NOT EXISTS
		    (SELECT 1 FROM refresh_tokens s WHERE s.provider = $1 AND s.id = r.successor_id AND s.successor_id IS NOT NULL)))`, id, from, to)
	if err != nil {
		return err
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
		       g.debtor_account, g.auth_time, g.acr, g.created_at, g.expires_at, g.authentication_expires_at, g.last_used_at,
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
		       g.debtor_account, g.auth_time, g.acr, g.created_at, g.expires_at, g.authentication_expires_at, g.last_used_at,
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
		textField[string]{&g.ACR}, timeField{&g.CreatedAt}, timeField{&g.ExpiresAt}, timeField{&g.AuthenticationExpiresAt},
		timeField{&g.LastUsedAt}, timeField{&g.RevokedAt}}
}

// RevokeGrant ends a grant and with it every token and its consent.
func (db *DB) RevokeGrant(ctx context.Context, provider, id string, now time.Time) error {
	ended, err := db.endGrant(ctx, provider, id, gatehouse.EventGrantRevoked, now, "")
	if err != nil || ended {
		return err
	}
	_, err = db.Grant(ctx, provider, id)
	if err != nil {
		return err
	}
	return db.confirm(ctx)
}

// endGrant ends a grant that is in force, and its consent. The condition may
// speak of its arguments from $5 on. It reports whether the grant was ended.
func (db *DB) endGrant(ctx context.Context, provider, id string, kind gatehouse.EventKind, now time.Time, condition fragment, args ...any) (bool, error) {
	e := newEntry(ctx, now)
	args = append([]any{provider, id, unixMillis(now), e.id}, args...)
	// The consent comes first: see EndConsent.
	statements := []statement{query(`
		UPDATE consents SET status = 'Revoked', status_updated_at = $3, moved_event = $4
		WHERE provider = $1 AND grant_id = $2 AND status = 'Authorised'
		  AND id = (SELECT intent_id COLLATE "binary" FROM grants WHERE provider = $1 AND id = $2 AND revoked_at IS NULL)`+condition, args...), query(`
		UPDATE grants SET revoked_at = $3, ended_event = $4
		WHERE provider = $1 AND id = $2 AND revoked_at IS NULL`+condition, args...),
		e.event(kind, "", grantRow+` WHERE provider = $8 AND id = $9 AND ended_event = $1`, provider, id)}
	if e.Actor != gatehouse.ActorBank {
		statements = append(statements, query(`
			INSERT INTO notices (provider, consent_id, step, due_at, attempts, created_at)
			SELECT c.provider, c.id, 'revoked', $3, 0, $3 FROM grants g JOIN consents c ON c.provider = g.provider AND c.id = g.intent_id COLLATE "binary"
			WHERE g.provider = $1 AND g.id = $2 AND c.moved_event = $4
			ON CONFLICT (provider, consent_id, step) DO NOTHING`, args[:4]...))
	}
	out, err := db.write(ctx, statements...)
	if err != nil {
		return false, err
	}
	return out.changed[1] == 1, nil
}

// grantColumns is a grant by itself, with who ended it.
const grantColumns = `
	SELECT g.provider, g.id, g.client_id, g.user_id, g.subject, g.scope, g.intent_id, g.accounts,
	       g.debtor_account, g.auth_time, g.acr, g.created_at, g.expires_at, g.authentication_expires_at, g.last_used_at,
	       CASE WHEN c.status = 'deleted' THEN COALESCE(g.revoked_at, c.updated_at) ELSE g.revoked_at END, e.actor
	FROM grants g LEFT JOIN clients c ON c.id = g.client_id LEFT JOIN events e ON e.id = g.ended_event`

// Grant returns a grant by its id.
func (db *DB) Grant(ctx context.Context, provider, id string) (*gatehouse.Grant, error) {
	var g gatehouse.Grant
	err := db.readRow(ctx, query(grantColumns+` WHERE g.provider = $1 AND g.id = $2`, provider, id),
		append(grantFields(&g), textField[gatehouse.Actor]{&g.RevokedBy})...)
	if err != nil {
		return nil, err
	}
	return &g, nil
}

// Grants lists grants, the newest first.
func (db *DB) Grants(ctx context.Context, provider string, f gatehouse.GrantFilter, before string, limit int) ([]*gatehouse.Grant, error) {
	where, of := fragment(``), f.UserID
	switch {
	case f.UserID != "": // with a literal condition, for the index
		where = ` AND g.user_id <> '' AND g.user_id COLLATE "binary" = $4`
	case f.OfPSUs:
		where = ` AND g.user_id <> '' AND $4 = ''`
	default:
		where = ` AND $4 = ''`
	}
	var list []*gatehouse.Grant
	err := db.readRows(ctx, query(grantColumns+`
		WHERE g.provider = $1 AND ($2 = '' OR g.id < $2) AND ($3 = '' OR g.client_id = $3)`+where+` ORDER BY g.id DESC LIMIT $5`,
		provider, before, f.ClientID, of, limit), func() []any {
		g := new(gatehouse.Grant)
		list = append(list, g)
		return append(grantFields(g), textField[gatehouse.Actor]{&g.RevokedBy})
	})
	return list, err
}

// TouchGrant writes down that a token of the grant was used.
func (db *DB) TouchGrant(ctx context.Context, provider, id string, now time.Time) error {
	out, err := db.write(ctx, query(`
		UPDATE grants SET last_used_at = $3
		WHERE provider = $1 AND id = $2 AND (last_used_at IS NULL OR last_used_at <= $4 OR last_used_at > $3)`,
		provider, id, unixMillis(now), unixMillis(now.Add(-gatehouse.LastUsedPrecision))))
	if err == nil && out.repeated { // it may have met its own mark
		return db.confirm(ctx)
	}
	return err
}
