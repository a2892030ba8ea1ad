package store

import (
	"context"
	"crypto/subtle"
	"errors"
	"time"

	"gatehouse"
)

// CreatePSUSession adds a session. The hash of the link is this call's alone,
// so that a repetition finds what its first attempt did.
func (db *DB) CreatePSUSession(ctx context.Context, s *gatehouse.PSUSession) error {
	out, err := db.write(ctx, query(`
		INSERT INTO psu_sessions (provider, id, user_id, handover_hash, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (provider, id) DO UPDATE SET user_id = excluded.user_id
		WHERE psu_sessions.handover_hash = excluded.handover_hash AND psu_sessions.user_id = excluded.user_id`,
		s.Provider, s.ID, s.UserID, base64url(s.HandoverHash), unixMillis(s.CreatedAt), unixMillis(s.ExpiresAt)))
	if err != nil {
		return err
	}
	if out.changed[0] == 0 {
		return gatehouse.ErrExists
	}
	return nil
}

// EnterPSUSession begins a session by its link.
func (db *DB) EnterPSUSession(ctx context.Context, provider string, handoverHash, sessionHash []byte, until, now time.Time) error {
	e := newEntry(ctx, now)
	out, err := db.write(ctx, query(`
		UPDATE psu_sessions SET session_hash = $3, expires_at = $4
		WHERE provider = $1 AND handover_hash = $2 AND session_hash IS NULL AND expires_at > $5`,
		provider, base64url(handoverHash), base64url(sessionHash), unixMillis(until), unixMillis(now)),
		e.event(gatehouse.EventPSUEntered, "", `provider, '', '', ''
			FROM psu_sessions WHERE provider = $8 AND handover_hash = $9 AND session_hash = $10`,
			provider, base64url(handoverHash), base64url(sessionHash)))
	if err != nil {
		return err
	}
	if out.changed[0] == 1 {
		return nil
	}
	if out.repeated {
		found, err := db.PSUSession(ctx, provider, sessionHash)
		switch {
		case err == nil && subtle.ConstantTimeCompare(found.HandoverHash, handoverHash) == 1:
			return db.confirm(ctx)
		case err != nil && !errors.Is(err, gatehouse.ErrNotFound):
			return err
		}
	}
	return gatehouse.ErrNotFound
}

// PSUSession returns a session by the hash of its cookie.
func (db *DB) PSUSession(ctx context.Context, provider string, sessionHash []byte) (*gatehouse.PSUSession, error) {
	var s gatehouse.PSUSession
	err := db.readRow(ctx, query(`
		SELECT provider, id, user_id, handover_hash, session_hash, created_at, expires_at
		FROM psu_sessions WHERE provider = $1 AND session_hash = $2`, provider, base64url(sessionHash)),
		&s.Provider, &s.ID, &s.UserID, bytesField{&s.HandoverHash}, bytesField{&s.SessionHash}, timeField{&s.CreatedAt}, timeField{&s.ExpiresAt})
	if err != nil {
		return nil, err
	}
	return &s, nil
}

// EndPSUSession ends a session by the hash of its cookie.
func (db *DB) EndPSUSession(ctx context.Context, provider string, sessionHash []byte) error {
	out, err := db.write(ctx, query(`
		DELETE FROM psu_sessions WHERE provider = $1 AND session_hash = $2`, provider, base64url(sessionHash)))
	if err == nil && out.repeated { // it may have met its own deletion
		return db.confirm(ctx)
	}
	return err
}
