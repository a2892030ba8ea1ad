package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"gatehouse"
)

// RevokeGrants says which grants end with a restore.
type RevokeGrants string

// None of them, those of providers that rotate refresh tokens, or all.
const (
	RevokeNone     RevokeGrants = "none"
	RevokeRotating RevokeGrants = "rotating"
	RevokeAll      RevokeGrants = "all"
)

// Restored says what a restore has done, and what it may have lost.
type Restored struct {
	RestoredAt time.Time `json:"restored_at"`
	// BackupAt is when the backup was taken, zero when nothing says so.
	BackupAt time.Time `json:"backup_at,omitzero"`
	// LastWriteAt is the latest time in the data: where BackupAt is unknown,
	// what was lost is later.
	LastWriteAt time.Time `json:"last_write_at,omitzero"`
	// AssertionsFrom is the restore epoch: what was issued earlier is refused.
	AssertionsFrom time.Time `json:"assertions_from"`
	// AuthorizationsVoided are the visits that ended.
	AuthorizationsVoided int64 `json:"authorizations_voided"`
	GrantsEnded          int64 `json:"grants_ended"`
	GrantsInForce        int64 `json:"grants_in_force"`
	Clients              int64 `json:"clients"`
	Providers            int64 `json:"providers"`
	// Rotating are the providers that rotate refresh tokens: there a token
	// whose rotation was lost is good again.
	Rotating []RotatingProvider `json:"rotating_providers"`
}

// A RotatingProvider has grants that a lost rotation may concern.
type RotatingProvider struct {
	Code          string `json:"provider_code"`
	GrantsInForce int64  `json:"grants_in_force"`
}

// maxAhead is how far ahead of its use anything that Consume sees may have been
// issued: the largest clock_skew.
const maxAhead = time.Minute

// RestoreEpoch makes a copy from the past safe to serve from, in one
// transaction. Consume refuses from now on what may have been used since the
// copy was taken. Every visit that had not ended is void: its code may have
// been spent since; so may that of an approved visit which has none yet, hence
// its grant ends, too. To do so again harms nothing but the visits under way.
func (db *DB) RestoreEpoch(ctx context.Context, revoke RevokeGrants, now time.Time) (*Restored, error) {
	beside, err := db.beside("query_only(0)")
	if err != nil {
		return nil, err
	}
	defer beside.Close()
	tx, err := beside.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("restore epoch: %w", err)
	}
	defer tx.Rollback() // does nothing after Commit
	r := &Restored{RestoredAt: milliseconds(now)}
	s := &script{ctx: ctx, tx: tx}
	at, e := unixMillis(now), newEntry(ctx, now)

	s.read(`SELECT MAX(at) FROM marks WHERE name = 'backup'`, timeField{&r.BackupAt})
	s.read(`
		SELECT MAX(at) FROM (
			SELECT MAX(issued_at) AS at FROM access_tokens UNION ALL SELECT MAX(created_at) FROM authorizations UNION ALL
			SELECT MAX(revoked_at) FROM grants UNION ALL SELECT MAX(updated_at) FROM clients UNION ALL SELECT MAX(updated_at) FROM providers) AS times`,
		timeField{&r.LastWriteAt})
	s.exec(`DELETE FROM marks WHERE name = 'backup'`)
	s.exec(`
		INSERT INTO marks (name, at) VALUES ('restored', $1)
		ON CONFLICT (name) DO UPDATE SET at = excluded.at WHERE marks.at < excluded.at`, unixMillis(now.Add(maxAhead)))
	s.read(`SELECT at FROM marks WHERE name = 'restored'`, timeField{&r.AssertionsFrom})

	r.GrantsEnded = s.exec(`
		UPDATE grants SET revoked_at = $1 WHERE revoked_at IS NULL AND expires_at > $1
		  AND (provider, id) IN (SELECT provider, grant_id FROM authorizations WHERE status = 'approved')`, at)
	r.AuthorizationsVoided = s.exec(`
		UPDATE authorizations SET expires_at = 0, code_expires_at = 0 WHERE status IN ('pending', 'approved') AND expires_at <> 0`)

	r.Rotating = s.rotating()
	for i, p := range r.Rotating {
		if revoke == RevokeRotating {
			r.GrantsEnded += s.exec(`UPDATE grants SET revoked_at = $1 WHERE revoked_at IS NULL AND expires_at > $1 AND provider = $2`, at, p.Code)
		}
		s.read(`SELECT COUNT(*) FROM grants WHERE revoked_at IS NULL AND expires_at > $1 AND provider = $2`, &r.Rotating[i].GrantsInForce, at, p.Code)
	}
	if revoke == RevokeAll {
		r.GrantsEnded += s.exec(`UPDATE grants SET revoked_at = $1 WHERE revoked_at IS NULL AND expires_at > $1`, at)
	}
	// The consents of what has ended end with it, and the banks hear of that.
	s.exec(`
		UPDATE consents SET status = 'Revoked', status_updated_at = $1, moved_event = $2 WHERE status = 'Authorised'
		  AND EXISTS (SELECT 1 FROM grants g WHERE g.provider = consents.provider AND g.id = consents.grant_id AND g.revoked_at = $1)`, at, e.id)
	s.exec(`
		INSERT INTO notices (provider, consent_id, step, due_at, attempts, created_at)
		SELECT provider, id, 'revoked', $1, 0, $1 FROM consents WHERE moved_event = $2
		ON CONFLICT (provider, consent_id, step) DO NOTHING`, at, e.id)
	restored := e.event(gatehouse.EventDatabaseRestored, string(revoke), `'', '', '', '' WHERE 1 = 1`)
	s.exec(restored.sql, restored.args...)
	s.read(`SELECT COUNT(*) FROM grants WHERE revoked_at IS NULL AND expires_at > $1`, &r.GrantsInForce, at)
	s.read(`SELECT COUNT(*) FROM clients WHERE status <> 'deleted'`, &r.Clients)
	s.read(`SELECT COUNT(*) FROM providers WHERE deleted_at IS NULL`, &r.Providers)
	if s.err == nil {
		s.err = tx.Commit()
	}
	if s.err != nil {
		return nil, fmt.Errorf("restore epoch: %w", s.err)
	}
	return r, nil
}

// A script runs statements in a transaction until one fails.
type script struct {
	ctx context.Context
	tx  *sql.Tx
	err error
}

// exec returns how many rows a statement has changed.
func (s *script) exec(sql string, args ...any) (changed int64) {
	if s.err != nil {
		return 0
	}
	result, err := s.tx.ExecContext(s.ctx, sql, args...)
	if err == nil {
		changed, err = result.RowsAffected()
	}
	s.err = err
	return changed
}

// read reads the one column of the one row of a query.
func (s *script) read(sql string, field any, args ...any) {
	if s.err == nil {
		s.err = s.tx.QueryRowContext(s.ctx, sql, args...).Scan(field)
	}
}

// rotating returns the providers that rotate refresh tokens.
func (s *script) rotating() []RotatingProvider {
	list := []RotatingProvider{}
	if s.err != nil {
		return list
	}
	rows, err := s.tx.QueryContext(s.ctx, `SELECT settings, code FROM providers WHERE deleted_at IS NULL ORDER BY code`)
	if err != nil {
		s.err = err
		return list
	}
	defer rows.Close()
	var all []*gatehouse.Provider
	s.err = scan(rows, func() []any {
		all = append(all, new(gatehouse.Provider))
		return []any{jsonField{all[len(all)-1]}, &all[len(all)-1].Code}
	})
	for _, p := range all {
		if p.Rules.RotateRefreshTokens {
			list = append(list, RotatingProvider{Code: p.Code})
		}
	}
	return list
}
