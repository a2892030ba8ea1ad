package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"gatehouse"
	"gatehouse/jose"
)

// A Fault is a rule that rows of a database break.
type Fault struct {
	Check string `json:"check"`
	// Rows is how many break it, First is one of them.
	Rows  int64  `json:"rows"`
	First string `json:"first"`
}

// Verify reads the whole database and returns what contradicts itself: damaged
// pages and indexes of SQLite, rows that refer to none, states without what
// they need, signing keys that kek does not open. It returns an error when the
// database cannot be read, or has another schema. It may run beside any number
// of writers; each rule is checked in one statement.
func (db *DB) Verify(ctx context.Context, kek *jose.KEK, now time.Time) ([]Fault, error) {
	beside, err := db.beside("query_only(1)")
	if err != nil {
		return nil, err
	}
	defer beside.Close()
	if db.sqlite != nil { // PostgreSQL has amcheck and page checksums
		if faults, err := damage(ctx, beside); err != nil || len(faults) > 0 {
			return faults, err
		}
	}
	if err := db.Ping(ctx); err != nil {
		return nil, err
	}
	faults, err := contradictions(ctx, beside, now)
	if err != nil {
		return nil, err
	}
	keys, err := db.keyFaults(ctx, kek)
	return append(faults, keys...), err
}

// damage returns what SQLite finds wrong with a file.
func damage(ctx context.Context, db *sql.DB) ([]Fault, error) {
	var faults []Fault
	for _, check := range []struct {
		name string
		sql  fragment
	}{
		{"integrity_check", `SELECT integrity_check FROM pragma_integrity_check WHERE integrity_check <> 'ok'`},
		{"foreign_key_check", `SELECT 'row ' || COALESCE(rowid, '?') || ' of ' || "table" || ' has no ' || parent FROM pragma_foreign_key_check`},
	} {
		fault, err := countRows(ctx, db, check.name, query(check.sql))
		if sqliteCode(err)&0xff == sqlite3.SQLITE_CORRUPT { // the check stumbled over what it was to find
			fault.add(err.Error())
			err = nil
		}
		if err != nil {
			return nil, err
		}
		faults = fault.appendTo(faults)
	}
	return faults, nil
}

// contradictions returns what our own rules find. Purge takes what belongs
// together piece by piece, so what it may take is left out.
func contradictions(ctx context.Context, db *sql.DB, now time.Time) ([]Fault, error) {
	kept := unixMillis(now.Add(-keptFor))
	var faults []Fault
	for _, rule := range []struct {
		check string
		rows  statement
	}{
		{"grant of an unknown provider", query(`
			SELECT g.provider || '/' || g.id FROM grants g WHERE NOT EXISTS (SELECT 1 FROM providers p WHERE p.code = g.provider)`)},
		{"grant of an unknown client", query(`
			SELECT g.provider || '/' || g.id FROM grants g WHERE NOT EXISTS (SELECT 1 FROM clients c WHERE c.id = g.client_id COLLATE "binary")`)},
		{"grant in force of a deleted client", query(`
			SELECT g.provider || '/' || g.id FROM grants g JOIN clients c ON c.id = g.client_id COLLATE "binary"
			WHERE c.status = 'deleted' AND g.revoked_at IS NULL AND g.expires_at > $1`, unixMillis(now))},
		{"access token without its client's grant", query(`
			SELECT t.provider || '/' || t.id FROM access_tokens t
			WHERE t.provider NOT IN (SELECT code FROM providers WHERE deleted_at IS NOT NULL) AND NOT EXISTS
				(SELECT 1 FROM grants g WHERE g.provider = t.provider AND g.id = t.grant_id AND g.client_id = t.client_id)`)},
		{"refresh token without its client's grant", query(`
			SELECT t.provider || '/' || t.id FROM refresh_tokens t
			WHERE t.provider NOT IN (SELECT code FROM providers WHERE deleted_at IS NOT NULL) AND NOT EXISTS
				(SELECT 1 FROM grants g WHERE g.provider = t.provider AND g.id = t.grant_id AND g.client_id = t.client_id)`)},
		{"successor that is no refresh token of the grant", query(`
			SELECT t.provider || '/' || t.id FROM refresh_tokens t
			WHERE t.provider NOT IN (SELECT code FROM providers WHERE deleted_at IS NOT NULL)
			  AND t.successor_id IS NOT NULL AND t.expires_at > $1 AND NOT EXISTS
				(SELECT 1 FROM refresh_tokens s WHERE s.provider = t.provider AND s.id = t.successor_id AND s.grant_id = t.grant_id)`, kept)},
		{"approved authorization without its client's grant", query(`
			SELECT a.provider || '/' || a.id FROM authorizations a
			WHERE a.provider NOT IN (SELECT code FROM providers WHERE deleted_at IS NOT NULL)
			  AND a.status IN ('approved', 'exchanged') AND a.decided_at > $1 AND NOT EXISTS
				(SELECT 1 FROM grants g WHERE g.provider = a.provider AND g.id = a.grant_id AND g.client_id = a.client_id)`, kept)},
		{"authorised consent without its client's grant", query(`
			SELECT c.provider || '/' || c.id FROM consents c
			WHERE c.provider NOT IN (SELECT code FROM providers WHERE deleted_at IS NOT NULL)
			  AND c.status = 'Authorised' AND c.keep_until > $1 AND NOT EXISTS
				(SELECT 1 FROM grants g WHERE g.provider = c.provider AND g.id = c.grant_id AND g.client_id = c.client_id
				 AND g.intent_id COLLATE "binary" = c.id)`, unixMillis(now))},
		{"grant in force of a consent that has ended", query(`
			SELECT g.provider || '/' || g.id FROM grants g JOIN consents c ON c.provider = g.provider AND c.id = g.intent_id COLLATE "binary"
			WHERE c.status <> 'Authorised' AND g.revoked_at IS NULL AND g.expires_at > $1`, unixMillis(now))},
		{"approved authorization without grant_id", query(`
			SELECT a.provider || '/' || a.id FROM authorizations a WHERE a.status IN ('approved', 'exchanged') AND a.grant_id IS NULL`)},
		{"exchanged authorization without access_token_id", query(`
			SELECT a.provider || '/' || a.id FROM authorizations a WHERE a.status = 'exchanged' AND a.access_token_id IS NULL`)},
		{"spent authorization that is not exchanged", query(`
			SELECT a.provider || '/' || a.id FROM authorizations a WHERE a.status <> 'exchanged' AND a.access_token_id IS NOT NULL`)},
	} {
		fault, err := countRows(ctx, db, rule.check, rule.rows)
		if err != nil {
			return nil, err
		}
		faults = fault.appendTo(faults)
	}
	return faults, nil
}

// countRows makes one fault of the rows that q finds.
func countRows(ctx context.Context, db *sql.DB, check string, q statement) (Fault, error) {
	fault := Fault{Check: check}
	rows, err := db.QueryContext(ctx, q.sql, q.args...)
	if err != nil {
		return fault, fmt.Errorf("%s: %w", check, err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return fault, fmt.Errorf("%s: %w", check, err)
		}
		fault.add(text)
	}
	if err := rows.Err(); err != nil {
		return fault, fmt.Errorf("%s: %w", check, err)
	}
	return fault, nil
}

// add counts a row; one that is described in several lines becomes one.
func (f *Fault) add(row string) {
	if f.Rows++; f.Rows == 1 {
		f.First = strings.ReplaceAll(row, "\n", ": ")
	}
}

// appendTo appends the fault if there is one.
func (f Fault) appendTo(list []Fault) []Fault {
	if f.Rows == 0 {
		return list
	}
	return append(list, f)
}

// keyFaults returns the signing keys that cannot be used and the providers that
// have none for their signing_alg.
func (db *DB) keyFaults(ctx context.Context, kek *jose.KEK) ([]Fault, error) {
	sealed := Fault{Check: "signing key that the key-encryption key does not open"}
	missing := Fault{Check: "provider without a signing key for its signing_alg"}
	err := db.eachProvider(ctx, func(p *gatehouse.Provider) error {
		keys, err := db.Keys(ctx, p.Code)
		if err != nil {
			return err
		}
		usable := false
		for _, k := range keys {
			_, err := kek.Open(k.Sealed, p.Code, k.KID, k.Alg)
			if err != nil {
				sealed.add(p.Code + "/" + k.KID)
			}
			usable = usable || k.Alg == p.SigningAlg
		}
		if !usable {
			missing.add(p.Code)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return missing.appendTo(sealed.appendTo(nil)), nil
}

// eachProvider calls visit for every provider that is not deleted.
func (db *DB) eachProvider(ctx context.Context, visit func(*gatehouse.Provider) error) error {
	const page = 100
	for after := ""; ; {
		providers, err := db.Providers(ctx, after, page)
		if err != nil {
			return err
		}
		for _, p := range providers {
			if err := visit(p); err != nil {
				return err
			}
			after = p.Code
		}
		if len(providers) < page {
			return nil
		}
	}
}
